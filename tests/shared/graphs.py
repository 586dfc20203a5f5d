"""Networks of every kind that a browser can run, and what it has to say of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.normalize import Normalize
from convlens.explorer.export import _network
from convlens.explorer.graph import graph_of
from convlens.explorer.network import Network
from convlens.explorer.pack import Pack
from convlens.inference import Classifier
from convlens.models import ConvNet, LeNet5, ResNet18

PAGE = Path(__file__).parents[2] / "src" / "convlens" / "explorer" / "page"
COLORS = Normalize([0.2, 0.25, 0.3], [0.25, 0.2, 0.3])
GRAY = Normalize([0.4], [0.2])
SMALL = (8, 12, 16, 20)


class Everything(nn.Module):
    """Each step that a browser knows, and each of their options: its sides are never alike."""

    def __init__(self):
        super().__init__()
        self.slanted = nn.Conv2d(3, 9, (3, 5), stride=(1, 2), padding=(2, 1), dilation=(2, 1))
        self.largest = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        self.norm = nn.BatchNorm2d(9)
        self.grouped = nn.Conv2d(9, 15, 3, padding=1, groups=3, bias=False)
        self.own = nn.Conv2d(15, 15, 3, padding=1, groups=15)
        self.counted = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.inner = nn.AvgPool2d((2, 3), 2, padding=1, count_include_pad=False)
        self.head = nn.Linear(30, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.largest(self.slanted(x)))
        x = torch.relu(self.grouped(x))
        gates = torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))
        x = gates * x * torch.sigmoid(self.own(x)) + gates
        x = torch.cat([self.counted(x), self.inner(x)], dim=1)
        return self.head(x.mean(dim=(2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, Normalize]] = {
    "lenet5": (lambda: LeNet5(5, size=32), 32, COLORS),
    "lenet5 of gray images": (lambda: LeNet5(5, size=41, padding=0, in_channels=1), 41, GRAY),
    "lenet5 with norms": (lambda: LeNet5(5, size=32, batch_norm=True, dropout=0.3), 32, COLORS),
    "convnet": (lambda: ConvNet(5, widths=SMALL, dropout=0.1, drop_path=0.2), 27, COLORS),
    "convnet with gates": (
        lambda: ConvNet(
            5, widths=SMALL, depths=(1, 2, 1, 1), stem_stride=2, squeeze_excite=True, in_channels=1
        ),
        32,
        GRAY,
    ),
    "resnet18": (lambda: ResNet18(5), 32, COLORS),
    "resnet18 that strides": (lambda: ResNet18(5, conv2_stride=2, drop_path=0.1), 40, COLORS),
    "of everything": (Everything, 35, COLORS),
}


def named(name: str) -> Network:
    """One of NETWORKS, with the weights that it always has."""
    torch.manual_seed(1)
    make, size, normalize = NETWORKS[name]
    return network_of(make(), size, normalize)


def network_of(model: nn.Module, size: int, normalize: Normalize) -> Network:
    """With norms as after some training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    names = tuple(f"class {c}" for c in range(5))
    return Network(Classifier(model.eval(), names, normalize, size=size, temperature=1.7), "net")


def packed(network: Network) -> bytes:
    pack = Pack()
    pack.head["networks"].append(_network(network, graph_of(network), pack))
    return pack.content()


def image_for(network: Network) -> np.ndarray:
    """Noise, as bytes."""
    return np.random.default_rng(0).integers(0, 256, (network.size, network.size, 3), np.uint8)


def check(answer: dict, network: Network) -> None:
    """answer: {logits, stages} of `image_for`; that they are torch's."""
    seen = network.look("", image_for(network))
    expected = [seen.logits[0], *(maps.ravel() for maps in seen.maps)]
    for values, right in zip([answer["logits"], *answer["stages"]], expected, strict=True):
        np.testing.assert_allclose(values, right, atol=1e-4 * abs(right).max(), rtol=0)
