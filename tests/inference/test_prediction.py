import dataclasses
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.inference import Classifier, Prediction, Predictions
from convlens.inference.prediction import find_images


@pytest.fixture
def classifier(toy_weights):
    return Classifier.load(toy_weights)


@pytest.fixture
def odd_data(tmp_path):
    """Two classes in files that all must be converted and scaled: 40×30, of every color mode."""
    random = np.random.default_rng(0)
    for name in ("bright", "dark"):
        for split in ("train", "validation"):
            folder = tmp_path / "odd" / split / name
            folder.mkdir(parents=True)
            image = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
            for mode, suffix in ("P", "png"), ("CMYK", "jpg"), ("L", "png"), ("RGBA", "webp"):
                image.convert(mode).save(folder / f"{mode}.{suffix}")
            deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
            Image.fromarray(deep).save(folder / "deep.png")
    return tmp_path / "odd"


def test_the_preprocessing_is_exactly_that_of_evaluation(classifier, toy_data, odd_data):
    for root in (toy_data, odd_data):
        dataset = open_dataset(root, size=classifier.size)
        for split in (dataset.train, dataset.validation):
            logits = classifier.logits(split.images)
            expected = classifier.probabilities(logits)
            predictions = classifier.predict([root / path for path in split.paths], top=5)
            assert [p.path for p in predictions] == [str(root / path) for path in split.paths]
            columns = {name: i for i, name in enumerate(classifier.class_names)}
            for prediction, row in zip(predictions, expected, strict=True):
                order = [columns[name] for name in prediction.classes]
                np.testing.assert_array_equal(np.float32(prediction.probabilities), row[order])


def test_the_temperature_is_applied(classifier, toy_data):
    path = toy_data / "train/red_cross/image_0001.png"
    [sure] = classifier.predict([path], top=5)
    classifier.temperature = 2.0
    [modest] = classifier.predict([path], top=5)
    assert modest.classes == sure.classes
    expected = np.sqrt(sure.probabilities)
    np.testing.assert_allclose(modest.probabilities, expected / expected.sum(), rtol=1e-4)


def test_the_most_probable_classes_come_first(classifier, toy_data):
    [one] = classifier.predict([toy_data / "train/red_cross/image_0001.png"], top=2)
    [all_of_them] = classifier.predict([toy_data / "train/red_cross/image_0001.png"], top=99)
    assert len(one.classes) == len(one.probabilities) == 2
    assert sorted(all_of_them.classes) == sorted(classifier.class_names)
    assert list(all_of_them.probabilities) == sorted(all_of_them.probabilities, reverse=True)
    assert sum(all_of_them.probabilities) == pytest.approx(1)
    assert all_of_them.classes[:2] == one.classes


def test_the_order_is_kept_over_batches(classifier, toy_data):
    paths = sorted((toy_data / "validation").rglob("*.png"))[::-1][:7]
    at_once, apart = classifier.predict(paths), classifier.predict(paths, batch_size=3)
    assert [p.path for p in apart] == [str(path) for path in paths]
    assert [p.classes for p in apart] == [p.classes for p in at_once]
    np.testing.assert_allclose(
        [p.probabilities for p in apart], [p.probabilities for p in at_once], rtol=1e-5
    )


