"""A ResNet-18 of torchvision or timm is read; anything else ends in one sentence."""

import argparse
import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from convlens.errors import UserError
from convlens.inference import foreign_weights
from convlens.inference.foreign_weights import read_resnet18
from convlens.models import ResNet18


@pytest.fixture(scope="module")
def theirs():
    """The state dict of a ResNet-18 of 1000 classes, by torchvision's names."""
    torch.manual_seed(0)
    model = ResNet18(1000)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return model.state_dict()


@pytest.fixture(scope="module")
def light(theirs):
    """The same shapes in little room: each tensor is one number, repeated."""
    return {
        name: torch.randn(1).expand(t.shape) if t.is_floating_point() else t
        for name, t in theirs.items()
        if not name.endswith("running_var")
    } | {name: torch.rand(1).expand(t.shape) for name, t in theirs.items() if "running_var" in name}


def refused(path):
    """The sentence that refuses the file."""
    with pytest.raises(UserError) as problem:
        read_resnet18(path)
    sentence = str(problem.value)
    assert sentence.startswith(f"{path} cannot be begun with (")
    assert sentence.endswith("or the state dict of torchvision's or timm's resnet18")
    assert problem.value.options == ("weights",)
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 400
    return sentence


def same(found, theirs):
    backbone = {name for name in theirs if not name.startswith("fc.")}
    assert found.keys() == backbone
    return all(torch.equal(found[name], theirs[name]) for name in backbone)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: OrderedDict((f"module.{name}", t) for name, t in state.items()),
        lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}},
        lambda state: {name: nn.Parameter(t, False) for name, t in state.items()},
        lambda state: {n: t.double() if t.is_floating_point() else t for n, t in state.items()},
        lambda state: {n: t for n, t in state.items() if not n.startswith("fc.")},
    ],
)
def test_a_state_dict_is_read_alone_or_in_a_checkpoint(wrapped, light, tmp_path):
    torch.save(wrapped(light), tmp_path / "w.pth")
    found = read_resnet18(tmp_path / "w.pth")
    assert same(found, light)
    assert all(t.dtype in (torch.float32, torch.int64) for t in found.values())


def test_safetensors_and_the_format_of_before_2020_are_read_too(theirs, tmp_path):
    save_file(theirs, tmp_path / "w.safetensors")
    torch.save(theirs, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert same(read_resnet18(tmp_path / "w.safetensors"), theirs)
    assert same(read_resnet18(tmp_path / "old.bin"), theirs)


def test_half_precision_is_read_and_counters_may_be_missing(light, tmp_path):
    half = {n: t.half() for n, t in light.items() if not n.endswith("num_batches_tracked")}
    torch.save(half, tmp_path / "w.pt")
    found = read_resnet18(tmp_path / "w.pt")
    assert found.keys() == {n for n in half if not n.startswith("fc.")}
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())


def test_the_network_computes_with_them_what_theirs_did(theirs, tmp_path):
    """Against torchvision's order of layers, written with functions alone."""
    torch.save(theirs, tmp_path / "w.pth")
    model = ResNet18(7)
    model.load_state_dict(read_resnet18(tmp_path / "w.pth"), strict=False)
    model.fc = nn.Identity()
    x = torch.randn(2, 3, 32, 32)

    def norm(x, name):
        mean, var = theirs[f"{name}.running_mean"], theirs[f"{name}.running_var"]
        return nn.functional.batch_norm(
            x, mean, var, theirs[f"{name}.weight"], theirs[f"{name}.bias"]
        )

    y = nn.functional.conv2d(x, theirs["conv1.weight"], stride=2, padding=3)
    y = nn.functional.max_pool2d(norm(y, "bn1").relu(), 3, 2, 1)
    for stage in 1, 2, 3, 4:
        for block in 0, 1:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            short = y
            if stride == 2:
                short = nn.functional.conv2d(y, theirs[f"{name}.downsample.0.weight"], stride=2)
                short = norm(short, f"{name}.downsample.1")
            y = nn.functional.conv2d(y, theirs[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = nn.functional.conv2d(
                norm(y, f"{name}.bn1").relu(), theirs[f"{name}.conv2.weight"], padding=1
            )
            y = (norm(y, f"{name}.bn2") + short).relu()
    expected = y.mean(dim=(2, 3))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), expected, atol=1e-4, rtol=1e-4)


