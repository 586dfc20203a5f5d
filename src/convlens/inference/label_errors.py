"""Which labels a network doubts: confident learning.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
The probabilities must be those of a network that has not been trained on the images: one that has
remembers wrong labels as well as right ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROWS = 4096  # images at a time: of a million, masks as large as the probabilities would not fit


@dataclass(frozen=True)
class LabelErrors:
    """What probabilities say of the labels of N images of C classes.

    labels: int64, shape (N,), as given.
    suggested: int64, shape (N,), the most probable class other than the given one.
    given_probability, suggested_probability: float32, shape (N,), of those two, 0..1.
    suspected: bool, shape (N,), whether the label may be wrong.
    joint: float64, shape (C, C): how many images labeled as the row are of the column's class, as
    estimated; a row sums to the images of its class. Its diagonal are the right labels.
    thresholds: float64, shape (C,): above which the network is confident of a class, 0..1; infinite
    for a class without images.
    """

    labels: np.ndarray
    suggested: np.ndarray
    given_probability: np.ndarray
    suggested_probability: np.ndarray
    suspected: np.ndarray
    joint: np.ndarray
    thresholds: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def doubt(self) -> np.ndarray:
        """float32, shape (N,), 0..1: how improbable the given class is, 1 less self-confidence."""
        return 1 - self.given_probability

    @property
    def ranking(self) -> np.ndarray:
        """The suspected images, int64, the most doubtful first; of equals, the earlier one."""
        rows = np.flatnonzero(self.suspected)
        return rows[np.argsort(self.given_probability[rows], kind="stable")]

    @property
    def estimated(self) -> float:
        """How many of the N labels are wrong, as estimated from the joint.

        Far too many where the network itself errs often: then most of these are its own errors.
        """
        return float(self.joint.sum() - np.trace(self.joint))

    @property
    def agreement(self) -> float:
        """Share of the images, 0..1, whose label is the network's most probable class."""
        if not len(self):
            return float("nan")
        return float((self.given_probability >= self.suggested_probability).mean())

    def pairs(self, top: int = 10) -> list[tuple[int, int, int, float]]:
        """Where labels are suspected: (given, suggested, how many, how many are estimated).

        By falling number of suspected images, then estimate, then class; at most `top`.
        """
        counts = np.zeros_like(self.joint, dtype=np.int64)
        np.add.at(counts, (self.labels[self.suspected], self.suggested[self.suspected]), 1)
        found = [
            (int(i), int(j), int(counts[i, j]), float(self.joint[i, j]))
            for i, j in np.argwhere(counts)
        ]
        return sorted(found, key=lambda pair: (-pair[2], -pair[3], pair[:2]))[:top]


def find(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Find the labels that may be wrong.

    A network is confident of a class where its probability is at least the mean one of that class
    over the images labeled so; of several such classes the most probable one counts. The confident
    joint counts the images by their label and the class that the network is confident of; each row
    is then scaled to the images of its class.

    Suspected are the images that two rules name ("prune by class and noise rate"): of each class as
    many as the joint has off its diagonal, those of the lowest self-confidence; and of each pair of
    classes as many as the joint has there, those of the largest margin; where the network prefers
    another class. Of the paper's rules this one was most precise on planted labels, and
    self-confidence ranked them best (`benchmarks/label_errors.py`).

    Args:
        probabilities: Shape (N, C), 0..1, rows sum to 1, by networks that were not trained on the
            images.
        labels: Shape (N,), indices of classes.

    Returns:
        What is suspected, and how many labels are estimated to be wrong.

    Raises:
        ValueError: for shapes that do not go together, probabilities that are no numbers in 0..1
            and labels that are no classes.
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check(probabilities, labels)
    images, classes = probabilities.shape
    given_probability = probabilities[np.arange(images), labels]
    thresholds = mean_self_confidence(given_probability, labels, classes)
    joint = np.zeros((classes, classes))
    suggested = np.empty(images, np.int64)
    for start in range(0, images, ROWS):
        rows = slice(start, start + ROWS)
        some, given = probabilities[rows], labels[rows]
        above = some >= thresholds
        confident = np.where(above, some, -1).argmax(axis=1)
        known = above.any(axis=1)
        np.add.at(joint, (given[known], confident[known]), 1)
        others = some.copy()
        others[np.arange(len(some)), given] = -1
        suggested[rows] = others.argmax(axis=1)
    joint = _calibrated(joint, np.bincount(labels, minlength=classes))
    suggested_probability = probabilities[np.arange(images), suggested]
    return LabelErrors(
        labels=labels,
        suggested=suggested,
        given_probability=given_probability,
        suggested_probability=suggested_probability,
        suspected=by_class(probabilities, labels, joint)
        & by_noise_rate(probabilities, labels, joint)
        & (suggested_probability > given_probability),
        joint=joint,
        thresholds=thresholds,
    )


def mean_self_confidence(
    given_probability: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Of each class the mean probability of the images labeled so; infinite where there are none.

    given_probability: shape (N,), of the given classes, 0..1. Returns float64, shape (C,).
    """
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, given_probability.astype(np.float64), minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)


def by_class(probabilities: np.ndarray, labels: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Of each class as many images as the joint has off its diagonal, the least probable ones.

    Arguments as `LabelErrors` has them. Returns bool, shape (N,).
    """
    chosen = np.zeros(len(labels), bool)
    for label, rows in _by_label(labels):
        count = round(len(rows) - joint[label, label])
        order = np.argsort(probabilities[rows, label], kind="stable")
        chosen[rows[order[:count]]] = True
    return chosen


def by_noise_rate(probabilities: np.ndarray, labels: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Of each pair of classes as many images as the joint has there, those of the largest margin.

    The margin is the other class's probability less the given one's. Arguments as `LabelErrors`
    has them. Returns bool, shape (N,).
    """
    chosen = np.zeros(len(labels), bool)
    counts = np.rint(joint).astype(np.int64)
    for label, rows in _by_label(labels):
        for other in np.flatnonzero(counts[label]).tolist():
            if other != label:
                margin = probabilities[rows, other] - probabilities[rows, label]
                order = np.argsort(-margin, kind="stable")
                chosen[rows[order[: counts[label, other]]]] = True
    return chosen


def _by_label(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each label that occurs, and its images, in order."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    for rows in np.split(order, starts) if len(order) else ():
        yield int(labels[rows[0]]), rows


def _calibrated(confident_joint: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The confident joint with each row scaled to the images of its class, counts, shape (C,).

    A class of which the network is confident nowhere says nothing: its labels count as right.
    """
    sums = confident_joint.sum(axis=1)
    scale = np.divide(counts, sums, out=np.zeros(len(sums)), where=sums > 0)
    return confident_joint * scale[:, None] + np.diag(np.where(sums > 0, 0, counts))


def _check(probabilities: np.ndarray, labels: np.ndarray) -> None:
    shape = np.shape(probabilities)
    if len(shape) != 2 or shape[1] < 2 or labels.shape != shape[:1]:
        raise ValueError(
            f"probabilities of shape {shape} and labels of shape {labels.shape} do not go "
            "together; give (N, C) with C at least 2 and (N,)"
        )
    if not len(labels):
        return
    if not (np.min(probabilities) >= 0 and np.max(probabilities) <= 1 + 1e-4):  # NaN is neither
        raise ValueError("probabilities must be numbers in 0..1")
    if labels.min() < 0 or labels.max() >= shape[1]:
        raise ValueError(f"labels must lie in 0..{shape[1] - 1}")
