"""Images and data sets are taken in every form in which a caller has them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import open_dataset
from convlens.data.dataset import Dataset, Rows, Split
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.look import NamedImage, assigned_images, describe_prediction
from convlens.look.views.given import open_data, read_image, read_images, rows_of


@pytest.fixture
def pixels(classifier, image) -> np.ndarray:
    return classifier.decode(image)


def test_a_file_a_pillow_image_and_pixels_are_the_same_image(classifier, image, pixels):
    with Image.open(image) as opened:
        opened.load()
        given = [image, str(image), opened, np.asarray(opened), pixels, NamedImage("a", pixels)]
    seen = [read_image(classifier, each) for each in given]
    for one in seen:
        np.testing.assert_array_equal(one.pixels, pixels)
    names = [one.name for one in seen]
    assert names == [str(image)] * 3 + ["image", "image", "a"]


def test_an_image_is_called_by_the_end_of_its_path():
    for name, short in (
        ("/photos/train/cat/image_0001.jpg", "cat/image_0001"),
        ("train/cat/a.b.png", "cat/a.b"),
        ("a.jpg", "a"),
        ("/a.jpg", "a"),
        ("../a.jpg", "a"),
        ("image", "image"),
    ):
        named = NamedImage(name, np.zeros((1, 1, 3), np.uint8))
        assert (named.short, named.stem) == (short, short.replace("/", "-"))


def test_several_are_given_as_a_list_an_array_or_a_folder(classifier, image, pixels):
    folder = read_images(classifier, image.parent)
    assert [one.name for one in folder] == sorted(map(str, image.parent.iterdir()))
    for given in image, pixels, NamedImage("a", pixels), [image]:
        (one,) = read_images(classifier, given)
        np.testing.assert_array_equal(one.pixels, pixels)
    stacked = np.stack([folder[0].pixels, folder[1].pixels])
    assert [one.name for one in read_images(classifier, stacked)] == ["image 1", "image 2"]
    mixed = read_images(classifier, [image, pixels, image.parent])
    assert [one.name for one in mixed[:2]] == [str(image), "image 2"]
    assert len(mixed) == 2 + len(folder)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("gone.png", "gone.png does not exist; give an image"),
        ("broken.png", "broken.png is text, not an image; remove it"),
        (".", "is a folder; give one image of it"),
    ],
)
def test_what_is_no_image_is_told(classifier, tmp_path, given, sentence):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=sentence):
        read_image(classifier, tmp_path / given)


def test_no_image_at_all_is_told(classifier):
    with pytest.raises(UserError, match="no image is given; name one or several with `images`"):
        read_images(classifier, [])


def test_a_data_set_is_opened_or_taken_as_it_is(classifier, toy_data):
    opened = open_data(classifier, toy_data)
    given = open_data(classifier, open_dataset(toy_data, size=16))
    assert opened.size == given.size == 16
    np.testing.assert_array_equal(opened.train.images, given.train.images)


def test_of_a_larger_data_set_the_middle_is_taken(classifier, toy_data):
    zoomed = classifier.with_model(classifier.model, crop_pct=0.8)
    loaded = open_dataset(toy_data, size=20)
    seen = open_data(zoomed, loaded)
    np.testing.assert_array_equal(seen.train.images, loaded.train.images[:, 2:18, 2:18])
    with pytest.raises(UserError, match="decoded to 20×20 pixels and LeNet5 is given 16×16"):
        open_data(classifier, loaded)


def test_another_data_set_is_refused(toy_weights, toy_data):
    known = Classifier.load(toy_weights)
    other = known.with_model(known.model, class_names=tuple("abcde"))
    with pytest.raises(UserError, match="LeNet5 was not trained on the class blue_disc"):
        open_data(other, toy_data)


def test_rows_are_read_together_in_the_shape_asked_for():
    images = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    rows = np.array([[4, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(rows_of(images, rows), images[rows])
    backwards = Rows(images, np.arange(4, -1, -1))
    np.testing.assert_array_equal(rows_of(backwards, rows), images[::-1][rows])


def test_the_prediction_is_told_with_its_probability(classifier, image, pixels):
    (predicted,) = classifier.predict(image)
    told = f"{predicted.classes[0]} {predicted.probabilities[0]:.1%}"
    assert describe_prediction(classifier, pixels) == told


# The images that are shown unasked


def dataset(root: Path, train: list[str], validation: list[str]) -> Dataset:
    """A data set whose k-th image is of the single value k."""
    paths = [*train, *validation]
    classes = tuple(sorted({path.split("/")[1] for path in paths}))
    images = np.arange(len(paths), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 8, 8, 3), np.uint8
    )
    labels = np.array([classes.index(path.split("/")[1]) for path in paths])
    n = len(train)
    return Dataset(
        "d",
        root,
        classes,
        8,
        Split(images[:n], labels[:n], tuple(train)),
        Split(images[n:], labels[n:], tuple(validation)),
    )


def test_the_assignments_images_are_found_in_either_split(tmp_path):
    found = assigned_images(
        dataset(
            tmp_path,
            ["train/accordion/image_0002.jpg", "train/accordion/image_0001.jpg", "train/ant/a.jpg"],
            ["validation/camera/image_0001.png", "validation/camera/image_0010.png"],
        )
    )
    assert [(path, image.max()) for path, image in found] == [
        ("train/accordion/image_0001.jpg", 1),
        ("validation/camera/image_0001.png", 3),
    ]


def test_elsewhere_the_first_training_images_of_the_first_two_classes_are_shown(tmp_path):
    train = ["train/cat/2.png", "train/ant/7.png", "train/ant/8.png", "train/bee/image_0001.png"]
    found = assigned_images(dataset(tmp_path, train, ["validation/camera/image_0001.png"]))
    assert [(path, image.max()) for path, image in found] == [
        ("train/ant/7.png", 1),
        ("train/bee/image_0001.png", 3),
    ]
