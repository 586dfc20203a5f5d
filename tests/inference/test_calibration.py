import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.inference.calibration import fit_temperature, reliability


def drawn(temperature: float, n: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the probabilities that they mean at `temperature`."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, classes, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)
    return logits.numpy(), labels.squeeze(1).numpy()


def test_the_error_by_hand():
    # two classes; highest probabilities 0.9, 0.9, 0.7 of which the first and the last are right
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    seen = reliability(logits, np.array([0, 1, 1]), bins=10)
    assert seen.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 2, 0]
    assert seen.accuracy[[6, 8]].tolist() == [1.0, 0.5]
    np.testing.assert_allclose(seen.confidence[[6, 8]], [0.7, 0.9])
    assert np.isnan(seen.accuracy[0]) and np.isnan(seen.confidence[9])
    assert seen.error == pytest.approx((1 * 0.3 + 2 * 0.4) / 3)


def test_certainty_falls_into_the_last_bin():
    seen = reliability(np.array([[1000.0, 0.0]]), np.array([0]))
    assert seen.count.tolist() == [0] * 14 + [1]
    assert seen.error == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    logits, labels = drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    assert reliability(logits, labels, found).error < 0.03


@pytest.mark.parametrize("prior", [0.7, 1.0, 3.0])
def test_the_fit_is_the_least_loss_and_surprise_of_a_fine_grid(prior):
    logits, labels = drawn(1.7, n=50)
    grid = np.exp(np.linspace(np.log(0.5), np.log(5), 2000))
    scores, targets = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    losses = [
        50 * float(torch.nn.functional.cross_entropy(scores / t, targets))
        + (np.log(t / prior) / 0.5) ** 2 / 2
        for t in grid
    ]
    found = fit_temperature(logits, labels, prior)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.002)


def test_a_few_images_overrule_the_prior_neither_at_all_nor_without_bound():
    logits, labels = drawn(1.0, n=19)
    assert fit_temperature(logits, labels, prior=1.3) == 1.3
    # all told, so the likeliest temperature of all is 0
    certain = 5 * np.eye(3, dtype=np.float32)[[0, 1, 2] * 10]
    found = fit_temperature(certain, np.array([0, 1, 2] * 10))
    assert 0.3 < found < 1
    # and all wrong, for which it is infinite
    found = fit_temperature(certain, np.array([1, 2, 0] * 10))
    assert 1 < found < 20


@given(st.floats(0.1, 10))
def test_a_temperature_changes_no_prediction(temperature):
    logits, labels = drawn(1.0, n=50)
    right = (logits.argmax(1) == labels).mean()
    seen = reliability(logits, labels, temperature)
    assert np.nansum(seen.accuracy * seen.count) / seen.count.sum() == pytest.approx(right)
    assert 0 <= seen.error <= 1
