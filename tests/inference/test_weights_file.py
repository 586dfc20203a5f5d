"""A weights file is believed in nothing before it is compared with what it holds."""

import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from convlens import formats
from convlens.errors import UserError
from convlens.inference import Classifier, Origin
from convlens.models import LeNet5

DELETE = object()
NESTED = json.loads("[" * 300 + "]" * 300)


def metadata_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["convlens"])


def forge(path: Path, metadata: Any, tensors: dict[str, torch.Tensor]) -> Path:
    """A weights file that says what no ConvLens wrote; metadata: text, or what is made text."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    path.write_bytes(save(tensors, {"format": "pt", "convlens": text}))
    return path


def refused(path: Path) -> str:
    """The sentence that refuses the file, which took no time and no memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError) as problem:
        Classifier.load(path)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
    sentence = str(problem.value)
    assert sentence.startswith(str(path))
    assert " is not a weights file of ConvLens (" in sentence
    assert sentence.endswith("; give a run folder or a file that `convlens train` wrote")
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 400
    return sentence


CLAIMS = [
    ("format", 3, "its format is 3"),
    ("format", "2", "its format is '2'"),
    ("format", None, "its format is None"),
    ("format", [2], r"its format is \[2\]"),
    ("network", DELETE, "KeyError"),
    ("network", "VGG", "no network 'VGG'"),
    ("network", None, "no network 'None'"),
    ("network", ["LeNet5"], "TypeError"),
    ("network", "x" * 100_000, "no network 'xxx"),
    ("network", "LeNet5\x1b[2J\nevil", "no network"),
    ("network", "ResNet18", "in the network or in the file alone"),
    ("options", DELETE, "KeyError"),
    ("options", None, "options are no mapping"),
    ("options", [1], "options are no mapping"),
    ("options", "padding", "options are no mapping"),
    ("options", {"dropuot": 1}, "no option dropuot"),
    ("options", {"a\nb\x1b[0m": 1}, "no option a b"),
    ("options", {"num_classes": 7}, "no option num_classes"),
    ("options", {"size": 32}, "for images of 32 pixels, and they have 16"),
    ("options", {"padding": 1}, "fc1.weight has the shape|LeNet5 needs images"),
    ("options", {"padding": -1}, "padding at most 64"),
    ("options", {"padding": 10**400}, "padding at most 64"),
    ("options", {"padding": float("nan")}, "padding is nan"),
    ("options", {"padding": NESTED}, r"padding is \[\["),
    ("options", {"padding": True}, "padding is True"),
    ("options", {"dropout": 1.5}, "dropout is in"),
    ("options", {"batch_norm": True}, "in the network or in the file alone"),
    ("options", {"batch_norm": "yes"}, "batch_norm is 'yes'"),
    ("class_names", DELETE, "KeyError"),
    ("class_names", [], "class names are no list"),
    ("class_names", None, "class names are no list"),
    ("class_names", "abcde", "class names are no list"),
    ("class_names", {"a": 1, "b": 2}, "class names are no list"),
    ("class_names", ["a", "b", "c", "d", 5], "not distinct words"),
    ("class_names", ["a", "b", "c", "d", ""], "not distinct words"),
    ("class_names", ["a", "b", "c", "d", "a"], "not distinct words"),
    ("class_names", ["a", "b", "c", "d", ["e"]], "not distinct words"),
    ("class_names", ["a", "b", "c", "d", "\ud800"], "not distinct words"),
    ("class_names", ["a", "b"], r"fc3\.\w+ has the shape"),
    ("class_names", [str(i) for i in range(100_000)], r"fc3\.\w+ has the shape"),
    ("size", DELETE, "KeyError"),
    ("size", "16", "its size is '16'"),
    ("size", 16.0, "its size is 16.0"),
    ("size", True, "its size is True"),
    ("size", 0, "its size is 0"),
    ("size", -16, "its size is -16"),
    ("size", 10**9, "its size is 1000000000"),
    ("size", 10**400, "its size is 10"),
    ("size", None, "its size is None"),
    ("size", 4, "at least 16×16 pixels"),
    ("size", 4096, r"fc1\.\w+ has the shape"),
    ("crop_pct", DELETE, "KeyError"),
    ("crop_pct", 0, "its crop_pct is 0"),
    ("crop_pct", 1e-9, "its crop_pct is"),
    ("crop_pct", 1.5, "its crop_pct is"),
    ("crop_pct", float("nan"), "its crop_pct is nan"),
    ("crop_pct", "0.8", "its crop_pct is '0.8'"),
    ("crop_pct", True, "its crop_pct is True"),
    ("temperature", 0, "its temperature is 0"),
    ("temperature", -1, "its temperature is -1"),
    ("temperature", 1e30, "its temperature is"),
    ("temperature", 10**400, "OverflowError"),
    ("temperature", float("inf"), "its temperature is inf"),
    ("temperature", float("nan"), "its temperature is nan"),
    ("temperature", None, "its temperature is None"),
    ("temperature", [1.0], "its temperature is"),
    ("mean", DELETE, "KeyError"),
    ("mean", 0.5, "its mean are not three numbers"),
    ("mean", [0.5, 0.5], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, "0.5"], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, None], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, True], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, float("nan")], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, 1e39], "its mean are not three numbers"),
    ("mean", [0.5, 0.5, 10**400], "OverflowError"),
    ("mean", [], "its mean are not three numbers of colors, or one of gray"),
    ("mean", [0.5], "its mean and std are not as many numbers"),
    ("std", [0.5, 0.5, 0], "its std is not above 0"),
    ("std", [0.5, 0.5, -0.5], "its std is not above 0"),
    ("std", [0.5, 0.5, 1e-320], "its std is not above 0"),
    ("std", [0.5, 0.5, float("inf")], "its std are not three numbers"),
    ("std", [NESTED, 0.5, 0.5], "its std are not three numbers"),
    ("recipe", DELETE, "KeyError"),
    ("recipe", None, "its recipe is no text"),
    ("recipe", ["lenet5"], "its recipe is no text"),
    ("recipe", "\udcff", "its recipe is no text"),
    ("commit", 7, "its commit is no text"),
]


