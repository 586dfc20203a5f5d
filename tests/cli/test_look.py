"""`convlens look`: the right pictures under the right names, and nothing before all is found."""

import re
from pathlib import Path

import pytest

from convlens.cli.look import ViewName
from convlens.training.run import train


def written(told: str) -> list[str]:
    """The names of the files that were written, in order."""
    lines = [line for line in told.splitlines() if line.startswith("wrote ")]
    return [Path(line.removeprefix("wrote      ")).name for line in lines]


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
    found = {str(path) for path in (tmp_path / "new" / "looks").iterdir()}
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
    assert {path.name for path in tmp_path.iterdir()} == set(names)


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
    assert re.search(r"broken\.png cannot be decoded", told)
    # a linear layer has activations, but no patches
    told = refuse(*command, "--view", "filters", "activations", "patches", "--layer", "fc1")
    assert "fc1" in told
    assert not out.exists()


def test_every_view_of_the_library_can_be_asked_for():
    from convlens import look

    helpers = {"first_activations", "find_patches", "kernels", "assigned_images"}
    helpers |= {"describe_prediction", "arrays", "NamedImage", "Table", "View"}
    names = {name.replace("_", "-") for name in look.__all__ if name not in helpers}
    assert names == set(ViewName.__args__)
