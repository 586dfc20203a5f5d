"""A trace holds every operation with its result, and is computed as without it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.models import ConvNet
from convlens.models.trace import GIVEN, place_of, trace


class InPlace(nn.Module):
    """Its one nonlinearity overwrites what came before it."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        return F.max_pool2d(torch.cat([x, x + 1], dim=1), 2).flatten(1)


def test_every_operation_is_there_with_what_it_read_and_gave():
    torch.manual_seed(0)
    model, x = InPlace(), torch.randn(2, 3, 8, 8)
    found = trace(model, x)
    pooled = "max_pool2d_with_indices"  # gives the places of its maxima too
    names = ["convolution", "relu", "add", "cat", pooled, pooled, "view"]
    assert [step.operation for step in found.steps] == names
    conv, relu, add, cat, pool, _, flat = found.steps
    assert (conv.layer, relu.layer, pool.layer) == ("conv", "act", "")
    assert conv.inputs[0] is found.image and relu.inputs == [conv] and add.inputs == [relu]
    assert (cat.inputs, pool.inputs, flat.inputs) == ([relu, add], [cat], [pool])
    weight = conv.arguments["weight"]
    assert (weight.operation, place_of(weight.value)) == (GIVEN, place_of(model.conv.weight))
    before = F.conv2d(x, model.conv.weight, model.conv.bias).detach()
    torch.testing.assert_close(conv.value, before)  # not as the ReLU left it
    torch.testing.assert_close(relu.value, before.relu())
    torch.testing.assert_close(flat.value, found.layers[""].value)


def test_a_model_gives_the_same_as_without_a_trace_and_is_left_as_it_was():
    torch.manual_seed(0)
    model, x = ConvNet(5, squeeze_excite=True).train(), torch.randn(1, 3, 16, 16)
    seen = []
    found = trace(model, x, lambda layer, *_: seen.append(layer))
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert {"conv1", "stage2.shortcut.0", "fc", ""} <= set(seen)
    with torch.no_grad():
        torch.testing.assert_close(found.layers[""].value, model.eval()(x), rtol=0, atol=0)
