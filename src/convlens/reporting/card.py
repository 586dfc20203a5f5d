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
from convlens.inference.measures import LABELS
from convlens.reporting.sentences import plural
from convlens.reporting.tables import MORE, mean

if TYPE_CHECKING:
    from convlens.inference.classifier import Classifier
    from convlens.training.config import RunConfig


# Of a split, as the card calls them.
FIGURES = {
    "accuracy": "accuracy",
    "mean_class_accuracy": LABELS["balanced_accuracy"],
    "accuracy_without_near_duplicates": "accuracy without near-duplicates",
    "mean_class_accuracy_without_near_duplicates": "the same, mean per class",
    **MORE,
    "loss": "cross-entropy, nats",
}


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
        f"{markdown_code(first['recipe'])} from {_beginning(config)}{_at(first)}. It takes "
        f"{_input(classifier)} and gives the probabilities of {len(classifier.class_names)} "
        "classes.",
        "",
        "## Data",
        "",
        f"{markdown_code(Path(config.data or '').name)}: {len(classifier.class_names)} classes. "
        f"Trained on {first['train_images']:,} images and measured on "
        f"{first[f'{split}_images']:,} others, {where}, {counts.min():,} to {counts.max():,} of a "
        f"class{_empty(first, split)}. {_leak(first, split)}{_test(first)}",
        "",
        "## Numbers",
        "",
        f"{_seeds(records)}. The standard errors and intervals are of a network's figure, for the "
        "draw of the images it is measured on"
        + (f"; ± is the standard error of the mean of the {n} seeds." if n > 1 else "."),
        "",
        *_numbers(records, split, where),
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
        f"{markdown_code(first['command'])}; {_how_long(first['seconds'])} on "
        f"{markdown(first['device'])}, {first['precision']}, torch {markdown(first['torch'])}.",
        "",
    ]
    return "\n".join(lines)


def _how_long(seconds: float) -> str:
    """In whole minutes; in seconds where it is not one."""
    number, unit = (seconds / 60, "minute") if seconds >= 60 else (seconds, "second")
    return plural(round(number), unit)


def _numbers(records: Sequence[dict[str, Any]], split: str, where: str) -> list[str]:
    """The table of figures: of the monitored split, and of test/ where there is one.

    Older records have fewer measures and no intervals; what is not known is left out. Of several
    networks there is no interval either: each has its own.
    """
    splits = {split: where}
    if all(record.get("test_accuracy") is not None for record in records):
        splits["test"] = "of `test/`"
    intervals = len(records) == 1 and f"{split}_accuracy_interval" in records[0]
    titles = ["figure"]
    for words in splits.values():
        titles += [words, "standard error", *["95 % interval"] * intervals]
    lines = [f"| {' | '.join(titles)} |", f"| :-- |{' --: |' * (len(titles) - 1)}"]
    for field, label in FIGURES.items():
        cells = []
        for name in splits:
            cells += _figure(records, f"{name}_{field}")[: 2 + intervals]
        if any(cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")
    rest, trained = " |" * (len(titles) - 2), mean(records, "train_accuracy", "{:.1%}")
    return [
        *lines,
        f"| expected calibration error | {mean(records, 'calibrated_error', '{:.1%}')} |{rest}",
        f"| accuracy on {_train_images(records)} | {trained} |{rest}",
    ]


def _train_images(records: Sequence[dict[str, Any]]) -> str:
    """On which training images a network was measured."""
    some = [record["train_sample"] for record in records if record.get("train_sample")]
    return f"{min(some):,} of the training images" if some else "the training images"


def _empty(record: dict[str, Any], split: str) -> str:
    """How many classes have no image to be measured on; older records do not say."""
    count = record.get(f"{split}_classes_without_images")
    return f" (classes without images, which no mean has in it: {count:,})" if count else ""


def _test(record: dict[str, Any]) -> str:
    """That there are images which nothing was chosen on."""
    count = record.get("test_images")
    if not count:
        return ""
    return f" {count:,} more, of `test/`, were measured at the end: nothing was chosen on them."


def _figure(records: Sequence[dict[str, Any]], field: str) -> tuple[str, str, str]:
    """A figure's mean, the standard error of one network's, its interval; "" for the unknown."""
    leak = field.endswith("near_duplicates")  # of which not to know something is worth a dash
    if not any(record.get(field) is not None or (leak and field in record) for record in records):
        return "", "", ""
    form = "{:.3f}" if field.endswith("_loss") else "{:.1%}"
    error = f"{field.removesuffix('accuracy')}standard_error"  # of others nobody knows one
    noise = [record[error] for record in records if record.get(error) is not None]
    same = field.replace("mean_class_accuracy", "balanced_accuracy")  # whose interval it is
    interval = records[0].get(f"{same}_interval")
    return (
        mean([{field: None, **record} for record in records], field, form),
        f"{statistics.mean(noise):.1%}" if noise else "",
        " to ".join(map(form.format, interval)) if interval else "",
    )


def _beginning(config: "RunConfig") -> str:
    """What training began with."""
    if config.weights is None:
        return "random weights"
    name, digest = markdown_code(Path(config.weights).name), config.weights_digest[:12]
    frozen = ", of whose layers only the classifier was trained" if config.recipe.freeze else ""
    return f"the weights {name} (SHA-256 {digest}…){frozen}"


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
