"""Curves of invariance against images changed by hand."""

import numpy as np
import pytest
import torch

from convlens.look.arrays.invariance import CHANGES, apply_change, invariance

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_translation_moves_down_and_lets_the_mean_color_in():
    expected = torch.zeros_like(X)
    expected[:, :, 3:] = X[:, :, :-3]
    torch.testing.assert_close(apply_change(X, "translation", 3), expected, atol=1e-5, rtol=0)
    expected = torch.zeros_like(X)
    expected[:, :, :-2] = X[:, :, 2:]
    torch.testing.assert_close(apply_change(X, "translation", -2), expected, atol=1e-5, rtol=0)


def test_quarter_turns_are_exact_and_anticlockwise():
    for turns in range(4):
        expected = torch.rot90(X, turns, (2, 3))
        turned = apply_change(X, "rotation", 90 * turns)
        torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


def test_a_scale_of_two_shows_the_middle_twice_as_large():
    x = torch.zeros(1, 3, 8, 8)
    x[:, :, 2:6, 2:6] = 1
    torch.testing.assert_close(apply_change(x, "scale", 2)[:, :, 1:7, 1:7], torch.ones(1, 3, 6, 6))
    half = apply_change(torch.ones(1, 3, 8, 8), "scale", 0.5)
    torch.testing.assert_close(half[:, :, 2:6, 2:6], torch.ones(1, 3, 4, 4))
    assert half[:, :, 0].abs().max() == 0


@pytest.mark.parametrize(("change", "nothing"), [("translation", 0), ("scale", 1), ("rotation", 0)])
def test_no_change_changes_nothing(network, change, nothing):
    seen = invariance(network(), X, [0, 2], change, [nothing, 5])
    probability = network().eval()(X).softmax(dim=1)[[0, 1], [0, 2]]
    np.testing.assert_allclose(seen.probability[:, 0], probability.detach(), rtol=1e-6)
    assert list(seen.distances) == ["1", "3"]
    for distance in seen.distances.values():
        assert distance.shape == (2, 2)
        assert not distance[:, 0].any()
        assert (distance[:, 1] > 0.05).all()


def test_probabilities_are_at_the_temperature(network):
    logits = network().eval()(X).detach()
    seen = invariance(network(), X, [0, 2], "rotation", [0], temperature=0.4)
    expected = (logits / 0.4).softmax(dim=1)[[0, 1], [0, 2]]
    np.testing.assert_allclose(seen.probability[:, 0], expected, rtol=1e-6)


@torch.no_grad()
def test_distances_and_probabilities_are_those_of_a_loop(network):
    model = network().eval()
    seen = invariance(model.train(), X, [1, 1], "translation", [2, -3], ["0"])
    assert model.training and not any(m._forward_hooks for m in model.modules())
    for v, value in enumerate([2, -3]):
        moved = apply_change(X, "translation", value)
        for i in range(2):
            whole, now = model[0](X[i : i + 1]), model[0](moved[i : i + 1])
            expected = (now - whole).norm() / whole.norm()
            assert seen.distances["0"][i, v] == pytest.approx(float(expected), rel=1e-4)
            share = model(moved[i : i + 1]).softmax(dim=1)[0, 1]
            assert seen.probability[i, v] == pytest.approx(float(share), rel=1e-4)


def test_the_default_steps_hold_no_change_and_others_are_refused(network):
    for change, nothing in ("translation", 0), ("scale", 1.0), ("rotation", 0):
        assert nothing in CHANGES[change]
    with pytest.raises(KeyError, match="shear"):
        invariance(network(), X, [0, 0], "shear")
