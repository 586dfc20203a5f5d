"""What the machine computes with: device and precision, chosen by measuring, not by name."""

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from convlens.errors import UserError
from convlens.models.memory import channels_last
from convlens.training.measuring import Measurements, has_bf16, is_positive, least_seconds
from convlens.training.spinning import follow

Precision = Literal["fp32", "bf16"]

# bf16 must gain this much to be worth its rounding.
WORTHWHILE = 1.15
ROUNDS = 9
ENOUGH = 0.5  # seconds
IMAGES = 64


@dataclass(frozen=True)
class Machine:
    """device: what torch calls it. precision: of the forward and backward pass in training."""

    device: torch.device
    precision: Precision
    why: str

    @property
    def name(self) -> str:
        """The device, of a CPU with the number of threads."""
        if self.device.type != "cpu":
            return str(self.device)
        threads = torch.get_num_threads()
        return f"{self.device}, {threads} thread{'s' if threads > 1 else ''}"

    def describe(self) -> str:
        """One line for the terminal."""
        return f"{self.name}, {self.precision} ({self.why})"

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> torch.autocast:
        """The context of a training step's forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def choose(device: str = "auto", precision: str = "auto") -> Machine:
    """The device (CUDA, else MPS, else CPU) and the precision that trains faster on it.

    Raises UserError for a device that this machine does not have.
    """
    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available():
            device = "cuda"
        elif torch.backends.mps.is_available():
            device = "mps"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # torch's "meta" device holds no numbers
    except (RuntimeError, AssertionError):
        raise UserError(
            f"`device` {device} is not available on this machine; use auto or cpu", option="device"
        ) from None
    keep_memory()
    if chosen.type == "cpu":
        follow()
    if precision in ("fp32", "bf16"):
        return Machine(chosen, precision, "as asked")
    if not has_bf16(chosen.type):
        return Machine(chosen, "fp32", "this processor has no instructions for bf16")
    gain, kept = _bf16_gain(chosen)
    better = "bf16" if gain >= WORTHWHILE else "fp32"
    return Machine(chosen, better, f"bf16 is {gain:.1f}× as fast here, {kept}")


def keep_memory() -> None:
    """Have the C library keep freed memory for the next step instead of returning it.

    A training step frees and asks for the same large blocks every time, and a page that has been
    returned must be zeroed by the kernel when it comes back: 6 % of a ResNet-18 step. Only glibc
    offers the choice; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names in malloc.h
    for parameter, size in ((trim_threshold, 2**31 - 1), (top_pad, 2**26), (mmap_threshold, 2**30)):
        mallopt(parameter, size)


def _bf16_gain(device: torch.device) -> tuple[float, str]:
    """How many times faster a small training step is in bf16, and when that was measured."""
    measurements = Measurements(device)
    known = "bf16 gain" in measurements
    gain = measurements.get("bf16 gain", lambda: _measure_gain(device), is_positive)
    measurements.save()
    if measurements.disturbed:
        return gain, "measured now, beside other programs; another start looks again"
    return gain, "measured before" if known else "measured now"


def _measure_gain(device: torch.device) -> float:
    seconds = least_seconds({bf16: _step(device, bf16) for bf16 in (False, True)}, ROUNDS, ENOUGH)
    return round(seconds[False] / seconds[True], 2)


def _step(device: torch.device, bf16: bool) -> Callable[[], None]:
    """A forward and backward pass of three convolutions on `IMAGES` images."""
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 256, 3, stride=2, padding=1),
    )
    model = channels_last(layers.to(device))
    x = torch.randn(IMAGES, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(x).square().mean()
        loss.backward()
        loss.item()  # waits for the device

    return step
