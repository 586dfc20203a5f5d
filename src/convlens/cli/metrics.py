"""The lines that tell what a network scores, after `train` and by `evaluate`."""

from collections.abc import Mapping
from typing import Any

from convlens.logs import say

MEASURES = ("loss", "accuracy", "mean_class_accuracy")


def print_split(name: str, metrics: Mapping[str, Any]) -> None:
    """One line: the split's loss, in nats, and its accuracies; another where more is known."""
    loss, accuracy, mean_class_accuracy = (metrics[f"{name}_{what}"] for what in MEASURES)
    some, images = metrics.get(f"{name}_sample"), metrics.get(f"{name}_images")
    say(
        f"{name:<10} loss {loss:.4f}  accuracy {accuracy:.2%}  "
        f"mean per class {mean_class_accuracy:.2%}"
        + (f", on {some:,} of the {images:,} images" if some else "")
    )
    if more := _measures(name, metrics):
        say(f"{'':<10} {more}")


def _measures(split: str, metrics: Mapping[str, Any]) -> str:
    """What older records do not have, and of few classes is None, is left out."""
    known = {
        label: metrics[f"{split}_{name}"]
        for name, label in (
            ("top5_accuracy", "top-5"),
            ("macro_precision", "macro precision"),
            ("macro_f1", "F1"),
            ("macro_roc_auc", "ROC-AUC"),
        )
        if metrics.get(f"{split}_{name}") is not None
    }
    line = "  ".join(f"{label} {value:.1%}" for label, value in known.items())
    if interval := metrics.get(f"{split}_accuracy_interval"):
        line += f"; accuracy within {interval[0]:.1%} to {interval[1]:.1%} (95% interval)"
    return line.removeprefix("; ")


def print_run(metrics: Mapping[str, Any]) -> None:
    """What metrics.json of a finished run says, a line a split and one of the calibration."""
    splits = [name.removesuffix("_loss") for name in metrics if name.endswith("_loss")]
    for split in splits:
        if split.startswith("last_"):  # told below the best epoch's
            continue
        print_split(split, metrics)
        if f"{split}_standard_error" in metrics:
            say(f"{'':<10} {_uncertainty(split, metrics)}")
        unknown = metrics.get(f"{split}_near_duplicates_unknown")  # not in older records
        if unknown:
            say(f"{'':<10} not known which images are also in training: {unknown}")
        if f"last_{split}_accuracy" in metrics and metrics["best_epoch"] < metrics["epochs"]:
            say(
                f"{'':<10} of epoch {metrics['best_epoch']}, the best of {metrics['epochs']}; "
                f"after the last, accuracy {metrics[f'last_{split}_accuracy']:.2%}"
            )
    print_calibration(metrics)


def _uncertainty(split: str, metrics: Mapping[str, Any]) -> str:
    """How far a split's figures can be trusted."""
    line = (
        f"± {100 * metrics[f'{split}_standard_error']:.1f} and "
        f"{100 * metrics[f'{split}_mean_class_standard_error']:.1f} points (standard errors)"
    )
    count = metrics.get(f"{split}_near_duplicates")
    if count:
        line += f"; {count:,} of {metrics[f'{split}_images']:,} images also in training"
    rest = metrics.get(f"{split}_accuracy_without_near_duplicates")
    if count and rest is not None:
        line += f", without them accuracy {rest:.2%}"
    return line


def print_calibration(metrics: Mapping[str, Any]) -> None:
    """One line: how far the probabilities are off, as they are and at their temperature."""
    line = f"calibration error {metrics['calibration_error']:.1%}"
    if metrics["temperature"] != 1:
        line += f", {metrics['calibrated_error']:.1%} at temperature {metrics['temperature']:.2f}"
    say(line)


def print_folds(result: Mapping[str, Any]) -> None:
    """Each fold's accuracy, then the means with their standard errors."""
    for fold, record in enumerate(result["records"], 1):
        say(
            f"fold {fold:<5} accuracy {record['last_holdout_accuracy']:.2%}  mean per class "
            f"{record['last_holdout_mean_class_accuracy']:.2%}"
        )
    for label, name in (
        ("accuracy", "holdout_accuracy"),
        ("mean per class", "holdout_mean_class_accuracy"),
    ):
        error = 100 * result[f"{name}_standard_error"]
        say(f"{label} {result[name]:.2%} ± {error:.2f} points")
