"""What the machine computes with: device and precision, chosen by measuring, not by name."""

import ctypes
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from convlens.data.place import cache_home
from convlens.errors import UserError
from convlens.files import replacing
from convlens.models.memory import channels_last

Precision = Literal["fp32", "bf16"]

# bf16 must gain this much to be worth its rounding.
WORTHWHILE = 1.15


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
    if precision in ("fp32", "bf16"):
        return Machine(chosen, precision, "as asked")
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
    """How many times faster a small training step is in bf16; measured once, then kept."""
    measurements = Measurements(device)
    known = "bf16 gain" in measurements
    gain = measurements.get(
        "bf16 gain",
        lambda: round(_time_step(device, False) / _time_step(device, True), 2),
    )
    measurements.save()
    return gain, "measured before" if known else "measured now"


class Measurements:
    """What was measured on this device with this torch and number of threads, kept between runs.

    They lie in `machine.json` in the cache folder; removing it has everything measured anew.
    """

    def __init__(self, device: torch.device):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.key = f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads"
        self.path = cache_home() / "machine.json"
        self.values: dict[str, Any] = self._read().get(self.key, {})
        self.new: dict[str, Any] = {}

    def __contains__(self, what: str) -> bool:
        return what in self.values

    def get(self, what: str, measure: Callable[[], Any]) -> Any:
        """The kept value of `what`, or else `measure()`, to be kept. Values are JSON's."""
        if what not in self.values:
            self.values[what] = self.new[what] = measure()
        return self.values[what]

    def save(self) -> None:
        """Keep what is new; no place to keep it is no reason not to train."""
        if not self.new:
            return
        try:
            everything = self._read()
            everything[self.key] = everything.get(self.key, {}) | self.new
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(everything, indent=2), encoding="utf-8")
        except OSError:
            return

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            everything = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: values for key, values in everything.items() if isinstance(values, dict)}
        except (OSError, ValueError, AttributeError):  # absent or damaged, which is the same here
            return {}


def _time_step(device: torch.device, bf16: bool, repeats: int = 5) -> float:
    """Median seconds of a forward and backward pass of three convolutions on 64 images."""
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 256, 3, stride=2, padding=1),
    )
    model = channels_last(layers.to(device))
    x = torch.randn(64, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(x).square().mean()
        loss.backward()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
