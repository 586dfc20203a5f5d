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
    parts = [*found, *(stage.shortcut for stage in found if stage.shortcut)]
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in model.parameters())
    table = layer_table(model, SIZE)
    assert sum(part.multiply_adds for part in parts) == sum(row.multiply_adds for row in table)


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


@pytest.mark.parametrize(
    ("model", "name", "reads", "layer", "kind"),
    [
        (ConvNet(5), "stage3.relu2", "stage3.pool", "stage3.shortcut.0", "conv 1×1"),
        (ResNet18(5), "layer2.0.relu2", "layer1.1.relu2", "layer2.0.downsample.0", "conv 1×1/2"),
        (ResNet18(5), "layer2.1.relu2", "layer2.0.relu2", "", ""),
    ],
)
def test_a_shortcut_stands_by_itself_with_its_own_parameters(model, name, reads, layer, kind):
    found = {stage.name: stage for stage in stages(model, SIZE)}
    before, stage = found[name.replace("relu2", "relu1")], found[name]
    shortcut = stage.shortcut
    assert (shortcut.reads, shortcut.layer, shortcut.kind) == ((reads,), layer, kind)
    assert (before.reads, before.shortcut) == ((reads,), None)
    assert stage.reads == (reads, before.name)
    rows = {row.name: row for row in layer_table(model, SIZE)}
    for part, convolution in (before, before.convolution), (stage, stage.convolution):
        weight = model.get_submodule(convolution).weight
        assert part.parameters == weight.numel() + 2 * len(weight)  # and its batch norm
        assert part.multiply_adds == rows[convolution].multiply_adds
    projection = model.get_submodule(layer).weight if layer else torch.empty(0)
    assert shortcut.parameters == projection.numel() + 2 * len(projection)
    assert shortcut.multiply_adds == (rows[layer].multiply_adds if layer else 0)


def test_what_is_concatenated_is_read_and_no_shortcut():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
            self.join, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            skip = F.relu(self.down(x))
            x = self.join(torch.cat([F.relu(self.up(skip)), skip], dim=1))
            return self.head(F.relu_(x).mean(dim=(2, 3)))

    found = {stage.name: stage for stage in stages(Skips(), SIZE)}
    assert {name: stage.reads for name, stage in found.items()} == {
        "down": ("",),
        "up": ("down",),
        "join": ("down", "up"),
        "head": ("join",),
    }
    assert all(stage.shortcut is None for stage in found.values())
