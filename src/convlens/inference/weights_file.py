"""Weights files: safetensors whose metadata say all that is needed to use the network.

Nothing that a file claims is believed before it has been compared with the file's tensors, and
nothing is built by it before that: a small file must not ask for a large network.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from convlens import formats
from convlens.data.decode import Fit
from convlens.errors import UserError
from convlens.files import replacing
from convlens.inference.calibration import TEMPERATURES
from convlens.models import MODELS, build
from convlens.models.lenet5 import TooSmall

MAX_SIZE = 4096  # side of an image, pixels
# What a color's mean and standard deviation may be; beyond it float32 ends.
LARGEST, LEAST_STD = 1e6, 1e-6
# Whatever Python says to words of the wrong kind, numbers of 400 digits and nested garbage.
_GARBAGE = (TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class About:
    """What a weights file says beside its tensors; the words are those of `Classifier`.

    mean, std: three numbers each, or one each of a network for gray images. network, options,
    recipe, commit: the origin.
    """

    network: str
    options: dict[str, Any]
    class_names: tuple[str, ...]
    size: int
    crop_pct: float
    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float
    recipe: str
    commit: str
    begun_with: str = ""


def write(path: Path, model: nn.Module, about: About, *, half: bool = False) -> None:
    """Write a weights file, atomically; with `half`, floats in half precision (float16)."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = tensor.half() if half and tensor.is_floating_point() else tensor
    content = json.dumps(
        {"format": formats.FORMAT, **asdict(about)}, ensure_ascii=False, allow_nan=False
    )
    with replacing(path) as temporary:
        # not safetensors' save_file, which makes a file that only its owner may read
        temporary.write_bytes(
            safetensors_torch.save(tensors, {"format": "pt", "convlens": content})
        )


def read(path: Path | str) -> tuple[nn.Module, About]:
    """The network of a run folder (its `best` weights) or of a weights file, in evaluation mode.

    Raises UserError when there is none, or when it is not one that ConvLens wrote.
    """
    named, path = path, Path(path)
    if path.is_dir():
        path = path / "best.safetensors"
        if not path.exists():
            raise UserError(f"{named} holds no best.safetensors; give the folder of a trained run")
    if not path.exists():
        raise UserError(f"{named} does not exist; give a run folder or a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            claimed = json.loads((file.metadata() or {})["convlens"])
            if not isinstance(claimed, dict):
                raise ValueError("its metadata are no mapping")
            about = _checked(formats.read_weights(claimed))
            names = list(file.keys())
            model = _outline(about, {n: tuple(file.get_slice(n).get_shape()) for n in names})
            expected = model.state_dict()
            tensors = {n: _checked_tensor(n, file.get_tensor(n), expected[n]) for n in names}
    except (SafetensorError, OSError, ValueError, KeyError, *_GARBAGE) as problem:
        own = type(problem) in (ValueError, TooSmall)
        reason = str(problem) if own else type(problem).__name__
        raise UserError(
            f"{path} is not a weights file of ConvLens ({_readable(reason)}); give a run folder or "
            "a file that `convlens train` wrote"
        ) from None
    model.load_state_dict(tensors, assign=True)
    return model.eval(), about


def in_half_precision(path: Path) -> bool:
    """Whether a weights file that can be read has been written with `half`."""
    with safe_open(path, framework="pt") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118


def _checked(about: dict[str, Any]) -> About:
    """What the file says, if each word of it is possible; else ValueError, or KeyError."""
    if about.get("format", 1) not in (1, formats.FORMAT):
        raise ValueError(f"its format is {about['format']!r}, newer than this ConvLens reads")
    if about["network"] not in MODELS:
        raise ValueError(f"there is no network {str(about['network'])[:40]!r}")
    if not isinstance(about["options"], dict):
        raise ValueError("its options are no mapping")
    names = about["class_names"]
    if not isinstance(names, list) or not names:
        raise ValueError("its class names are no list")
    if not all(_is_text(name) and name for name in names) or len(set(names)) != len(names):
        raise ValueError("its class names are not distinct words")
    size = about["size"]
    if type(size) is not int or not 1 <= size <= MAX_SIZE:
        raise ValueError(f"its size is {size!r}")
    for name in "mean", "std":
        values = about[name]
        if not isinstance(values, list) or not all(map(_is_finite, values)):
            raise ValueError(f"its {name} are not three numbers")
        if len(values) not in (1, 3) or max(map(abs, values)) > LARGEST:
            raise ValueError(f"its {name} are not three numbers of colors, or one of gray")
    if len(about["mean"]) != len(about["std"]):
        raise ValueError("its mean and std are not as many numbers")
    if min(about["std"]) < LEAST_STD:
        raise ValueError("its std is not above 0")
    about = {"temperature": 1.0, "fit": "squash", **about}  # earlier versions had none
    if about["fit"] not in get_args(Fit):
        raise ValueError(f"its fit is {str(about['fit'])[:40]!r}")
    for name, low, high in ("temperature", *TEMPERATURES), ("crop_pct", 0.5, 1.0):
        if not _is_finite(about[name]) or not low <= about[name] <= high:
            raise ValueError(f"its {name} is {about[name]!r}")
    about = {"begun_with": "", **about}  # neither had earlier files
    for name in "recipe", "commit", "begun_with":
        if not _is_text(about[name]):
            raise ValueError(f"its {name} is no text")
    return About(
        network=about["network"],
        options=about["options"],
        class_names=tuple(names),
        size=size,
        crop_pct=float(about["crop_pct"]),
        fit=about["fit"],
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        temperature=float(about["temperature"]),
        recipe=about["recipe"],
        commit=about["commit"],
        begun_with=about["begun_with"],
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    """Whether it is text that can be written somewhere; JSON can hold half a character."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value


def _readable(reason: str) -> str:
    """What a file says, as it may be repeated on a terminal."""
    text = "".join(c if c.isprintable() else " " for c in " ".join(reason[:400].split()))
    return text if len(text) <= 200 else f"{text[:200]}…"


def _outline(about: About, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """The network without numbers, once its tensors are known to be those of the file."""
    with torch.device("meta"):
        model = build(
            about.network, about.options, len(about.class_names), about.size, len(about.mean)
        )
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if missing := expected.keys() ^ shapes.keys():
        raise ValueError(f"{min(missing)} is in the network or in the file alone")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f"{name} has the shape {shapes[name]}, not {shape}")
    return model


def _checked_tensor(name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """The tensor in the precision that is computed in, if it holds numbers of the kind expected."""
    if not expected.is_floating_point():
        if tensor.dtype != expected.dtype:
            raise ValueError(f"{name} holds {tensor.dtype}, not {expected.dtype}")
        return tensor
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds {tensor.dtype}, not floating-point numbers")
    tensor = tensor.float()
    if not tensor.isfinite().all():
        raise ValueError(f"{name} has values that are no numbers")
    return tensor
