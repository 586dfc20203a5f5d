"""t-SNE keeps together what is alike, and says the same at every call."""

import numpy as np
import pytest

from convlens.look.arrays.features import embedding
from convlens.look.arrays.tsne import _neighborhoods, _slope, _squared_distances, tsne


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray]:
    """Six groups of 15 points in 20 dimensions, of which two show half."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 15)
    centers = random.normal(size=(6, 20)) * 2
    return centers[labels] + random.normal(size=(90, 20)) * 0.8, labels


def same_group(places: np.ndarray, labels: np.ndarray) -> float:
    """How many of the points have one of their own group as nearest neighbor."""
    distances = _squared_distances(places)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(axis=1)] == labels).mean())


def test_groups_stay_together_better_than_in_two_directions(groups):
    vectors, labels = groups
    places = tsne(vectors)
    assert places.shape == (90, 2)
    assert places.dtype == np.float32
    assert same_group(places, labels) == 1
    assert same_group(embedding(vectors)[0], labels) < 0.95
    np.testing.assert_array_equal(tsne(vectors, 20), tsne(vectors, 20))


def test_a_neighborhood_is_as_wide_as_it_is_asked_to_be(groups):
    shares = _neighborhoods(_squared_distances(groups[0]), 12.0)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (np.diag(shares) == 0).all()
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), 12, rtol=1e-3)


def test_the_slope_is_that_of_the_divergence(groups):
    near = _neighborhoods(_squared_distances(groups[0][:8]), 2.0)
    near = (near + near.T) / near.sum() / 2
    places = np.random.default_rng(1).normal(size=(8, 2))

    def divergence(places: np.ndarray) -> float:
        alike = 1 / (1 + _squared_distances(places))
        np.fill_diagonal(alike, 0)
        off = near > 0
        return float((near[off] * np.log(near[off] / (alike / alike.sum())[off])).sum())

    for place in [(0, 0), (3, 1)]:
        moved = np.zeros_like(places)
        moved[place] = 1e-5
        measured = (divergence(places + moved) - divergence(places - moved)) / 2e-5
        assert _slope(places, near)[place] == pytest.approx(measured, rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_few_points_and_equal_ones_have_places(count):
    assert np.isfinite(tsne(np.ones((count, 4)), 5)).all()
