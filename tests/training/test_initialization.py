import copy
import math

import pytest
import torch
from torch import nn

from convlens.training.initialization import initialize


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
