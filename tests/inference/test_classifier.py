import copy
import dataclasses
import stat

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convlens.data import open_dataset
from convlens.data.dataset import Rows, Split
from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier, Origin
from convlens.models import LeNet5

HALF = Normalize([0.5] * 3, [0.5] * 3)


class Corner(nn.Module):
    """The three colors of the first pixel as logits: exact, whatever the batch."""

    def forward(self, x):
        return x[:, :, 0, 0]


def corner(**options) -> Classifier:
    return Classifier(Corner(), ("red", "green", "blue"), HALF, size=4, **options)


def toy_split(n: int) -> Split:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return Split(images, random.integers(0, 3, n), tuple(f"{i}.png" for i in range(n)))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 10, 11, 1000])
def test_logits_do_not_depend_on_the_batch_size(batch_size):
    split = toy_split(11)
    logits = corner().logits(split.images, batch_size=batch_size)
    np.testing.assert_array_equal(logits, corner().logits(split.images))


def test_images_are_normalized_and_in_order():
    split = toy_split(5)
    logits = corner().logits(split.images, batch_size=2)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, split.images[:, 0, 0] / 127.5 - 1, atol=1e-6)
    rows = np.array([3, 0, 4])
    np.testing.assert_array_equal(corner().logits(Rows(split.images, rows)), logits[rows])


def test_the_network_is_evaluated_in_evaluation_mode_and_returned_in_its_own():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3), Corner())
    classifier = Classifier(model, "rgb", HALF, size=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.training
    first = classifier.logits(toy_split(6).images)
    assert model.training
    np.testing.assert_array_equal(first, classifier.logits(toy_split(6).images))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    classifier.logits(toy_split(6).images)
    assert not model.training


def test_a_network_that_fails_comes_back_in_its_own_mode():
    classifier = Classifier(nn.Sequential(nn.Linear(7, 2)), "ab", HALF, size=4)
    with pytest.raises(RuntimeError):
        classifier.logits(toy_split(2).images)
    assert classifier.model.training


def test_it_computes_where_the_network_is():
    """The meta device stands for a GPU: a tensor of another device in its way raises."""

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 3, device="meta")

        def forward(self, x):
            assert x.is_meta
            # numbers at last, which a real device would have had all along
            return torch.zeros(self.head(x.mean(dim=(2, 3))).shape)

    classifier = Classifier(Watching(), "abc", copy.deepcopy(HALF).to("meta"), size=4)
    assert classifier.device.type == "meta"
    assert classifier.inputs(toy_split(2).images).is_meta
    assert classifier.evaluate(toy_split(5)).logits.shape == (5, 3)
    assert Classifier(Corner(), "rgb", HALF).device.type == "cpu"  # a network without parameters


def test_probabilities_are_tempered_wherever_they_come_from(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    classifier.temperature = 0.37
    dataset = classifier.open_dataset(toy_data)
    seen = classifier.evaluate(dataset)
    by_hand = torch.from_numpy(seen.logits / np.float32(0.37)).softmax(dim=1)
    np.testing.assert_allclose(seen.probabilities, by_hand, rtol=1e-5)
    np.testing.assert_array_equal(classifier.probabilities(seen.logits), seen.probabilities)
    path = toy_data / dataset.validation.paths[7]
    [prediction] = classifier.predict([path], top=5)
    expected = sorted(seen.probabilities[7], reverse=True)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-4)
    assert seen.temperature == 0.37
    assert classifier.evaluate(dataset, split="train").labels.shape == (60,)


def test_a_data_set_may_be_given_in_four_ways(toy_weights, toy_data, monkeypatch):
    classifier = Classifier.load(toy_weights)
    dataset = classifier.open_dataset(toy_data)
    monkeypatch.setenv("CONVLENS_DATA", str(toy_data))
    losses = [
        classifier.evaluate(data).loss
        for data in (dataset, dataset.validation, toy_data, str(toy_data), None)
    ]
    assert len(set(losses)) == 1
    assert classifier.evaluate(dataset, split="train").loss not in losses


