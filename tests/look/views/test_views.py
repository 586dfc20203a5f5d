"""`convlens look`: the right pictures under the right names, and nothing before all is found."""

import csv
import re

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.data.cache import decode
from convlens.data.dataset import Dataset, Split
from convlens.errors import UserError
from convlens.look import activations
from convlens.look.views import assigned_images, describe_prediction, draw
from convlens.training.run_folder import load_trained


def dataset(tmp_path, train, validation):
    """A data set whose k-th image is of the single value k."""
    paths = [*train, *validation]
    classes = tuple(sorted({path.split("/")[1] for path in paths}))
    images = np.arange(len(paths), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 8, 8, 3), np.uint8
    )
    labels = np.array([classes.index(path.split("/")[1]) for path in paths])
    n = len(train)
    return Dataset(
        "d", tmp_path, classes, 8,
        Split(images[:n], labels[:n], tuple(train)),
        Split(images[n:], labels[n:], tuple(validation)),
    )  # fmt: skip


def test_the_assignments_images_are_found_in_either_split(tmp_path):
    found = assigned_images(
        dataset(
            tmp_path,
            ["train/accordion/image_0002.jpg", "train/accordion/image_0001.jpg", "train/ant/a.jpg"],
            ["validation/camera/image_0001.png", "validation/camera/image_0010.png"],
        )
    )
    assert [(path, image.max()) for path, image in found] == [
        ("train/accordion/image_0001.jpg", 1), ("validation/camera/image_0001.png", 3),
    ]  # fmt: skip


def test_elsewhere_the_first_training_images_of_the_first_two_classes_stand_in(tmp_path):
    train = ["train/cat/2.png", "train/ant/7.png", "train/ant/8.png", "train/bee/image_0001.png"]
    found = assigned_images(dataset(tmp_path, train, ["validation/camera/image_0001.png"]))
    assert [(path, image.max()) for path, image in found] == [
        ("train/ant/7.png", 1), ("train/bee/image_0001.png", 3),
    ]  # fmt: skip


def test_a_sheet_for_each_image_and_convolution(toy_weights, toy_data, tmp_path, capsys):
    out = tmp_path / "new" / "looks"
    written = draw(toy_weights, (), ("filters", "activations"), toy_data, out)
    assert [path.name for path in written] == [
        "filters.png",
        "activations-blue_disc-image_0001-conv1.png",
        "activations-blue_disc-image_0001-conv2.png",
        "activations-cyan_bar-image_0001-conv1.png",
        "activations-cyan_bar-image_0001-conv2.png",
    ]
    assert set(out.iterdir()) == set(written)
    assert "data set   toy: 5 classes" in capsys.readouterr().out
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert picture.convert("L").getextrema() != (255, 255)


def test_images_of_ones_own_need_no_data_set(toy_weights, toy_data, tmp_path, capsys):
    image = toy_data / "train" / "red_cross" / "image_0003.png"
    written = draw(toy_weights, (image,), ("activations",), None, tmp_path)
    assert [path.name for path in written] == [
        "activations-red_cross-image_0003-conv1.png", "activations-red_cross-image_0003-conv2.png",
    ]  # fmt: skip
    assert "data set" not in capsys.readouterr().out


def test_the_table_of_layers_is_printed(toy_weights, tmp_path, capsys):
    assert draw(toy_weights, (), ("layers",), None, tmp_path) == []
    assert re.search(r"conv1 .*32×16×16", capsys.readouterr().out)