@pytest.mark.parametrize(
    ("name", "value", "reason"), CLAIMS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CLAIMS)]
)
def test_a_claim_that_cannot_be_true_is_refused(name, value, reason, toy_weights, tmp_path):
    claims = metadata_of(toy_weights)
    if value is DELETE:
        del claims[name]
    else:
        claims[name] = value
    path = forge(tmp_path / "w", claims, load_file(toy_weights))
    assert re.search(reason, refused(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "7",
        "[]",
        '"LeNet5"',
        "[" * 50_000,
        "{" * 9,
        '{"a":' * 50_000,
        "NaN",
        "9" * 5000,
    ],
    ids=range(11),
)
def test_metadata_that_are_none_are_refused(text, toy_weights, tmp_path):
    refused(forge(tmp_path / "w", text, load_file(toy_weights)))


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("ConvNet", {"depths": [100_000, 1, 1, 1]}),
        ("ConvNet", {"depths": [64, 64, 64, 64]}),
        ("ConvNet", {"depths": [64, 12, 12, 12]}),
        ("ConvNet", {"depths": [1, 1, 1, 1], "widths": [10**6] * 4}),
        ("ConvNet", {"widths": [8192, 8192, 8192, 8192]}),
        ("ConvNet", {"widths": [-1, 1, 1, 1]}),
        ("ConvNet", {"widths": [float("nan")] * 4}),
        ("ConvNet", {"depths": {"0": 1}}),
        ("ConvNet", {"stem_stride": 10**9}),
        ("LeNet5", {"padding": 64}),
        ("ResNet18", {"conv2_stride": 10**9}),
        ("ResNet18", {"drop_path": "1"}),
    ],
)
def test_a_small_file_does_not_make_a_large_network(network, options, toy_weights, tmp_path):
    claims = metadata_of(toy_weights) | {"network": network, "options": options}
    path = forge(tmp_path / "w", claims, {"x": torch.zeros(1)})
    assert path.stat().st_size < 2000
    before = torch.random.get_rng_state()
    refused(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def _changed(**changes):
    return lambda tensors: tensors | changes


def _without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def _as(name, dtype):
    return lambda tensors: tensors | {name: tensors[name].to(dtype)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: {}, "in the network or in the file alone"),
        (_without("fc3.bias"), r"fc3\.bias is in the network or in the file alone"),
        (_changed(zzz=torch.zeros(1)), "zzz is in the network or in the file alone"),
        (_changed(**{"fc3.bias": torch.zeros(4)}), r"fc3\.bias has the shape \(4,\), not \(5,\)"),
        (_changed(**{"fc3.bias": torch.zeros(5, 1)}), r"fc3\.bias has the shape"),
        (_changed(**{"fc3.bias": torch.zeros(())}), r"fc3\.bias has the shape \(\)"),
        (_changed(**{"fc3.bias": torch.full((5,), torch.nan)}), r"fc3\.bias has values that are"),
        (_changed(**{"fc3.bias": torch.full((5,), torch.inf)}), r"fc3\.bias has values that are"),
        (
            _changed(**{"fc3.bias": torch.full((5,), 1e300, dtype=torch.double)}),
            r"fc3\.bias has values",
        ),
        (_as("fc3.weight", torch.int64), r"fc3\.weight holds torch\.int64, not floating"),
        (_as("conv1.weight", torch.int8), r"conv1\.weight holds torch\.int8"),
        (_as("conv1.bias", torch.bool), r"conv1\.bias holds torch\.bool"),
    ],
)
def test_tensors_of_another_network_are_refused(change, reason, toy_weights, tmp_path):
    path = forge(tmp_path / "w", metadata_of(toy_weights), change(load_file(toy_weights)))
    assert re.search(reason, refused(path))


