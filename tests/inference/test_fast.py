import numpy as np
import pytest
import torch
from torch import nn

from convlens.inference import Classifier
from convlens.inference.fast import FastInference, fuse
from convlens.models import ConvNet, LeNet5, ResNet18
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
