"""Runs as they are on disk, also while they train: only files are read, and no trainer waits.

A run folder is asked again and again; what is read of it is kept until a file of it changes.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from convlens.errors import UserError
from convlens.training.pace import read_change
from convlens.training.run_folder import DIVERGED, LOCK, RunFolder

CONFIG = "config.yaml"
DEPTH = 3  # folders below the one that is named
LOOKED_FOR = 5.0  # seconds between two searches for new runs
LAST = 3  # epochs whose mean time the others are expected to take
READ = (
    CONFIG,
    "history.csv",
    "best.safetensors",
    "last.safetensors",
    "metrics.json",
    DIVERGED,
    LOCK,
)


def is_run(path: Path) -> bool:
    """Whether it is a run folder, one that has only begun too; no where nobody may look inside."""
    return any(map(os.path.exists, (path / CONFIG, path / "best.safetensors")))


def is_training(path: Path) -> bool:
    """Whether a program writes to the run at this moment."""
    lock = path / LOCK
    if not os.path.exists(lock):
        return False
    try:
        import fcntl
    except ImportError:  # Windows, where a lock's file goes with the program that holds it
        return True
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when it is closed
    except BlockingIOError:
        return True
    except OSError:
        return os.path.exists(lock)
    return False


def find_runs(root: Path) -> list[Path]:
    """`root` where it is a run, else the runs in it, by name; in a run nothing is looked for."""
    if is_run(root):
        return [root]
    found: list[Path] = []
    level = [root]
    for _ in range(DEPTH):
        inner = [p for folder in level for p in _folders(folder) if not p.name.startswith(".")]
        found += [path for path in inner if is_run(path)]
        level = [path for path in inner if not is_run(path)]
    return sorted(found)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


class Runs:
    """The runs below some folders, as they are at the moment; several threads may ask.

    A run keeps its number, also when others come.
    """

    def __init__(self, roots: Sequence[Path]):
        self.roots = list(roots)
        self.paths: list[Path] = []
        self._looked = -LOOKED_FOR
        self._known: dict[Path, tuple[Any, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def all(self) -> list[dict[str, Any]]:
        """What there is to tell of each run in a line; `stamp` changes where anything else does."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOKED_FOR:
                for root in self.roots:
                    self.paths += [path for path in find_runs(root) if path not in self.paths]
                self._looked = time.monotonic()
            return [self._told(number, path) for number, path in enumerate(self.paths)]

    def path(self, number: int) -> Path:
        """The run of that number. Raises IndexError."""
        if number >= len(self.paths):
            self.all()  # nobody has looked yet
        return self.paths[number]

    def _told(self, number: int, path: Path) -> dict[str, Any]:
        stamp = [_changed(path / name) for name in READ]
        known = self._known.get(path)
        if known is None or known[0] != stamp or known[1]["state"] == "training":
            known = stamp, _describe(path)
            self._known[path] = known
        return {"id": number, "name": self._name(path), "stamp": _short(stamp), **known[1]}

    def _name(self, path: Path) -> str:
        for root in self.roots:
            if path != root and path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return path.name or str(path)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _short(stamp: list[int]) -> str:
    return f"{hash(tuple(stamp)) & 0xFFFFFFFFFFFF:x}"


def table_of(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A history as columns and rows."""
    return {"columns": list(columns), "rows": np.stack(list(columns.values()), axis=1).tolist()}


def history_of(path: Path) -> dict[str, Any]:
    """Columns and rows of history.csv; without any where none is written yet or it is damaged."""
    try:
        return table_of(RunFolder(path).read_history())
    except (OSError, UserError):
        return {"columns": [], "rows": []}


def _describe(path: Path) -> dict[str, Any]:
    """state: "training", "finished", "stopped", "diverged", "damaged" or "gone". What is not known
    is None; `why` is known where it has diverged or is damaged."""
    folder = RunFolder(path)
    unknown = "recipe network seed epochs monitored loss accuracy speed left why"
    about: dict[str, Any] = dict.fromkeys(unknown.split())
    about |= {"epoch": 0, "seconds": 0.0, "opens": False}
    if not path.is_dir():
        return {**about, "state": "gone"}
    if os.path.exists(path / "metrics.json"):
        about["state"] = "finished"
    elif is_training(path):
        about["state"] = "training"
    elif (why := folder.read_diverged()) is not None:
        about |= {"state": "diverged", "why": why}
    else:
        about["state"] = "stopped"
    weights = path / "best.safetensors"
    if os.path.exists(weights):
        try:
            with safe_open(weights, "pt"):
                about["opens"] = True
        except (OSError, SafetensorError):
            about |= {"state": "damaged", "why": f"{weights.name} cannot be read"}
    try:
        config = folder.read_config()
    except UserError:
        return {**about, "state": "damaged", "why": f"{CONFIG} cannot be read"}
    recipe = config.recipe
    about |= {
        "recipe": recipe.name,
        "network": recipe.model,
        "seed": config.seed,
        "epochs": sum(read_change(config.replanned[-1])[:2]) if config.replanned else recipe.epochs,
        "monitored": config.monitored,
    }
    history = history_of(path)
    rows = [dict(zip(history["columns"], row, strict=True)) for row in history["rows"]]
    if not rows:
        return about
    last = rows[-1]
    about |= {
        "epoch": len(rows),
        "seconds": sum(row.get("seconds", 0.0) for row in rows),
        "loss": last.get(f"{config.monitored}_loss"),
        "accuracy": last.get(f"{config.monitored}_accuracy"),
        "speed": last.get("images_per_second"),
    }
    if about["state"] == "training":
        each = np.mean([row.get("seconds", 0.0) for row in rows[-LAST:]])
        gone = max(0.0, time.time() - _changed(path / "history.csv") / 1e9)
        left = (about["epochs"] - len(rows)) * each
        about["left"] = round(max(left - min(gone, each), 0.0), 1)
    return about
