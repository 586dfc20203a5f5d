"""A network in eight bits answers nearly as before, or is refused."""

import copy
import json

import numpy as np
import onnx
import pytest

from convlens.data import open_dataset
from convlens.data.dataset import Split
from convlens.errors import UserError
from convlens.inference import Classifier, ensemble, int8
from convlens.inference.int8 import check_int8, export_int8, some, to_int8


@pytest.fixture(scope="module")
def dataset(toy_data):
    return open_dataset(toy_data, size=16)


@pytest.fixture(scope="module")
def made(toy_weights, dataset):
    """A classifier, the same in int8, and the check: of an untrained network, so anything goes."""
    classifier = Classifier.load(toy_weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "ALLOWED", 1.0)
        return classifier, *to_int8(classifier, dataset.train, dataset.validation, "validation")


def test_the_logits_are_nearly_those_in_full_precision(made, dataset):
    classifier, rounded, check = made
    for images in dataset.validation.images[:1], dataset.validation.images:
        expected, logits = classifier.logits(images), rounded.logits(images)
        assert logits.dtype == np.float32
        difference = np.abs(logits - expected).max()
        assert 0 < difference < 0.1 * np.abs(expected).max()
    assert check.before == classifier.evaluate(dataset.validation).accuracy
    assert check.after == rounded.evaluate(dataset.validation).accuracy
    assert check.images == 20
    assert f"{check.before:.2%} in fp32, on 20 validation images" in str(check)


def test_weights_are_of_eight_bits_with_a_scale_a_channel(made):
    graph = onnx.load_from_string(made[1].model.content).graph
    values = {each.name: each for each in graph.initializer}
    by_output = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 2
    for node in convolutions:
        kernel = by_output[node.input[1]]
        assert kernel.op_type == "DequantizeLinear"
        weight, scale = (onnx.numpy_helper.to_array(values[name]) for name in kernel.input[:2])
        assert weight.dtype == np.int8 and scale.shape == weight.shape[:1]
        assert by_output[node.input[0]].op_type == "DequantizeLinear"  # maps too


def test_it_can_be_copied_and_averaged(made, dataset):
    classifier, rounded, _ = made
    images = dataset.validation.images[:2]
    np.testing.assert_array_equal(copy.deepcopy(rounded).logits(images), rounded.logits(images))
    both = ensemble([classifier, rounded], tta=True)
    assert both.logits(images).shape == (2, 5)


def split_of(labels) -> Split:
    return Split(np.zeros((len(labels), 16, 16, 3), np.uint8), np.array(labels), ())


def test_accuracy_lost_beyond_what_is_allowed_is_refused(toy_weights):
    classifier = Classifier.load(toy_weights)
    answer = int(classifier.logits(np.zeros((1, 16, 16, 3), np.uint8)).argmax())
    held_out = split_of([answer] * 1000)  # all right in fp32

    def after(wrong):
        logits = np.zeros((1000, 5), np.float32)
        logits[:, answer] = 1
        logits[:wrong] *= -1
        return check_int8(classifier, logits, held_out, "held-out")

    assert (after(3).before, after(3).after, after(3).images) == (1.0, 0.997, 1000)
    with pytest.raises(UserError, match=r"`int8` costs more than the 0\.3 points that it may: "):
        after(4)
    with pytest.raises(UserError, match="there are none; give a data set that has some"):
        check_int8(classifier, np.zeros((0, 5)), split_of([]), "validation")


def test_scales_are_found_on_images_from_all_of_the_split_the_same_every_time():
    images = np.arange(1000, dtype=np.uint8)[:, None, None, None] * np.ones((16, 16, 3), np.uint8)
    split = Split(images, np.zeros(1000, int), ())
    chosen = [int(each) for batch in some(split) for each in batch[:, 0, 0, 0]]
    assert len(chosen) == int8.CALIBRATION
    assert chosen == [int(each) for batch in some(split) for each in batch[:, 0, 0, 0]]
    few = Split(images[:5], np.zeros(5, int), ())
    assert sum(len(batch) for batch in some(few)) == 5


def test_an_exported_file_takes_images_as_they_are_decoded(made, dataset, tmp_path, monkeypatch):
    classifier, rounded, check = made
    path = tmp_path / "new" / "model.onnx"
    splits = dataset.train, dataset.validation, "validation"
    with monkeypatch.context() as patch:
        patch.setattr(int8, "check_int8", _refuse)
        with pytest.raises(UserError, match="too much"):
            export_int8(classifier, path, *splits)
    assert not path.parent.exists()
    monkeypatch.setattr(int8, "ALLOWED", 1.0)
    runner, again = export_int8(classifier, path, *splits)
    assert runner.startswith("onnxruntime ") and again.before == check.before
    session = int8.session(path.read_bytes())
    images = np.asarray(dataset.validation.images)
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-3)
    difference = np.abs(logits - rounded.logits(images)).max()
    assert difference < 0.05 * np.abs(logits).max()
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == list(classifier.class_names)


def _refuse(*_):
    raise UserError("too much")


def test_what_is_missing_is_told_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="`int8` needs onnx; install it with `pip install onnx "):
        int8.need_packages()
