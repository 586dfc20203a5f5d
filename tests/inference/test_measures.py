"""Measures by their definitions, and intervals by what they hold."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from convlens.inference.measures import LABELS, bootstrap, ranks_of_truth, roc_auc, wilson
from convlens.inference.metrics import score

SCORES = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0])  # few values, so that there are ties


@st.composite
def answers(draw):
    """Logits (N, C) and labels (N,)."""
    n, classes = draw(st.integers(1, 14)), draw(st.integers(2, 6))
    logits = draw(npst.arrays(np.float32, (n, classes), elements=SCORES))
    return logits, draw(npst.arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def area_by_pairs(probability, labels, c):
    """The share of pairs, one of the class and one of another, that are in the right order."""
    pairs = [
        (a > b) + (a == b) / 2
        for a, b in itertools.product(probability[labels == c], probability[labels != c])
    ]
    return np.mean(pairs) if pairs else np.nan


@settings(deadline=None, max_examples=25)
@given(answers(), st.sampled_from([0.5, 1.0, 3.0]))
def test_every_measure_is_what_its_definition_says(case, temperature):
    logits, labels = case
    seen = score(logits, labels, temperature=temperature)
    predicted, classes = logits.argmax(axis=1), range(logits.shape[1])
    there = [c for c in classes if (labels == c).any()]
    precision, recall, f1 = {}, {}, {}
    for c in classes:
        hits = np.sum((predicted == c) & (labels == c))
        named, images = np.sum(predicted == c), np.sum(labels == c)
        precision[c] = hits / named if named else math.nan
        recall[c] = hits / images if images else math.nan
        p = precision[c] if named else 0.0
        both = 2 * p * recall[c] / (p + recall[c]) if images and hits else 0.0
        f1[c] = both if images else math.nan
    np.testing.assert_allclose(seen.precision, list(precision.values()))
    np.testing.assert_allclose(seen.recall, list(recall.values()))
    np.testing.assert_allclose(seen.f1, list(f1.values()))
    assert seen.macro_precision == pytest.approx(
        np.mean(np.nan_to_num([precision[c] for c in there]))
    )
    assert seen.macro_f1 == pytest.approx(np.mean([f1[c] for c in there]))
    assert seen.balanced_accuracy == pytest.approx(np.mean([recall[c] for c in there]))
    scaled = logits.astype(np.float64) / temperature
    log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    areas = np.array([area_by_pairs(log_p[:, c].round(12), labels, c) for c in classes])
    np.testing.assert_allclose(seen.roc_auc, areas, atol=1e-12)
    expected = np.nanmean(areas) if (~np.isnan(areas)).any() else math.nan
    assert seen.macro_roc_auc == pytest.approx(expected, nan_ok=True)
    order = np.argsort(-logits, axis=1, kind="stable")  # of equals the first
    for k in (1, 2, 5, 50):
        assert seen.top_k_accuracy(k) == np.mean((order[:, :k] == labels[:, None]).any(axis=1))
    assert seen.top_k_accuracy(1) == pytest.approx(seen.accuracy)
    json.dumps(seen.measures(), allow_nan=False)


def test_by_hand():
    # class 0: 3 images, 2 known, 4 taken for it; class 1: 2 images, neither known; class 2: none
    logits = np.eye(3, dtype=np.float32)[[0, 0, 2, 0, 0]]
    seen = score(logits, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(seen.precision, [0.5, np.nan, 0])
    np.testing.assert_array_equal(seen.recall, [2 / 3, 0, np.nan])
    np.testing.assert_allclose(seen.f1, [4 / 7, 0, np.nan])
    # of class 0's six pairs four are equal and two in the wrong order; of class 1's all are equal
    np.testing.assert_array_equal(seen.roc_auc, [1 / 3, 0.5, np.nan])
    found = seen.measures()
    assert found["macro_precision"] == 0.25  # class 1 counts as 0, class 2 not at all
    assert found["macro_f1"] == pytest.approx(2 / 7)
    assert found["balanced_accuracy"] == pytest.approx(1 / 3) == seen.mean_class_accuracy
    assert found["classes_without_images"] == 1
    assert found["top5_accuracy"] is found["top5_accuracy_interval"] is None  # of three classes
    with pytest.raises(ValueError, match="k is 0"):
        seen.top_k_accuracy(0)


def test_images_of_one_class_have_no_roc_curve():
    seen = score(np.eye(2, dtype=np.float32)[[0, 1]], np.array([1, 1]))
    assert np.isnan(seen.roc_auc).all()
    found = seen.measures()
    assert found["macro_roc_auc"] is found["macro_roc_auc_interval"] is None
    assert found["balanced_accuracy"] == 0.5


def test_probabilities_that_round_to_1_are_still_told_apart():
    logits = np.array([[60, 0], [30, 0], [20, 0], [18, 0]], dtype=np.float32)
    assert score(logits, np.array([0, 0, 1, 1])).roc_auc.tolist() == [1, 1]
    assert (score(logits, np.array([0, 0, 1, 1])).probabilities[:2, 0] == 1).all()


def test_a_network_that_gives_no_numbers_is_never_right():
    logits = np.array([[np.nan, 0, 1], [0, np.nan, 1]], dtype=np.float32)
    assert ranks_of_truth(logits, np.array([0, 2])).tolist() == [3, 1]
    assert np.isnan(roc_auc(logits, np.array([0, 2])).by_class).all()


def test_wilson_by_hand_and_at_the_ends():
    # Wilson's interval has p with |p - p̂| = z·√(p·(1 - p)/n) as its ends
    z = 1.959963984540054
    for part, whole in ((3, 10), (0, 4), (7, 7), (81, 263)):
        low, high = wilson(part, whole)
        assert 0 <= low <= part / whole <= high <= 1
        for end in (low, high):
            if 0 < end < 1:
                spread = z * math.sqrt(end * (1 - end) / whole)
                assert abs(end - part / whole) == pytest.approx(spread)
    np.testing.assert_allclose(wilson(81, 263), [0.2553, 0.3662], atol=5e-5)  # Newcombe 1998
    assert (wilson(0, 4)[0], wilson(7, 7)[1]) == (0, 1)
    assert np.isnan(wilson(0, 0)).all()
    assert wilson(np.array([[1, 0]]), 2).shape == (1, 2, 2)


def drawn(random, classes=4, counts=(30, 12, 20, 8), sharpness=1.5):
    """An evaluation of images drawn at random: so many of each class, told with so much noise."""
    labels = np.repeat(np.arange(classes), counts)
    logits = random.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += sharpness
    return score(logits.astype(np.float32), labels)


def test_intervals_hold_the_truth_as_often_as_they_promise():
    """Of 95 % intervals about 95 of 100 hold the figure that endless images would have."""
    random = np.random.default_rng(0)
    counts = (4, 5, 6, 3, 12, 7, 8, 4, 9, 5)
    many = tuple(1000 * count for count in counts)
    truth = drawn(random, 10, many).measures()
    names = [name.removesuffix("_interval") for name in truth if name.endswith("_interval")]
    assert set(names) == {"accuracy", *LABELS}
    held, trials = dict.fromkeys(names, 0), 100
    for _ in range(trials):
        found = drawn(random, 10, counts).measures()
        for name in names:
            low, high = found[f"{name}_interval"]
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 90, held


def test_the_error_of_the_macro_roc_auc_is_its_spread_over_drawn_images():
    random = np.random.default_rng(1)
    counts = (9, 1, 6, 14)  # of one image the spread is taken from the other classes
    found = [roc_auc(s.logits, s.labels) for s in (drawn(random, 4, counts) for _ in range(150))]
    stated = np.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert stated == pytest.approx(np.std([each.macro for each in found]), rel=0.15)
    assert all(0 <= each.interval[0] <= each.macro <= each.interval[1] <= 1 for each in found)


def test_the_bootstrap_draws_images_of_each_class():
    """What it draws from a matrix is what drawing the images themselves comes to."""
    random = np.random.default_rng(0)
    seen = drawn(random, counts=(9, 4, 1, 6))
    classes = [np.flatnonzero(seen.labels == c) for c in range(4)]
    slow = []
    for _ in range(250):
        matrix = np.zeros((4, 4))
        for c, rows in enumerate(classes):
            for row in random.choice(rows, max(len(rows) - 1, 1)):
                matrix[c, seen.predicted[row]] += len(rows) / max(len(rows) - 1, 1)
        hits, named, images = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        precision = [hit / name if name else 0 for hit, name in zip(hits, named, strict=True)]
        slow.append(
            [np.mean(precision), np.mean(hits / images), np.mean(2 * hits / (images + named))]
        )
    quick = bootstrap(seen.confusion, 4000)
    for fast, plain in zip(
        (quick.precision, quick.recall, quick.f1), np.transpose(slow), strict=True
    ):
        assert fast.mean() == pytest.approx(plain.mean(), abs=0.02)
        assert fast.std() == pytest.approx(plain.std(), rel=0.15)
    np.testing.assert_array_equal(bootstrap(seen.confusion).f1, bootstrap(seen.confusion).f1)
    # of the recall it spreads as much as it should: the sum of p·(1 - p)/(n - 1), over C
    n, p = seen.confusion.sum(axis=1), seen.recall
    variance = (p * (1 - p) / np.maximum(n - 1, 1)).sum() / 16
    assert quick.recall.std() == pytest.approx(math.sqrt(variance), rel=0.05)


def test_intervals_of_classes():
    logits = np.eye(3, dtype=np.float32)[[0, 0, 2, 0, 0]]
    seen = score(logits, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(seen.recall_interval[0], wilson(2, 3))
    np.testing.assert_array_equal(seen.precision_interval[0], wilson(2, 4))
    assert np.isnan(seen.precision_interval[1]).all()
    low, high = seen.f1_interval[0]
    # right in 2 of the 5 images that are of class 0 or taken for it
    assert (low / (2 - low), high / (2 - high)) == pytest.approx(tuple(wilson(2, 5)))
    assert low < seen.f1[0] < high
    assert np.isnan(seen.f1_interval[2]).all()
