"""Our training, measured in the production loop itself, on its own data path."""

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from convlens.data import open_dataset
from convlens.data.batches import Batches
from convlens.data.dataset import Dataset
from convlens.recipes import RECIPES
from convlens.training import loop
from convlens.training.device import Machine, choose


def training_rate(recipe: str, data: str, images: int, epochs: int) -> dict[str, Any]:
    """Images/s of `convlens train RECIPE`: the median of all epochs after the first, the warm-up.

    images: of an epoch, so that epochs can be short. Also: `waiting`, the share of a step that the
    loop spends on getting its batch (see `waiting_for_data`), and what the machine chose.
    """
    dataset = open_dataset(data, size=RECIPES[recipe]().loaded_size, progress=False)
    # The loop evaluates after every epoch; that is not measured, so a few images will do.
    few = replace(dataset, validation=dataset.validation.take(range(len(dataset.validation))[:8]))
    machine = choose()
    with waiting_for_data() as clock:
        history = train_for(recipe, few, machine, epochs=epochs, images=images)
    spent = sum(row["trained_seconds"] for row in history)
    return {
        "images_per_second": statistics.median(row["images_per_second"] for row in history[1:]),
        "start_seconds": history[0]["trained_seconds"],
        "waiting": clock.seconds / spent,
        "device": machine.describe(),
    }


def train_for(
    recipe: str, dataset: Dataset, machine: Machine, epochs: int, images: int = 0
) -> list[dict[str, float]]:
    """The history of a run of the production loop, kept nowhere; its rows gain trained_seconds."""
    short = replace(RECIPES[recipe](), epochs=epochs)
    config = loop.Config(
        short, str(dataset.root), images=images, device=str(machine.device),
        precision=machine.precision,
    )  # fmt: skip
    training = loop.monitored_splits(config, dataset)["train"]
    batches = Batches(training, dataset.num_classes, short.batch_size, 0)
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(sys.stderr):
        history = loop.train(config, dataset, Path(run), machine).history
    seen = len(batches) * batches.size
    return [{**row, "trained_seconds": seen / row["images_per_second"]} for row in history]


class Clock:
    """Adds up the seconds its own thread spends in what it wraps.

    Other threads' calls are not counted, for nobody waits for them here, and what is called from
    inside something wrapped is not counted twice.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.thread = threading.get_ident()
        self.running = False

    def calls(self, function: Callable) -> Callable:
        """`function`, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.running or threading.get_ident() != self.thread:
                return function(*args, **kwargs)
            self.running, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.running = False
                self.seconds += time.perf_counter() - start

        return timed

    def steps(self, function: Callable[..., Iterator]) -> Callable[..., Iterator]:
        """`function`, which returns an iterator, with every step of it timed."""

        def timed(*args: Any, **kwargs: Any) -> Iterator:
            advance = self.calls(function(*args, **kwargs).__next__)
            while True:
                try:
                    yield advance()
                except StopIteration:
                    return

        return timed


@contextlib.contextmanager
def waiting_for_data() -> Iterator[Clock]:
    """Times what stands between the training loop and its next batch while the block runs.

    That is gathering (`Batches.epoch`) and augmenting, on the loop's own thread. Two readings of
    the clock a step are all it costs.
    """
    clock = Clock()
    with contextlib.ExitStack() as patches:
        for owner, name, timed in (
            (loop, "augment", clock.calls),
            (Batches, "epoch", clock.steps),
        ):
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name))))
        yield clock
