"""Weights that other programs wrote: a ResNet-18 of torchvision or timm, read to begin with.

As in a weights file of ConvLens, nothing is believed before it has been compared with the network,
no code in a file is run, and a small file does not ask for much memory.
"""

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from convlens.errors import UserError
from convlens.models import ResNet18

# What torchvision and timm normalize by: of ImageNet's images, in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Bytes of a file, unpacked. A ResNet-18 has 47 million; a checkpoint with the optimizer's two
# averages and an EMA has five times that.
LARGEST = 500_000_000
# Where checkpoints keep the network, and what wrappers put before its tensors' names.
_INSIDE = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
# What a name tells of a network that is another one, more exactly than that it does not fit.
_OTHERS = (
    ("cls_token", "a vision transformer"),
    ("layer1.0.conv3.weight", "a ResNet with bottlenecks, as ResNet-50 is"),
    ("layer1.2.conv1.weight", "a deeper ResNet, as ResNet-34 is"),
    ("features.0.0.weight", "an EfficientNet, MobileNet or ConvNeXt"),
    ("conv1.0.weight", "a ResNet with a deep stem, as ResNet-18-D is"),
)
CLASSIFIER = ("fc.weight", "fc.bias")
# In torch's words for a file that asks for anything but tensors.
_OBJECTS = ("Unsupported global", "Unsupported class", "allowed global", "unrecognized function")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: a length, then JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def is_ours(path: Path) -> bool:
    """Whether a file of safetensors says that ConvLens wrote it."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "convlens" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_resnet18(path: Path) -> dict[str, Tensor]:
    """The tensors of a ResNet-18 but for its classifier, by torchvision's names: float32, CPU.

    Args:
        path: Safetensors, or what `torch.save` wrote: a state dict, alone or as "state_dict" or
            "model" of a checkpoint, its names with or without "module.".

    Raises:
        UserError: for a file of another kind or of another network, for one that holds code, and
            for numbers that are none.
    """
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST // 10**6} MB")
        read = _from_safetensors if is_safetensors(path) else _from_torch
        return read(path)
    except (SafetensorError, OSError, ValueError) as problem:
        reason = str(problem) if type(problem) is ValueError else type(problem).__name__
        raise UserError(
            f"{path} cannot be begun with ({reason}); give `weights` a run or a weights file of "
            "ConvLens, or the state dict of torchvision's or timm's resnet18",
            option="weights",
        ) from None


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        names = _plain_names(file.keys())
        shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in names.items()}
        return {
            name: _checked_tensor(name, file.get_tensor(names[name])) for name in _wanted(shapes)
        }


def _from_torch(path: Path) -> dict[str, Tensor]:
    found = _state_dict(_unpickled(path))
    names = _plain_names(name for name in found if isinstance(name, str))
    tensors = {name: found[key] for name, key in names.items() if isinstance(found[key], Tensor)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return {name: _checked_tensor(name, tensors[name]) for name in _wanted(shapes)}


def _unpickled(path: Path) -> Any:
    """What `torch.save` wrote, of which nothing is run. Raises ValueError."""
    try:
        unpacked = 0
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError):
        raise ValueError("it is no file of weights: BadZipFile") from None
    if unpacked > LARGEST:
        raise ValueError(f"it is larger than {LARGEST // 10**6} MB")
    try:
        # timm's own checkpoints hold the options of their training, a plain Namespace
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        if any(word in str(problem) for word in _OBJECTS):
            raise ValueError(
                "it holds code or objects beside tensors, which are not run; save the network's "
                "state_dict() alone"
            ) from None
        raise ValueError("it is no file of weights") from None
    except Exception as problem:  # torch raises whatever it stumbles over
        raise ValueError(f"it is no file of weights: {type(problem).__name__}") from None


def _state_dict(content: Any) -> Mapping[Any, Any]:
    """The mapping from names to tensors, alone or in a checkpoint."""
    for name in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise ValueError("it holds no tensors by their names")
    return content


def _plain_names(keys: Iterable[str]) -> dict[str, str]:
    """From the names without what wrappers put before all of them to those in the file."""
    names = {key: key for key in keys}
    while names:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): key for name, key in names.items()}
    return names


def _wanted(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """The names of what is taken, once the shapes are known to be those of a ResNet-18.

    Its batch norms' counters may be missing: files of before 2018 have none.
    """
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in ResNet18(2).state_dict().items()}
    for name, other in _OTHERS:
        if name in shapes:
            raise ValueError(f"it is {other}, not a ResNet-18")
    for name in sorted(shapes.keys() - expected.keys()):
        raise ValueError(f"{_readable(name)} is no tensor of a ResNet-18")
    for name, shape in expected.items():
        if name in CLASSIFIER or (name not in shapes and name.endswith("num_batches_tracked")):
            continue
        if name not in shapes:
            raise ValueError(f"{name} of a ResNet-18 is not in it")
        if shapes[name] != shape:
            raise ValueError(f"{name} has the shape {shapes[name]}, not {shape}")
        yield name


def _checked_tensor(name: str, tensor: Tensor) -> Tensor:
    """The tensor in the precision that is computed in, if it holds numbers of the kind expected."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError(f"{name} is no plain tensor")
    if name.endswith("num_batches_tracked"):
        if tensor.dtype != torch.int64:
            raise ValueError(f"{name} holds {tensor.dtype}, not torch.int64")
        return tensor.detach().clone()
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds {tensor.dtype}, not floating-point numbers")
    tensor = tensor.detach().float().contiguous()
    if not tensor.isfinite().all():
        raise ValueError(f"{name} has values that are no numbers")
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise ValueError(f"{name} has variances below 0")
    return tensor


def _readable(name: str) -> str:
    """A tensor's name, as it may be repeated on a terminal."""
    text = "".join(c if c.isprintable() else " " for c in name[:80])
    return text if len(name) <= 80 else f"{text}…"
