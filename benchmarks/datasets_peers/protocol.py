"""What the peers' scripts share: their options, their clock, and the figures that they report.

Each script is run as

    python SCRIPT DATA --measure --out FILE                          # how long its parts take here
    python SCRIPT DATA --minutes 5 --timing FILE --seed 0 --out FILE # trains, and says how well

DATA holds train/, validation/ and maybe test/, a folder per class. All of `train/` is trained on;
what is reported is of `test/` where there is one, else of `validation/`, with the weights of the
last step. The minutes are the process's whole life: imports, training, a look at `validation/`
after each epoch as the library has it, and the last measurement. The schedule must know beforehand
how long it will be, so the parts are timed first, in a run of their own that does not count.
"""

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

MARGIN = 0.03  # of the time that is given: no two runs take equally long
STEPS = 40  # that are timed of an epoch, at most


@dataclass(frozen=True)
class Timing:
    """How long the parts of a run take, s.

    start: until the first step. step: one of training. between: from the last step of an epoch to
    the first of the next one, validation included. end: what follows the last step.
    """

    start: float
    step: float
    between: float
    end: float

    def steps_within(self, seconds: float, per_epoch: int) -> int:
        """How many steps of training fit into so many seconds, at least one.

        per_epoch: steps that an epoch has; the last epoch may have fewer.
        """
        left = seconds * (1 - MARGIN) - self.start - self.end
        epochs = math.floor((left + self.between) / (per_epoch * self.step + self.between))
        rest = left - epochs * (per_epoch * self.step + self.between)
        return max(1, epochs * per_epoch + max(0, math.floor(rest / self.step)))


class Clock:
    """Takes the time of every step, to make a Timing of."""

    def __init__(self) -> None:
        self.epochs: list[list[float]] = []

    def epoch(self) -> None:
        """An epoch begins."""
        self.epochs.append([])

    def step(self) -> None:
        """A step of training is done."""
        self.epochs[-1].append(elapsed())

    def timing(self) -> Timing:
        """Of two epochs or more, each of two steps or more, and all that followed until now."""
        steps = [b - a for epoch in self.epochs for a, b in itertools.pairwise(epoch)]
        if not steps:
            raise SystemExit("an epoch is one step: give a smaller --batch or more images")
        step = sum(steps) / len(steps)
        pauses = [after[0] - before[-1] - step for before, after in itertools.pairwise(self.epochs)]
        between = max(0.0, sum(pauses) / len(pauses))
        end = elapsed() - self.epochs[-1][-1]
        return Timing(max(0.0, self.epochs[0][0] - step), step, between, end)


_started = time.time()  # until the options tell better


def elapsed() -> float:
    """Seconds since the process was started, as `--started` says."""
    return time.time() - _started


def options(about: str | None, batch: int) -> argparse.Namespace:
    """The script's options. batch: its library's own."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="holds train/, validation/ and maybe test/")
    parser.add_argument("--minutes", type=float, default=1, help="for all that the process does")
    parser.add_argument("--measure", action="store_true", help="time the parts instead")
    parser.add_argument("--timing", type=Path, help="what --measure wrote")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="side of the images, pixels")
    parser.add_argument("--batch", type=int, default=batch, help="images in a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the loader")
    parser.add_argument("--started", type=float, help="when the process was, s of the epoch")
    args = parser.parse_args()
    if not args.measure and args.timing is None:
        parser.error("--timing FILE is missing; make it with --measure --out FILE")
    if args.started is not None:
        global _started
        _started = args.started
    return args


def reported_split(data: Path) -> str:
    """The split whose figures are reported: test where there is one, else validation."""
    return "test" if (data / "test").is_dir() else "validation"


def read_timing(args: argparse.Namespace) -> Timing:
    return Timing(**json.loads(args.timing.read_text(encoding="utf-8")))


def figures(probabilities: np.ndarray, labels: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Accuracy, its mean over the classes that there are, and cross-entropy in nats.

    probabilities: (N, classes), each row of sum 1. labels: (N,), whole numbers.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    right = probabilities.argmax(1) == labels
    of_label = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float(right.mean()),
        "mean_class_accuracy": float(np.mean([right[labels == c].mean() for c in set(labels)])),
        "loss": float(-np.log(np.clip(of_label, 1e-12, 1)).mean()),
        "images": len(labels),
    }


def write(args: argparse.Namespace, found: dict[str, object], epochs: float, library: str) -> None:
    """Write what a run found, how long it was and of which versions."""
    versions = {name: version(name) for name in (library, "torch", "torchvision")}
    record = {**found, "epochs": round(epochs, 3), "seconds": elapsed(), "versions": versions}
    _write_json(args.out, record)


def write_timing(args: argparse.Namespace, timing: Timing) -> None:
    _write_json(args.out, asdict(timing))


def _write_json(path: Path, record: dict[str, object]) -> None:
    text = json.dumps(record, indent=1) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def planned_steps(args: argparse.Namespace, per_epoch: int) -> tuple[int, int]:
    """(epochs, steps in all): as many as fit into the minutes; with --measure two short epochs."""
    if args.measure:
        return 2, 2 * min(STEPS, per_epoch)
    steps = read_timing(args).steps_within(60 * args.minutes, per_epoch)
    return math.ceil(steps / per_epoch), steps
