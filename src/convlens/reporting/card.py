"""The model card: what a trained network is, how good, what it confuses and is not for.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Every number in it was measured.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.escape import markdown, markdown_code
from convlens.inference.confusion import most_confused, row_shares
from convlens.reporting.tables import mean

if TYPE_CHECKING:
    from convlens.inference.classifier import Classifier
    from convlens.training.config import RunConfig


def model_card(
    records: Sequence[dict[str, Any]],
    classifier: "Classifier",
    config: "RunConfig",
    confusion: np.ndarray,
) -> str:
    """The card as Markdown.

    Args:
        records: The metrics of one recipe's runs, one a seed.
        classifier: Of the first of them.
        config: Of the first of them; its data set is named.
        confusion: Of the first of them, int, shape (C, C), rows true.
    """
    first, n = records[0], len(records)
    split = "holdout" if "holdout_accuracy" in first else "validation"
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    counts = confusion.sum(axis=1)
    where = "held out of `train/`" if split == "holdout" else "of the validation split"
    lines = [
        f"# Model card: {markdown(first['recipe'])}",
        "",
        f"{markdown(first['model'])} with {parameters:,} parameters, trained by ConvLens's recipe "
        f"{markdown_code(first['recipe'])} from random weights{_at(first)}. It takes "
        f"{_input(classifier)} and gives the probabilities of {len(classifier.class_names)} "
        "classes.",
        "",
        "## Data",
        "",
        f"{markdown_code(Path(config.data or '').name)}: {len(classifier.class_names)} classes. "
        f"Trained on {first['train_images']:,} images and measured on "
        f"{first[f'{split}_images']:,} others, {where}, {counts.min():,} to {counts.max():,} of a "
        f"class. {_leak(first, split)}",
        "",
        "## Numbers",
        "",
        f"{_seeds(records)}. The standard errors are of a network's figure, for the draw of the "
        "images it is measured on"
        + (f"; ± is the standard error of the mean of the {n} seeds." if n > 1 else "."),
        "",
        f"| {where} | {'mean' if n > 1 else 'value'} | standard error |",
        "| :-- | --: | --: |",
    ]
    for label, field, error in (
        ("accuracy", "accuracy", "standard_error"),
        ("accuracy, mean per class", "mean_class_accuracy", "mean_class_standard_error"),
        ("accuracy without near-duplicates", "accuracy_without_near_duplicates", None),
        ("the same, mean per class", "mean_class_accuracy_without_near_duplicates", None),
    ):
        noise = f"{statistics.mean(r[f'{split}_{error}'] for r in records):.1%}" if error else ""
        lines.append(f"| {label} | {mean(records, f'{split}_{field}', '{:.1%}')} | {noise} |")
    lines += [
        f"| cross-entropy, nats | {mean(records, f'{split}_loss', '{:.3f}')} | |",
        f"| expected calibration error | {mean(records, 'calibrated_error', '{:.1%}')} | |",
        f"| accuracy on the training images | {mean(records, 'train_accuracy', '{:.1%}')} | |",
        "",
        "## What it confuses",
        "",
        *_confusions(confusion, classifier.class_names),
        "",
        "## What it must not be used for",
        "",
        *_limits(first, split, confusion, classifier),
        "",
        "## Reproduce",
        "",
        f"{markdown_code(first['command'])}; {first['seconds'] / 60:.0f} minutes on "
        f"{markdown(first['device'])}, {first['precision']}, torch {markdown(first['torch'])}.",
        "",
    ]
    return "\n".join(lines)


def _input(classifier: "Classifier") -> str:
    size, loaded = classifier.size, classifier.loaded_size
    if size == loaded:
        return f"an RGB image of {size}×{size} pixels, to which others are scaled,"
    return f"the middle {size}×{size} pixels of an RGB image scaled to {loaded}×{loaded}"


def _leak(record: dict[str, Any], split: str) -> str:
    near_duplicates = record[f"{split}_near_duplicates"]
    unknown = record.get(f"{split}_near_duplicates_unknown")  # not in older records
    if near_duplicates is None:
        why = f": {unknown}" if unknown else ""
        return (
            f"How many of those have a near-duplicate among the training images is not known{why}."
        )
    return f"{near_duplicates:,} of those have a near-duplicate among the training images" + (
        f" for certain; {unknown}." if unknown else "."
    )


def _at(record: dict[str, Any]) -> str:
    return f" (commit {record['commit']})" if record["commit"] else ""


def _seeds(records: Sequence[dict[str, Any]]) -> str:
    seeds = ", ".join(str(record["seed"]) for record in records)
    return f"One run, seed {seeds}" if len(records) == 1 else f"{len(records)} runs, seeds {seeds}"


def _confusions(confusion: np.ndarray, classes: Sequence[str]) -> list[str]:
    pairs = most_confused(confusion, 5)
    if not pairs:
        return ["Nothing: it made no mistake on the images it was measured on."]
    return [
        f"- {count} of {confusion[true].sum()} {markdown_code(classes[true])} were taken for "
        f"{markdown_code(classes[predicted])}."
        for true, predicted, count, _ in pairs
    ]


def _limits(
    record: dict[str, Any], split: str, confusion: np.ndarray, classifier: "Classifier"
) -> list[str]:
    accuracy = np.diagonal(row_shares(confusion))
    weak = [c for c in np.argsort(accuracy, kind="stable") if accuracy[c] < 0.5]
    names = ", ".join(
        f"{markdown_code(classifier.class_names[c])} {accuracy[c]:.0%}" for c in weak[:10]
    )
    more = f" and {len(weak) - 10} more" if len(weak) > 10 else ""
    sure = "" if classifier.temperature != 1 else ", and no temperature was fitted"
    lines = [
        f"- Images that show none of its {len(classifier.class_names)} classes: it names one all "
        "the same.",
        "- Other sources of images: it was measured on this data set alone, whose images are "
        "alike in how they were taken.",
        f"- Decisions that harm when they are wrong: {1 - record[f'{split}_accuracy']:.0%} of its "
        "answers are, and its probabilities are off by "
        f"{100 * record['calibrated_error']:.1f} points on average{sure}.",
        "- Telling people apart, or anything about a person.",
    ]
    if weak:
        lines.append(f"- Classes that it recognizes less than half the time: {names}{more}.")
    return lines
