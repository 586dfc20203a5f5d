"""ConvNet: our own network for small images, drawn so that two cores train it in half an hour."""

from collections.abc import Sequence

from torch import Tensor, nn

from convlens.models.layers.convolution import Conv2d, check_channels
from convlens.models.layers.drop_path import DropPath, drop_rates, probability
from convlens.models.layers.squeeze_excite import SqueezeExcite


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a smaller map is reached by averaging, not by skipping.

    Both the shortcut and the main path halve the map with a 2×2 average (ResNet-D, He et al. 2019,
    "Bag of Tricks", fig. 2c, carried to the main path), so that no pixel is left unread.

    Input: (N, in_channels, H, W). Output: (N, channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        squeeze_excite: bool = False,
        drop: float = 0.0,
    ):
        super().__init__()
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.conv1 = Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.squeeze_excite = SqueezeExcite(channels) if squeeze_excite else nn.Identity()
        self.drop_path = DropPath(drop)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Identity()
        if in_channels != channels:
            self.shortcut = nn.Sequential(
                Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.squeeze_excite(self.bn2(self.conv2(y)))
        return self.relu2(self.drop_path(y) + self.shortcut(x))


class ConvNet(nn.Module):
    """A residual network that looks at small images closely before it shrinks them.

    conv1 (32 filters) works at full resolution and conv2 (64 filters) at half, where ResNet-18 has
    already thrown away three pixels of four before its first block. Both are followed by batch
    norm and ReLU.

    widths: channels of the four stages; the first keeps conv2's map, each later one halves it.
    stem_stride: 2 has conv1 halve the image already, a quarter of the work for a little accuracy.
    depths: blocks of the four stages.
    dropout: probability in [0, 1), before the classifier.
    squeeze_excite: gates on the maps of every block. drop_path: probability in [0, 1) that
    the last block's branch is left out in training; those before it less, the first never.
    in_channels: 3 for images in color, 1 for gray ones.
    Input: float, shape (N, in_channels, H, W). Output: logits, shape (N, num_classes).
    """

    def __init__(  # noqa: PLR0913  what a network can be told is what its constructor takes
        self,
        num_classes: int = 101,
        *,
        widths: tuple[int, int, int, int] = (64, 128, 256, 320),
        depths: tuple[int, int, int, int] = (1, 1, 1, 1),
        stem_stride: int = 1,
        dropout: float = 0.0,
        squeeze_excite: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
    ):
        super().__init__()
        _check(widths, depths, stem_stride)
        self.in_channels = check_channels(in_channels)
        self.conv1 = Conv2d(in_channels, 32, 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.conv2 = Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu2 = nn.ReLU()
        drops = iter(drop_rates(drop_path, sum(depths)))

        def stage(in_channels: int, channels: int, depth: int, stride: int) -> nn.Module:
            blocks = [
                ResidualBlock(
                    channels if i else in_channels,
                    channels,
                    1 if i else stride,
                    squeeze_excite=squeeze_excite,
                    drop=next(drops),
                )
                for i in range(depth)
            ]
            # one block goes by the stage's own name, as it always has in weights files
            return blocks[0] if depth == 1 else nn.Sequential(*blocks)

        self.stage1 = stage(64, widths[0], depths[0], 1)
        self.stage2 = stage(widths[0], widths[1], depths[1], 2)
        self.stage3 = stage(widths[1], widths[2], depths[2], 2)
        self.stage4 = stage(widths[2], widths[3], depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(probability(dropout, "dropout"))
        self.fc = nn.Linear(widths[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # shapes for 64×64 images, stem_stride 1     (N, in_channels, 64, 64)
        x = self.relu1(self.bn1(self.conv1(x)))  # (N, 32, 64, 64)
        x = self.relu2(self.bn2(self.conv2(x)))  # (N, 64, 32, 32)
        x = self.stage1(x)  # (N, 64, 32, 32)
        x = self.stage2(x)  # (N, 128, 16, 16)
        x = self.stage3(x)  # (N, 256, 8, 8)
        x = self.stage4(x)  # (N, 320, 4, 4)
        x = self.avgpool(x).flatten(1)  # (N, 320)
        return self.fc(self.dropout(x))  # (N, num_classes)

    def predict_proba(self, x: Tensor) -> Tensor:
        """Class probabilities, shape (N, num_classes), rows summing to 1."""
        return self(x).softmax(dim=1)


def _check(widths: Sequence[int], depths: Sequence[int], stem_stride: int) -> None:
    """Raise ValueError for what no small network has, before memory is asked for."""
    for name, numbers, most in ("widths", widths, 8192), ("depths", depths, 64):
        if len(numbers) != 4 or not all(1 <= number <= most for number in numbers):
            raise ValueError(f"{name} are four numbers from 1 to {most}, not {tuple(numbers)}")
    if sum(depths) > 100:
        raise ValueError(f"depths of {sum(depths)} blocks in all are more than 100")
    if stem_stride not in (1, 2):
        raise ValueError(f"stem_stride is 1 or 2, not {stem_stride}")
