"""What the tests of the explorer share: networks that nobody trained, on data that are quick."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convlens.data import open_dataset
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.training.run_folder import Trained


@pytest.fixture
def explorer(toy_weights: Path, toy_data: Path) -> Explorer:
    """The toy network on the toy data, nothing surveyed yet."""
    return Explorer.open([toy_weights], toy_data)


class UNetEncoder(nn.Module):
    """A user's own: two levels of a U-Net, with skips that come back by concatenation, and a head.

    Its nonlinearity is one module, in place, used again and again.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.down1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2)
        self.down2 = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.up = nn.Upsample(scale_factor=2)
        self.join = nn.Conv2d(14, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.act(self.norm(self.down1(x)))
        x = self.up(self.act(self.down2(self.pool(skip))))
        x = self.act(self.join(torch.cat([x, skip], dim=1)))
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def unet() -> nn.Module:
    torch.manual_seed(0)
    return UNetEncoder(5)


@pytest.fixture
def vgg() -> nn.Module:
    """A user's own: a small VGG without batch norm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(12 * 6 * 6, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5),
    )  # fmt: skip


@pytest.fixture
def own(toy_data: Path) -> Callable[..., Explorer]:
    """An explorer of a user's own modules, for images of 24×24."""

    def make(*modules: nn.Module) -> Explorer:
        dataset = open_dataset(toy_data, size=24)
        networks = [
            Network(
                Trained(
                    module.eval(), type(module).__name__, {}, dataset.classes, 24,
                    torch.tensor([0.2, 0.25, 0.3]), torch.tensor([0.25, 0.2, 0.3]), "", "", 1.5,
                ),
                f"mine-{number}",
            )
            for number, module in enumerate(modules)
        ]  # fmt: skip
        return Explorer(networks, {24: dataset})

    return make
