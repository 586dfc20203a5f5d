"""Measures of answers beside accuracy, and how far each can be trusted, as functions of arrays.

C classes, N images. A class without images has no recall, no F1 and no ROC-AUC: they are NaN, never
0, and no mean over the classes has them in it.
"""

from dataclasses import dataclass

import numpy as np
import torch

# What stands in metrics.json after the name of a split, and how people read it. A value has its
# interval beside it, under the same name and `_interval`.
LABELS = {
    "top5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy (mean per class)",
    "macro_precision": "macro precision",
    "macro_f1": "macro F1",
    "macro_roc_auc": "macro ROC-AUC",
}
Z = 1.959963984540054  # standard deviations to either side that hold 95 % of a normal distribution
REPLICATES = 1000  # of the bootstrap
ROWS = 4096  # images at once, where several numbers an image and class are made


def shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def wilson(part: np.ndarray | int, whole: np.ndarray | int) -> np.ndarray:
    """The 95 % intervals of shares: float64, (…, 2), low and high in 0..1; NaN where of nothing.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". Unlike p ±
    two standard errors it holds for few images and for shares of 0 and 1.

    Args:
        part: Counts, such as of images that are right.
        whole: Counts that they are a part of.
    """
    n = np.asarray(whole, dtype=float)
    p, square = shares(np.asarray(part), n), Z * Z
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (p + square / (2 * n)) / (1 + square / n)
        half = Z / (1 + square / n) * np.sqrt(p * (1 - p) / n + square / (4 * n * n))
    low, high = np.where(p == 0, 0, middle - half), np.where(p == 1, 1, middle + half)
    return np.stack([low, high], axis=-1)  # exactly 0 and 1 where the share is


