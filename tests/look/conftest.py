"""What the tests of several views share."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convlens.data.normalize import Normalize
from convlens.inference import Classifier


@pytest.fixture
def network() -> Callable[[], nn.Sequential]:
    """Makes a small network, the same at every call."""

    def make() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(20, 3),
        )

    return make


@pytest.fixture
def classifier_of() -> Callable[..., Classifier]:
    """Wraps a network, for images of `size` pixels; by default of three classes."""

    def wrap(model: nn.Module, size: int, **options: object) -> Classifier:
        return Classifier(
            model,
            options.pop("class_names", "abc"),
            Normalize([0.5] * 3, [0.25] * 3),
            size=size,
            **options,
        )

    return wrap


@pytest.fixture
def classifier(toy_weights) -> Classifier:
    """The untrained network of `toy_weights`, whose probabilities are at a temperature."""
    loaded = Classifier.load(toy_weights)
    loaded.temperature = 0.31  # whose logits differ little
    return loaded


@pytest.fixture
def image(toy_data):
    """A file."""
    return toy_data / "train" / "red_cross" / "image_0003.png"
