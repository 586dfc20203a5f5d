"""Layers are found in the order of execution, maps are right, and hooks leave no trace."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.look.arrays.activations import activations, map_statistics
from convlens.models import ConvNet, LeNet5, ResNet18
from convlens.models.hooks import conv_relu_layers, layer_outputs


class SharedReLU(nn.Module):
    """One in-place ReLU used twice, as in torchvision's ResNet; the convolutions defined last
    first."""

    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(4, 6, 3)
        self.first = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.second(self.relu(self.first(x))))


class FunctionalReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(4, 5, 3)

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))))


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()

    def forward(self, x):
        self.relu(self.conv(x))
        raise RuntimeError("boom")


def count_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LeNet5(), ["relu1", "relu2"]),
        (LeNet5(batch_norm=True, dropout=0.4), ["relu1", "relu2"]),
        (ConvNet(), ["relu1", "relu2"]),
        (ResNet18(), ["relu", "layer1.0.relu1"]),
        (ResNet18(conv2_stride=2), ["relu", "layer1.0.relu1"]),
        (SharedReLU(), ["relu", "relu#2"]),
    ],
    ids=["lenet5", "lenet5bn", "convnet", "resnet18", "resnet18-stride2", "shared"],
)
def test_first_and_second_convolution_s_relu(model, expected):
    assert conv_relu_layers(model)[:2] == expected


def test_each_convolution_with_a_relu_is_listed_once():
    layers = conv_relu_layers(ResNet18())
    assert len(layers) == 17  # of 20 convolutions, 3 are projections without a ReLU
    assert len(set(layers)) == 17


def test_the_relu_of_a_dense_layer_is_not_the_convolution_s():
    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 4), nn.ReLU())
    assert conv_relu_layers(model, size=8) == ["0"]


def test_without_relu_modules_the_convolutions_stand_for_themselves():
    model = FunctionalReLU()
    assert conv_relu_layers(model) == ["a", "b"]
    assert activations(model, torch.randn(1, 3, 8, 8), ["a"])["a"].min() < 0


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UserError, match="Linear has no 2-D convolution"):
        conv_relu_layers(nn.Linear(8, 2), size=8)


def test_maps_are_the_layer_s_own_arithmetic():
    model = LeNet5(batch_norm=True, dropout=0.5).train()
    model.bn1.running_mean.normal_()
    x = torch.randn(2, 3, 64, 64)
    maps = activations(model, x, ["relu1", "fc3"])
    with torch.no_grad():
        bn = model.bn1
        expected = F.relu(
            F.batch_norm(model.conv1(x), bn.running_mean, bn.running_var, bn.weight, bn.bias)
        )
    assert list(maps) == ["relu1", "fc3"]
    assert maps["relu1"].dtype == np.float32
    np.testing.assert_allclose(maps["relu1"], expected.numpy(), atol=1e-6)
    assert maps["fc3"].shape == (2, 101)


def test_an_in_place_relu_does_not_reach_into_the_convolution_s_map():
    model = SharedReLU()
    x = torch.randn(1, 3, 10, 10)
    maps = activations(model, x, ["first", "relu", "relu#2"])
    np.testing.assert_array_equal(maps["first"], model.first(x).detach().numpy())
    np.testing.assert_array_equal(maps["relu"], maps["first"].clip(0))
    assert maps["relu#2"].shape == (1, 6, 6, 6)


def test_nothing_is_left_behind():
    model = ResNet18().train()
    model.bn1.eval()  # a frozen norm stays frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    activations(model, torch.randn(1, 3, 32, 32, generator=torch.Generator()), ["relu"])
    conv_relu_layers(model, size=32)
    assert count_hooks(model) == 0
    assert [n for n, m in model.named_modules() if not m.training] == ["bn1"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "look",
    [
        conv_relu_layers,
        lambda model: activations(model, torch.zeros(1, 3, 8, 8), ["relu", ""]),
    ],
)
def test_hooks_and_mode_are_mended_when_the_forward_raises(look):
    model = Failing().train()
    with pytest.raises(RuntimeError, match="boom"):
        look(model)
    assert count_hooks(model) == 0
    assert all(module.training for module in model.modules())


def test_bfloat16_comes_back_as_float32():
    model = SharedReLU().bfloat16()
    assert conv_relu_layers(model) == ["relu", "relu#2"]
    maps = activations(model, torch.randn(1, 3, 8, 8).bfloat16(), ["relu"])
    assert maps["relu"].dtype == np.float32


def test_an_unknown_layer_is_named_with_near_ones():
    with pytest.raises(UserError, match=r"LeNet5 has no layer 'relu9'.*for instance relu"):
        activations(LeNet5(), torch.zeros(1, 3, 64, 64), ["relu9"])


def test_what_comes_after_the_last_layer_asked_for_is_not_run():
    model = Failing().train()
    x = torch.randn(1, 3, 8, 8)
    maps = activations(model, x, ["relu", "conv"])
    np.testing.assert_array_equal(maps["relu"], maps["conv"].clip(0))
    assert count_hooks(model) == 0
    assert all(module.training for module in model.modules())


def test_with_gradients_on_the_outputs_hang_on_the_pass():
    model = LeNet5(5, size=16)
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    outputs = layer_outputs(model, x, ["relu1", ""])  # "" is the model itself
    torch.testing.assert_close(outputs[""], model.eval()(x))
    (gradient,) = torch.autograd.grad(outputs["relu1"].sum(), x)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        assert not layer_outputs(model, x, ["relu1"])["relu1"].requires_grad


def test_statistics_of_maps_by_hand():
    maps = np.zeros((4, 2, 3), np.float32)
    maps[0, 0, 0] = 3  # mean 0.5
    maps[1] = 1
    maps[2] = -2
    seen = map_statistics(maps)
    assert seen.mean.tolist() == [0.5, 1, -2, 0]
    assert seen.maximum.tolist() == [3, 1, -2, 0]
    np.testing.assert_allclose(seen.active, [1 / 6, 1, 0, 0], rtol=1e-6)
    assert seen.by_strength() == [1, 0, 3, 2]


def test_features_of_a_linear_layer_have_statistics_too():
    seen = map_statistics(np.array([0.0, 2.0, -1.0], np.float32))
    assert (seen.by_strength(), seen.active.tolist()) == ([1, 0, 2], [0, 1, 0])
