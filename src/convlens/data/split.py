"""Seeded, stratified splits of a list of labels.

The draw for a class depends on the seed and on how many images the class has, on nothing else:
adding, removing or renaming a class leaves every other class as it was.
"""

from fractions import Fraction

import numpy as np


def _shuffled_classes(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """For each class in turn its indices into labels, int64, shuffled."""
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return [
        rows[np.random.default_rng([seed, len(rows)]).permutation(len(rows))]
        for rows in np.split(order, starts)
    ]


def split_per_class(
    labels: np.ndarray, fraction: float = 0.9, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split every class: floor(fraction · n) of its n images first, the others second.

    A class of two or more has at least one image on both sides; a single image goes first.
    labels: shape (N,). fraction: 0..1, taken as the decimal number it is written as, so that 0.9
    of 10 is 9. Returns two sorted int64 arrays of indices that together hold 0..N-1 once.
    """
    share = Fraction(str(fraction))
    if not 0 <= share <= 1:
        raise ValueError(f"fraction must lie in 0..1, not {fraction}")
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for rows in _shuffled_classes(labels, seed):
        count = min(max(int(share * len(rows)), 1), max(len(rows) - 1, 1))
        first.append(rows[:count])
        second.append(rows[count:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def folds(labels: np.ndarray, k: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified k-fold cross-validation: k pairs (train, held out) of sorted int64 indices.

    The k held-out parts hold every index once; their sizes differ by at most one, overall and
    within each class.
    """
    if k < 2:
        raise ValueError(f"k must be at least 2, not {k}")
    # Dealing the classes one after the other, like cards, balances each class and the whole.
    dealt = np.concatenate(_shuffled_classes(labels, seed))
    fold_of = np.empty(len(dealt), np.int64)
    fold_of[dealt] = np.arange(len(dealt)) % k
    return [(np.flatnonzero(fold_of != i), np.flatnonzero(fold_of == i)) for i in range(k)]
