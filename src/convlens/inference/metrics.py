"""One evaluator for every split: cross-entropy and accuracy as exact sums, divided once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from convlens.data.batches import one_hot
from convlens.html import table
from convlens.inference.calibration import Reliability, TemperatureScaling, reliability
from convlens.inference.confusion import most_confused


@dataclass(frozen=True)
class Evaluation:
    """What a network makes of a split.

    logits: float32, shape (N, C). losses: float64, shape (N,), cross-entropy of each image in nats,
    of the logits as they are. labels: int64, shape (N,). confusion: int64, shape (C, C), rows true,
    columns predicted. class_names: C. temperature: of every probability.
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
        count = self.confusion.sum(axis=1)
        return np.divide(
            self.confusion.diagonal(), count, out=np.full(len(count), np.nan), where=count > 0
        )

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have images, 0..1."""
        return float(np.nanmean(self.class_accuracy))

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
            ("mean per class", f"{self.mean_class_accuracy:.2%}"),
            ("calibration error", f"{self.reliability.error:.2%}"),
        ]
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
