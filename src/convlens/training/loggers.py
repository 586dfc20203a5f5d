"""What `--log` asks for: callbacks that write curves for other programs into the run folder."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from convlens.errors import UserError
from convlens.files import append_csv, read_csv, write_csv
from convlens.training.callbacks import Callback, EpochStats
from convlens.training.optim import highest_rate
from convlens.training.progress import EVERY
from convlens.training.run_folder import EVENTS, STEPS, Row, RunFolder
from convlens.training.step import StepStats, TrainState

if TYPE_CHECKING:
    from convlens.training.result import Run
    from convlens.training.trainer import Trainer

Log = Literal["tensorboard", "csv"]

COLUMNS = ["epoch", "step", "loss", "accuracy", "learning_rate"]
PICTURES = ("batch", "confusion")  # of a finished run
FIGURES = ("_loss", "_accuracy", "_error")  # of metrics.json: how their names end


def make_loggers(names: Sequence[Log]) -> list[Callback]:
    """The callbacks that `--log` names, each once. Raises UserError without TensorBoard."""
    kinds = {"tensorboard": TensorBoard, "csv": StepsCsv}
    return [kinds[name]() for name in dict.fromkeys(names)]


class StepsCsv(Callback):
    """Writes steps.csv: a row a step, both counted from 1 as the epochs are.

    loss: of the batch, in nats, as it was minimized: with augmentation, smoothing and penalties.
    accuracy: of the augmented batch, 0..1. A resumed run drops the rows of the epoch that was cut
    and goes on; the rows of a run that is resumed with this logger for the first time begin there.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, float, Tensor]] = []

    def begin(self, trainer: "Trainer", state: TrainState, folder: RunFolder | None) -> None:
        """Start the file, or cut it where the run continues."""
        self.world, self.batch_size, self.pace = trainer.world, trainer.batches.size, state.pace
        self.waiting = []
        self.path = None if folder is None else folder.path / STEPS
        if self.path is not None and self.world.rank == 0:
            write_csv(self.path, [COLUMNS, *_rows_until(self.path, len(state.history))])

    def step(self, state: TrainState, stats: StepStats) -> None:
        """Keep the step; every twentieth and the epoch's last read the device and are written."""
        figures = torch.stack([stats.loss.double(), stats.correct.double()])
        self.waiting.append((state.step, highest_rate(state.optimizers), figures))
        self.pace = state.pace
        if len(self.waiting) >= EVERY or self.pace.ends_epoch(state.step):
            self._write()

    def close(self) -> None:
        """Write what is left of an epoch that was cut: its end says why it has diverged."""
        if self.waiting and self.world.size == 1:  # several processes may not be alive together
            self._write()

    def _write(self) -> None:
        sums = self.world.sum_(torch.stack([figures for *_, figures in self.waiting])).tolist()
        rows = [
            [
                self.pace.epoch_of(step - 1) + 1,
                step,
                loss / self.world.size,
                correct / self.batch_size,
                rate,
            ]
            for (step, rate, _), (loss, correct) in zip(self.waiting, sums, strict=True)
        ]
        self.waiting = []
        if self.path is not None and self.world.rank == 0:
            append_csv(self.path, rows)


def _rows_until(path: Path, epochs: int) -> list[list[str]]:
    """The rows of the first so many epochs; none where the file is another or damaged."""
    try:
        header, *rows = read_csv(path)
        kept = [row for row in rows if len(row) == len(COLUMNS) and int(row[0]) <= epochs]
    except (OSError, ValueError, csv.Error):
        return []
    return kept if header == COLUMNS else []


class TensorBoard(Callback):
    """Writes an event file for TensorBoard: the columns of history.csv, by epochs, and at the end
    the run's figures, its confusion and a training batch.

    A resumed run writes its earlier epochs anew from the history, so that none is missing and none
    is there twice; their time is that of the training, without the break. Raises UserError where
    TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise UserError(
                "`log` tensorboard needs TensorBoard; install it with `pip install tensorboard`",
                option="log",
            ) from None
        self._open = SummaryWriter
        self._writer = None

    def begin(self, trainer: "Trainer", state: TrainState, folder: RunFolder | None) -> None:
        """Start the file with the epochs that have been."""
        if folder is None or trainer.world.rank:
            return
        old = list(folder.path.glob(EVENTS))
        # a reader that has seen the old file is told to forget all from step 0 on
        self._writer = self._open(str(folder.path), purge_step=0)
        left = sum(row["seconds"] for row in state.history)
        for row in state.history:
            left -= row["seconds"]
            self._write(row, trainer.splits.name, time.time() - left)
        config = yaml.safe_dump(trainer.config.as_dict(), sort_keys=False, allow_unicode=True)
        # a block by its indentation, which no name in it can end
        self._writer.add_text("config", "\n".join(f"    {line}" for line in config.splitlines()))
        self._writer.flush()
        for path in old:
            path.unlink(missing_ok=True)

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        """Write the epoch's figures."""
        if self._writer is not None:
            self._write(stats.row, stats.monitored, time.time())
            self._writer.flush()

    def end(self, run: "Run") -> None:
        """Write the run's figures and pictures."""
        if self._writer is None:
            return
        metrics = run.metrics
        for name, value in metrics.items():
            if name.endswith(FIGURES) and isinstance(value, int | float):
                self._writer.add_scalar(f"final/{name}", value, metrics["epochs"])
        for name in PICTURES:
            with Image.open(run.folder / f"{name}.png") as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image(name, pixels, metrics["epochs"], dataformats="HWC")

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, row: Row, monitored: str, wall_time: float) -> None:
        """An epoch's figures: those of both splits under one name, which is one chart."""
        assert self._writer is not None
        epoch = int(row["epoch"])
        for name, value in row.items():
            split, _, measure = name.partition("_")
            if name == "epoch":
                continue
            tag = f"{measure}/{split}" if split in ("train", monitored) else name
            self._writer.add_scalar(tag, value, epoch, walltime=wall_time)