def with_(**changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return lambda state: {**state, **changes}


def without(name):
    return lambda state: {n: t for n, t in state.items() if n != name}


def meta(state):
    return {**state, "bn1.bias": torch.empty(64, device="meta")}


def sparse(state):
    return {**state, "conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_(layer1__0__conv3__weight=torch.zeros(1)), "it is a ResNet with bottlenecks"),
        (with_(layer1__2__conv1__weight=torch.zeros(1)), "a deeper ResNet, as ResNet-34"),
        (lambda state: {"cls_token": torch.zeros(1, 1, 8)}, "it is a vision transformer"),
        (with_(conv1__0__weight=torch.zeros(1)), "a ResNet with a deep stem"),
        (with_(zzz=torch.zeros(1)), "zzz is no tensor of a ResNet-18"),
        (with_(**{"a\x1b[2J\n": torch.zeros(1)}), r"a \[2J  is no tensor"),
        (with_(**{"z" * 5000: torch.zeros(1)}), "zzz… is no tensor"),
        (without("layer4.1.bn2.weight"), r"layer4\.1\.bn2\.weight of a ResNet-18 is not in it"),
        (with_(conv1__weight="text"), r"conv1\.weight of a ResNet-18 is not in it"),
        (with_(conv1__weight=torch.zeros(64, 1, 7, 7)), r"conv1\.weight has the shape \(64, 1, 7"),
        (with_(bn1__bias=torch.zeros(())), r"bn1\.bias has the shape \(\), not \(64,\)"),
        (with_(bn1__bias=torch.full((64,), torch.nan)), "values that are no numbers"),
        (
            with_(bn1__bias=torch.full((64,), 1e300, dtype=torch.double)),
            "values that are no numbers",
        ),
        (with_(bn1__bias=torch.zeros(64, dtype=torch.int32)), r"holds torch\.int32, not floating"),
        (with_(bn1__bias=torch.zeros(64, dtype=torch.complex64)), r"holds torch\.complex64"),
        (with_(bn1__running_var=-torch.ones(64)), r"bn1\.running_var has variances below 0"),
        (
            with_(bn1__num_batches_tracked=torch.tensor(1.0)),
            r"holds torch\.float32, not torch\.int",
        ),
        (meta, r"bn1\.bias is no plain tensor"),
        (sparse, r"conv1\.weight is no plain tensor"),
        (lambda state: {}, "it holds no tensors by their names"),
        (lambda state: [1, 2], "it holds no tensors by their names"),
        (lambda state: torch.zeros(3), "it holds no tensors by their names"),
        (lambda state: {"state_dict": {"model": {}}}, "it holds no tensors by their names"),
        (lambda state: {1: torch.zeros(3)}, r"conv1\.weight of a ResNet-18 is not in it"),
    ],
)
def test_another_network_is_refused(change, reason, light, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(change(light), path)
    assert re.search(reason, refused(path))


class Code:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it was run')",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(zipped, light, tmp_path):
    path = tmp_path / "w.pth"
    content = {**light, "fc.bias": Code()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "it holds code or objects beside tensors, which are not run; save" in refused(path)


def test_a_whole_module_is_told_to_be_saved_as_its_state_dict(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    assert "save the network's state_dict() alone" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights at all",
        b"\xff" * 9 + b"{}",
        b"\x10" + bytes(7) + b"{}" + b" " * 14,
        b"\x08" + bytes(7) + b'{"a":1}}',
        b"\xff" * 8 + b"{",
        b"PK\x03\x04" + bytes(64),
        b"\x80\x02" + bytes(50),
        pickle.dumps({"a": [1, 2]}),
        bytes(4096),
    ],
)
def test_a_file_of_another_kind_is_named(content, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert "code" not in refused(path)


@pytest.mark.parametrize("kept", [1, 100, 10_000, -30])
@pytest.mark.parametrize("save", [torch.save, save_file])
def test_a_truncated_file_is_named(save, kept, light, tmp_path):
    save(
        {name: t.contiguous() for name, t in light.items() if t.numel() < 10_000},
        tmp_path / "whole",
    )
    path = tmp_path / "w"
    path.write_bytes((tmp_path / "whole").read_bytes()[:kept])
    refused(path)


def test_what_is_no_file_is_named(tmp_path):
    assert "it is no file" in refused(tmp_path)
    assert "it is no file" in refused(Path(os.devnull))
    assert not foreign_weights.is_ours(Path(os.devnull))


def test_a_large_file_is_not_read(tmp_path):
    with open(tmp_path / "w.pth", "wb") as file:
        file.truncate(foreign_weights.LARGEST + 1)  # takes no room on the disk
    assert "it is larger than 500 MB" in refused(tmp_path / "w.pth")


def test_a_small_file_does_not_ask_for_much_memory(light, tmp_path, monkeypatch):
    # an archive that would be unpacked to more than it is
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2_000_000))
    monkeypatch.setattr(foreign_weights, "LARGEST", 1_000_000)
    assert bomb.stat().st_size < 10_000
    assert "it is larger than 1 MB" in refused(bomb)
    monkeypatch.undo()
    # one number that is said to be many
    wide = tmp_path / "wide.pth"
    torch.save({"conv1.weight": torch.zeros(1).expand(10**12)}, wide)
    assert wide.stat().st_size < 10_000
    refused(wide)
    # a header of safetensors that speaks of more than there is
    header = json.dumps(
        {"conv1.weight": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_change_of_a_files_bytes_ends_in_anything_but_weights_or_a_sentence(data, tmp_path):
    small = {"conv1.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(3)}
    path = tmp_path / "w.pth"
    zipped = data.draw(st.booleans())
    torch.save(small, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    refused(path)
