"""How the threads of an operator wait for each other: looking, or asleep beside other programs."""

import contextlib
import functools
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from convlens.training.measuring import Watch

# Whoever has set one of these, which OpenMP reads when torch is imported, has chosen.
SPINCOUNT = "GOMP_SPINCOUNT"
CHOICES = (SPINCOUNT, "OMP_WAIT_POLICY")
CROWD = 0.5  # cores that other programs use, from which looking takes more than it gives
INTERVAL = 1.0  # seconds between two looks at the machine
FIRST = 0.25  # seconds until the first


class Waiting:
    """How the threads of this process wait for each other in GNU's OpenMP, which torch's wheels for
    Linux bring.

    By itself a thread looks some 300,000 times before it sleeps. On a quiet machine that is up to a
    quarter faster than sleeping; beside other programs it keeps the core from the very thread that
    it waits for, and takes up to two thirds of the speed (docs/speed.md). How often it looks cannot
    be set once torch is imported. But where OpenMP has started more threads than there are cores,
    they look a hundred times at most (libgomp's gomp_throttled_spin_count_var), and each thread of
    a program that has used an operator keeps threads of its own for the next one. So as long as
    they are to sleep, a thread is there that has used one.
    """

    def __init__(self) -> None:
        self._holder: ThreadPoolExecutor | None = None

    @property
    def asleep(self) -> bool:
        """Whether threads sleep that wait."""
        return self._holder is not None

    def look(self, others: float) -> None:
        """Choose. others: cores that other programs use now."""
        if others >= CROWD and not self.asleep:
            holder = ThreadPoolExecutor(1, "convlens waiting")
            holder.submit(_use_all_cores).result()
            self._holder = holder
        elif others < CROWD and self._holder is not None:
            self._holder.shutdown()
            self._holder = None


def _use_all_cores() -> None:
    """Have OpenMP start threads of its own for the thread that this runs in."""
    cores = os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(cores)  # of this thread; others that begin now would have as many
    torch.ones(cores * 100_000).neg_()  # more than are worth a thread each
    torch.set_num_threads(before)


@functools.cache
def follow() -> None:
    """From now on, have the threads of this process wait as is best beside what else runs.

    Nothing happens where the user has chosen, and on other systems, whose wheels bring another
    OpenMP.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in CHOICES):
        threading.Thread(target=_follow, name="convlens follow", daemon=True).start()


def _follow() -> None:
    waiting, watch, interval = Waiting(), Watch(), FIRST
    while True:
        time.sleep(interval)
        with contextlib.suppress(RuntimeError):  # Python is ending and starts no more threads
            waiting.look(watch.others())
        interval = INTERVAL
