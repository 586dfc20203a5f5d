"""Filters as they are, with the color last, and deeper ones as what they are put together from."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.look.arrays.filters import composite_filters, first_filters, kernels
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


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 4, 3), nn.Linear(3, 4)])
def test_what_has_no_colors_is_refused(layer):
    with pytest.raises(UserError, match="Sequential has no 2-D convolution that reads 3 channels"):
        first_filters(nn.Sequential(layer))


# Deeper ones


class Branches(nn.Module):
    """A sum, a concatenation, a functional ReLU and pool, a convolution in groups."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.main = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.side = nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(8, 5, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        y = self.relu(self.main(x) + self.side(x))
        return F.gelu(self.last(torch.cat([x, y], dim=1)))


class Linear(Branches):
    """The same with every nonlinearity left out and a mean in place of the maximum."""

    def forward(self, x):
        x = F.avg_pool2d(self.norm(self.first(x)), 2)
        return self.last(torch.cat([x, self.main(x) + self.side(x)], dim=1))


def branches() -> Branches:
    torch.manual_seed(0)
    model = Branches().eval()
    for tensor in (model.norm.weight.data, model.norm.bias.data, model.norm.running_mean):
        tensor.normal_()
    model.norm.running_var.uniform_(0.5, 2)
    return model


def test_of_the_first_convolution_it_is_the_filter_itself():
    model = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU())
    for layer in "0", "1":
        composed = composite_filters(model, layer, size=9, batch_size=3)
        np.testing.assert_allclose(composed, first_filters(model), atol=1e-6)


def test_two_convolutions_compose_by_the_paper_s_sum_over_what_lies_between():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3))
    model[1].running_var.uniform_(0.5, 2)
    scale = (model[1].weight / torch.sqrt(model[1].running_var + model[1].eps)).detach().numpy()
    first, second = model[0].weight.detach().numpy(), model[3].weight.detach().numpy()
    expected = np.zeros((6, 5, 5, 3))
    for o, i, y, x in np.ndindex(6, 4, 3, 3):
        window = expected[o, y : y + 3, x : x + 3]
        window += second[o, i, y, x] * scale[i] * first[i].transpose(1, 2, 0)
    np.testing.assert_allclose(composite_filters(model, "3", size=16), expected, atol=1e-5)


def test_it_is_how_the_network_without_nonlinearities_answers_to_each_pixel_alone():
    model, size = branches(), 14
    linear = Linear().eval()
    linear.load_state_dict(model.state_dict())
    composed = composite_filters(model, "last", size)  # the unit in the middle: (2, 2) of 5×5
    pixels = torch.eye(3 * size * size, dtype=torch.double).reshape(-1, 3, size, size)
    with torch.no_grad():
        linear.double()
        answers = linear(pixels) - linear(torch.zeros(1, 3, size, size, dtype=torch.double))
    whole = answers[:, :, 2, 2].T.reshape(5, 3, size, size).permute(0, 2, 3, 1).numpy()
    inside = np.abs(whole).sum(axis=(0, 3)) > 1e-12
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    seen = whole[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert seen.shape == composed.shape == (5, 12, 12, 3)
    np.testing.assert_allclose(composed, seen, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_kernels_are_those_of_the_largest_norm_in_their_group():
    model = branches()
    weight = model.main.weight.detach().numpy()  # (4, 2, 3, 3): maps 2, 3 read inputs 2, 3
    seen = kernels(model, "main", [0, 3], count=2, size=14)
    norms = np.sqrt((weight**2).sum(axis=(2, 3)))
    for row, (number, offset) in enumerate([(0, 0), (3, 2)]):
        order = np.argsort(-norms[number])
        assert (seen.inputs[row] - offset).tolist() == order.tolist()
        np.testing.assert_array_equal(seen.weights[row], weight[number][order])
    assert kernels(model, "last", [4], size=14).inputs.shape == (1, 6)


@pytest.mark.parametrize(
    ("layer", "convolution"),
    [
        ("conv2", "conv2"),
        ("relu2", "conv2"),
        ("bn1", "conv1"),
        ("stage2.relu2", "stage2.conv2"),
        ("stage2", "stage2.conv2"),
        ("stage3.shortcut", "stage3.shortcut.0"),
        ("avgpool", "stage4.conv2"),
    ],
)
def test_the_convolution_behind_a_layer(layer, convolution):
    assert kernels(ConvNet(5), layer, [0], size=16).convolution == convolution


@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        ("relu9", [0], "no layer 'relu9'"),
        ("fc", [0], "'fc' that gives maps"),
        ("relu2", [64], "layer relu2 has no map 64; choose from 0 to 63"),
    ],
)
def test_what_has_no_kernels_is_told(layer, maps, sentence):
    with pytest.raises(UserError, match=sentence):
        kernels(ConvNet(5), layer, maps, size=16)


def test_a_composite_needs_maps():
    with pytest.raises(UserError, match="layer fc gives no maps"):
        composite_filters(ConvNet(5), "fc", size=16)
