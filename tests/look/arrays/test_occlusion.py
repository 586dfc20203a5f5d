"""Occlusion sensitivity against a loop that hides one place after the other."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.errors import UserError
from convlens.look.arrays.occlusion import occlusion


def picture(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("height", "width", "square", "stride"),
    # overlapping, ragged, with gaps, more places than a forward pass takes images
    [(8, 8, 4, 2), (9, 7, 3, 3), (7, 7, 3, 1), (8, 6, 2, 4), (13, 11, 3, 1)],
)
@pytest.mark.parametrize("temperature", [1.0, 0.4])
@torch.no_grad()
def test_the_maps_are_those_of_a_loop_over_places(
    network, height, width, square, stride, temperature
):
    model, x = network(), picture(height, width)
    seen = occlusion(model, x, 1, square=square, stride=stride, temperature=temperature)
    whole = (model(x) / temperature).softmax(dim=1)[0, 1]
    assert seen.whole == pytest.approx(float(whole), rel=1e-6)
    strongest = int(model[:4](x)[0].sum(dim=(1, 2)).argmax())
    assert (seen.target, seen.layer, seen.map) == (1, "3", strongest)
    assert (seen.square, seen.stride) == (square, stride)

    shape = (-(-height // stride), -(-width // stride))
    assert seen.activation.shape == seen.probability.shape == seen.predicted.shape == shape
    y, across = np.mgrid[:height, :width]
    for row, column in np.ndindex(shape):
        # Within the square: at most half its side from the center of the cell.
        top = row * stride - (square - stride) // 2
        left = column * stride - (square - stride) // 2
        inside = (y >= top) & (y < top + square) & (across >= left) & (across < left + square)
        hidden = x * torch.from_numpy(~inside)
        probabilities = (model(hidden) / temperature).softmax(dim=1)[0]
        place = row, column
        assert seen.activation[place] == pytest.approx(
            float(model[:4](hidden)[0, strongest].sum()), rel=1e-4
        )
        assert seen.probability[place] == pytest.approx(float(probabilities[1]), rel=1e-4)
        assert seen.predicted[place] == int(probabilities.argmax())


@torch.no_grad()
def test_hiding_what_the_network_looks_at_is_what_counts():
    # The logit of class 0 is the brightness of one corner; the other class's is 0.
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    model[0].weight.fill_(1)
    model[3].weight.zero_()[0].reshape(8, 8)[:2, :2] = 1
    model[3].bias.copy_(torch.tensor([-1.0, 0.0]))
    seen = occlusion(model, torch.ones(1, 3, 8, 8), square=2, stride=2)
    assert seen.target == 0
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1
    assert seen.predicted.tolist() == expected.tolist()
    assert (seen.activation == 3 * 60).all()


def test_by_default_a_quarter_of_the_image_moves_by_a_quarter_of_itself(network):
    seen = occlusion(network(), picture(32, 32))
    assert (seen.square, seen.stride, seen.probability.shape) == (8, 2, (16, 16))


@pytest.mark.parametrize(
    ("layer", "why"), [("9", "Sequential has no layer '9'"), ("6", "layer 6 gives no maps")]
)
def test_a_layer_needs_maps(network, layer, why):
    with pytest.raises(UserError, match=why):
        occlusion(network(), picture(8, 8), layer=layer)


@pytest.mark.parametrize("sides", [(0, 1), (2, 0)])
def test_a_square_must_hide_something(network, sides):
    with pytest.raises(UserError, match="hides nothing; choose 1 or more"):
        occlusion(network(), picture(8, 8), square=sides[0], stride=sides[1])


def test_one_image_at_a_time(network):
    with pytest.raises(ValueError, match=r"one image.*\(2, 3, 8, 8\)"):
        occlusion(network(), torch.zeros(2, 3, 8, 8))
