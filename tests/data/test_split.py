import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.split import folds, split_per_class

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(np.array)


@given(LABELS, st.integers(0, 3))
def test_every_index_lands_on_exactly_one_side(labels, seed):
    first, second = split_per_class(labels, seed=seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 19, 20, 30, 70, 100, 870, 1000])
def test_floor_of_ninety_percent_is_exact(n):
    first, second = split_per_class(np.zeros(n, int))
    expected = max(n * 9 // 10, 1)
    assert (len(first), len(second)) == (expected, n - expected)


def test_floor_takes_the_fraction_as_written():
    # 0.29 * 100 is 28.999… in binary floating point
    assert math.floor(0.29 * 100) == 28
    assert len(split_per_class(np.zeros(100, int), 0.29)[0]) == 29


def test_both_sides_get_an_image_whatever_the_fraction():
    for fraction in 0.0, 1.0:
        first, second = split_per_class(np.array([0, 0, 0, 1, 1]), fraction)
        assert set(first) & {0, 1, 2} and set(first) & {3, 4}
        assert set(second) & {0, 1, 2} and set(second) & {3, 4}


def test_the_caltech101_totals():
    # Sizes of Caltech-101's classes, and what the course handed out: 7,766 and 911.
    sizes = [
        435,
        435,
        200,
        798,
        55,
        800,
        42,
        42,
        47,
        54,
        46,
        33,
        128,
        98,
        43,
        85,
        91,
        50,
        43,
        123,
        47,
        59,
        62,
        107,
        47,
        69,
        73,
        70,
        50,
        51,
        57,
        67,
        52,
        65,
        68,
        75,
        64,
        53,
        64,
        85,
        67,
        67,
        45,
        34,
        34,
        51,
        99,
        100,
        42,
        54,
        88,
        80,
        31,
        64,
        86,
        114,
        61,
        81,
        78,
        41,
        66,
        43,
        40,
        87,
        32,
        76,
        55,
        35,
        39,
        47,
        38,
        45,
        53,
        34,
        57,
        82,
        59,
        49,
        40,
        63,
        39,
        84,
        57,
        35,
        64,
        45,
        86,
        59,
        64,
        35,
        85,
        49,
        86,
        75,
        239,
        37,
        59,
        34,
        56,
        39,
        60,
    ]
    labels = np.repeat(np.arange(101), sizes)
    first, second = split_per_class(labels)
    assert (len(first), len(second)) == (7766, 911)


@given(LABELS, st.integers(0, 3))
def test_a_class_is_split_the_same_whatever_the_others(labels, seed):
    first, _ = split_per_class(labels, seed=seed)
    for label in set(labels):
        alone, _ = split_per_class(np.zeros((labels == label).sum(), int), seed=seed)
        assert (np.flatnonzero(labels == label)[alone] == first[labels[first] == label]).all()


def test_seeds_differ():
    labels = np.zeros(50, int)
    assert (split_per_class(labels, seed=0)[1] != split_per_class(labels, seed=1)[1]).any()


def test_a_fraction_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        split_per_class(np.zeros(3, int), 1.5)


@given(LABELS, st.integers(2, 5), st.integers(0, 3))
def test_folds_hold_out_every_index_once_and_evenly(labels, k, seed):
    parts = folds(labels, k, seed)
    assert sorted(i for _, held_out in parts for i in held_out) == list(range(len(labels)))
    for train, held_out in parts:
        assert sorted([*train, *held_out]) == list(range(len(labels)))
    for chosen in [slice(None), *(labels == label for label in set(labels))]:
        inside = np.arange(len(labels))[chosen]
        counts = [np.isin(inside, held_out).sum() for _, held_out in parts]
        assert max(counts) - min(counts) <= 1


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        folds(np.zeros(3, int), 1)