def test_an_unreadable_image_is_named(classifier, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(UserError, match=r"broken\.png cannot be decoded"):
        classifier.predict([tmp_path / "broken.png"])


def test_images_are_found_anywhere_below_a_folder_in_order(tmp_path, toy_data):
    image = toy_data / "train/blue_disc/image_0001.png"
    names = ["b/z.png", "b/a.PNG", "a.jpg", "c.tiff", "b/.hidden.png", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / name)
    found = [tmp_path / name for name in ("a.jpg", "b/a.PNG", "b/z.png", "c.tiff")]
    assert find_images([tmp_path]) == found
    # what is named is taken as it is, in the order given
    assert find_images([image, tmp_path / "b", tmp_path / "notes.txt"]) == [
        image,
        *found[1:3],
        tmp_path / "notes.txt",
    ]


@pytest.fixture
def holiday(tmp_path, toy_data):
    """A folder of one's own: a good image, and what else lies about."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    image = toy_data / "train/blue_disc/image_0001.png"
    for name in "good.png", "noending", "sent.heic", "photo.jpg_large":
        shutil.copy(image, folder / name)
    (folder / "cut.png").write_bytes(image.read_bytes()[:1000])
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "raw.NEF").write_bytes(b"II*\0" + bytes(100))
    (folder / "apple").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    (folder / "empty").touch()
    (folder / "Thumbs.db").touch()
    (folder / "album.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("zero.png", "/dev/zero"),
        ("gone.jpg", "nowhere"),
        ("self.jpg", "self.jpg"),
    ):
        (folder / name).symlink_to(target)
    return folder


def test_what_can_be_answered_is_and_the_rest_is_named(classifier, holiday):
    predictions = classifier.predict(holiday, skip_bad=True)
    found = [os.path.basename(prediction.path) for prediction in predictions]
    assert found == ["good.png", "noending", "photo.jpg_large", "sent.heic"]
    reasons = {os.path.basename(path): reason for path, reason in predictions.failed}
    for name, reason in {
        "IMG_1.HEIC": "cannot be decoded (not an image Pillow can read)",
        "apple": "cannot be decoded",
        "raw.NEF": "is camera raw, which",
        "cut.png": "cannot be decoded",
        "pipe.jpg": "a pipe or a device, not a file",
        "zero.png": "a pipe or a device, not a file",
        "gone.jpg": "No such file",
        "self.jpg": "Too many levels of symbolic links",
    }.items():
        assert reason in reasons.pop(name)
    assert reasons == {}
    assert sorted(map(os.path.basename, predictions.left_out)) == ["empty", "notes.txt", "pipe"]
    assert predictions._repr_html_().count("convert it to JPEG") == 1


def test_unasked_an_image_without_an_answer_is_an_error(classifier, holiday):
    with pytest.raises(UserError, match=r"IMG_1\.HEIC cannot be decoded"):
        classifier.predict(holiday)
    with pytest.raises(UserError, match=r"nowhere\.png does not exist"):
        classifier.predict([holiday / "good.png", holiday / "nowhere.png"])


def test_what_is_given_twice_is_answered_twice(classifier, holiday):
    good, cut = holiday / "good.png", holiday / "cut.png"
    predictions = classifier.predict([good, cut, good, cut], skip_bad=True)
    assert [p.path for p in predictions] == [str(good)] * 2
    assert [path for path, _ in predictions.failed] == [str(cut)] * 2
    apart = classifier.predict([good, cut, good, cut], skip_bad=True, batch_size=1)
    assert apart == predictions and apart.failed == predictions.failed


def test_nothing_answered_is_no_error_when_bad_images_may_be_skipped(classifier, holiday):
    predictions = classifier.predict([holiday / "cut.png", holiday / "no.png"], skip_bad=True)
    assert predictions == []
    assert [os.path.basename(path) for path, _ in predictions.failed] == ["no.png", "cut.png"]


def test_links_to_folders_are_followed_and_loops_end(tmp_path, toy_data):
    image = toy_data / "train/blue_disc/image_0001.png"
    for name in "photos/1.png", "photos/b/2.png", "elsewhere/3.png", "elsewhere/c/4.png":
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / name)
    photos = tmp_path / "photos"
    for name, target in ("a", "../elsewhere"), ("b/up", ".."), ("self", "."), ("again", "b"):
        (photos / name).symlink_to(target)
    (tmp_path / "elsewhere" / "back").symlink_to(photos)
    (photos / "lost").symlink_to("nowhere")
    names = ["1.png", "a/3.png", "a/c/4.png", "b/2.png"]  # each once, by its own name if it has one
    assert find_images([photos]) == [photos / name for name in names]
    assert find_images([photos, photos]) == [photos / name for name in names] * 2
    linked = tmp_path / "linked"
    linked.symlink_to(photos)
    assert find_images([linked]) == [linked / name for name in names]


def test_names_that_are_no_text_are_answered_as_they_are(classifier, tmp_path, toy_data):
    image = toy_data / "train/blue_disc/image_0001.png"
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    shutil.copy(image, path)
    (prediction,) = classifier.predict(tmp_path)
    assert prediction.path == path
    assert "caf\\udce9.png" in prediction._repr_html_()


def test_no_probability_is_ever_no_number(classifier, toy_data):
    image = toy_data / "train/blue_disc/image_0001.png"
    with pytest.raises(UserError, match="answers with what is no number"):
        classifier.probabilities(np.float32([[np.nan, 1]]))
    with np.errstate(all="ignore"):
        for parameter in classifier.model.parameters():
            parameter.data *= 1e20
        with pytest.raises(UserError, match="answers with what is no number"):
            classifier.predict(image, skip_bad=True)


def test_what_holds_no_image_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=f"^{tmp_path} holds no image but 1 text; give"):
        find_images([tmp_path])
    with pytest.raises(UserError, match=r"nowhere\.png does not exist; give"):
        find_images([tmp_path / "nowhere.png"])


def test_a_prediction_is_plain_data(classifier, toy_data):
    [prediction] = classifier.predict([toy_data / "train/red_cross/image_0001.png"])
    assert {type(value) for value in dataclasses.astuple(prediction)} == {str, tuple}
    assert type(prediction.probabilities[0]) is float


def test_one_image_or_folder_may_be_given_as_it_is(classifier, toy_data):
    path = toy_data / "train/red_cross/image_0001.png"
    assert classifier.predict(path) == classifier.predict([path]) == classifier.predict(str(path))
    assert len(classifier.predict(toy_data / "validation")) == 20


def test_predictions_show_the_picture_and_a_bar_a_class(classifier, toy_data):
    predictions = classifier.predict(toy_data / "validation/red_cross", top=2)
    assert isinstance(predictions, Predictions) and isinstance(predictions[:2], list)
    shown = predictions._repr_html_()
    assert shown.count("data:image/png;base64,") == 4
    assert f"{predictions[0].probabilities[0]:.1%}" in shown


def test_names_of_classes_and_files_are_text_on_the_page(tmp_path, toy_data):
    hostile = '"><img src=x onerror=alert(1)>'
    path = tmp_path / f"{hostile}.png".replace("/", "")
    shutil.copy(toy_data / "train/red_cross/image_0001.png", path)
    here = Prediction(str(path), (hostile, "b"), (0.75, 0.25))
    gone = Prediction(str(tmp_path / hostile), (hostile,), (1.0,))
    for shown in here._repr_html_(), gone._repr_html_(), Predictions([here])._repr_html_():
        assert "<img src=x" not in shown
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "75.0%" in here._repr_html_()
    assert "data:image/png" not in gone._repr_html_()
