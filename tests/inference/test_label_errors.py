"""Confident learning, against the paper's definitions written out image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convlens.inference import label_errors
from convlens.inference.label_errors import find


def brute_force(probabilities, labels):
    """Thresholds, calibrated joint, suspected images and their suggested classes, as lists."""
    num_images, num_classes = probabilities.shape
    classes, images = range(num_classes), range(num_images)
    thresholds, joint = [], [[0.0] * num_classes for _ in classes]
    labeled = [[i for i in images if labels[i] == c] for c in classes]
    for c in classes:
        own = [float(probabilities[i, c]) for i in labeled[c]]
        thresholds.append(sum(own) / len(own) if own else np.inf)
    for i in images:
        p = probabilities[i]
        confident = [c for c in classes if p[c] >= thresholds[c]]
        if confident:
            joint[labels[i]][max(confident, key=lambda c, p=p: (p[c], -c))] += 1
    for c in classes:
        count, total = len(labeled[c]), sum(joint[c])
        joint[c] = [cell * (count / total) for cell in joint[c]] if total else joint[c]
        if not total:
            joint[c][c] = float(count)
    by_class, by_noise_rate = set(), set()
    for c in classes:
        least = sorted(labeled[c], key=lambda i, c=c: (probabilities[i, c], i))
        by_class.update(least[: round(len(least) - joint[c][c])])
        for other in classes:
            margin = {i: probabilities[i, other] - probabilities[i, c] for i in labeled[c]}
            largest = sorted(labeled[c], key=lambda i, margin=margin: (-margin[i], i))
            by_noise_rate.update(largest[: round(joint[c][other])] if other != c else [])
    suggested = [
        max((c for c in classes if c != labels[i]), key=lambda c, i=i: (probabilities[i, c], -c))
        for i in images
    ]
    preferred = {i for i in images if probabilities[i, suggested[i]] > probabilities[i, labels[i]]}
    return thresholds, joint, sorted(by_class & by_noise_rate & preferred), suggested


# Shares of 64ths: sums of them are exact, so that no threshold hangs on the order of a sum.
cases = st.integers(2, 4).flatmap(
    lambda c: st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            arrays(np.int64, (n, c), elements=st.integers(0, 64)),
            arrays(np.int64, n, elements=st.integers(0, c - 1)),
        )
    )
)


@settings(max_examples=40)
@given(cases)
def test_it_is_the_papers_by_hand(case):
    shares, labels = case
    probabilities = (shares / 64).astype(np.float32)
    errors = find(probabilities, labels)
    thresholds, joint, suspected, suggested = brute_force(probabilities, labels)
    np.testing.assert_allclose(errors.thresholds, thresholds, rtol=1e-12)
    np.testing.assert_allclose(errors.joint, joint, rtol=1e-12)
    assert np.flatnonzero(errors.suspected).tolist() == suspected
    assert errors.suggested.tolist() == suggested
    own = [float(p[label]) for p, label in zip(probabilities, labels, strict=True)]
    other = [float(p[c]) for p, c in zip(probabilities, suggested, strict=True)]
    assert errors.doubt.tolist() == [1 - p for p in own]
    assert errors.suggested_probability.tolist() == other
    agreed = [a >= b for a, b in zip(own, other, strict=True)]
    assert errors.agreement == pytest.approx(sum(agreed) / len(agreed))
    ranked = errors.ranking.tolist()
    assert ranked == sorted(suspected, key=lambda i: (own[i], i))
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    np.testing.assert_allclose(errors.joint.sum(axis=1), counts)
    assert errors.estimated == pytest.approx(
        len(labels) - sum(joint[c][c] for c in range(len(joint)))
    )
    pairs = {(a, b): (n, e) for a, b, n, e in errors.pairs(100)}
    assert sum(n for n, _ in pairs.values()) == len(ranked)
    for (a, b), (number, estimate) in pairs.items():
        assert number == sum(labels[i] == a and suggested[i] == b for i in ranked)
        assert estimate == errors.joint[a, b]


@settings(max_examples=40)
@given(cases)
def test_a_part_at_a_time_is_the_same(case):
    shares, labels = case
    probabilities = (shares / 64).astype(np.float32)
    whole = find(probabilities, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_errors, "ROWS", 3)
        parts = find(probabilities, labels)
    for name in "suspected", "suggested", "joint":
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_planted_labels_of_a_sure_network_are_found_and_counted():
    """Of 100 images each of three classes, 8 of class 0 are labeled 1 and 4 of class 2 labeled 0.

    The network is right and its sureness differs, so that it is confident of about every second
    image only; of the planted ones fewer, so that fewer are estimated and suspected.
    """
    random = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 100)
    probabilities = random.dirichlet([1, 1, 1], 300) * 0.2
    probabilities[np.arange(300), true] += 0.8
    labels = true.copy()
    labels[:8], labels[200:204] = 1, 0
    errors = find(probabilities.astype(np.float32), labels)
    planted = {*range(8), *range(200, 204)}
    assert set(errors.ranking[:10]) <= planted
    np.testing.assert_array_equal(errors.suggested[errors.ranking], true[errors.ranking])
    (first, second) = errors.pairs()
    assert first[:2] == (1, 0) and second[:2] == (0, 2)
    assert (first[2], second[2]) == (4, 3)
    assert errors.estimated == pytest.approx(4.65 + 2.70, abs=0.01)
    assert errors.agreement == 288 / 300


def test_nothing_is_suspected_where_there_is_nothing_or_nobody_is_sure():
    empty = find(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    assert len(empty) == 0 and empty.estimated == 0 and empty.pairs() == []
    level = find(np.full((6, 3), 1 / 3, np.float32), np.array([0, 0, 1, 1, 2, 2]))
    assert not level.suspected.any() and len(level.ranking) == 0


def test_a_class_without_images_is_suggested_to_nobody():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], np.float32)
    errors = find(probabilities, np.array([0, 1]))
    assert errors.thresholds[2] == np.inf
    assert errors.joint[:, 2].tolist() == [0, 0, 0]
    assert 2 not in errors.suggested[errors.suspected]


@pytest.mark.parametrize(
    ("probabilities", "labels", "told"),
    [
        (np.ones(3), [0], "do not go together"),
        (np.ones((3, 1)), [0, 0, 0], "do not go together"),
        (np.ones((3, 2)), [0, 0], "do not go together"),
        (np.full((2, 2), np.nan), [0, 1], "must be numbers in 0..1"),
        (np.array([[2.0, -1.0], [0.5, 0.5]]), [0, 1], "must be numbers in 0..1"),
        (np.full((2, 2), 0.5), [0, 2], r"must lie in 0\.\.1"),
        (np.full((2, 2), 0.5), [0, -1], r"must lie in 0\.\.1"),
    ],
)
def test_what_makes_no_sense_is_refused(probabilities, labels, told):
    with pytest.raises(ValueError, match=told):
        find(probabilities, np.array(labels))
