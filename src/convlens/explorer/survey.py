"""What a network makes of a whole data set: read once in the background, and kept on disk.

One pass over each split answers everything: predictions, features and, of the training images, the
top-activating patches of every map of every stage.
"""

import contextlib
import copy
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import nn

import convlens
from convlens.data.batches import batches_of
from convlens.data.dataset import Dataset
from convlens.data.names import ADJECTIVES
from convlens.data.place import cache_home
from convlens.data.tools.near_duplicates.leak import known_in_train
from convlens.errors import UserError
from convlens.explorer.network import Network, look_inside
from convlens.files import make_folder, replacing
from convlens.look.arrays.top_patches import Strongest, TopPatches, boxes_of

BATCH = 16  # images: few, so that a question asked meanwhile does not wait long
HASHED = 256  # images at once, for the kept file's name
FORMAT = 1  # of the kept file
PATCHES = 9  # of each map
KEPT = 50  # files, of 20 MB or so each

logger = logging.getLogger(__name__)


class NotThere(UserError):
    """No answer lies at this path; the sentence says why."""


class NotYet(Exception):
    """An answer that needs a task of the survey which is still under way."""

    def __init__(self, task: "Task"):
        super().__init__(f"{task.name}: {task.done:,} of {task.total:,}")
        self.task = task


@dataclass
class Task:
    """name: for the progress bar. done, total: images; all are done once the answer is there."""

    name: str
    total: int
    done: int = 0

    def complete(self) -> None:
        self.done = self.total


@dataclass(frozen=True)
class Seen:
    """A split as the network sees it.

    logits: float32, (N, num_classes). features: float32, (N, F), what the last linear layer reads;
    None where there is none.
    """

    logits: np.ndarray
    features: np.ndarray | None