def test_a_counter_in_floats_is_refused_and_double_precision_is_read(tmp_path):
    model = LeNet5(2, size=16, batch_norm=True).eval()
    origin = Origin("LeNet5", {"batch_norm": True})
    saved = Classifier(model, "ab", size=16, origin=origin).save(tmp_path / "plain")
    tensors, claims = load_file(saved), metadata_of(saved)
    refused(forge(tmp_path / "w", claims, {k: v.double() for k, v in tensors.items()}))
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    again = Classifier.load(forge(tmp_path / "w", claims, doubled))
    assert again.model.conv1.weight.dtype == torch.float32
    assert torch.equal(again.model.conv1.weight, model.conv1.weight)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not safetensors at all",
        b"\x08" + bytes(7) + b"{}      ",
        b"\xff" * 8 + b"{}",
        b"PK\x03\x04" + bytes(64),
        bytes(4096),
    ],
)
def test_a_file_of_another_kind_is_named(content, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 1000, 10_000, -1])
def test_a_truncated_file_is_named(kept, toy_weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(toy_weights.read_bytes()[:kept])
    refused(path)


def test_where_there_are_no_weights_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds no best\.safetensors; give the folder of a"):
        Classifier.load(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist; give a run folder or"):
        Classifier.load(tmp_path / "nowhere")
    (tmp_path / "best.safetensors" / "best.safetensors").mkdir(parents=True)
    refused(tmp_path / "best.safetensors")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    deadline=1000, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_metadata_end_in_anything_but_a_classifier_or_a_sentence(data, toy_weights, tmp_path):
    claims = metadata_of(toy_weights)
    for name in data.draw(st.lists(st.sampled_from(sorted(claims)), min_size=1, max_size=3)):
        claims[name] = data.draw(JSON)
    path = forge(tmp_path / "w", claims, load_file(toy_weights))
    try:
        classifier = Classifier.load(path)
    except UserError as problem:
        assert str(problem).startswith(f"{path} is not a weights file of ConvLens (")
        assert str(problem).isprintable()
        return
    # what was believed can be used
    images = torch.zeros(1, classifier.size, classifier.size, 3, dtype=torch.uint8).numpy()
    assert abs(classifier.probabilities(classifier.logits(images)).sum() - 1) < 1e-4


def test_what_is_written_says_its_format_and_can_be_written_again(toy_weights, tmp_path):
    claims = metadata_of(toy_weights)
    assert claims["format"] == formats.FORMAT
    again = Classifier.load(toy_weights).save(tmp_path / "w")
    assert metadata_of(again) == claims
    mine, theirs = load_file(again), load_file(toy_weights)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine.keys() | theirs.keys())
