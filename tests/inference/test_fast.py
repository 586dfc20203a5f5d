import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from convlens.inference import Classifier
from convlens.inference.fast import FastInference, fuse
from convlens.inference.fused import ADDITIONS, FusedConv2d
from convlens.models import ConvNet, LeNet5, ResNet18
from convlens.models.layers.convolution import Conv2d
from convlens.training.initialization import initialize


@pytest.fixture(
    params=[(ConvNet, {}), (LeNet5, {}), (LeNet5, {"batch_norm": True}), (ResNet18, {})],
    ids=lambda v: f"{v[0].__name__}-{v[1]}",
)
def network(request):
    """A network whose batch norms have statistics of their own, and images."""
    made, options = request.param
    torch.manual_seed(0)
    model = made(5, **options)
    initialize(model, "kaiming")
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return model.eval(), torch.randn(4, 3, 64, 64)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_logits_are_kept(network, dtype, allowed):
    model, x = network
    with torch.inference_mode():
        expected = model(x)
        logits = FastInference(model, dtype)(x)
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().max() <= allowed * expected.abs().max()


def test_no_batch_norm_is_left_and_the_model_is_left_alone(network):
    model, _ = network
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fuse(model).modules())
    assert model.training and all(m.training for m in model.modules())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class ReadTwice(nn.Module):
    """Reads a convolution's output before and after its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def test_a_norm_stays_where_somebody_reads_what_comes_before_it():
    torch.manual_seed(0)
    model = ReadTwice()
    model.norm.running_mean.uniform_()
    model.eval()
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(fuse(model)(x), model(x))


class CalledTwice(nn.Module):
    """One convolution, each time with a batch norm of its own, and a weighted sum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.other(self.conv(self.one(self.conv(x))))
        return torch.add(self.last(y), x, alpha=0.1)


def test_what_is_called_twice_or_weighs_its_sum_answers_as_before():
    torch.manual_seed(0)
    model = CalledTwice()
    for norm in model.one, model.other:
        norm.running_var.uniform_(0.5, 2)
        norm.running_mean.normal_()
    model.eval()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fuse(model)(x), model(x))
    torch.testing.assert_close(FastInference(model)(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_fast_classifier_gives_the_same_answers(toy_weights, toy_data):
    classifier = Classifier.load(toy_weights)
    classifier.temperature = 0.7
    fast, plain = classifier.fast(), classifier.evaluate(toy_data)
    seen = fast.evaluate(toy_data)
    np.testing.assert_allclose(seen.logits, plain.logits, rtol=1e-3, atol=1e-4)
    assert seen.temperature == 0.7
    assert (fast.class_names, fast.size, fast.origin) == (
        classifier.class_names,
        classifier.size,
        classifier.origin,
    )
    fast.temperature = 2.0
    assert classifier.temperature == 0.7


class Mixed(nn.Module):
    """What is fused beside what must not be: sums and ReLUs as functions, modules and methods."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, dilation=2, padding=2, groups=2)
        self.third = nn.Conv2d(8, 8, 1)
        self.mirrored = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.broadcast = nn.Conv2d(8, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = torch.relu(self.first(x))
        y = self.second(x)
        z = (self.third(y) + y).relu()  # y is read twice
        z = self.relu(self.mirrored(z))
        z = self.third(z) + self.broadcast(z)  # of one channel
        return (z + 1.0).mean(dim=(2, 3))


def fused_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, FusedConv2d)}


@pytest.mark.parametrize("size", [(16, 16), (9, 11)])
def test_what_follows_a_convolution_is_fused_where_nobody_else_reads_it(size):
    torch.manual_seed(0)
    model = Mixed().eval()
    fast, x = FastInference(model), torch.randn(3, 3, *size)
    layers = fused_layers(fast.network)
    kinds = [isinstance(layer.relu, nn.ReLU) for layer in layers.values()]
    assert list(layers) == ["first_fused", "third_fused", "third_fused_again"]
    assert kinds == [True, True, False]
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)
    one_by_one = fast(x)  # with gradients
    torch.testing.assert_close(one_by_one, model(x), rtol=1e-4, atol=1e-5)
    one_by_one.sum().backward()
    assert fast.network.first_fused.convolution.weight.grad is not None


def test_weights_that_change_are_packed_anew_and_copies_have_their_own():
    torch.manual_seed(0)
    fast, x = FastInference(LeNet5(3, size=16, batch_norm=True)), torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        before = fast(x)
        copied = copy.deepcopy(fast)
        for layer in fused_layers(fast).values():
            layer.convolution.weight.mul_(2)
        changed = fast(x)
        torch.testing.assert_close(copied(x), before)
    torch.testing.assert_close(changed, fast(x).detach())  # as the plain layers have it
    assert not torch.allclose(changed, before)


def test_no_addition_nor_relu_after_a_convolution_is_left_of_our_networks(network):
    graph = FastInference(network[0]).network
    modules = dict(graph.named_modules())
    steps = [node for node in graph.graph.nodes if node.op in ("call_module", "call_function")]
    assert not [node for node in steps if node.target in ADDITIONS]
    kinds = [type(modules[node.target]) for node in steps if node.op == "call_module"]
    assert nn.Identity not in kinds and nn.Dropout not in kinds
    after_conv = [b for a, b in itertools.pairwise(kinds) if a in (nn.Conv2d, Conv2d)]
    assert nn.ReLU not in after_conv
