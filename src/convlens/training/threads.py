"""How many threads compute: as many as asked, or as are fastest beside what else runs."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import torch
from torch import Tensor, nn

from convlens.models.memory import channels_last
from convlens.recipes.recipe import Recipe
from convlens.training.callbacks import Callback, EpochStats
from convlens.training.device import Machine
from convlens.training.measuring import Measurements, Watch, least_seconds
from convlens.training.spinning import CROWD
from convlens.training.step import StepStats, TrainState

logger = logging.getLogger(__name__)

INTERVAL = 3.0  # seconds between two looks at the machine
AGAIN = 60.0  # seconds after which a choice is looked at again beside the same programs
ROUNDS = 3  # of a trial, in each of which every candidate has its turn
TURN = 0.5  # seconds that a turn takes at least
WORTHWHILE = 1.05  # by which fewer threads must be faster
USUALLY = 1.1  # likewise, where nothing else runs and the choice is kept
TWO = 2  # threads that always compute both
PASSES, ENOUGH = 5, 0.5  # of each number, at most, and seconds in all
IMAGES = 32  # of a pass


@contextlib.contextmanager
def using(threads: int | None) -> Iterator[None]:
    """While the block runs, as many threads compute; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest_number(recipe: Recipe, num_classes: int, machine: Machine) -> int | None:
    """How many threads train a recipe's network fastest where nothing else runs; None for all.

    All that there are, where fewer gain little: a core each. But cores may be of two kinds, or
    share a memory that is too slow for them. So where there are more than two, a forward and
    backward pass is timed with all, three quarters, half and a quarter of them, once for a network
    on a machine. Beside other programs nothing is chosen, and `Threads` has its say.
    """
    full = torch.get_num_threads()
    if machine.device.type != "cpu" or full <= TWO:
        return None
    numbers = sorted({full * quarters // 4 for quarters in (4, 3, 2, 1)} - {0}, reverse=True)
    measurements = Measurements(machine.device)
    images = min(recipe.batch_size, IMAGES)

    def measure() -> int:
        with torch.random.fork_rng([]):
            model = channels_last(recipe.build(num_classes)).train()
            shape = images, recipe.channels, recipe.size, recipe.size
            x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
            passes = {number: _pass(model, x, number, machine) for number in numbers}
            with using(None):
                seconds = least_seconds(passes, PASSES, ENOUGH)
        best = min(numbers, key=seconds.__getitem__)
        return best if seconds[full] > USUALLY * seconds[best] else full

    what = (
        f"threads for {recipe.model} {recipe.network_options}, {images} images of {recipe.size} "
        f"pixels, {machine.precision}"
    )
    number = measurements.get(what, measure)
    measurements.save()
    return number if number in numbers[1:] and not measurements.disturbed else None


def _pass(model: nn.Module, x: Tensor, threads: int, machine: Machine) -> Callable[[], None]:
    def run() -> None:
        torch.set_num_threads(threads)
        with machine.autocast():
            loss = model(x).square().mean()
        loss.backward()

    return run


class Threads(Callback):
    """A context manager around training on a CPU, which is told of each step.

    At its end the number of threads is what it was before.

    A number that is asked for is kept. Otherwise all threads compute as long as the machine is
    quiet, so that a run there can be repeated bit by bit: sums of batch norm depend in their last
    bits on the number. Where other programs take half a core or more, steps are timed with fewer
    threads, in turn with all of them, and the fastest number is kept until the load changes.

    asked: the number; None adapts it. adapts: False for what other processes must be in step with.
    """

    def __init__(self, asked: int | None, adapts: bool = True):
        self.before = torch.get_num_threads()
        self.full = self.in_use = asked or self.before
        self.adapts = adapts and asked is None and self.full > 1
        self.trial: _Trial | None = None
        self.load, self.chosen_at = 0.0, float("-inf")

    def __enter__(self) -> "Threads":
        torch.set_num_threads(self.full)
        self.watch, self.looked_at = Watch(), time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        torch.set_num_threads(self.before)

    def step(self, state: TrainState, stats: StepStats) -> None:
        """Look, try, choose."""
        if not self.adapts:
            return
        now = time.perf_counter()
        if self.trial is not None:
            self.trial.step(now)
            if self.trial.best is None:
                return
            self._use(self.trial.best, f"of {self.full} beside other programs")
            self.trial, self.chosen_at = None, now
            self.watch, self.looked_at = Watch(), now
        elif now - self.looked_at >= INTERVAL:
            self.looked_at = now
            self._look(self.watch.others(), now)

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        """The evaluation before the next step is no part of it."""
        if self.trial is not None:
            self.trial.warm = False

    def _look(self, others: float, now: float) -> None:
        if others < CROWD:
            self._use(self.full, "again, for other programs have ended")
            self.chosen_at = float("-inf")
        elif abs(others - self.load) >= CROWD or now - self.chosen_at >= AGAIN:
            self.load = others
            left = max(1, self.full - round(others))
            self.trial = _Trial({self.full, left, max(1, self.full // 2), 1}, now)

    def _use(self, threads: int, why: str) -> None:
        if threads != self.in_use:
            logger.info("threads    %d %s", threads, why)
        self.in_use = threads
        torch.set_num_threads(threads)


class _Trial:
    """Steps with each of some numbers of threads in turn, the most first.

    The first step of a turn does not count: threads come and go in it. best: the number that is
    fastest in the mean, once all have had their turns; None before.
    """

    def __init__(self, candidates: set[int], now: float):
        self.turns = sorted(candidates, reverse=True) * ROUNDS
        self.seconds = dict.fromkeys(candidates, 0.0)
        self.steps = dict.fromkeys(candidates, 0)
        self.best: int | None = None
        self._begin_turn(now)

    def _begin_turn(self, now: float) -> None:
        self.began, self.last, self.warm = now, now, False
        torch.set_num_threads(self.turns[0])

    def step(self, now: float) -> None:
        """After each step."""
        threads = self.turns[0]
        if self.warm:
            self.seconds[threads] += now - self.last
            self.steps[threads] += 1
        counted, self.warm, self.last = self.warm, True, now
        if not counted or now - self.began < TURN:
            return
        self.turns.pop(0)
        if self.turns:
            self._begin_turn(now)
            return
        mean = {n: self.seconds[n] / self.steps[n] for n in self.seconds}
        most, best = max(mean), min(mean, key=mean.__getitem__)
        self.best = best if mean[most] > WORTHWHILE * mean[best] else most
