"""The first convolution's weights, as they are, with the colour last."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.errors import UserError
from convlens.look.filters import first_filters
from convlens.models import ConvNet, LeNet5, ResNet18


@pytest.mark.parametrize(
    ("model", "shape"),
    [(LeNet5(), (32, 5, 5, 3)), (ConvNet(), (32, 3, 3, 3)), (ResNet18(), (64, 7, 7, 3))],
    ids=["lenet5", "convnet", "resnet18"],
)
def test_shape_and_values(model, shape):
    filters = first_filters(model)
    assert filters.shape == shape
    assert filters.dtype == np.float32
    assert filters[5, 1, 2, 0] == model.conv1.weight[5, 0, 1, 2].item()


def test_half_precision_weights_are_read():
    model = LeNet5().to(torch.bfloat16)
    assert first_filters(model).dtype == np.float32


def test_the_result_is_a_copy():
    model = LeNet5()
    first_filters(model)[:] = 7
    assert model.conv1.weight.max() < 7


def test_the_order_of_definition_does_not_mislead():
    model = nn.ModuleDict({"second": nn.Conv2d(8, 4, 3), "first": nn.Conv2d(3, 8, 5)})
    assert first_filters(model).shape == (8, 5, 5, 3)


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 4, 3), nn.Linear(3, 4)])
def test_what_has_no_colours_is_refused(layer):
    with pytest.raises(UserError, match="Sequential has no 2-D convolution that reads 3 channels"):
        first_filters(nn.Sequential(layer))
