"""The record of a run: what metrics.json and results/summary.json say of it."""

from typing import Any

import torch

from convlens import formats
from convlens.data.tools.near_duplicates.leak import InTrain, near_duplicates_in_train
from convlens.inference.classifier import Classifier
from convlens.inference.metrics import Evaluation
from convlens.training.splits import Monitored
from convlens.training.trainer import Trainer

SUMMARY_FIELDS = (
    "recipe",
    "model",
    "seed",
    "epochs",
    "train_images",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_mean_class_accuracy",
    "validation_top5_accuracy",
    "validation_macro_precision",
    "validation_macro_f1",
    "validation_macro_roc_auc",
    "validation_images",
    "validation_standard_error",
    "validation_mean_class_standard_error",
    "validation_near_duplicates",
    "validation_accuracy_without_near_duplicates",
    "validation_mean_class_accuracy_without_near_duplicates",
    # None of a data set that has no test/.
    "test_loss",
    "test_accuracy",
    "test_mean_class_accuracy",
    "test_top5_accuracy",
    "test_macro_precision",
    "test_macro_f1",
    "test_macro_roc_auc",
    "test_images",
    "test_standard_error",
    "test_mean_class_standard_error",
    "calibration_error",
    "calibrated_error",
    "temperature",
    "seconds",
    "device",
    "precision",
    "torch",
    "commit",
    "command",
)
# What every finished run knows.
MEASURED = frozenset(name for name in SUMMARY_FIELDS if not name.startswith("test_"))

# Pairs of images compared for near-duplicates after training. The time grows with their number:
# Caltech-101 has 7 million. Of larger data sets `evaluate --without-near-duplicates` tells on
# demand.
MAX_PAIRS = 50_000_000


def find_near_duplicates(root: Any, splits: Monitored) -> InTrain:
    """Which monitored images have a near-duplicate in train. root: of the data set."""
    if len(splits.train) * len(splits.monitored) > MAX_PAIRS:
        return InTrain(None, "there are too many images to compare every two")
    return near_duplicates_in_train(root, splits.train, splits.monitored)


def record(
    trainer: Trainer,
    classifier: Classifier,
    evaluations: dict[str, Evaluation],
    near_duplicates: InTrain,
) -> dict[str, Any]:
    """What a run found: what it is, the figures of both splits, their uncertainty, the command.

    evaluations: of train and the monitored split, by name. near_duplicates: which of the
    monitored images have one among those trained on.
    """
    config, machine, world = trainer.config, trainer.machine, trainer.world
    trained_on, seen = len(trainer.splits.train), len(evaluations["train"].labels)
    found: dict[str, Any] = {
        "format": formats.FORMAT,
        "recipe": config.recipe.name,
        "model": config.recipe.model,
        "seed": config.seed,
        "epochs": config.recipe.epochs,
        "train_images": trained_on,
        **({"train_sample": seen} if seen < trained_on else {}),
    }
    for name, evaluation in evaluations.items():
        found[f"{name}_loss"] = evaluation.loss
        found[f"{name}_accuracy"] = evaluation.accuracy
        found[f"{name}_mean_class_accuracy"] = evaluation.mean_class_accuracy
    return {
        **found,
        **uncertainty(config.monitored, evaluations[config.monitored], near_duplicates),
        "device": f"{world.size} × {machine.name}" if world.size > 1 else machine.name,
        "precision": machine.precision,
        **({"weights_digest": config.weights_digest} if config.weights_digest else {}),
        "torch": torch.__version__,
        "commit": classifier.origin.commit,
        "command": config.command(),
    }


def uncertainty(split: str, evaluation: Evaluation, near_duplicates: InTrain) -> dict[str, Any]:
    """What else is known of a split: more measures of it (`Evaluation.measures`), and how far its
    figures can be trusted: their noise, the leak and the calibration.

    near_duplicates: as `record` has it.
    """
    others = near_duplicates.others
    rest = None if others is None else evaluation.take(others)
    return {
        **{f"{split}_{name}": value for name, value in evaluation.measures().items()},
        f"{split}_images": len(evaluation.labels),
        f"{split}_standard_error": evaluation.standard_error,
        f"{split}_mean_class_standard_error": evaluation.mean_class_standard_error,
        f"{split}_near_duplicates": near_duplicates.count,
        f"{split}_near_duplicates_unknown": near_duplicates.unknown,
        f"{split}_accuracy_without_near_duplicates": rest and rest.accuracy,
        f"{split}_mean_class_accuracy_without_near_duplicates": rest and rest.mean_class_accuracy,
        **evaluation.calibration(),
    }
