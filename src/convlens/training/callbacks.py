"""Callbacks: what is told how a run goes, and may end it early."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from convlens.errors import UserError
from convlens.training.distributed import World
from convlens.training.run_folder import Row, RunFolder
from convlens.training.step import StepStats, TrainState

if TYPE_CHECKING:
    from convlens.training.result import Run
    from convlens.training.trainer import Trainer


class StopTraining(Exception):
    """Raised by a callback's `step` or `epoch`: the run ends after the epoch that is under way.

    It is then finished with what it has, its figures and pages included, and `resume` trains it
    to the recipe's last epoch.
    """


@dataclass(frozen=True)
class EpochStats:
    """What an epoch found. row: as it goes to history.csv. monitored: the name of the split that
    was measured. train_seconds: of the steps; data_seconds: what of these was spent on getting
    batches ready."""

    row: Row
    monitored: str
    train_seconds: float
    data_seconds: float

    @property
    def epoch(self) -> int:
        """Counted from 1."""
        return int(self.row["epoch"])

    @property
    def accuracy(self) -> float:
        """On the monitored split, 0..1."""
        return self.row[f"{self.monitored}_accuracy"]


class Callback:
    """Is told how a run goes; a subclass overrides what it wants to hear.

    `step` and `epoch` may raise StopTraining. Whatever else a method raises ends the program with
    the run as its last epoch left it, from where `resume` continues. Of several processes each has
    the callbacks; `trainer.world.rank` tells which one it is.
    """

    def begin(self, trainer: "Trainer", state: TrainState, folder: RunFolder | None) -> None:
        """Before the first epoch, of a resumed run before the first that is left.

        Args:
            trainer: Who trains: its `config`, `dataset`, `splits`, `machine` and `world`.
            state: The network and all that training changes; its `history` is that so far.
            folder: The run folder; None where nothing is kept.
        """

    def step(self, state: TrainState, stats: StepStats) -> None:
        """After each step. The tensors of `stats` are on the device, which reading them waits for:
        keep them and read them once an epoch."""

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        """After each epoch, once it is kept."""

    def end(self, run: "Run") -> None:
        """After the last, once all of the run is in its folder."""

    def close(self) -> None:
        """However the run has ended; what was opened is closed here."""


class Callbacks(Callback):
    """Several callbacks as one, which notes that one of them wants the run to end.

    Raises UserError for what is no `Callback`.
    """

    def __init__(
        self, callbacks: Iterable[Callback], on_epoch: Callable[[EpochStats], None] | None = None
    ):
        if not isinstance(callbacks, Iterable):
            callbacks = (callbacks,)
        self.all = [*callbacks, *([] if on_epoch is None else [_OnEpoch(on_epoch)])]
        for each in self.all:
            if not isinstance(each, Callback):
                raise UserError(
                    f"`callbacks` holds {each!r}, which is no Callback; give objects of a subclass "
                    "of convlens.Callback",
                    option="callbacks",
                )
        self.is_stopped = False

    def begin(self, trainer: "Trainer", state: TrainState, folder: RunFolder | None) -> None:
        """Tell each that the run begins."""
        for each in self.all:
            each.begin(trainer, state, folder)

    def step(self, state: TrainState, stats: StepStats) -> None:
        """Tell each of a step."""
        for each in self.all:
            try:
                each.step(state, stats)
            except StopTraining:
                self.is_stopped = True

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        """Tell each of an epoch."""
        for each in self.all:
            try:
                each.epoch(state, stats)
            except StopTraining:
                self.is_stopped = True

    def end(self, run: "Run") -> None:
        """Tell each that the run has ended."""
        for each in self.all:
            each.end(run)

    def close(self) -> None:
        """Close each, also where one cannot be closed."""
        with ExitStack() as stack:  # which calls the last one first
            for each in reversed(self.all):
                stack.callback(each.close)

    def wants_to_stop(self, world: World) -> bool:
        """Whether a callback of any process has raised StopTraining; every process asks."""
        return bool(world.sum_(torch.tensor(float(self.is_stopped))) > 0)


class _OnEpoch(Callback):
    """A function that is shown each epoch, as a callback."""

    def __init__(self, function: Callable[[EpochStats], None]):
        self.function = function

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        self.function(stats)
