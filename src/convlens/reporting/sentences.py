"""What the report says of its numbers: every sentence is chosen by what it claims.

A record is one of results/summary.json. ± is one thing throughout: the standard error that an
accuracy has because it was measured on so many validation images and not on others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from convlens.escape import markdown_code
from convlens.figures.training import TIERS

Record = Mapping[str, Any]

NBSP = "\N{NO-BREAK SPACE}"


class Answers(Protocol):
    """What an `inference.metrics.Evaluation` tells of a network's answers."""

    @property
    def probabilities(self) -> np.ndarray:
        """float, (images, classes)."""
        ...

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        ...


# Numbers in words


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in per cent; a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}{NBSP}%"


def plural(count: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def listed(words: Iterable[str]) -> str:
    """Names in a sentence: `a`, `b` and `c`."""
    words = [markdown_code(word) for word in words]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def table(header: Sequence[object], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """A Markdown table; align: a character a column, "r" for numbers."""
    align = align.ljust(len(header), "l")[: len(header)]
    rules = ["---:" if side == "r" else ":---" for side in align]
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, rules, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


# What it is about


def of_the_demo(dataset: str) -> str:
    """That a report is about the demo set, the name of which is "demo"; "" for other ones."""
    if dataset != "demo":
        return ""
    return (
        "**This is the demo.** No data set was given, so everything here is about an embedded one: "
        "letters, digits and signs that ConvLens has drawn on cluttered grounds. Its numbers show "
        "that the whole job runs, and say nothing of photographs. Name a folder of images in the "
        "environment variable `CONVLENS_DATA` and make the report again."
    )


# An accuracy and how far it can be trusted


def image_error(share: float, images: int) -> float:
    """Standard error of an accuracy measured on so many images: √(p·(1−p)/n)."""
    return math.sqrt(share * (1 - share) / images)


def recognized(whole: int, missed: int, classes: int) -> str:
    """How many of so many classes are recognized without a mistake, and how many not once."""

    def some(count: int) -> str:
        if count == 0:
            return "no class is"
        if count == classes:
            return f"all {classes} classes are"
        return f"{count} of {classes} classes {'is' if count == 1 else 'are'}"

    first = some(whole)
    return (
        f"{first[0].upper()}{first[1:]} recognized without a mistake, and {some(missed)} "
        "missed every time."
    )


def with_error(share: float, images: int) -> str:
    """ "62.8 ± 1.6 %"."""
    return f"{100 * share:.1f}{NBSP}±{NBSP}{100 * image_error(share, images):.1f}{NBSP}%"


def distance(first: Record, second: Record, images: int) -> tuple[float, float]:
    """Points by which the second is better in validation, and how many standard errors that is."""
    a, b = first["validation_accuracy"], second["validation_accuracy"]
    spread = math.hypot(image_error(a, images), image_error(b, images))
    return 100 * (b - a), abs(b - a) / spread if spread else math.inf


def difference(first: Record, second: Record, images: int) -> str:
    """By how much the second is better, and whether that is more than chance."""
    points, ratio = distance(first, second, images)
    verdict = "more than chance" if ratio >= 2 else "too little to tell from chance"
    told = f"{points:+z.1f} points ({ratio:.1f} standard errors of the difference: {verdict})"
    return told.replace("-", "−")


def points_of(record: Record) -> int:
    """The assignment's points for a validation accuracy."""
    reached = [points for tier, points in TIERS.items() if record["validation_accuracy"] >= tier]
    return max(reached, default=0)


def tier(record: Record) -> str:
    """The highest tier of the assignment's table that a result reaches."""
    reached = [share for share in TIERS if record["validation_accuracy"] >= share]
    if not reached:
        return "none"
    return f"{percent(max(reached), 0)}{NBSP}({TIERS[max(reached)]}{NBSP}points)"


def above_the_tiers(record: Record, images: int) -> str:
    """By how much a result beats the highest tier; "" for one that does not."""
    beyond = record["validation_accuracy"] - max(TIERS)
    if beyond < 0:
        return ""
    spread = image_error(record["validation_accuracy"], images)
    errors = f", {beyond / spread:.1f} standard errors" if spread else ""  # none where all is right
    return f"It stands {100 * beyond:.1f} points above the highest tier{errors}."


# A run's curves


def after_lowest(
    record: Record, curves: Mapping[str, np.ndarray], answers: Answers | None, images: int
) -> str:
    """What became of the validation loss after its lowest point, and of the accuracy meanwhile.

    Args:
        record: The run's.
        curves: `validation_loss` and `validation_accuracy` of each epoch.
        answers: The network's on the validation images, its logits as they are; None where
            there are no weights.
        images: How many those are.
    """
    losses, accuracies = curves["validation_loss"], curves["validation_accuracy"]
    lowest = int(np.argmin(losses))
    if lowest == len(losses) - 1:
        return "The validation loss was still at its lowest in the last epoch."
    start, end = percent(accuracies[lowest]), percent(accuracies[-1])
    meanwhile = f"stayed at {end}" if start == end else f"went from {start} to {end}"
    if losses[-1] - losses[lowest] < 0.05 * losses[lowest]:
        return (
            f"The validation loss was lowest after epoch {lowest + 1} and ended within 5 % of "
            f"that, while the validation accuracy {meanwhile}."
        )
    held = bool(accuracies[-1] >= accuracies[lowest])
    return (
        f"The validation loss was lowest after epoch {lowest + 1} ({losses[lowest]:.3f} nats) and "
        f"rose to {losses[-1]:.3f} by the end, while the validation accuracy {meanwhile}. "
        + how_sure(record, answers, held, images)
    )


def how_sure(record: Record, answers: Answers | None, accuracy_held: bool, images: int) -> str:
    """Whether a risen loss is over-fitting, by what the network's confidence is worth."""
    if answers is None:
        return ""
    confidence, right = float(answers.probabilities.max(axis=1).mean()), answers.accuracy
    numbers = (
        f"its mean confidence on these images is {percent(confidence)}, "
        f"its accuracy {percent(right)}"
    )
    chance = 2 * image_error(right, images)
    if confidence <= right + chance:
        return f"That is no over-confidence: {numbers}."
    told = f"The network is surer than it is right: {numbers}."
    if record["train_accuracy"] - record["validation_accuracy"] <= chance:
        return told
    unseen = " that accuracy alone does not show" if accuracy_held else ""
    return f"{told} That is over-fitting{unseen}."


def gap_between_splits(first: Record, second: Record) -> str:
    """How the distance between the splits changed from one recipe to the next, on which side."""
    fitted = [record["train_accuracy"] for record in (first, second)]
    was, now = (
        100 * (record["train_accuracy"] - record["validation_accuracy"])
        for record in (first, second)
    )
    if min(fitted) < 0.5:
        return (
            "As long as training is this far from its end, the gap between the splits says little."
        )
    if abs(now - was) <= 1:
        return f"The gap between training and validation accuracy stays at about {now:z.0f} points."
    change = 100 * (fitted[1] - fitted[0])
    if now < was:
        reason = (
            "less is learned by heart, which is what regularization and augmentation are for"
            if change < -1
            else "the training images are fitted no less closely, and what is learned carries over "
            "to more of the others"
        )
        way = "shrinks"
    else:
        reason = (
            "the training images are fitted more closely, and the others gain less"
            if change > 1
            else "the training images are fitted no more closely, and fewer of the others are right"
        )
        way = "grows"
    return (
        f"The gap between training and validation accuracy {way} from {was:z.1f} to {now:z.1f} "
        f"points: {reason}."
    )


# What a network is given, and what averaging adds


def what_is_shown(recipe: str, crop_pct: float, size: int) -> str:
    """How the images of question 2 differ from what the network is given when it answers."""
    shown = f"Both images are shown to it whole, at {size}×{size} pixels, as they are given."
    if crop_pct >= 1:
        return f"{shown} That is also how {markdown_code(recipe)} sees them when it answers."
    return (
        f"{shown} When {markdown_code(recipe)} answers, it is given the middle "
        f"{percent(crop_pct, 0)} of a side ({percent(crop_pct**2, 0)} of the area), magnified to "
        "the same size, because it was trained on crops, which magnify; its accuracies and the "
        "answers quoted here are measured so."
    )


def by_temperature(recipe: str, temperature: float, losses: tuple[float, float, float]) -> str:
    """How much of what averaging seems to gain in loss the temperature alone gains.

    Args:
        recipe: Of the networks.
        temperature: What their logits are divided by.
        losses: Of a network at temperature 1, of the same at its temperature, and of the average.
    """
    raw, tempered, averaged = losses
    if temperature == 1 or raw <= averaged:
        return ""
    share = (raw - tempered) / (raw - averaged)
    if share <= 0:
        return ""
    start = f"The loss of {markdown_code(recipe)} falls from {raw:.3f} to {averaged:.3f} nats"
    alone = f"a single network whose logits are divided by {temperature:g} has {tempered:.3f}"
    if share >= 1:
        return f"{start}; the temperature alone does that and more: {alone}."
    part = "most of that is the temperature" if share > 0.5 else "a part of that is the temperature"
    return f"{start}; {part}: {alone}. Averaging adds the rest."