def test_all_images_of_a_folder_that_is_not_split_are_measured_as_one(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    folder = toy_data / "train"
    assert classifier.evaluate(folder, split="all").labels.shape == (60,)
    dealt = [len(classifier.evaluate(folder, split=s).labels) for s in ("train", "validation")]
    assert sum(dealt) == 60
    with pytest.raises(UserError, match="has no split 'all'"):
        classifier.evaluate(toy_data, split="all")


def test_a_data_set_of_other_classes_and_an_unknown_split_are_refused(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    other = classifier.with_model(classifier.model, class_names=("a", "b", "c", "d", "e"))
    with pytest.raises(UserError, match=r"LeNet5 was not trained on the class blue_disc of .*toy;"):
        other.evaluate(toy_data)
    with pytest.raises(UserError, match="has no split 'test'; choose from train, validation"):
        classifier.evaluate(toy_data, split="test")


def test_every_kind_of_image_is_decoded_alike(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    path = toy_data / "train/red_cross/image_0001.png"
    expected = classifier.decode(path)
    assert expected.shape == (16, 16, 3) and expected.dtype == np.uint8
    with Image.open(path) as image:
        for given in str(path), image, np.asarray(image), expected:
            np.testing.assert_array_equal(classifier.decode(given), expected)


def test_decoded_images_are_those_of_the_data_set_whatever_the_crop(toy_weights, toy_data):
    loaded = Classifier.load(toy_weights)
    classifier = loaded.with_model(loaded.model, crop_pct=0.8)
    assert (classifier.size, classifier.loaded_size) == (16, 20)
    dataset = classifier.open_dataset(toy_data)
    assert dataset.size == 16
    for path, image in zip(dataset.validation.paths, dataset.validation.images, strict=True):
        np.testing.assert_array_equal(classifier.decode(toy_data / path), image)
    large = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    middle = large[2:18, 2:18]
    np.testing.assert_array_equal(classifier.decode(large), middle)
    np.testing.assert_array_equal(classifier.logits(large[None]), classifier.logits(middle[None]))


def test_a_class_is_known_by_its_name(toy_weights):
    classifier = Classifier.load(toy_weights)
    assert classifier.label("red_cross") == 3
    with pytest.raises(UserError, match="class 'red_crosss'; did you mean red_cross"):
        classifier.label("red_crosss")


def test_a_class_is_known_by_its_name_however_its_accents_are_written(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    named = classifier.with_model(
        classifier.model, class_names=("cafe\u0301", "數", "Caf\u00e9", "d", "e")
    )
    assert named.label("caf\u00e9") == named.label("cafe\u0301") == 0
    assert named.label("Cafe\u0301") == 2
    # as an argument comes under an ASCII locale
    assert named.label("數".encode().decode("ascii", "surrogateescape")) == 1
    both = classifier.with_model(
        classifier.model, class_names=("cafe\u0301", "caf\u00e9", "c", "d", "e")
    )
    assert (both.label("cafe\u0301"), both.label("caf\u00e9")) == (0, 1)
    dataset = classifier.open_dataset(toy_data)
    composed = dataclasses.replace(dataset, classes=("a", "b", "caf\u00e9", "d", "e"))
    decomposed = classifier.with_model(
        classifier.model, class_names=("a", "b", "cafe\u0301", "d", "e")
    )
    decomposed.check_classes(composed)


def test_another_network_in_its_place_shares_nothing_that_can_be_changed(toy_weights):
    classifier = Classifier.load(toy_weights)
    other = classifier.with_model(classifier.model, temperature=2.0)
    other.normalize.mean.zero_()
    assert classifier.normalize.mean.all()
    assert (classifier.temperature, other.temperature) == (1.0, 2.0)
    assert (other.class_names, other.origin) == (classifier.class_names, classifier.origin)


def test_it_comes_back_exactly_with_all_that_is_needed_to_use_it(toy_weights, tmp_path):
    loaded = Classifier.load(toy_weights)
    classifier = loaded.with_model(
        loaded.model,
        class_names=("é", "数", "a,b", '"', "x"),
        temperature=1.7,
        crop_pct=0.926,
        origin=Origin("LeNet5", {"padding": 2}, "mine", "abc-dirty"),
    )
    classifier.save(tmp_path / "best.safetensors")
    again = Classifier.load(tmp_path)  # a run folder stands for its best weights
    for name in "class_names", "size", "crop_pct", "temperature", "origin", "name", "loaded_size":
        assert getattr(again, name) == getattr(classifier, name)
    assert torch.equal(again.normalize.mean, classifier.normalize.mean)
    assert torch.equal(again.normalize.std, classifier.normalize.std)
    assert not again.model.training
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.model(x), classifier.model(x))


def test_weights_in_half_precision_are_half_as_large_and_answer_alike(toy_weights, tmp_path):
    classifier = Classifier.load(toy_weights)
    small = Classifier.load(classifier.save(tmp_path / "small.safetensors", half=True))
    for name in "class_names", "size", "crop_pct", "temperature", "origin":
        assert getattr(small, name) == getattr(classifier, name)
    assert torch.equal(small.normalize.mean, classifier.normalize.mean)
    assert all(p.dtype == torch.float32 for p in small.model.parameters())
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(small.model(x), classifier.model(x), rtol=0.02, atol=0.02)
    assert (tmp_path / "small.safetensors").stat().st_size < 0.52 * toy_weights.stat().st_size


def test_a_weights_file_can_be_read_by_whoever_may_read_its_folder(toy_weights, tmp_path):
    (tmp_path / "plain").touch()
    Classifier.load(toy_weights).save(tmp_path / "w.safetensors")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_loading_draws_from_nobodys_generator(toy_weights):
    before = torch.random.get_rng_state()
    Classifier.load(toy_weights)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_of_ones_own_can_be_asked_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    classifier = Classifier(model, ["cat", "dog"], size=8)
    assert classifier.name == "Sequential"
    image = np.zeros((8, 8, 3), np.uint8)
    # black, by the default mean and standard deviation
    expected = model(torch.full((1, 3, 8, 8), -2.0)).detach()
    np.testing.assert_allclose(classifier.logits(image[None]), expected, rtol=1e-5)
    assert "2 classes, size=8" in repr(classifier)


def test_what_is_said_of_a_data_set_names_who_says_it(toy_weights, toy_data):
    classifier = Classifier(LeNet5(2, size=16), ("a", "b"), size=16)
    dataset = open_dataset(toy_data, size=16)
    for check in classifier.check_classes, classifier.aligned:
        with pytest.raises(UserError, match=r"^runs/mine (knows 2|was not)") as refused:
            check(dataset, "runs/mine")
        assert refused.value.options == ("data",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "x"}, "`model` is a str; give a torch.nn.Module"),
        ({"class_names": ()}, "`class_names` must be a list with a name of its own for each class"),
        ({"class_names": ("a", "b", "a")}, "`class_names` must be a list"),
        ({"size": -3}, "`size` -3 is not possible; it must be 1 or more"),
        ({"crop_pct": 2.0}, "`crop_pct` 2.0 is not possible; it must be above 0, up to 1"),
        ({"fit": "foo"}, "`fit` foo is not possible; it must be one of squash, crop, pad"),
        ({"temperature": 0.0}, "`temperature` 0.0 is not possible; it must be above 0"),
    ],
)
def test_what_no_network_can_have_is_refused(changes, sentence):
    arguments = {"model": LeNet5(3), "class_names": ("a", "b", "c"), **changes}
    with pytest.raises(UserError, match=sentence):
        Classifier(**arguments)


@pytest.mark.parametrize("outputs", [5, 2])
def test_logits_that_are_not_one_a_class_are_refused(outputs):
    mine = Classifier(LeNet5(outputs, size=16), ("a", "b", "c"), size=16)
    sentence = rf"gives a tensor of shape \(2, {outputs}\) where 3 logits an image are asked for"
    with pytest.raises(UserError, match=sentence):
        mine.logits(np.zeros((2, 16, 16, 3), np.uint8))


def test_a_module_in_float64_is_given_float64():
    torch.manual_seed(0)
    model = LeNet5(3, size=16)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    plain = Classifier(model, ("a", "b", "c"), size=16).logits(images)
    wide = Classifier(model.double(), ("a", "b", "c"), size=16)
    np.testing.assert_allclose(wide.logits(images), plain, rtol=1e-4, atol=1e-5)
    assert wide.inputs(images).dtype == torch.float64
