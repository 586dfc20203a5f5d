"""One evaluator for every split: cross-entropy and accuracy as exact sums, divided once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from convlens.data.batches import one_hot
from convlens.html import table
from convlens.inference.calibration import Reliability, TemperatureScaling, reliability
from convlens.inference.confusion import most_confused
from convlens.inference.measures import (
    LABELS,
    Macro,
    RocAuc,
    bootstrap,
    macro,
    percentiles,
    ranks_of_truth,
    roc_auc,
    shares,
    wilson,
)


@dataclass(frozen=True)
class Evaluation:
    """What a network makes of a split.

    logits: float32, shape (N, C). losses: float64, shape (N,), cross-entropy of each image in nats,
    of the logits as they are. labels: int64, shape (N,). confusion: int64, shape (C, C), rows true,
    columns predicted. class_names: C. temperature: of every probability.

    Figures of a class are NaN where it has none: of a class without images all but the precision.
    No mean over the classes has a class without images in it.
    """

    logits: np.ndarray
    losses: np.ndarray
    labels: np.ndarray
    confusion: np.ndarray
    class_names: tuple[str, ...]
    temperature: float = 1.0

    @property
    def loss(self) -> float:
        """Mean cross-entropy against one-hot labels, nats."""
        return float(self.losses.sum() / len(self.losses))

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is theirs, 0..1."""
        return float(self.confusion.trace() / self.confusion.sum())

    @property
    def class_accuracy(self) -> np.ndarray:
        """float64, shape (C,); NaN for a class without images."""
        return shares(self.confusion.diagonal(), self.confusion.sum(axis=1))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have images, 0..1.

        Others call it balanced accuracy, or macro recall.
        """
        return float(np.nanmean(self.class_accuracy))

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the class accuracies, under its other name."""
        return self.mean_class_accuracy

    @property
    def recall(self) -> np.ndarray:
        """Share of a class's images that are taken for it, 0..1: the class accuracy under its other
        name. float64, shape (C,); NaN for a class without images."""
        return self.class_accuracy

    @property
    def precision(self) -> np.ndarray:
        """Share of the images taken for a class that are of it, 0..1.

        float64, shape (C,); NaN for a class that nothing was taken for.
        """
        return shares(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, 0..1: 2·right/(images + taken for it).

        float64, shape (C,); NaN for a class without images, 0 for one that nothing was taken for.
        """
        images, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        f1 = shares(2 * self.confusion.diagonal(), images + predicted)
        return np.where(images > 0, f1, np.nan)

    @property
    def roc_auc(self) -> np.ndarray:
        """Area under the ROC curve of each class against the rest, 0..1, of the probabilities.

        float64, shape (C,); NaN for a class without images and for one that has all of them.
        """
        return self._roc_auc.by_class

    @property
    def macro_precision(self) -> float:
        """Mean over the classes that have images, 0..1; one that is never predicted counts as 0."""
        return float(self._macro.precision)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that have images, 0..1."""
        return float(self._macro.f1)

    @property
    def macro_roc_auc(self) -> float:
        """Mean over the classes that have one, 0..1; NaN where none has."""
        return self._roc_auc.macro

    def top_k_accuracy(self, k: int = 5) -> float:
        """Share of images whose class is among the k most probable, 0..1.

        Of equally probable classes the first counts as the more probable. With as many classes as k
        or fewer it is 1. Raises ValueError for k below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; the least is 1")
        return float((ranks_of_truth(self.logits, self.labels) < k).mean())

    @cached_property
    def _roc_auc(self) -> RocAuc:
        return roc_auc(self.logits, self.labels, self.temperature)

    @cached_property
    def _macro(self) -> Macro:
        diagonal, images = self.confusion.diagonal(), self.confusion.sum(axis=1)
        return macro(diagonal, self.confusion.sum(axis=0), images)

    @property
    def recall_interval(self) -> np.ndarray:
        """Wilson's 95 % interval of each class's recall: float64, shape (C, 2)."""
        return wilson(self.confusion.diagonal(), self.confusion.sum(axis=1))

    @property
    def precision_interval(self) -> np.ndarray:
        """Wilson's 95 % interval of each class's precision: float64, shape (C, 2)."""
        return wilson(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def f1_interval(self) -> np.ndarray:
        """The 95 % interval of each class's F1: float64, shape (C, 2).

        Wilson's of right/(images + taken for it - right), a share of which F1 is a function: with
        that share j it is 2·j/(1 + j).
        """
        right, images = self.confusion.diagonal(), self.confusion.sum(axis=1)
        either = images + self.confusion.sum(axis=0) - right
        overlap = wilson(right, either)
        return np.where((images > 0)[:, None], 2 * overlap / (1 + overlap), np.nan)

    def measures(self) -> dict[str, Any]:
        """What metrics.json says of the split beside loss and accuracy; None for what is NaN.

        Each measure of `LABELS` and the accuracy have a 95 % interval, `[low, high]`: of shares of
        all images Wilson's; of the means over the classes the bootstrap's percentiles, of their
        ROC-AUC DeLong's. They are for the draw of the images, not for that of the training. The
        top-5 accuracy is None for five classes or fewer, of which it says nothing.
        """
        count, drawn = len(self.labels), bootstrap(self.confusion)
        values: dict[str, tuple[float, Sequence[float]]] = {
            "accuracy": (self.accuracy, wilson(self.confusion.trace(), count).tolist()),
            "top5_accuracy": (np.nan, (np.nan, np.nan)),
            "balanced_accuracy": (self.balanced_accuracy, percentiles(drawn.recall)),
            "macro_precision": (self.macro_precision, percentiles(drawn.precision)),
            "macro_f1": (self.macro_f1, percentiles(drawn.f1)),
            "macro_roc_auc": (self.macro_roc_auc, self._roc_auc.interval),
        }
        if self.logits.shape[1] > 5:
            top5 = self.top_k_accuracy(5)
            values["top5_accuracy"] = top5, wilson(round(top5 * count), count).tolist()
        found: dict[str, Any] = {}
        for name, (value, interval) in values.items():
            found[name] = None if np.isnan(value) else value
            found[f"{name}_interval"] = None if np.isnan(interval).any() else list(interval)
        without = int((self.confusion.sum(axis=1) == 0).sum())
        return {**found, "classes_without_images": without}

    @property
    def standard_error(self) -> float:
        """Of the accuracy, 0..1: √(p·(1 - p)/N), as of N images drawn at random.

        The accuracies of two random halves of the images differ by twice this (one standard
        deviation), so differences between networks that are smaller mean little.
        """
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.labels)))

    @property
    def mean_class_standard_error(self) -> float:
        """Of the mean of the class accuracies, 0..1: each class's images drawn at random.

        √(Σ p·(1 - p)/(n - 1))/C over the C classes that have images, n in a class; a class of one
        image, whose spread is unknown, counts with that of all images.
        """
        count = self.confusion.sum(axis=1)
        p, n = self.class_accuracy[count > 0], count[count > 0]
        overall = self.accuracy * (1 - self.accuracy)
        variance = np.where(n > 1, p * (1 - p) / np.maximum(n - 1, 1), overall)
        return float(np.sqrt(variance.sum()) / len(n))

    def take(self, rows: np.ndarray) -> "Evaluation":
        """What the network makes of some of the images; rows: indices or a mask, (N,)."""
        return score(self.logits[rows], self.labels[rows], self.class_names, self.temperature)

    def at(self, temperature: float) -> "Evaluation":
        """The same with probabilities at another temperature."""
        return replace(self, temperature=temperature)

    @property
    def predicted(self) -> np.ndarray:
        """int64, shape (N,): the most probable class of each image."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """float32, shape (N, C), at the temperature, rows summing to 1."""
        return TemperatureScaling(self.temperature).probabilities(self.logits)

    @property
    def reliability(self) -> Reliability:
        """What the probabilities promise and what they hold."""
        return reliability(self.logits, self.labels, self.temperature)

    def calibration(self) -> dict[str, float]:
        """The calibration error, 0..1, of the probabilities at temperature 1 and at their own."""
        return {
            "calibration_error": reliability(self.logits, self.labels).error,
            "calibrated_error": self.reliability.error,
            "temperature": self.temperature,
        }

    def __repr__(self) -> str:
        return (
            f"Evaluation({len(self.labels):,} images, loss {self.loss:.4f}, accuracy "
            f"{self.accuracy:.2%} ± {self.standard_error:.2%}, mean per class "
            f"{self.mean_class_accuracy:.2%})"
        )

    def _repr_html_(self) -> str:
        """The figures and the commonest confusions, for a notebook."""
        figures = [
            ("images", f"{len(self.labels):,}"),
            ("loss, nats", f"{self.loss:.4f}"),
            ("accuracy", f"{self.accuracy:.2%} ± {self.standard_error:.2%}"),
        ]
        measures = self.measures()
        figures += [
            (label, f"{measures[name]:.2%}")
            for name, label in LABELS.items()
            if measures[name] is not None
        ]
        figures += [("calibration error", f"{self.reliability.error:.2%}")]
        confused = [
            (self.class_names[true], self.class_names[predicted], f"{count:,} ({share:.0%})")
            for true, predicted, count, share in most_confused(self.confusion, 5)
        ]
        text = table(("", "value"), figures)
        if confused:
            text += table(("class", "taken for", "images"), confused)
        return text


def score(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] = (),
    temperature: float = 1.0,
) -> Evaluation:
    """Evaluation of logits (N, C) against class indices (N,); sums in double precision.

    class_names: by default the classes' numbers. temperature: of the probabilities.

    Works on some rows at a time: of a million images the logits fit into memory, and several times
    as much in double precision may not.
    """
    num_classes = logits.shape[1]
    losses = np.empty(len(labels))
    for start in range(0, len(labels), 4096):
        rows = slice(start, start + 4096)
        targets = one_hot(labels[rows], num_classes).double()
        log_probabilities = torch.from_numpy(logits[rows]).double().log_softmax(dim=1)
        losses[rows] = -(targets * log_probabilities).sum(dim=1)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    names = tuple(class_names) or tuple(map(str, range(num_classes)))
    return Evaluation(logits, losses, labels, confusion, names, temperature)