@dataclass
class Survey:
    """Of one network on one data set.

    The fields `validation`, `training` and `patches` (one for each stage) are None until they are
    known; the methods of the same meaning raise NotYet until then.
    """

    network: Network
    dataset: Dataset
    validation: Seen | None = None
    training: Seen | None = None
    patches: list[TopPatches] | None = None
    tasks: dict[str, Task] = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = {
            split: Task(f"{self.network.name}: {split} images", len(self.dataset.split(split)))
            for split in ("validation", "train")
        }

    def seen(self, split: str) -> Seen:
        """Of "validation" or "train". Raises NotThere of one without images."""
        self._check_filled(split)
        found = self.validation if split == "validation" else self.training
        if found is None:
            raise NotYet(self.tasks[split])
        return found

    def top_patches(self, stage: int) -> TopPatches:
        """The training patches that excite a stage's maps most. NotThere where nothing trains."""
        self._check_filled("train")
        if self.patches is None:
            raise NotYet(self.tasks["train"])
        return self.patches[stage]

    def _check_filled(self, split: str) -> None:
        if not self.tasks[split].total:
            raise NotThere(f"the data set has no {ADJECTIVES[split]} images")

    def labels(self, split: str) -> np.ndarray:
        """int64, (N,): the classes of "validation" or "train" by the network's own numbers.

        -1 where it was not trained on the class.
        """
        known = {name: i for i, name in enumerate(self.network.classifier.class_names)}
        numbers = np.array([known.get(name, -1) for name in self.dataset.classes])
        return numbers[self.dataset.split(split).labels]

    @cached_property
    def near(self) -> np.ndarray | None:
        """Which validation images have a near-duplicate in train, bool, (N,), where training or
        `data audit` has looked for them; else None."""
        dataset = self.dataset
        found = known_in_train(dataset.root, dataset.train, dataset.validation)
        return None if found is None else found.images

    @property
    def done(self) -> bool:
        """Whether everything is known."""
        return self.validation is not None and self.patches is not None

    def read_validation(self, model: nn.Module, between: Callable[[], None]) -> None:
        """model: a copy of the network that no other thread asks. between: called after a batch."""
        self.validation, _ = self._read("validation", model, between, [])
        self.tasks["validation"].complete()

    def read_training(self, model: nn.Module, between: Callable[[], None]) -> None:
        """As `read_validation`."""
        network = self.network
        self.training, strongest = self._read("train", model, between, network.layers)
        stages = network.stages if self.tasks["train"].total else ()
        self.patches = [
            found.patches(stage.name, stage.field, network.size)
            for found, stage in zip(strongest, stages, strict=False)
        ]
        self.tasks["train"].complete()

    def _read(
        self, split: str, model: nn.Module, between: Callable[[], None], layers: list[str]
    ) -> tuple[Seen, list[Strongest]]:
        task, read = self.tasks[split], 0
        task.done = 0
        strongest = [Strongest(PATCHES) for _ in layers]
        logits, features = [], []
        normalize = self.network.classifier.normalize
        for images in batches_of(self.dataset.split(split).images, BATCH):
            seen = look_inside(model, normalize(images), layers)
            for found, maps in zip(strongest, seen.maps, strict=True):
                found.add(maps)
            logits.append(seen.logits)
            if seen.features is not None:
                features.append(seen.features)
            read += len(images)
            if read < task.total:  # the last batch counts once what was found can be asked for
                task.done = read
            between()
        known = np.concatenate(features) if features else None
        nothing = np.zeros((0, len(self.network.classifier.class_names)), np.float32)
        return Seen(np.concatenate([nothing, *logits]), known), strongest

    def file(self, between: Callable[[], None] = lambda: None) -> Path:
        """Where it is kept: named by everything that it depends on. between: called now and then.

        The temperature is not part of that, because logits are kept and not probabilities.
        """
        digest = hashlib.sha256()
        normalize = self.network.classifier.normalize
        about = [
            FORMAT,
            convlens.__version__,
            self.network.layers,
            normalize.mean.tolist(),
            normalize.std.tolist(),
            self.network.size,
        ]
        digest.update(json.dumps(about).encode())
        for tensor in self.network.model.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().data)
        for split in (self.dataset.train, self.dataset.validation):
            for images in batches_of(split.images, HASHED):
                digest.update(
                    images.permute(0, 2, 3, 1).numpy().data
                )  # the bytes as they lie there
                between()
        return cache_home() / "explorer" / f"{digest.hexdigest()[:32]}.npz"

    def load(self, path: Path) -> bool:
        """Take everything from the file `path`; False where there is none or it is damaged."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
                arrays = dict(kept)
            patches = []
            for number, stage in enumerate(self.network.stages):
                values, rows, positions = (
                    arrays[f"{what}-{number}"] for what in ("values", "rows", "positions")
                )
                boxes = boxes_of(positions, stage.field, self.network.size)
                patches.append(TopPatches(stage.name, values, rows, positions, boxes))
            validation, training = (
                Seen(arrays[f"{split}-logits"], arrays.get(f"{split}-features"))
                for split in ("validation", "train")
            )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return False
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        self.patches, self.validation, self.training = patches, validation, training
        for task in self.tasks.values():
            task.complete()
        return True

    def save(self, path: Path) -> None:
        """Write everything to the file `path`, and remove those that were not used for longest."""
        arrays: dict[str, np.ndarray] = {}
        for split in ("validation", "train"):
            seen = self.seen(split)
            arrays[f"{split}-logits"] = seen.logits
            if seen.features is not None:
                arrays[f"{split}-features"] = seen.features
        for number in range(len(self.network.stages)):
            found = self.top_patches(number)
            for what in ("values", "rows", "positions"):
                arrays[f"{what}-{number}"] = getattr(found, what)
        make_folder(path.parent)
        with replacing(path) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
        for old in sorted(path.parent.glob("*.npz"), key=_age)[KEPT:]:
            old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """How long a file was not used, in some unit."""
    try:
        return -path.stat().st_mtime
    except OSError:  # another program has removed it
        return float("inf")


class Stopped(Exception):
    """The program ends; the survey is given up."""


class Surveyor:
    """The thread that makes the surveys, what the page needs first before all else.

    failure: the sentence to tell where it ended before its end.
    """

    def __init__(self, surveys: list[Survey], give_way: Callable[[], None] = lambda: None):
        self.surveys = surveys
        self.give_way = give_way
        self.failure: str | None = None
        self._models: list[nn.Module] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="survey", daemon=True)

    def start(self) -> None:
        self._models = self._copies()  # now, for later other threads ask the networks
        self._thread.start()

    def stop(self) -> None:
        """End it within a batch."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until it is to end."""
        self._stop.wait(seconds)

    def run(self) -> None:
        """Make all surveys here and now."""
        models, self._models = self._models or self._copies(), []
        files = [survey.file(self._between) for survey in self.surveys]
        missing = [
            each
            for each in zip(self.surveys, files, models, strict=True)
            if not each[0].load(each[1])
        ]
        for survey, _, model in missing:
            survey.read_validation(model, self._between)
        for survey, file, model in missing:
            survey.read_training(model, self._between)
            if not all(task.total for task in survey.tasks.values()):
                continue  # half of it is read anew in a moment
            try:
                survey.save(file)
            except OSError as problem:  # the next start will take as long as this one, no more
                logger.warning("not kept   %s: %s", file, problem.strerror or problem)

    def _copies(self) -> list[nn.Module]:
        return [copy.deepcopy(survey.network.model) for survey in self.surveys]

    def _work(self) -> None:
        try:
            self.run()
        except Stopped:
            pass
        except Exception as problem:
            self.failure = f"the data set could not be read through ({problem})"
            raise

    def _between(self) -> None:
        self.give_way()
        if self._stop.is_set():
            raise Stopped
