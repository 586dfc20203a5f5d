"""The run folder: everything that is read from or written to a run.

    config.yaml        everything that decides the run: recipe, data set, seed, machine
    history.csv        a row an epoch
    last.safetensors   the weights after the last epoch (their average, if the recipe has one)
    best.safetensors   the weights to use: with a hold-out the best epoch on it, else `last`
    state.pt           the full training state; `convlens train --resume` continues from it
    snapshots/         with `--snapshots`: the weights after some epochs, in half precision
    metrics.json       loss and accuracy on both splits, once the run is finished
    MODEL_CARD.md      what the finished network is, in words
    *.csv, *.png       its confusion matrix, the figures of each class, and what is drawn of them
    test/              the same of the images that nothing was chosen by, where there are some
    diverged.txt       in the place of all that: why training could not go on
    steps.csv          with `--log csv`: a row a step
    events.out.…       with `--log tensorboard`: the same curves for TensorBoard
    .lock              while a program writes to the run

A weights file carries all that is needed to use it (`inference.Classifier`) in its metadata, so it
can stand in wherever a run folder is asked for.
"""

import contextlib
import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout

from convlens import formats
from convlens.data import Dataset, Reading, open_dataset
from convlens.data.decode import Fit
from convlens.errors import Diverged, UserError
from convlens.fields import convert
from convlens.files import (
    as_unicode,
    is_temporary,
    on_disk,
    read_csv,
    replacing,
    sweep,
    write_csv,
    write_json,
    write_yaml,
)
from convlens.inference.classifier import Classifier
from convlens.training.config import ConvolutionPlan, RunConfig
from convlens.training.distributed import ALONE, World

T = TypeVar("T")
Row = dict[str, float]  # of history.csv: an epoch
STEPS = "steps.csv"
DIVERGED = "diverged.txt"
EVENTS = "events.out.tfevents.*"  # as TensorBoard names its files
PAGES = (EVENTS, "MODEL_CARD.md", "confusion.csv", "per_class.csv", "*.png")
LOCK = ".lock"  # there while a program writes to the run


