"""`convlens look`: the right pictures under the right names, and nothing before all is found."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from convlens.cli import main
from convlens.cli.look import ViewName
from convlens.files import MARKER
from convlens.inference import Classifier
from convlens.training.run import train


def written(told: str) -> list[str]:
    """The names of the files that were written, in order."""
    lines = [line for line in told.splitlines() if line.startswith("wrote ")]
    return [Path(line.removeprefix("wrote      ")).name for line in lines]


def drawn(folder: Path) -> set[str]:
    """The names of the files in a folder, beside the marker that ConvLens's folders have."""
    return {path.name for path in folder.iterdir()} - {MARKER}


@pytest.fixture
def image(toy_data) -> Path:
    return toy_data / "train" / "red_cross" / "image_0003.png"


def test_without_images_the_first_ones_are_drawn_and_every_file_is_told(
    toy_weights, toy_data, tmp_path, tell
):
    told = tell("look", toy_weights, "--data", toy_data, "--out", tmp_path / "new" / "looks")
    assert told.startswith("data set   toy: 5 classes")
    assert written(told) == [
        "activations-blue_disc-image_0001-conv1.png",
        "activations-blue_disc-image_0001-conv2.png",
        "activations-cyan_bar-image_0001-conv1.png",
        "activations-cyan_bar-image_0001-conv2.png",
        "filters.png",
    ]
    out = tmp_path / "new" / "looks"
    found = {str(out / name) for name in drawn(out)}
    assert {line.split(maxsplit=1)[1] for line in told.splitlines()[1:]} == found


def test_images_of_ones_own_need_no_data_set(toy_weights, image, tmp_path, tell):
    told = tell("look", toy_weights, image, "--view", "activations", "--out", tmp_path)
    assert written(told) == [
        "activations-red_cross-image_0003-conv1.png",
        "activations-red_cross-image_0003-conv2.png",
    ]
    assert "data set" not in told


def test_the_table_of_layers_is_printed(toy_weights, tmp_path, tell):
    told = tell("look", toy_weights, "--view", "layers", "--out", tmp_path)
    assert re.search(r"conv1 .*32×16×16", told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            ("activations", "--layer", "conv2"),
            ["activations-red_cross-image_0003-conv2.png", "…-conv2.csv"],
        ),
        (
            ("activations", "--layer", "relu1", "--map", "3", "30"),
            ["activations-red_cross-image_0003-relu1-map3-30.png", "…-relu1-map3-30.csv"],
        ),
        (
            ("filters", "--layer", "relu2", "--map", "3", "60"),
            ["filters-relu2-map3-60.png", "kernels-relu2-map3-60.png"],
        ),
        (("attribution",), ["attribution-red_cross-image_0003.png"]),
        (
            ("attribution", "--target", "cyan_bar"),
            ["attribution-red_cross-image_0003-for-cyan_bar.png"],
        ),
        (("occlusion",), ["occlusion-red_cross-image_0003.png"]),
        (("invariance", "--target", "blue_disc"), ["invariance.png"]),
        (("neighbors",), ["neighbors.png"]),
        (
            ("patches", "deconvolution", "--layer", "relu1", "--map", "1", "2"),
            ["patches-relu1-map1-2.png", "deconvolution-relu1-map1-2.png"],
        ),
        (("embedding",), ["embedding.png"]),
        (
            ("feature-visualization", "--target", "cyan_bar"),
            ["feature-visualization-for-cyan_bar.png"],
        ),
        (
            ("feature-visualization", "--layer", "relu1", "--map", "2"),
            ["feature-visualization-relu1-map2.png"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_view_is_drawn_under_the_name_of_what_was_asked_for(
    options, names, toy_weights, toy_data, image, tmp_path, tell
):
    told = tell(
        "look", toy_weights, image, "--data", toy_data, "--out", tmp_path, "--view", *options
    )
    names = [name.replace("…", "activations-red_cross-image_0003") for name in names]
    assert written(told) == names
    assert drawn(tmp_path) == set(names)


def test_growth_is_drawn_of_the_epochs_that_a_run_kept(toy_data, tmp_path, tell):
    small = {"size": 16, "train_size": 16, "early_size": 16, "batch_size": 16, "epochs": 2}
    run = train(
        "lenet5",
        out=tmp_path / "run",
        data=toy_data,
        snapshots=True,
        device="cpu",
        precision="fp32",
        **small,
    )
    told = tell("look", run.folder, "--view", "growth", "--map", "0", "--out", tmp_path / "out")
    assert told.startswith("data set   toy: ")  # the run's own
    assert written(told) == ["growth-relu1-map0.png"]


def test_nothing_is_written_when_one_of_several_views_cannot_be(
    toy_weights, toy_data, image, tmp_path, refuse
):
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / "looks"
    command = ("look", toy_weights, "--data", toy_data, "--out", out)
    told = refuse(*command[:2], image, tmp_path / "broken.png", *command[2:])
    assert re.search(r"broken\.png is text, not an image", told)
    # a linear layer has activations, but no patches
    told = refuse(*command, "--view", "filters", "activations", "patches", "--layer", "fc1")
    assert "fc1" in told
    assert not out.exists()


def test_images_of_one_name_have_a_picture_and_a_table_each(toy_weights, toy_data, tmp_path, tell):
    images = [tmp_path / name for name in ("a/cats/1.jpg", "a/cats/1.png", "b/cats/1.jpg")]
    for image, source in zip(images, sorted(toy_data.rglob("image_0001.png")), strict=False):
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).save(image)
    out = tmp_path / "looks"
    views = ("--view", "activations", "attribution", "--layer", "conv1", "--map", "0", "1")
    names = written(tell("look", toy_weights, *images, images[0], *views, "--out", out))
    assert len(names) == len(set(names)) == 3 * 3
    assert drawn(out) == set(names)
    stems = r"(activations-cats-1-conv1-map0-1|attribution-cats-1)-[0-9a-f]{10}\.(png|csv)"
    assert all(re.fullmatch(stems, name) for name in names)
    assert len({(out / name).read_bytes() for name in names}) == 9
    again = tmp_path / "again"
    tell("look", toy_weights, *reversed(images), *views, "--out", again)
    assert drawn(again) == set(names)


def test_a_name_that_no_file_can_have_is_cut_or_replaced(toy_weights, toy_data, tmp_path, tell):
    source = toy_data / "train" / "red_cross" / "image_0003.png"
    trained = Classifier.load(toy_weights)
    names = ("a/b", "a_b", "CON", "激" * 300, "cafe\u0301")
    weights = trained.with_model(trained.model, class_names=names).save(tmp_path / "w.safetensors")
    image = shutil.copy(source, tmp_path / f"{'激' * 78}.png")
    out = tmp_path / "looks"
    for target in "a/b", "a_b", "激" * 300, "caf\u00e9":
        tell("look", weights, image, "--view", "attribution", "--target", target, "--out", out)
    files = drawn(out)
    assert len(files) == 4
    assert all(len(name.encode()) <= 215 + len(".png") for name in files)
    assert sum(name.endswith("-for-cafe\u0301.png") for name in files) == 1


def test_of_a_folder_what_can_be_decoded_is_drawn_and_the_rest_named(
    toy_weights, image, tmp_path, capsys
):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(image, folder / "good.png")
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "notes.txt").touch()
    os.mkfifo(folder / "pipe.png")
    command = ["look", str(toy_weights), str(folder), "--view", "attribution", "--out"]
    with pytest.raises(SystemExit) as stop:
        main([*command, str(tmp_path / "looks")])
    assert stop.value.code == 1
    told = capsys.readouterr()
    assert written(told.out) == ["attribution-photos-good.png"]
    bad, pipe, left_out = told.err.splitlines()
    assert "bad.png is text, not an image" in bad and "pipe.png cannot be decoded (" in pipe
    assert left_out == f"left out: 1 file that is no image (1 empty): {folder}/notes.txt"


