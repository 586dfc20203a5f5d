"""The deconvnet by hand, against captum's, and against pools and convolutions truly reversed."""

import numpy as np
import pytest
import torch
from captum.attr import Deconvolution
from torch import nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.look.arrays.activations import activations
from convlens.look.arrays.deconvolution import deconvolution
from convlens.models import ConvNet, LeNet5


class Functional(nn.Module):
    """The same network as `modules`, its ReLUs a function and one module in place."""

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.first, self.second = layers[0], layers[3]
        self.last = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.last(self.second(F.max_pool2d(F.relu(self.first(x)), 2)))


def modules() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
    )


class Until(nn.Module):
    """ConvNet up to its second stage."""

    def __init__(self, model: ConvNet):
        super().__init__()
        self.model = model

    def forward(self, x):
        m = self.model
        x = m.relu2(m.bn2(m.conv2(m.relu1(m.bn1(m.conv1(x))))))
        return m.stage2(m.stage1(x))


def with_norms_of_a_trained_net(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def test_one_convolution_projects_its_kernel_times_the_activation():
    model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1))
    x = torch.randn(1, 3, 6, 6)
    value = model(x)[0, 1]
    unit = divmod(int(value.argmax()), 6)
    y, z = 2, 3
    kernel = model[0].weight[1].detach().permute(1, 2, 0).numpy()
    expected = np.zeros((6, 6, 3), np.float32)
    expected[y - 1 : y + 2, z - 1 : z + 2] = kernel * max(value[y, z].item(), 0)
    projected = deconvolution(model, x, "0", [1], [(y, z)])
    np.testing.assert_allclose(projected[0], expected, atol=1e-6)
    np.testing.assert_array_equal(
        deconvolution(model, x, "0", [1]), deconvolution(model, x, "0", [1], [unit])
    )


def test_the_way_down_is_the_paper_s():
    """Filters transposed, signals rectified, pools undone by their switches, step by step."""
    model = modules()
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        pooled, switches = F.max_pool2d(model[1](model[0](x)), 2, return_indices=True)
        top = model[4](model[3](pooled))
        signal = torch.zeros_like(top)
        for image, unit in enumerate([(3, 1, 2), (0, 2, 0)]):
            signal[image, *unit] = top[image, *unit]
        signal = F.conv_transpose2d(signal, model[3].weight)
        signal = F.max_unpool2d(signal, switches, 2)
        signal = F.conv_transpose2d(signal.relu(), model[0].weight, padding=1)
    projected = deconvolution(model, x, "4", [3, 0], [(1, 2), (2, 0)])
    assert np.abs(projected).max() > 0
    np.testing.assert_allclose(projected, signal.permute(0, 2, 3, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (
            model := LeNet5(size=16, batch_norm=True),
            nn.Sequential(*list(model.children())[:7]),
            "relu2",
            16,
        ),
        lambda: (model := ConvNet(), Until(model), "stage2.relu2", 16),
    ],
    ids=["lenet5", "convnet"],
)
def test_captum_s_deconvolution_is_the_same_for_an_activation_of_one(make):
    torch.manual_seed(2)
    model, until, layer, size = make()
    with_norms_of_a_trained_net(model)
    x = torch.randn(3, 3, size, size)
    maps = activations(model, x, [layer])[layer]
    channel = int(maps.max(axis=(0, 2, 3)).argmax())
    with pytest.warns(UserWarning, match="backward hooks on ReLU"):
        theirs = Deconvolution(until).attribute(x.clone().requires_grad_(), target=(channel, 1, 0))
    ours = deconvolution(model, x, layer, [channel] * 3, [(1, 0)] * 3)
    values = maps[:, channel, 1, 0].reshape(3, 1, 1, 1)
    expected = theirs.detach().permute(0, 2, 3, 1).numpy() * values
    assert np.abs(ours).max() > 0
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_relus_as_functions_and_in_place_are_rectified_too():
    layers = modules()
    x = torch.randn(2, 3, 12, 12)
    expected = deconvolution(layers, x, "4", [1, 2])
    np.testing.assert_array_equal(deconvolution(Functional(layers), x, "last", [1, 2]), expected)
    np.testing.assert_array_equal(  # before the ReLU the strongest activation is the same
        deconvolution(Functional(layers), x, "second", [1, 2]), expected
    )


def test_a_unit_at_rest_projects_to_nothing():
    model = modules()
    model[3].bias.data[2] = -100
    x = torch.randn(1, 3, 12, 12)
    assert not deconvolution(model, x, "4", [2]).any()
    assert not deconvolution(model, x, "3", [2]).any()  # below 0 before the ReLU


def test_nothing_is_left_behind():
    model = modules().train()
    x = torch.randn(1, 3, 12, 12, requires_grad=True)

    def gradient():
        return torch.autograd.grad(model(x).sum(), x)[0]

    before = gradient()
    deconvolution(model, x, "4", [0])
    assert torch.equal(gradient(), before)
    assert x.grad is None
    assert all(
        m.training and not m._forward_hooks and not m._backward_hooks for m in model.modules()
    )
    assert all(p.grad is None for p in model.parameters())


def test_unknown_layers_and_maps_are_refused():
    x = torch.zeros(1, 3, 12, 12)
    with pytest.raises(UserError, match="Sequential has no layer '9' whose output"):
        deconvolution(modules(), x, "9", [0])
    with pytest.raises(UserError, match="layer 4 has no map 5; choose from 0 to 4"):
        deconvolution(modules(), x, "4", [5])