def test_nothing_is_drawn_when_an_image_is_broken(toy_weights, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / "looks"
    with pytest.raises(UserError, match=r"broken\.png cannot be decoded"):
        draw(toy_weights, (tmp_path / "broken.png",), ("filters", "activations"), None, out)
    assert not out.exists()


def test_the_prediction_is_told_with_its_probability(toy_weights):
    trained = load_trained(toy_weights)
    x = torch.zeros(1, 3, 16, 16)
    share = trained.model(x).detach().softmax(dim=1).max()
    name, told = describe_prediction(trained, x).split()
    assert name in trained.classes
    assert float(told.rstrip("%")) == pytest.approx(100 * float(share), abs=0.06)


# Any layer


def test_any_layer_has_its_maps_sorted_and_their_statistics_beside_the_picture(
    toy_weights, image, tmp_path
):
    picture, table = draw(toy_weights, (image,), ("activations",), None, tmp_path, layer="conv2")
    assert picture.name == "activations-red_cross-image_0003-conv2.png"
    assert table.name == "activations-red_cross-image_0003-conv2.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    trained = load_trained(toy_weights)
    x = normalize(to_tensor(decode(image, 16)[None]), trained.mean, trained.std)
    maps = activations(trained.model, x, ["conv2"])["conv2"][0]
    assert sorted(int(row["map"]) for row in rows) == list(range(64))
    means = [float(row["mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    for row in rows:
        one = maps[int(row["map"])]
        assert float(row["mean"]) == pytest.approx(one.mean(), rel=1e-4)
        assert float(row["maximum"]) == pytest.approx(one.max(), rel=1e-4)
        assert float(row["share_active"]) == pytest.approx((one > 0).mean(), rel=1e-4)


def test_a_linear_layer_and_chosen_maps_are_drawn_too(toy_weights, image, tmp_path):
    written = draw(toy_weights, (image,), ("activations",), None, tmp_path, layer="fc3")
    assert written[0].name == "activations-red_cross-image_0003-fc3.png"
    _, table = draw(
        toy_weights, (image,), ("activations",), None, tmp_path, layer="relu1", maps=(3, 30)
    )
    assert table.name == "activations-red_cross-image_0003-relu1-map3-30.csv"
    rows = csv.DictReader(table.read_text().splitlines())
    assert {row["map"] for row in rows} == {"3", "30"}


def test_deeper_filters_and_their_kernels(toy_weights, tmp_path):
    written = draw(toy_weights, (), ("filters",), None, tmp_path, layer="relu2", maps=(3, 60))
    assert [path.name for path in written] == [
        "filters-relu2-map3-60.png", "kernels-relu2-map3-60.png"
    ]  # fmt: skip
    for path in written:
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 50


@pytest.mark.parametrize(
    ("view", "layer", "maps", "sentence"),
    [
        ("activations", "relu9", (), "LeNet5 has no layer 'relu9'"),
        ("activations", "relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
        ("filters", "fc1", (), "layer fc1 gives no maps"),
    ],
)
def test_a_layer_or_map_that_is_not_there_is_told_first(
    toy_weights, image, tmp_path, view, layer, maps, sentence
):
    with pytest.raises(UserError, match=sentence):
        draw(toy_weights, (image,), (view,), None, tmp_path / "looks", layer=layer, maps=maps)
    assert not (tmp_path / "looks").exists()


# Attribution and occlusion

ATTRIBUTION_VIEWS = ("attribution", "occlusion")


@pytest.fixture
def image(toy_data):
    return toy_data / "train" / "red_cross" / "image_0003.png"


def test_a_picture_for_each_view_of_ones_own_image(toy_weights, image, tmp_path, capsys):
    written = draw(toy_weights, (image,), ATTRIBUTION_VIEWS, None, tmp_path)
    assert [path.name for path in written] == [
        "attribution-red_cross-image_0003.png", "occlusion-red_cross-image_0003.png",
    ]  # fmt: skip
    assert capsys.readouterr().out == ""
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 1000


def test_another_target_gives_other_pictures_beside_them(toy_weights, image, tmp_path):
    ours = draw(toy_weights, (image,), ATTRIBUTION_VIEWS, None, tmp_path, "cyan_bar")
    theirs = draw(toy_weights, (image,), ATTRIBUTION_VIEWS, None, tmp_path, "yellow_ring")
    assert [path.name for path in ours] == [
        "attribution-red_cross-image_0003-for-cyan_bar.png",
        "occlusion-red_cross-image_0003-for-cyan_bar.png",
    ]
    for a, b in zip(ours, theirs, strict=True):
        assert a.read_bytes() != b.read_bytes()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cyan_bra", "did you mean cyan_bar"), ("zzz", "choose a class of its data set")],
)
def test_a_class_that_the_network_does_not_know(toy_weights, image, tmp_path, name, hint):
    with pytest.raises(UserError, match=f"LeNet5 was not trained on a class '{name}'; {hint}"):
        draw(toy_weights, (image,), ATTRIBUTION_VIEWS, None, tmp_path / "looks", name)
    assert not (tmp_path / "looks").exists()