def ranks_of_truth(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the true one: int64, (N,), 0 where that is the prediction.

    Of equal logits the first class stands first, as the prediction has it. A class of NaN stands
    before all others, and a true class of NaN behind all, itself included.

    Args:
        logits: float, (N, C).
        labels: int, (N,).
    """
    ranks = np.empty(len(labels), dtype=np.int64)
    classes = np.arange(logits.shape[1])
    for start in range(0, len(labels), ROWS):
        scores, truth = logits[start : start + ROWS], labels[start : start + ROWS, None]
        own = np.take_along_axis(scores, truth, axis=1)
        before = ~(scores <= own) | ((scores == own) & (classes < truth))
        ranks[start : start + ROWS] = before.sum(axis=1)
    return ranks


@dataclass(frozen=True)
class RocAuc:
    """Areas under the curves of true against false positives, each class against all others.

    by_class: float64, (C,), 0..1; NaN for a class without images and for one that has all of them.
    macro: their mean; NaN where there is none. standard_error: of the macro, for the draw of the
    images of each class; NaN where no class has two images.
    """

    by_class: np.ndarray
    macro: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of the macro, 95 %; symmetric in the log-odds, so that it stays within 0..1."""
        if not 0 < self.macro < 1:  # of 1 the log-odds are infinite, and NaN stays NaN
            return self.macro, self.macro
        log_odds = np.log(self.macro / (1 - self.macro))
        half = Z * self.standard_error / (self.macro * (1 - self.macro))
        low, high = 1 / (1 + np.exp(-log_odds + half)), 1 / (1 + np.exp(-log_odds - half))
        return float(low), float(high)


def roc_auc(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> RocAuc:
    """How well the probability of each class tells its images from all others.

    The area is the probability that an image of the class is given a higher one than an image of
    another, ties counted half (Hanley, McNeil 1982). Images are compared by the logarithm of their
    probabilities in double precision, in which those near 1 still differ. The standard error is of
    the mean over the classes, by the components of DeLong, DeLong, Clarke-Pearson 1988; images
    count for several classes, so their components are summed before they are spread.

    Sorts the images once a class: 100,000 of 101 classes take two seconds.

    Args:
        logits: float, (N, C).
        labels: int, (N,).
        temperature: Of the probabilities.
    """
    count = np.bincount(labels, minlength=logits.shape[1])
    scale = np.empty(len(labels))  # of each image's probabilities, a logarithm
    for start in range(0, len(labels), ROWS):
        scores = torch.from_numpy(logits[start : start + ROWS]).double() / temperature
        scale[start : start + ROWS] = scores.logsumexp(dim=1)
    areas = np.full(len(count), np.nan)
    components = np.zeros(len(labels))  # what an image adds to the sum of all areas
    own = np.full(len(labels), np.nan)  # its part in its own class's area
    for c in np.flatnonzero((count > 0) & (count < len(labels))):
        # rounded, or what is equal would differ by the order in which a machine adds
        scores = (logits[:, c].astype(np.float64) / temperature - scale).round(12)
        if not np.isfinite(scores).all():
            continue
        mine = labels == c
        inside, outside = scores[mine], scores[~mine]
        of_mine = _wins(inside, np.sort(outside))
        areas[c] = of_mine.mean()
        own[mine] = of_mine
        components[mine] += of_mine / len(inside)
        components[~mine] += (1 - _wins(outside, np.sort(inside))) / len(outside)
    known = ~np.isnan(areas)
    if not known.any():
        return RocAuc(areas, np.nan, np.nan)
    error = np.sqrt(_variance(components, own, labels, count)) / known.sum()
    return RocAuc(areas, float(areas[known].mean()), float(error))


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the `others`, which are sorted, that each score is above; equal ones half."""
    below = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
    return below / (2 * len(others))


def _variance(
    components: np.ndarray, own: np.ndarray, labels: np.ndarray, count: np.ndarray
) -> float:
    """Of the components' sum, for the draw of each class's images.

    A class of one image, whose spread is unknown, counts with the spread of `own` within the other
    classes.
    """

    def squares(values: np.ndarray) -> np.ndarray:
        mean = shares(np.bincount(labels, values, len(count)), count)
        return np.bincount(labels, (values - mean[labels]) ** 2, len(count))

    several = count > 1
    within = squares(own)
    measured = several & ~np.isnan(within)
    if not measured.any():
        return np.nan
    usual = within[measured].sum() / (count[measured] - 1).sum()
    variance = squares(components)[several] * shares(count, count - 1)[several]
    return float(variance.sum() + usual * (count == 1).sum())


@dataclass(frozen=True)
class Macro:
    """Means over the classes that have images, each of shape (…).

    precision: a class that is never predicted counts as 0. recall: the mean of the class
    accuracies, also called balanced accuracy.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def macro(right: np.ndarray, predicted: np.ndarray, images: np.ndarray) -> Macro:
    """Macro precision, recall and F1 from counts.

    Args:
        right: (…, C), images of each class that were known as such.
        predicted: (…, C), images that were taken for each class.
        images: (C,), images of each class; one has some.
    """
    there = images > 0
    right, predicted, images = right[..., there], predicted[..., there], images[there]
    return Macro(
        np.nan_to_num(shares(right, predicted)).mean(axis=-1),
        (right / images).mean(axis=-1),
        (2 * right / (images + predicted)).mean(axis=-1),
    )


def bootstrap(confusion: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> Macro:
    """The macro measures of data sets drawn anew from the one that was measured, (replicates,).

    Of each class, as splits are stratified, images are drawn with replacement from its own (Efron,
    Tibshirani 1993, "An Introduction to the Bootstrap"). Of n images n - 1 are drawn, each counting
    n/(n - 1) times: n of them would spread too little, by a fifth where a class has three (Rao, Wu
    1988, "Resampling inference with complex survey data"). What is drawn is where in its row of the
    confusion matrix an image falls, so time and memory do not grow with the number of images.

    Args:
        confusion: int, (C, C), rows true; one image at least.
        replicates: How many data sets.
        seed: Of the draws: the same matrix has the same measures.
    """
    random = np.random.default_rng(seed)
    images = confusion.sum(axis=1)
    right = np.zeros((replicates, len(images)))
    predicted = np.zeros_like(right)
    for c in np.flatnonzero(images):
        columns = np.flatnonzero(confusion[c])
        share = confusion[c, columns] / images[c]
        number = max(images[c] - 1, 1)
        drawn = random.multinomial(number, share, size=replicates) * (images[c] / number)
        predicted[:, columns] += drawn
        right[:, c] = drawn[:, columns == c].sum(axis=1)
    return macro(right, predicted, images)


def percentiles(replicates: np.ndarray) -> tuple[float, float]:
    """The interval that holds the middle 95 % of a bootstrap's replicates, (replicates,)."""
    low, high = np.quantile(replicates, [0.025, 0.975])
    return float(low), float(high)