class RunFolder:
    """A run on disk. In several processes the first alone touches it, and tells the others.

    Args:
        path: The folder, or a weights file, which can be used but holds no run.
        world: The processes that share the run.
    """

    def __init__(self, path: Path | str, world: World = ALONE):
        self.path, self.world = Path(path), world
        self._is_first = False  # within `first`, where the other processes wait

    def __str__(self) -> str:
        return str(self.path)

    def first(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns in the first process, which alone calls it.

        `function` may use this folder: nothing is exchanged before it has returned.
        """
        if self._is_first:
            return function(*arguments)
        return self.world.first(self._call, function, *arguments)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        self._is_first = True
        try:
            return function(*arguments)
        finally:
            self._is_first = False

    # The beginning

    def check_free(self, overwrite: bool = False) -> None:
        """Raise UserError unless a run may begin here."""
        self.first(self._check_free, overwrite)

    def _check_free(self, overwrite: bool) -> None:
        run = self.path
        if run.exists() and not run.is_dir():
            raise UserError(f"{run} is a file; give another folder with `out`", option="out")
        # a start that was cut while it wrote its very first file has left nothing worth keeping
        if run.is_dir() and not all(is_temporary(p) or p.name == LOCK for p in run.iterdir()):
            if not overwrite:
                raise UserError(
                    f"{run} exists; `resume` {run} continues it, `out` names another folder and "
                    "`overwrite` starts it anew",
                    option=("resume", "out", "overwrite"),
                )
            if not self.was_configured:
                raise UserError(
                    f"{run} is no run folder, so it is not overwritten; give another `out`",
                    option="out",
                )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, no other program may write to the run. That it diverges is kept.

        The system drops the lock when the process dies, so that a stale one never blocks. Raises
        UserError when another program holds it.
        """
        self.first(self._hold)
        try:
            yield
        except Diverged as problem:
            if self.world.rank == 0:
                with contextlib.suppress(OSError), replacing(self.path / DIVERGED) as temporary:
                    temporary.write_text(f"{problem}\n", encoding="utf-8")
            raise
        finally:
            if self.world.rank == 0:  # the others may have failed, and nobody waits for them
                self._release()

    def _hold(self) -> None:
        existed = self.path.is_dir()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK, is_singleton=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another program is writing to {self.path}; wait for it, or name another folder "
                "with `out`",
                option="out",
            ) from None
        except (OSError, NotImplementedError):  # a file system without locks
            if not existed:
                self.path.rmdir()
            raise
        sweep(self.path)
        self._lock = lock

    def _release(self) -> None:
        # The file goes first, while nobody else can hold it: nobody waits for this lock.
        (self.path / LOCK).unlink(missing_ok=True)
        self._lock.release()

    def begin(self, config: RunConfig) -> None:
        """Make the folder, which holds nothing of a run that it replaces."""
        self.first(self._begin, config)

    def _begin(self, config: RunConfig) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        # What is left of an overwritten run must not pass for this one's, should it be cut early.
        self._forget_end()
        for old in ("state.pt", "history.csv", STEPS, "best.safetensors", "last.safetensors"):
            (self.path / old).unlink(missing_ok=True)
        for pattern in PAGES:
            for old in self.path.glob(pattern):
                old.unlink(missing_ok=True)
        for old in "snapshots", "test":
            shutil.rmtree(self.path / old, ignore_errors=True)
        write_yaml(self.path / "config.yaml", config.as_dict())
        self.world.remember(str(self.path))

    @property
    def was_begun(self) -> bool:
        """Whether workers of this torchrun have begun the run, before a restart."""
        return self.first(self.world.remembers, str(self.path))

    # The configuration

    @property
    def was_configured(self) -> bool:
        """Whether it says what decided the run; weights alone do not."""
        return (self.path / "config.yaml").exists()

    def read_config(self) -> RunConfig:
        """What decides the run. Raises UserError when there is none or it is damaged."""
        return self.first(self._read_config)

    def _read_config(self) -> RunConfig:
        path = self.path / "config.yaml"
        try:
            return RunConfig.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError:
            raise UserError(f"{self.path} holds no config.yaml; give the folder of a run") from None
        except (yaml.YAMLError, UserError, ValueError, RecursionError) as problem:
            reason = " ".join(str(problem).split())  # YAML's tells where, over several lines
            raise UserError(f"{path} is damaged ({reason}); start a new run") from None

    def write_config(self, config: RunConfig) -> None:
        """Replace config.yaml."""
        self.first(write_yaml, self.path / "config.yaml", config.as_dict())

    # What an epoch leaves

    def save_epoch(
        self, classifier: Classifier, history: Sequence[Row], state: dict[str, Any], best: bool
    ) -> None:
        """Write an epoch's weights, history and full state, each atomically.

        The state is written last, because resuming trusts it alone. best: these are the weights to
        use.
        """
        self.first(self._save_epoch, classifier, history, state, best)

    def _save_epoch(
        self, classifier: Classifier, history: Sequence[Row], state: dict[str, Any], best: bool
    ) -> None:
        classifier.save(self.path / "last.safetensors")
        if best:
            classifier.save(self.path / "best.safetensors")
        self.write_history(history)
        buffer = io.BytesIO()  # torch itself writing to a full disk raises no OSError
        torch.save({"format": formats.FORMAT, "history": list(history), **state}, buffer)
        with replacing(self.path / "state.pt") as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def read_state(self) -> dict[str, Any] | None:
        """The state after the last finished epoch; None when not even one was finished.

        Raises UserError when it is damaged.
        """
        return self.first(self._read_state)

    def _read_state(self) -> dict[str, Any] | None:
        path = self.path / "state.pt"
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = formats.read_state(state)
            history = state["history"]
            if not (isinstance(history, list) and all(isinstance(row, dict) for row in history)):
                raise TypeError("history")
            convert(state["convolutions"], ConvolutionPlan, "convolutions")
            return state
        except Exception as problem:  # torch raises whatever it stumbles over
            raise self.damaged("state.pt", problem) from None

    def damaged(self, name: str, problem: Exception) -> UserError:
        """What to say of a file of the run that cannot be used."""
        kind = type(problem).__name__
        return UserError(f"{self.path / name} cannot be read ({kind}); start a new run")

    def save_snapshot(self, classifier: Classifier, epoch: int) -> None:
        """Keep the weights as they are after that epoch (counted from 1), in half precision."""
        self.first(self._save_snapshot, classifier, epoch)

    def _save_snapshot(self, classifier: Classifier, epoch: int) -> None:
        (self.path / "snapshots").mkdir(exist_ok=True)
        classifier.save(self.path / "snapshots" / f"epoch-{epoch:04d}.safetensors", half=True)

    # What later verbs read

    def classifier(self, name: str = "best") -> Classifier:
        """The network with its `best` or its `last` weights; that of a weights file as it is."""
        path = self.path / f"{name}.safetensors" if self.path.is_dir() else self.path
        return self.first(Classifier.load, path if path.exists() else self.path)

    def snapshot_files(self) -> dict[int, Path]:
        """The weights that a run kept, by epoch, in order; none of most runs."""
        files = sorted(self.path.glob("snapshots/epoch-*.safetensors"))
        epochs = [file.stem.removeprefix("epoch-") for file in files]
        return {int(e): file for e, file in zip(epochs, files, strict=True) if e.isdecimal()}

    def snapshots(self) -> dict[int, Classifier]:
        """The networks that a run kept, by epoch, in order. UserError where it kept none."""
        files = self.snapshot_files()
        if not files:
            raise UserError(
                f"{self.path} holds no snapshots; train with `snapshots` and give the run's folder",
                option="snapshots",
            )
        return {epoch: Classifier.load(file) for epoch, file in files.items()}

    def write_history(self, history: Sequence[Row]) -> None:
        """Write history.csv, atomically, a row an epoch."""
        names = list(history[0])
        rows = ([row[name] for name in names] for row in history)
        write_csv(self.path / "history.csv", [names, *rows])

    def read_history(self) -> dict[str, np.ndarray]:
        """history.csv as columns, float64, shape (epochs,). UserError when it is damaged.

        The monitored split's columns begin with its name, "validation" or "holdout".
        """
        path = self.path / "history.csv"
        try:
            names, first, *rest = filter(None, read_csv(path))  # a person may add empty lines
            values = np.array([[float(cell) for cell in row] for row in (first, *rest)])
            columns = dict(zip(names, values.T, strict=True))
        except (ValueError, csv.Error):
            raise self._renewable("history.csv") from None
        if self.was_configured:
            columns = formats.read_epoch(columns, self._read_config().monitored)
        return columns

    def read_metrics(self) -> dict[str, Any]:
        """metrics.json of a finished run. Raises UserError when the run has not finished."""
        return self.first(self._read_metrics)

    def _read_metrics(self) -> dict[str, Any]:
        path = self.path / "metrics.json"
        if not path.exists():
            raise UserError(
                f"{self.path} holds no metrics.json; `convlens train --resume {self.path}` "
                "finishes it"
            )
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(metrics, dict):
                raise ValueError
            return formats.read_metrics(metrics)
        except ValueError:
            raise self._renewable("metrics.json") from None

    def _renewable(self, name: str) -> UserError:
        return UserError(
            f"{self.path / name} is damaged; `convlens train --resume {self.path}` writes it anew"
        )

    @property
    def is_finished(self) -> bool:
        """Whether all of the run is there."""
        return self.first((self.path / "metrics.json").exists)

    @property
    def has_state(self) -> bool:
        """Whether an epoch has been finished."""
        return self.first((self.path / "state.pt").exists)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, the last of a run: its presence says that all is there."""
        self.first(write_json, self.path / "metrics.json", dict(metrics))

    def forget_end(self) -> None:
        """Remove metrics.json and diverged.txt, which speak of runs that are over."""
        self.first(self._forget_end)

    def _forget_end(self) -> None:
        for end in "metrics.json", DIVERGED:
            (self.path / end).unlink(missing_ok=True)

    def read_diverged(self) -> str | None:
        """Why training could not go on, as diverged.txt says; None where it holds nothing."""
        try:
            return (self.path / DIVERGED).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None

    def read_confusion(self) -> np.ndarray:
        """confusion.csv, int64, shape (C, C), rows true."""
        rows = read_csv(self.path / "confusion.csv")
        return np.array([[int(cell) for cell in row[1:]] for row in rows[1:]])

    # The data set

    def open_dataset(
        self,
        size: int,
        fit: Fit,
        data: Path | str | None = None,
        reading: Reading | None = None,
    ) -> Dataset:
        """`data`, else the data set that the run was on; split as the run had it.

        Of a weights file alone, the data set is found as usual. size: side of the decoded images,
        pixels. fit: what becomes of those that are not square. reading: what is asked for beyond
        the run's own way to read it. Raises UserError where the run's data set is gone.
        """
        reading = reading or Reading()
        if self.was_configured:
            config = self.read_config()
            usual = config.reading
            own = _place_of(config)
            is_there = own is None or own.exists()
            if data is not None and is_there and not _is_same_place(data, own):
                # these name files and columns of the run's own data set
                names = dict.fromkeys(("exclude", "file_column", "label_column", "split_column"))
                usual = replace(usual, **names)
            reading = reading.over(usual)
            if data is None and not is_there:
                raise UserError(
                    f"the data set {own} of {self.path} is not there; give the place where it "
                    "lies now with `data`",
                    option="data",
                )
            data = own if data is None else data
        return open_dataset(data, size=size, fit=fit, **asdict(reading.reading))

    def open_for(
        self,
        classifier: Classifier,
        data: Path | str | None = None,
        reading: Reading | None = None,
    ) -> Dataset:
        """The data set as the network is given it, as `open_dataset` finds it.

        Raises UserError when it has a class that the network does not know.
        """
        dataset = self.open_dataset(classifier.loaded_size, classifier.fit, data, reading)
        return classifier.aligned(dataset, str(self.path)).center_crop(classifier.size)

    def what_changed(self, dataset: Dataset, reading: Reading) -> str:
        """Why images may have been trained on that are measured now; "" where they have not, or the
        data set is another one than the run's."""
        if not self.was_configured:
            return ""
        config, is_own = self.read_config(), self.is_of(dataset)
        own = _place_of(config)
        which = "images of its validation set"
        seed = reading.over(config.reading).split_seed
        if is_own and dataset.flat is not None and seed != config.split_seed:
            changed = "is split by another seed than in training"
        elif is_own:
            if dataset.is_known_by(config.digest):
                return ""
            changed = f"has changed since {self.path} was trained on it"
        elif own is not None and dataset.place.resolve().is_relative_to(own.resolve()):
            changed, which = f"lies in the one that {self.path} was trained on", "its images"
        elif dataset.flat is None and not (own is None or own.exists()):
            changed = f"may be the one that {self.path} was trained on, with other files"
        else:
            return ""
        return f"the data set {changed}: {which} may be among those trained on"

    def is_of(self, dataset: Dataset) -> bool:
        """Whether the run was on that data set, as far as its files or its place tell; not of
        weights alone."""
        if not self.was_configured:
            return False
        config = self.read_config()
        known = bool(config.digest) and dataset.is_known_by(config.digest)
        return known or _is_same_place(dataset.place, _place_of(config))


def _place_of(config: RunConfig) -> Path | None:
    """Where the run's data set lay; None where it was found as usual."""
    return Path(on_disk(as_unicode(config.data))) if config.data else None


def _is_same_place(data: Path | str, other: Path | None) -> bool:
    return other is not None and Path(data).resolve() == other.resolve()


def is_finite(row: Mapping[str, float]) -> bool:
    """Whether every figure of an epoch is a number."""
    return all(math.isfinite(value) for value in row.values())
