"""The layer table against numbers worked out by hand, and its fields against gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.look.layers import layer_table, to_text
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


def support(model: nn.Module, layer: str, size: int) -> tuple[int, int]:
    """Height and width of the image's part that moves the middle unit of a layer: all weights are
    made positive and maximum pools averages, so that no gradient cancels or is dropped."""
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
    (gradient,) = torch.autograd.grad(kept[-1][0, :, h // 2, w // 2].sum(), image)
    rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero().T
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


@pytest.mark.parametrize(
    ("make", "layer", "size"),
    [
        (lambda: LeNet5(size=96), "pool2", 96),
        (ResNet18, "layer2.1.conv2", 160),
        (lambda: ResNet18(conv2_stride=2), "layer1.1.conv2", 160),
        (ConvNet, "stage3.conv2", 160),
        (Branches, "point", 64),
        (Branches, "dilated", 96),
    ],
)
def test_field_is_the_gradient_s_support(make, layer, size):
    fields = {row.name.split("#")[0]: row.field for row in layer_table(make(), size)}
    assert fields[layer] == support(make(), layer, size)


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
