import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.inference.metrics import evaluate
from convlens.inference.prediction import find_images, predict
from convlens.training.run_folder import load_trained


@pytest.fixture
def trained(toy_weights):
    return load_trained(toy_weights)


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


def test_the_preprocessing_is_exactly_that_of_evaluation(trained, toy_data, odd_data):
    for root in (toy_data, odd_data):
        dataset = open_dataset(root, size=trained.size)
        for split in (dataset.train, dataset.validation):
            logits = evaluate(trained.model, split, trained.mean, trained.std)
            expected = logits.probabilities()
            predictions = predict(trained, [root / path for path in split.paths], top=5)
            assert [p.path for p in predictions] == [str(root / path) for path in split.paths]
            columns = {name: i for i, name in enumerate(trained.classes)}
            for prediction, row in zip(predictions, expected, strict=True):
                order = [columns[name] for name in prediction.classes]
                np.testing.assert_array_equal(np.float32(prediction.probabilities), row[order])


def test_the_temperature_is_applied(trained, toy_data):
    path = toy_data / "train/red_cross/image_0001.png"
    [sure] = predict(trained, [path], top=5)
    [modest] = predict(dataclasses.replace(trained, temperature=2.0), [path], top=5)
    assert modest.classes == sure.classes
    expected = np.sqrt(sure.probabilities)
    np.testing.assert_allclose(modest.probabilities, expected / expected.sum(), rtol=1e-4)


def test_the_most_probable_classes_come_first(trained, toy_data):
    [one] = predict(trained, [toy_data / "train/red_cross/image_0001.png"], top=2)
    [all_of_them] = predict(trained, [toy_data / "train/red_cross/image_0001.png"], top=99)
    assert len(one.classes) == len(one.probabilities) == 2
    assert sorted(all_of_them.classes) == sorted(trained.classes)
    assert list(all_of_them.probabilities) == sorted(all_of_them.probabilities, reverse=True)
    assert sum(all_of_them.probabilities) == pytest.approx(1)
    assert all_of_them.classes[:2] == one.classes


def test_the_order_is_kept_over_batches(trained, toy_data):
    paths = sorted((toy_data / "validation").rglob("*.png"))[::-1][:7]
    at_once, apart = predict(trained, paths), predict(trained, paths, batch_size=3)
    assert [p.path for p in apart] == [str(path) for path in paths]
    assert [p.classes for p in apart] == [p.classes for p in at_once]
    np.testing.assert_allclose(
        [p.probabilities for p in apart], [p.probabilities for p in at_once], rtol=1e-5
    )


def test_an_unreadable_image_is_named(trained, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(UserError, match=r"broken\.png cannot be decoded"):
        predict(trained, [tmp_path / "broken.png"])


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
        image, *found[1:3], tmp_path / "notes.txt",
    ]  # fmt: skip


def test_what_holds_no_image_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=f"^{tmp_path} holds no image; give"):
        find_images([tmp_path])
    with pytest.raises(UserError, match=r"nowhere\.png does not exist; give"):
        find_images([tmp_path / "nowhere.png"])


def test_a_prediction_is_plain_data(trained, toy_data):
    [prediction] = predict(trained, [toy_data / "train/red_cross/image_0001.png"])
    assert {type(value) for value in dataclasses.astuple(prediction)} == {str, tuple}
    assert type(prediction.probabilities[0]) is float
