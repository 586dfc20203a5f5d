"""The end of a run: what its network is worth, and the pages that say so."""

import logging
from typing import Any

from convlens.data import Split
from convlens.data.augment import augment
from convlens.data.tools.near_duplicates.leak import InTrain
from convlens.errors import UserError
from convlens.files import replacing
from convlens.inference.calibration import fit_temperature
from convlens.inference.classifier import Classifier
from convlens.inference.metrics import Evaluation
from convlens.reporting.card import model_card
from convlens.reporting.run_pages import write_batch, write_curves, write_evaluation
from convlens.training.epochs import best_epoch
from convlens.training.record import find_near_duplicates, record, uncertainty
from convlens.training.run_folder import RunFolder
from convlens.training.splits import Monitored
from convlens.training.step import TrainState
from convlens.training.trainer import Trainer

logger = logging.getLogger(__name__)

WITHOUT = "holdout_accuracy_without_near_duplicates"


def finish(trainer: Trainer, state: TrainState, folder: RunFolder) -> None:
    """Measure the network that is to be used, and write the run's record and pages."""
    config = trainer.config
    classifier = trainer.classifier(state)
    found: dict[str, Any] = {}
    near_duplicates = _near_duplicates(trainer, folder, trainer.splits)
    if config.has_holdout:
        evaluations = _calibrated(trainer, classifier, folder, "last")
        last = evaluations[config.monitored]
        found = {
            "last_holdout_loss": last.loss,
            "last_holdout_accuracy": last.accuracy,
            "last_holdout_mean_class_accuracy": last.mean_class_accuracy,
            f"last_{WITHOUT}": uncertainty("holdout", last, near_duplicates)[WITHOUT],
            "best_epoch": best_epoch(state.history),
        }
        if found["best_epoch"] < len(state.history):
            classifier = folder.classifier("best").to(trainer.machine.device)
            evaluations = _calibrated(trainer, classifier, folder, "best")
        else:
            folder.first(classifier.save, folder.path / "best.safetensors")
    else:
        evaluations = trainer.evaluate(classifier)
    metrics = record(trainer, classifier, evaluations, near_duplicates)
    seconds = sum(row["seconds"] for row in state.history)
    found["epochs"] = len(state.history)  # fewer than the recipe's where a callback has stopped it
    metrics = {**metrics, **found, "seconds": round(seconds, 1)}
    for splits in trainer.judged[1:]:
        metrics |= _measure_test(trainer, classifier, splits, folder)
    evaluation = evaluations[config.monitored]
    folder.first(_write_pages, trainer, state, evaluation, folder)
    folder.first(write_card, folder, metrics)
    folder.write_metrics(metrics)


def _measure_test(
    trainer: Trainer, classifier: Classifier, splits: Monitored, folder: RunFolder
) -> dict[str, Any]:
    """The figures of the test images; their pages go into test/ in the run's folder."""
    seen = trainer.world.evaluate(classifier, splits.monitored)
    known = uncertainty("test", seen, _near_duplicates(trainer, folder, splits))
    folder.first(_write_test_pages, seen, splits.monitored, folder)
    return {
        "test_loss": seen.loss,
        "test_accuracy": seen.accuracy,
        "test_mean_class_accuracy": seen.mean_class_accuracy,
        **{name: value for name, value in known.items() if name.startswith("test_")},
    }


def _write_test_pages(seen: Evaluation, test: Split, folder: RunFolder) -> None:
    pages = folder.path / "test"
    pages.mkdir(exist_ok=True)
    write_evaluation(seen, test.images, pages)


def _near_duplicates(trainer: Trainer, folder: RunFolder, splits: Monitored) -> InTrain:
    """Which monitored images have one in train; a plan has looked for them already."""
    planned = trainer.near_duplicates.get(splits.name)
    return planned or folder.first(known_near_duplicates, trainer, splits)


def known_near_duplicates(trainer: Trainer, splits: Monitored) -> InTrain:
    """As `find_near_duplicates`; not known where the files are not there any more: what a run has
    decoded is enough to end it."""
    try:
        return find_near_duplicates(trainer.dataset.root, splits)
    except (UserError, OSError) as problem:
        logger.info("not known  which images have near-duplicates: %s", problem)
        return InTrain(None, "the images cannot be read any more")


def _calibrated(
    trainer: Trainer, classifier: Classifier, folder: RunFolder, name: str
) -> dict[str, Evaluation]:
    """What the network makes of both splits, at the temperature that its hold-out asks for, which
    its weights file is given too."""
    evaluations = trainer.evaluate(classifier)
    held_out = evaluations[trainer.config.monitored]
    classifier.temperature = fit_temperature(
        held_out.logits, held_out.labels, trainer.recipe.temperature
    )
    folder.first(classifier.save, folder.path / f"{name}.safetensors")
    return {split: seen.at(classifier.temperature) for split, seen in evaluations.items()}


def _write_pages(
    trainer: Trainer, state: TrainState, evaluation: Evaluation, folder: RunFolder
) -> None:
    """Everything in a run folder that is drawn or tabulated from the finished network."""
    folder.write_history(state.history)  # again, should the file have been damaged meanwhile
    write_curves(folder.read_history(), folder.path)
    write_evaluation(evaluation, trainer.splits.monitored.images, folder.path)
    normalize = trainer.normalize.to("cpu")
    first = next(trainer.batches.epoch(0))
    recipe = trainer.recipe
    images, targets = augment(first, recipe.augment, normalize, recipe.size_at(0))
    write_batch(images, targets, normalize, trainer.dataset.classes, folder.path)


def write_card(folder: RunFolder, metrics: dict[str, Any]) -> None:
    """Write MODEL_CARD.md, atomically; everything else but metrics.json is in the run folder."""
    card = model_card([metrics], folder.classifier(), folder.read_config(), folder.read_confusion())
    with replacing(folder.path / "MODEL_CARD.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
