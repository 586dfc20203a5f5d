"""The layer table against numbers worked out by hand, and its fields against gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.look.arrays.layers import layer_table, receptive_field, to_text
from convlens.models import ConvNet, LeNet5, ResNet18


def test_lenet5_row_by_row():
    rows = [
        (r.name, r.kind, r.shape, r.parameters, r.multiply_adds, r.field, r.stride)
        for r in layer_table(LeNet5())
    ]
    assert rows == [
        ("conv1", "conv 5×5", (32, 64, 64), 3 * 25 * 32 + 32, 64 * 64 * 32 * 75, (5, 5), (1, 1)),
        ("pool1", "max pool 4×4/4", (32, 16, 16), 0, 0, (8, 8), (4, 4)),
        ("conv2", "conv 5×5", (64, 16, 16), 32 * 25 * 64 + 64, 256 * 64 * 800, (24, 24), (4, 4)),
        ("pool2", "max pool 4×4/4", (64, 4, 4), 0, 0, (36, 36), (16, 16)),
        ("fc1", "linear", (1021,), 1024 * 1021 + 1021, 1024 * 1021, None, None),
        ("fc2", "linear", (84,), 1021 * 84 + 84, 1021 * 84, None, None),
        ("fc3", "linear", (101,), 84 * 101 + 101, 84 * 101, None, None),
    ]


def test_resnet18_at_224_is_the_paper_s():
    rows = {row.name: row for row in layer_table(ResNet18(1000), size=224)}
    # He et al. 2016, table 1: 1.8·10⁹ multiply-adds; torchvision's count of parameters.
    assert sum(row.multiply_adds for row in rows.values()) == 1_814_073_344
    assert sum(row.parameters for row in rows.values()) == 11_689_512
    assert rows["(other)"].parameters == 2 * (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512)
    assert rows["layer4.1.conv2"].field == (435, 435)
    assert rows["layer4.1.conv2"].stride == (32, 32)
    assert rows["layer2.0.downsample.0"].kind == "conv 1×1/2"
    assert rows["layer2.0.downsample.0"].field == rows["layer1.1.conv2"].field == (43, 43)
    assert rows["avgpool"].kind == "global average pool"
    assert rows["avgpool"].field is None


@pytest.mark.parametrize("model", [LeNet5(batch_norm=True), ConvNet(), ResNet18()])
def test_parameters_add_up_to_the_model(model):
    assert sum(r.parameters for r in layer_table(model)) == sum(
        p.numel() for p in model.parameters()
    )


class Branches(nn.Module):
    """Branches that are added and concatenated, a shared layer, and functions for layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (3, 5), padding=(1, 2))
        self.dilated = nn.Conv2d(4, 4, 3, dilation=3, padding=3)
        self.point = nn.Conv2d(8, 4, 1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)

    def forward(self, x):
        x = F.avg_pool2d(self.stem(x), 3, 2, 1)
        x = torch.cat([self.dilated(x) + x, F.relu(x)], dim=1)
        x = self.dilated(self.pool(self.point(x)))
        return F.conv2d(x, self.dilated.weight, padding=1)


class Shifted(nn.Module):
    """Paddings that differ from side to side, and a stride that leaves a rest."""

    def __init__(self):
        super().__init__()
        self.even = nn.Conv2d(3, 4, (4, 2), padding="same")
        self.mirrored = nn.Conv2d(4, 4, 5, padding=(2, 1), padding_mode="reflect")
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.last = nn.Conv2d(4, 4, (3, 1), stride=(2, 3))

    def forward(self, x):
        x = self.mirrored(F.pad(self.even(x), (3, 0, 1, 2)))
        return self.last(F.pad(self.pool(x), (-1, 0, -2, -1)) + 1)


def support(model: nn.Module, layer: str, size: int) -> list[tuple[tuple, tuple]]:
    """For the middle and the first unit of a layer, which it is and the box of the image's pixels
    that move it: all weights are made positive and maximum pools averages, so that no gradient
    cancels or is dropped."""
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, pool)
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, out: kept.append(out))
    image = torch.ones(1, 3, size, size, dtype=torch.double, requires_grad=True)
    model.double().eval()(image)
    handle.remove()
    _, _, h, w = kept[-1].shape
    found = []
    for y, x in ((h // 2, w // 2), (0, 0)):
        unit = kept[-1][0, :, y, x].sum()
        (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
        rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero().T.numpy()
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        found.append(((y, x), box))
    return found


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("make", "layer", "size"),
    [
        (lambda: LeNet5(size=96), "pool2", 96),
        (lambda: LeNet5(size=96, padding=0), "conv2", 96),
        (ResNet18, "layer2.1.relu2", 160),
        (lambda: ResNet18(conv2_stride=2), "layer1.1.conv2", 160),
        (ConvNet, "stage3.relu2", 160),
        (Branches, "point", 64),
        (Branches, "dilated", 96),
        (Shifted, "even", 32),
        (Shifted, "pool", 48),
        (Shifted, "last", 64),
    ],
)
def test_fields_are_the_gradient_s_support(make, layer, size):
    last_use = f"{layer}#2" if (make, layer) == (Branches, "dilated") else layer
    field = receptive_field(make(), last_use, size)
    (middle, inside), (first, at_the_border) = support(make(), layer, size)
    assert field.box(*middle) == inside
    assert tuple(np.clip(field.box(*first), 0, size)) == at_the_border


def test_the_table_has_the_same_fields():
    model = ConvNet()
    for row in layer_table(model):
        field = receptive_field(model, row.name) if row.shape else None
        assert (row.field, row.stride) == ((field.size, field.stride) if field else (None, None))


def test_a_unit_that_reads_the_whole_image_has_no_field():
    assert receptive_field(LeNet5(), "relu3") is None


def test_a_field_of_an_unknown_layer_is_refused():
    with pytest.raises(UserError, match="LeNet5 has no layer 'relu9'"):
        receptive_field(LeNet5(), "relu9")


def test_a_layer_used_twice_has_two_rows_and_its_parameters_once():
    rows = layer_table(Branches(), 32)
    assert [row.name for row in rows] == ["stem", "dilated", "point", "pool", "dilated#2"]
    assert [row.parameters for row in rows] == [4 * 45 + 4, 4 * 36 + 4, 36, 0, 0]


def test_nothing_is_left_behind():
    model = ConvNet().train()
    layer_table(model)
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_frozen_weights_are_read_too():
    frozen = LeNet5().requires_grad_(False)
    assert layer_table(frozen) == layer_table(LeNet5())


def test_text_is_an_aligned_table_with_totals():
    lines = to_text(layer_table(ResNet18())).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({line.count("|") for line in lines}) == 1
    assert "11,228,325" in lines[-1]
    assert "whole image" in lines[-3]
