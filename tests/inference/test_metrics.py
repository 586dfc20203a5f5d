import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from convlens.inference.metrics import score


def test_metrics_computed_by_hand():
    logits = np.array([[2, 0], [0, 1], [3, 0]], dtype=np.float32)
    seen = score(logits, np.array([0, 1, 1]))
    losses = [np.log1p(np.exp(-2)), np.log1p(np.exp(-1)), np.log1p(np.exp(3))]
    np.testing.assert_allclose(seen.losses, losses, rtol=1e-12)
    assert seen.loss == pytest.approx((0.126928 + 0.313262 + 3.048587) / 3, abs=1e-6)
    assert seen.confusion.tolist() == [[1, 0], [1, 1]]
    assert seen.accuracy == 2 / 3
    assert seen.class_accuracy.tolist() == [1, 0.5]
    assert seen.mean_class_accuracy == 0.75
    assert seen.predicted.tolist() == [0, 1, 0]
    np.testing.assert_allclose(seen.probabilities[1], [0.2689414, 0.7310586], rtol=1e-6)


def test_a_class_without_images_does_not_count_in_the_mean():
    seen = score(np.eye(3, dtype=np.float32)[[0, 0, 0]], np.array([0, 0, 2]))
    np.testing.assert_array_equal(seen.class_accuracy, [1, np.nan, 0])
    assert seen.mean_class_accuracy == 0.5
    assert seen.accuracy == 2 / 3


def test_large_logits_neither_overflow_nor_vanish():
    seen = score(np.array([[1000, 0], [0, 1000]], dtype=np.float32), np.array([0, 0]))
    assert seen.losses.tolist() == [0, 1000]


@st.composite
def logits_and_labels(draw):
    n, classes = draw(st.integers(1, 12)), draw(st.integers(2, 6))
    values = st.floats(-50, 50, width=32)
    logits = draw(npst.arrays(np.float32, (n, classes), elements=values))
    return logits, draw(npst.arrays(np.int64, n, elements=st.integers(0, classes - 1)))


@settings(deadline=None)
@given(logits_and_labels())
def test_metrics_equal_those_of_plain_double_precision(case):
    logits, labels = case
    seen = score(logits, labels)
    x = logits.astype(np.float64)
    x = x - x.max(axis=1, keepdims=True)
    log_probabilities = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    expected = -log_probabilities[np.arange(len(labels)), labels]
    np.testing.assert_allclose(seen.losses, expected, rtol=1e-9, atol=1e-12)
    assert seen.loss == pytest.approx(expected.mean(), rel=1e-9, abs=1e-12)
    hits = logits.argmax(axis=1) == labels
    assert seen.accuracy == pytest.approx(hits.mean())
    by_class = [hits[labels == label].mean() for label in np.unique(labels)]
    assert seen.mean_class_accuracy == pytest.approx(np.mean(by_class))
    assert seen.confusion.sum() == len(labels)
    np.testing.assert_array_equal(
        seen.confusion.sum(axis=1), np.bincount(labels, minlength=logits.shape[1])
    )
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-5)


def drawn(random, accuracy, counts):
    """An evaluation in which each image of class c is right with probability accuracy[c]."""
    labels = np.repeat(np.arange(len(counts)), counts)
    right = random.random(len(labels)) < np.asarray(accuracy)[labels]
    logits = np.zeros((len(labels), len(counts)), dtype=np.float32)
    logits[np.arange(len(labels)), np.where(right, labels, (labels + 1) % len(counts))] = 1
    return score(logits, labels)


def test_standard_errors_are_the_spread_over_drawn_images():
    random = np.random.default_rng(0)
    counts = [40, 8, 5, 20]
    alike = [drawn(random, [0.7] * 4, counts) for _ in range(1500)]
    stated = np.sqrt(np.mean([seen.standard_error**2 for seen in alike]))
    assert stated == pytest.approx(np.std([seen.accuracy for seen in alike]), rel=0.06)
    unlike = [drawn(random, [0.9, 0.5, 0.3, 0.8], counts) for _ in range(1500)]
    stated = np.sqrt(np.mean([seen.mean_class_standard_error**2 for seen in unlike]))
    assert stated == pytest.approx(np.std([s.mean_class_accuracy for s in unlike]), rel=0.06)


def test_two_halves_differ_by_twice_the_standard_error():
    random = np.random.default_rng(0)
    seen = drawn(random, [0.7, 0.9, 0.4], [60, 30, 30])
    differences = []
    for _ in range(2000):
        order = random.permutation(120)
        differences.append(seen.take(order[:60]).accuracy - seen.take(order[60:]).accuracy)
    assert np.std(differences) == pytest.approx(2 * seen.standard_error, rel=0.05)


def test_standard_errors_by_hand():
    # right: 3 of 4, and 1 of 1, whose own spread nobody knows
    logits = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]]
    seen = score(logits, np.array([0, 0, 0, 0, 1]))
    assert seen.standard_error == pytest.approx(math.sqrt(0.8 * 0.2 / 5))
    assert seen.mean_class_standard_error == pytest.approx(
        math.sqrt(0.75 * 0.25 / 3 + 0.8 * 0.2) / 2
    )


def test_some_of_the_images():
    seen = drawn(np.random.default_rng(0), [0.5, 0.5], [10, 10])
    rows = np.array([3, 1, 15])
    some = seen.take(rows)
    np.testing.assert_array_equal(some.losses, seen.losses[rows])
    np.testing.assert_array_equal(some.labels, [0, 0, 1])
    assert some.confusion.sum() == 3
    mask = np.isin(np.arange(20), rows)
    assert sorted(seen.take(mask).losses) == sorted(some.losses)


def test_probabilities_are_those_at_the_temperature():
    logits = np.array([[2, 0], [0, 1], [3, 0]], dtype=np.float32)
    seen = score(logits, np.array([0, 1, 1]), temperature=2.0)
    np.testing.assert_allclose(seen.probabilities[:, 0], 1 / (1 + np.exp([-1, 0.5, -1.5])), 1e-6)
    cold = seen.at(0.5)
    np.testing.assert_allclose(cold.probabilities[:, 0], 1 / (1 + np.exp([-4, 2, -6])), 1e-6)
    # what is told in nats is of the logits as they are, so that runs can be compared
    assert cold.loss == seen.loss == score(logits, np.array([0, 1, 1])).loss
    assert seen.take(np.array([0])).temperature == 2.0
    assert seen.calibration() == {
        "calibration_error": seen.at(1.0).reliability.error,
        "calibrated_error": seen.reliability.error,
        "temperature": 2.0,
    }


def test_it_tells_itself_in_a_line_and_as_a_table():
    logits = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]]
    names = ("<img src=x onerror=alert(1)>", "b")
    seen = score(logits, np.array([0, 0, 0, 0, 1]), names)
    assert repr(seen).startswith("Evaluation(5 images, loss ")
    assert "accuracy 80.00% ± 17.89%" in repr(seen)
    shown = seen._repr_html_()
    assert "80.00% ± 17.89%" in shown
    assert "1 (25%)" in shown  # of the first class's images one was taken for the second
    assert "<img" not in shown and "&lt;img src=x onerror=alert(1)&gt;" in shown
