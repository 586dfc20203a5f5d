"""The exported files answer as the network does, in the programs that will run them."""

import json
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.cli import main
from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier, Origin
from convlens.inference import export as exporting
from convlens.inference.fast import FastInference
from convlens.models import MODELS
from convlens.models.hooks import layer_outputs

CLASSES = ("ant", "bee", "Käfer")


class Users(nn.Module):
    """A module as users write them: one in-place ReLU for all, a functional pool, dropout."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, groups=2)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(self.relu(self.first(x)), 2)
        return self.head(self.drop(self.relu(self.second(x)).mean(dim=(2, 3))))


class Counting(Users):
    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 else 1)


def classifier(model: nn.Module) -> Classifier:
    return Classifier(
        model,
        CLASSES,
        Normalize([0.2, 0.3, 0.4], [0.25, 0.2, 0.3]),
        size=16,
        temperature=1.7,
        origin=Origin(type(model).__name__, recipe="mine"),
    )


def made(name: str) -> Classifier:
    torch.manual_seed(0)
    if name == "Users":
        return classifier(Users().train())
    if name == "FastInference":
        return classifier(FastInference(MODELS["ConvNet"](3)))
    if name != "LeNet5":
        return classifier(MODELS[name](3))
    model = MODELS[name](3, size=16, batch_norm=True)
    model.conv2.algorithms = {(4, 4): "dense"}
    return classifier(model)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def expected(network: Classifier, images: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        outputs = layer_outputs(network.model, network.inputs(images), ["", *layers])
    outputs = {name: output.numpy() for name, output in outputs.items()}
    logits = outputs.pop("")
    scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / network.temperature)
    probabilities = scaled / scaled.sum(axis=1, keepdims=True)
    return {"logits": logits, "probabilities": probabilities, **outputs}


@pytest.mark.parametrize("name", [*MODELS, "FastInference", "Users"])
def test_both_files_answer_as_the_network_does(name, tmp_path):
    network = made(name)
    state = [module.training for module in network.model.modules()]
    written = network.export(tmp_path / "model.onnx")
    layers = list(written.outputs[2:])
    if name == "Users":
        assert layers == ["relu", "relu#2"]
    network.export(tmp_path / "model.pt2", layers=layers[:1])
    assert [module.training for module in network.model.modules()] == state
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.pt2"}

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 16, 16, 3]
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for images in pictures(1), pictures(5):
        should = expected(network, images, layers)
        answers = dict(zip(written.outputs, session.run(None, {"images": images}), strict=True))
        assert [each.name for each in session.get_outputs()] == list(should)
        with torch.no_grad():
            by_torch = loaded(torch.from_numpy(images))
        assert list(by_torch) == ["logits", "probabilities", layers[0]]
        for output, values in should.items():
            largest = np.abs(values).max()
            np.testing.assert_allclose(answers[output], values, atol=1e-4 * largest)
            if output in by_torch:
                np.testing.assert_allclose(by_torch[output], values, atol=1e-4 * largest)


def test_our_own_algorithms_become_plain_convolutions(tmp_path):
    network = made("LeNet5")
    network.export(tmp_path / "model.onnx", layers=[])
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert kinds.count("Conv") == 2
    assert network.model.conv2.algorithms  # the network given is left alone


def test_the_file_tells_what_it_is_and_not_where_it_was_made(tmp_path):
    network = made("Users")
    network.export(tmp_path / "model.onnx")
    network.export(str(tmp_path / "model.pt2"))
    metadata = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta()
    told = metadata.custom_metadata_map
    assert json.loads(told["class_names"]) == list(CLASSES)
    assert json.loads(told["mean"]) == pytest.approx([0.2, 0.3, 0.4])
    assert (told["network"], told["size"], told["temperature"]) == ("Users", "16", "1.7")
    extra = {"convlens.json": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra["convlens.json"])["class_names"] == list(CLASSES)
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        inside = b"".join(archive.read(name) for name in archive.namelist())
    for content in inside, (tmp_path / "model.onnx").read_bytes():
        assert b"test_export.py" not in content and b"site-packages" not in content


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1)
    for file in "model.onnx", "model.pt2":
        with pytest.raises(UserError, match="answers otherwise than the network: logits"):
            made("Users").export(tmp_path / file)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_told(tmp_path):
    with pytest.raises(UserError, match="Counting cannot be exported"):
        classifier(Counting()).export(tmp_path / "model.pt2")
    with pytest.raises(UserError, match=r"Users has no layer 'third'.*, for instance"):
        made("Users").export(tmp_path / "model.onnx", layers=["third"])
    with pytest.raises(UserError, match=r"model\.txt must end in \.onnx or \.pt2"):
        made("Users").export(tmp_path / "model.txt")
    assert not list(tmp_path.iterdir())


def test_a_layer_may_not_be_called_what_the_file_calls_something_else(tmp_path):
    network = Users()
    network.logits, network.head = network.head, nn.Identity()
    with pytest.raises(UserError, match="the layer logits has the name of another input or outp"):
        classifier(network).export(tmp_path / "net.pt2", layers=["first", "logits"])
    assert not list(tmp_path.iterdir())


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnxruntime; install it with `pip install onnx"):
        made("Users").export(tmp_path / "model.onnx")


def test_the_verb_writes_where_it_says(toy_weights, tmp_path, capsys):
    weights = tmp_path / "toy.safetensors"
    weights.write_bytes(toy_weights.read_bytes())
    main(["export", str(weights)])
    told = capsys.readouterr().out
    assert "outputs    logits, probabilities, relu1, relu2" in told
    assert f"wrote      {tmp_path / 'toy.onnx'}" in told
    images = pictures(2)
    (answers,) = onnxruntime.InferenceSession(tmp_path / "toy.onnx").run(
        ["probabilities"], {"images": images}
    )
    should = expected(Classifier.load(weights), images, [])["probabilities"]
    np.testing.assert_allclose(answers, should, atol=1e-5)
    main(
        [
            "export",
            str(weights),
            "--format",
            "torch",
            "--layers",
            "fc2",
            "--out",
            str(tmp_path / "a.pt2"),
        ]
    )
    assert "outputs    logits, probabilities, fc2\n" in capsys.readouterr().out


def test_a_name_that_belies_the_format_is_refused(toy_weights, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(toy_weights), "--out", str(tmp_path / "a.pt2")])
    assert "must end in .onnx for --format onnx" in capsys.readouterr().err
