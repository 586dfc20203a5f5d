import re

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.data.dataset import Dataset, Split
from convlens.errors import UserError
from convlens.look.sheets import assigned_images, describe_prediction, draw
from convlens.train.checkpoint import load_trained


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
