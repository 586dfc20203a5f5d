import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from convlens.data.dataset import Split
from convlens.inference.metrics import compute_logits, evaluate, score

HALF = torch.full((3,), 0.5)


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
    np.testing.assert_allclose(seen.probabilities()[1], [0.2689414, 0.7310586], rtol=1e-6)


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
    np.testing.assert_allclose(seen.probabilities().sum(axis=1), 1, rtol=1e-5)


class Corner(nn.Module):
    """The three colors of the first pixel as logits: exact, whatever the batch."""

    def forward(self, x):
        return x[:, :, 0, 0]


def toy_split(n):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return Split(images, random.integers(0, 3, n), tuple(f"{i}.png" for i in range(n)))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 10, 11, 1000])
def test_sums_do_not_depend_on_the_batch_size(batch_size):
    split = toy_split(11)
    whole = evaluate(Corner(), split, HALF, HALF)
    seen = evaluate(Corner(), split, HALF, HALF, batch_size=batch_size)
    assert (seen.loss, seen.accuracy, seen.mean_class_accuracy) == (
        whole.loss, whole.accuracy, whole.mean_class_accuracy,
    )  # fmt: skip
    np.testing.assert_array_equal(seen.logits, whole.logits)


def test_images_are_normalized_and_in_order():
    split = toy_split(5)
    logits = compute_logits(Corner(), split.images, HALF, HALF, batch_size=2)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, split.images[:, 0, 0] / 127.5 - 1, atol=1e-6)


def test_the_network_is_evaluated_in_evaluation_mode_and_returned_in_its_own():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3), Corner())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.training
    first = compute_logits(model, toy_split(6).images, HALF, HALF)
    assert model.training
    np.testing.assert_array_equal(first, compute_logits(model, toy_split(6).images, HALF, HALF))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    compute_logits(model, toy_split(6).images, HALF, HALF)
    assert not model.training


def test_a_network_that_fails_comes_back_in_its_own_mode():
    model = nn.Sequential(nn.Linear(7, 2))
    with pytest.raises(RuntimeError):
        compute_logits(model, toy_split(2).images, HALF, HALF)
    assert model.training


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
