"""Stages are a network in true order of the data, and their numbers add up to the whole."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.look.arrays.layers import layer_table, receptive_field
from convlens.look.arrays.stages import stages
from convlens.models import ConvNet, LeNet5, ResNet18

SIZE = 32


@pytest.mark.parametrize(
    "model",
    [
        LeNet5(5, size=SIZE),
        LeNet5(5, size=SIZE, batch_norm=True),
        ConvNet(5),
        ResNet18(5),
        ResNet18(5, conv2_stride=2),
    ],
)
def test_parameters_and_multiply_adds_add_up_to_the_network(model):
    found = stages(model, SIZE)
    assert sum(s.parameters for s in found) == sum(p.numel() for p in model.parameters())
    table = layer_table(model, SIZE)
    assert sum(s.multiply_adds for s in found) == sum(row.multiply_adds for row in table)


def test_a_residual_block_is_shown_after_its_sum_and_named_by_its_main_path():
    found = {stage.name: stage for stage in stages(ConvNet(7), SIZE)}
    assert list(found)[:6] == [
        "relu1",
        "relu2",
        "stage1.relu1",
        "stage1.relu2",
        "stage2.pool",
        "stage2.relu1",
    ]
    assert list(found)[-2:] == ["avgpool", "fc"]
    block = found["stage2.relu2"]  # whose shortcut is a 1×1 convolution
    assert (block.kind, block.convolution) == ("conv 3×3, ReLU", "stage2.conv2")
    assert block.shape == (128, SIZE // 4, SIZE // 4)
    assert block.field == receptive_field(ConvNet(7), "stage2.relu2", SIZE)
    assert found["stage2.pool"].kind == "average pool 2×2/2"
    assert found["stage2.pool"].convolution is None
    assert (found["avgpool"].field, found["fc"].field) == (None, None)
    assert (found["fc"].kind, found["fc"].shape) == ("linear", (7,))


def test_a_linear_layer_is_shown_after_its_nonlinearity():
    kinds = {stage.name: stage.kind for stage in stages(LeNet5(5, size=SIZE), SIZE)}
    assert kinds == {
        "relu1": "conv 5×5, ReLU",
        "pool1": "max pool 4×4/4",
        "relu2": "conv 5×5, ReLU",
        "pool2": "max pool 4×4/4",
        "relu3": "linear, ReLU",
        "relu4": "linear, ReLU",
        "fc3": "linear",
    }


class Functional(nn.Module):
    """Its nonlinearities are functions, its second convolution is used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.hidden = nn.Linear(4, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.again(F.relu(self.again(x))))
        return self.out(F.relu(self.hidden(x.mean(dim=(2, 3)))))


def test_where_nonlinearities_are_functions_the_layers_stand_by_their_own_names():
    model = Functional()
    found = stages(model, SIZE)
    assert [stage.name for stage in found] == ["first", "again", "again#2", "hidden", "out"]
    assert [stage.convolution for stage in found] == ["first", "again", "again#2", None, None]
    assert sum(s.parameters for s in found) == sum(p.numel() for p in model.parameters())
    assert [stage.field and stage.field.size for stage in found[:3]] == [(3, 3), (5, 5), (7, 7)]


def test_the_model_is_left_as_it_was():
    model = ConvNet(3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stages(model, SIZE)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_without_convolutions_is_told():
    with pytest.raises(UserError, match="no 2-D convolution"):
        stages(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)), SIZE)
