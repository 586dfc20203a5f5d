"""What is fastest on this machine, measured beside whatever else it does, and kept if it was quiet.

What else a machine does can only add to a time. So candidates are timed in turn, many times, and
the least of each counts: a disturbance meets all alike. Where other programs took a part of the
cores all the same, the answer is used and not kept: another start measures again.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeGuard, TypeVar

import psutil
import torch

from convlens.data.place import cache_home
from convlens.files import replacing

Key = TypeVar("Key", bound=Hashable)

BUSY = 0.2  # cores that other programs use, from which a machine is not quiet
GRAIN = 0.03  # seconds that the system's own counting may be off
SURE = 3  # rounds in which a disturbance has met all candidates, or none in one of them
HOPELESS = 1.5
MOST = 1e6
IDLE = ("idle", "iowait", "guest", "guest_nice")  # of what it counts; a guest's are in user, too


def is_positive(value: Any) -> TypeGuard[float]:
    """Whether a kept value is a number that a time or a ratio of times can have."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < MOST


def least_seconds(
    candidates: Mapping[Key, Callable[[], None]], rounds: int, enough: float = math.inf
) -> dict[Key, float]:
    """The least time of each candidate, which are timed in turn.

    A round before these is not counted: memory is got and code is loaded in it. After `SURE`
    rounds, a candidate that took `HOPELESS` times the best's time at best is timed no more.

    Args:
        candidates: What is to be timed.
        rounds: Times that each is timed, at most.
        enough: Seconds after which no round is begun, except the first `SURE`.
    """
    least = dict.fromkeys(candidates, math.inf)
    open_ = dict(candidates)
    began = time.perf_counter()
    for number in range(rounds + 1):
        if number > SURE:
            best = min(least.values())
            open_ = {name: run for name, run in open_.items() if least[name] < HOPELESS * best}
            if len(open_) == 1 or time.perf_counter() - began > enough:
                break
        for name, run in open_.items():
            start = time.perf_counter()
            run()
            if number:
                least[name] = min(least[name], time.perf_counter() - start)
    return least


@functools.cache
def has_bf16(device: str) -> bool:
    """Whether a device may compute faster in bf16 than in fp32: it has instructions for it.

    What of a CPU is not known to torch, as of those of ARM, is taken to have none.
    """
    if device != "cpu":
        return True
    told = (
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    )
    return any(ask is not None and ask() for ask in told)


class Watch:
    """Says how much of the machine other programs have used since it was made, or last asked."""

    def __init__(self) -> None:
        self._then = self._now()

    def others(self) -> float:
        """Cores that other programs used on average."""
        then, self._then = self._then, self._now()
        wall, own, busy = (now - before for now, before in zip(self._then, then, strict=True))
        return max(0.0, busy - own - GRAIN) / max(wall, 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: of the clock, of this process on all cores, of everything on all cores."""
        counted = psutil.cpu_times()
        busy = sum(getattr(counted, name) for name in counted._fields if name not in IDLE)
        return time.perf_counter(), time.process_time(), busy


class Measurements:
    """What was measured on this device with this torch and number of threads, kept between runs.

    They lie in `machine.json` in the cache folder; removing it has everything measured anew.

    Attributes:
        disturbed: Whether something was measured while other programs were busy, which is not kept.
    """

    def __init__(self, device: torch.device):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        threads = torch.get_num_threads()
        self.key = f"{name}, torch {torch.__version__}, {threads} threads, on a quiet machine"
        self.path = cache_home() / "machine.json"
        self.values: dict[str, Any] = self._read().get(self.key, {})
        self.new: dict[str, Any] = {}
        self.disturbed = False

    def __contains__(self, what: str) -> bool:
        return what in self.values

    def get(
        self,
        what: str,
        measure: Callable[[], Any],
        is_sound: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """The kept value of `what`, or else `measure()`, kept if the machine was quiet meanwhile.

        Values are JSON's. is_sound: whether a kept one can have been measured; a file that somebody
        has edited is as good as none.
        """
        if what not in self.values or not is_sound(self.values[what]):
            watch = Watch()
            self.values[what] = measure()
            if watch.others() < BUSY:
                self.new[what] = self.values[what]
            else:
                self.disturbed = True
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
