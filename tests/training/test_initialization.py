import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.data.normalize import Normalize
from convlens.models import ConvNet, LeNet5
from convlens.training.initialization import initialize, whiten


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # standard deviation: √(2 / fan out) for a 3×3 convolution; √(2 / (fan in + fan out))
        ("kaiming", math.sqrt(2 / (64 * 9))),
        ("xavier", math.sqrt(2 / ((32 + 64) * 9))),
    ],
)
def test_initialization_has_the_papers_spread(scheme, expected):
    torch.manual_seed(0)
    model = nn.Conv2d(32, 64, 3)
    initialize(model, scheme)
    assert model.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert not model.bias.any()


def test_default_initialization_changes_nothing():
    model = nn.Conv2d(3, 4, 3)
    before = copy.deepcopy(model.state_dict())
    initialize(model, "default")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def images(count: int = 300) -> np.ndarray:
    """Colored gradients with a little noise: neighboring pixels are much alike."""
    draw = np.random.default_rng(0)
    corners = draw.uniform(40, 215, (count, 2, 2, 3))
    share = np.linspace(0, 1, 24)
    down = corners[:, :1] + share[:, None, None] * (corners[:, 1:] - corners[:, :1])
    whole = down[:, :, :1] + share[:, None] * (down[:, :, 1:] - down[:, :, :1])
    return np.clip(whole + draw.normal(0, 12, whole.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [3, 1])
def test_the_first_convolution_whitens_patches(channels):
    shown = images()
    normalize = Normalize.of(shown, channels)
    torch.manual_seed(0)
    model = ConvNet(5, in_channels=channels)
    before = copy.deepcopy(model)
    whiten(model, shown, normalize)
    half = min(9 * channels, 16)
    weight = model.conv1.weight.detach()
    assert torch.equal(weight[half : 2 * half], -weight[:half])
    assert torch.equal(weight[2 * half :], before.conv1.weight[2 * half :])
    for name, parameter in model.named_parameters():
        assert name == "conv1.weight" or torch.equal(parameter, before.get_parameter(name))

    pixels = normalize(torch.from_numpy(shown).permute(0, 3, 1, 2))
    seen = F.conv2d(pixels, weight[:half], stride=3).movedim(1, -1).flatten(0, -2).double()
    moments = seen.T @ seen / len(seen)
    # uncorrelated, each of the spread λ / (λ + 0.01): nearly 1 where patches vary much
    assert torch.allclose(moments, moments.diag().diag(), atol=1e-4)
    values = torch.linalg.eigvalsh(patch_moments(pixels)).flip(0)[:half]
    assert torch.allclose(moments.diag(), values / (values + 0.01), atol=1e-4)
    assert moments[0, 0] > 0.99


def patch_moments(pixels: torch.Tensor) -> torch.Tensor:
    """E[p·pᵀ] over all 3×3 patches side by side, one at a time."""
    patches = [
        pixels[:, :, top : top + 3, left : left + 3].flatten(1)
        for top in range(0, 24, 3)
        for left in range(0, 24, 3)
    ]
    stacked = torch.cat(patches).double()
    return stacked.T @ stacked / len(stacked)


def test_few_filters_whiten_the_directions_in_which_patches_vary_most():
    model = LeNet5(5, size=24)
    before = model.conv1.bias.detach().clone()
    shown = images(3)
    whiten(model, shown, Normalize.of(shown))
    first, second = model.conv1.weight.detach().chunk(2)
    assert torch.equal(second, -first)
    norms = first.flatten(1).norm(dim=1)
    assert (norms.diff() > 0).all()  # the more they vary, the less they are magnified
    assert torch.equal(model.conv1.bias.detach(), before)


def test_a_network_that_reads_no_images_stays_as_it_is():
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before = copy.deepcopy(model.state_dict())
    whiten(model, images(4), Normalize())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