def test_a_folder_without_an_image_that_can_be_decoded_is_refused(toy_weights, tmp_path, refuse):
    (tmp_path / "bad.png").write_bytes(b"no image")
    command = ("look", toy_weights, tmp_path, "--view", "attribution", "--out", tmp_path / "looks")
    assert "bad.png is text, not an image" in refuse(*command)
    assert not (tmp_path / "looks").exists()


def test_neighbors_are_drawn_where_training_images_are_the_same(
    toy_weights, toy_data, image, tmp_path, tell
):
    data = Path(shutil.copytree(toy_data, tmp_path / "toy"))
    for number in range(1, 13):
        shutil.copy(image, data / "train" / "cyan_bar" / f"image_{number:04d}.png")
    other = toy_data / "train" / "blue_disc" / "image_0001.png"
    options = ("--view", "neighbors", "--data", data, "--out", tmp_path / "looks")
    assert written(tell("look", toy_weights, image, other, *options)) == ["neighbors.png"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_that_are_no_utf_8_are_drawn_in_every_locale(locale, toy_weights, image, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in b"caf\xe9.png", "數.png".encode(), b"\x1b[31m.png":
        shutil.copy(image, os.fsencode(photos) + b"/" + name)
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "convlens", "look", str(toy_weights), str(photos), "--out"]
    command += [str(tmp_path / "looks"), "--view", "activations", "--layer", "conv1", "--map", "0"]
    done = subprocess.run(
        command,
        env=environment | {"PYTHONWARNINGS": "error"},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    names = set(os.listdir(os.fsencode(tmp_path / "looks"))) - {MARKER.encode()}
    assert len(names) == 6
    assert "activations-photos-數-conv1-map0.png".encode() in names
    assert all(name.decode("utf-8").isprintable() for name in names)


def test_every_view_of_the_library_can_be_asked_for():
    from convlens import look

    helpers = {"first_activations", "find_patches", "kernels", "assigned_images"}
    helpers |= {"describe_prediction", "arrays", "NamedImage", "Table", "View"}
    names = {name.replace("_", "-") for name in look.__all__ if name not in helpers}
    assert names == set(ViewName.__args__)
