"""The labels of a data set, judged by networks that were trained on other images of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convlens.data import Dataset, Reading, Split
from convlens.errors import UserError
from convlens.files import on_disk
from convlens.inference.classifier import Classifier
from convlens.inference.label_audit import Judged, LabelAudit
from convlens.inference.label_errors import find
from convlens.training.config import RunConfig
from convlens.training.device import choose
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits


@dataclasses.dataclass(frozen=True)
class _Judge:
    """A network and the training images that it was trained on: bool, one for each of train/."""

    classifier: Classifier
    trained_on: np.ndarray


def audit_labels(
    run: Path | str,
    data: Path | str | None = None,
    *,
    reading: Reading | None = None,
    device: str = "auto",
) -> LabelAudit:
    """Have the network of a run, or those of its folds, judge the labels of a data set.

    Every image is judged by the networks that were not trained on it, by the mean of their
    probabilities. Of folds that is the network that held it out, and all of them for validation/
    and test/; of one run, validation/, test/ and what it held out of train/. The others of its
    training images it judges too, apart from these: it has learned their labels, wrong ones too.

    The weights are those of the last epoch, which no image's label has chosen.

    Args:
        run: A run folder; a folder of folds, as `train` with `folds` makes it; or a weights file.
        data: The data set; by default the run's own.
        reading: How to read it, beyond the run's own way.
        device: As a run is told it.

    Raises:
        UserError: where there is no network, folds are missing, or the data set has other classes
            or has changed since the training.
    """
    folders = _folders(Path(run))
    machine = choose(device, "fp32")
    classifiers = [folder.classifier("last") for folder in folders]
    dataset = folders[0].open_for(classifiers[0], data, reading)
    judges: list[_Judge] = []
    notes: list[str] = []
    for folder, classifier in zip(folders, classifiers, strict=True):
        classifier.check_classes(dataset, str(folder))
        trained_on, unknown = _trained_on(folder, dataset)
        judges.append(_Judge(classifier.to(machine.device), trained_on))
        notes += [note for note in unknown if note not in notes]
    asked = [
        (name, *_probabilities(judges, name, split))
        for name, split in dataset.splits.items()
        if len(split)
    ]
    return LabelAudit(
        dataset=dataset,
        classes=classifiers[0].class_names,
        judges=f"{_called(run, len(judges))} on {machine.name}",
        unseen=_judged(dataset, asked, in_sample=False),
        seen=_judged(dataset, asked, in_sample=True),
        notes=tuple(notes),
    )


def own_data(
    run: Path | str, data: Path | str | None = None, reading: Reading | None = None
) -> tuple[Path | str | None, Reading]:
    """The data set that `audit_labels` of the same arguments opens, and how it is read.

    The data set is None where a weights file alone does not know it. Errors are those of
    `audit_labels`.
    """
    reading = reading or Reading()
    folder = _folders(Path(run))[0]
    if not _holds_run(folder.path):
        return data, reading
    config = folder.read_config()
    return data or config.data, reading.over(config)


def _folders(run: Path) -> list[RunFolder]:
    """The run, or where it is a folder of folds all of them."""
    if not run.exists():
        raise UserError(f"{run} does not exist; give the folder of a run with `run`", option="run")
    if not run.is_dir() or _holds_run(run):
        return [RunFolder(run)]
    if not _holds_run(run / "fold-1"):
        raise UserError(
            f"{run} holds no run and no folds; give the folder of a run, of folds or a weights "
            "file with `run`",
            option="run",
        )
    first = RunFolder(run / "fold-1").read_config()
    folders = [RunFolder(run / f"fold-{i}") for i in range(1, first.folds + 1)]
    for number, folder in enumerate(folders, 1):
        if not folder.is_finished:
            raise UserError(
                f"{run} holds {len(folders)} folds, and number {number} is not finished; the "
                "command that began them goes on with it"
            )
        config = folder.read_config()
        other = dataclasses.replace(first, fold=number).differs_from(config)
        if other or config.digest != first.digest:
            raise UserError(
                f"{folder} was trained with other settings or on other files than {folders[0]}; "
                "train all folds anew into another folder"
            )
    return folders


def _called(run: Path | str, networks: int) -> str:
    return f"{run}" if networks == 1 else f"the {networks} networks of {run}"


def _holds_run(folder: Path) -> bool:
    return RunFolder(folder).was_configured


def _trained_on(folder: RunFolder, dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """Which images of train/ the network was trained on, (N,) bool, and what is not known of it."""
    everything = np.ones(len(dataset.train), bool)
    if not _holds_run(folder.path):
        return everything, [
            f"which images {folder} was trained on; those of train/ are taken for them"
        ]
    config = folder.read_config()
    if not dataset.is_known_by(config.digest):
        if config.data is not None and Path(on_disk(config.data)) == dataset.place:
            raise UserError(
                f"{dataset.place} has changed since {folder} was trained on it, so that nobody "
                "knows which images it has seen; train again, or give other images with `data`",
                option="data",
            )
        return ~everything, [
            f"whether {folder} has seen some of these images: it was trained on another data set"
        ]
    paths = set(monitored_splits(config, dataset).train.paths)
    seen = np.array([path in paths for path in dataset.train.paths], dtype=bool)
    return seen, _heard_of(config)


def _heard_of(config: RunConfig) -> list[str]:
    """What a network may have learned of images that it was not trained on."""
    if not (config.teachers or config.weights):
        return []
    what = "its teachers" if config.teachers else f"{config.weights}, which it began with,"
    return [f"whether {what} had learned the labels of images that count as out of sample"]


def _probabilities(
    judges: Sequence[_Judge], name: str, split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of a split's images, float32, (N, C), and which are in sample, (N,).

    The mean over the networks that have not been trained on the image, or over all where every one
    has.
    """
    is_train = name == "train"
    seen = np.stack(
        [judge.trained_on if is_train else np.zeros(len(split), bool) for judge in judges]
    )
    in_sample = np.logical_and.reduce(seen, axis=0)
    asked = ~seen | in_sample
    total = np.zeros((len(split), len(judges[0].classifier.class_names)), np.float32)
    for judge, mask in zip(judges, asked, strict=True):
        rows = np.flatnonzero(mask)
        if len(rows):
            network = judge.classifier
            total[rows] += network.probabilities(network.logits(split.take(rows).images))
    return total / asked.sum(axis=0)[:, None], in_sample


def _judged(
    dataset: Dataset, asked: Sequence[tuple[str, np.ndarray, np.ndarray]], *, in_sample: bool
) -> Judged:
    """The images that are in sample, or those that are not, and what is found among them."""
    parts = [
        (name, np.flatnonzero(seen == in_sample), probabilities)
        for name, probabilities, seen in asked
    ]
    probabilities = np.concatenate([p[rows] for _, rows, p in parts])
    labels = np.concatenate([dataset.split(name).labels[rows] for name, rows, _ in parts])
    return Judged(
        splits=np.concatenate([np.full(len(rows), name, dtype=object) for name, rows, _ in parts]),
        rows=np.concatenate([rows for _, rows, _ in parts]),
        probabilities=probabilities,
        errors=find(probabilities, labels),
    )
