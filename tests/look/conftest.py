"""What the tests of several views share."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def network() -> Callable[[], nn.Sequential]:
    """Makes a small network, the same at every call."""

    def make() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3),
        )  # fmt: skip

    return make
