"""What a training run shows: a bar on a terminal, one plain line an epoch elsewhere."""

import logging
import time
from types import TracebackType

import rich.progress
import torch
from rich.console import Console
from torch import Tensor

from convlens.training.distributed import World
from convlens.training.pace import Pace

logger = logging.getLogger(__name__)

# Reading the loss waits for the device, so on a GPU it is done this often only, in steps.
EVERY = 20


class Progress:
    """A context manager around the epochs.

    batch_size: for rates. pace: of the current epoch, which the loop sets. loss, accuracy: mean
    over this epoch so far and over all processes, as of the last reading, which the last step has.
    """

    pace: Pace

    def __init__(self, world: World, batch_size: int):
        self.world, self.batch_size = world, batch_size
        self.loss = self.accuracy = 0.0
        self.console = Console()
        self.bar = rich.progress.Progress(
            "{task.description}",
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            "loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}  "
            "{task.fields[rate]:,.0f} images/s",
            rich.progress.TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: rich.progress.TaskID | None = None
        self.started = self.epoch_started = time.perf_counter()
        self.epochs_done = 0

    def __enter__(self) -> "Progress":
        self.bar.start()
        self.started = self.epoch_started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def step(self, step: int, loss_sum: Tensor, correct: Tensor) -> None:
        """After each step; loss_sum and correct are the epoch's running sums, on the device.

        Over all processes they add up to the sum of the batches' losses and of the hits.
        """
        last = step == self.pace.steps - 1
        if loss_sum.device.type != "cpu" and not last and step % EVERY:
            return
        seen = (step + 1) * self.batch_size
        sums = self.world.sum_(torch.stack([loss_sum, correct.double()])).tolist()
        self.loss, self.accuracy = sums[0] / (step + 1), sums[1] / seen
        if self.bar.disable:
            return
        fields = {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "rate": seen / (time.perf_counter() - self.epoch_started),
        }
        if self.task is None:
            self.task = self.bar.add_task("", total=self.pace.steps, **fields)
        self.bar.update(self.task, completed=step + 1, **fields)

    def end_epoch(self, row: dict[str, float], monitored: str) -> None:
        """Log the epoch's line: `row` as it goes to history.csv."""
        self.epochs_done += 1
        now = time.perf_counter()
        left = (self.pace.epochs - row["epoch"]) * (now - self.started) / self.epochs_done
        if self.world.rank == 0:
            logger.info(
                "epoch %3d/%d  train loss %.3f accuracy %.1f%%  %s loss %.3f accuracy %.1f%%  "
                "%s images/s  %s left",
                row["epoch"],
                self.pace.epochs,
                row["train_loss"],
                100 * row["train_accuracy"],
                monitored,
                row[f"{monitored}_loss"],
                100 * row[f"{monitored}_accuracy"],
                f"{row['images_per_second']:,.0f}",
                _duration(left),
            )
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None
        self.epoch_started = now


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
