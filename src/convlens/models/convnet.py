"""ConvNet: our own network for small images, drawn so that two cores train it in half an hour."""

import torch
from torch import Tensor, nn

from convlens.models.layers.convolution import Conv2d
from convlens.models.layers.drop_path import StochasticDepth, growing


class SqueezeExcite(nn.Module):
    """Every map times a gate that all maps' means decide (Hu et al. 2018, fig. 2).

    Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.reduce = nn.Linear(channels, channels // reduction)
        self.relu = nn.ReLU()
        self.expand = nn.Linear(channels // reduction, channels)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(self.expand(self.relu(self.reduce(x.mean(dim=(2, 3))))))
        return x * gates.to(x.dtype)[:, :, None, None]


class Blur(nn.Module):
    """A binomial 3×3 low-pass on every map, so that what is skipped next is not aliased.

    Zhang 2019, "Making Convolutional Networks Shift-Invariant Again", section 3.2, "Triangle-3".
    Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int):
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        kernel = (taps.view(3, 1) * taps).expand(channels, 1, 3, 3).clone()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a smaller map is reached by averaging, not by skipping.

    Both the shortcut and the main path halve the map with a 2×2 average (ResNet-D, He et al. 2019,
    "Bag of Tricks", fig. 2c, carried to the main path), so that no pixel is left unread.

    Input: (N, in_channels, H, W). Output: (N, channels, H/stride, W/stride).
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
        self.stochastic_depth = StochasticDepth(drop)
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
        return self.relu2(self.stochastic_depth(y) + self.shortcut(x))


class ConvNet(nn.Module):
    """A residual network that looks at small images closely before it shrinks them.

    conv1 (32 filters) works at full resolution and conv2 (64 filters) at half, where ResNet-18 has
    already thrown away three pixels of four before its first block. Both are followed by batch
    norm and ReLU.

    widths: channels of the four stages; the first keeps conv2's map, each later one halves it.
    stem_stride: 2 has conv1 halve the image already, a quarter of the work for a little accuracy.
    depths: blocks of the four stages.
    dropout: probability in [0, 1), before the classifier.
    squeeze_excite: gates on the maps of every block. stochastic_depth: probability in [0, 1) that
    the last block's branch is left out in training; those before it less, the first never.
    anti_aliased: a low-pass before conv2 skips every second pixel.
    Input: float, shape (N, 3, H, W). Output: logits, shape (N, num_classes).
    """

    def __init__(
        self,
        num_classes: int = 101,
        *,
        widths: tuple[int, int, int, int] = (64, 128, 256, 320),
        depths: tuple[int, int, int, int] = (1, 1, 1, 1),
        stem_stride: int = 1,
        dropout: float = 0.0,
        squeeze_excite: bool = False,
        stochastic_depth: float = 0.0,
        anti_aliased: bool = False,
    ):
        super().__init__()
        self.conv1 = Conv2d(3, 32, 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.blur = Blur(32) if anti_aliased else nn.Identity()
        self.conv2 = Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu2 = nn.ReLU()
        drops = iter(growing(stochastic_depth, sum(depths)))

        def stage(in_channels: int, channels: int, depth: int, stride: int) -> nn.Module:
            blocks = [
                ResidualBlock(
                    channels if i else in_channels, channels, 1 if i else stride,
                    squeeze_excite=squeeze_excite, drop=next(drops),
                )
                for i in range(depth)
            ]  # fmt: skip
            # one block goes by the stage's own name, as it always has in weights files
            return blocks[0] if depth == 1 else nn.Sequential(*blocks)

        self.stage1 = stage(64, widths[0], depths[0], 1)
        self.stage2 = stage(widths[0], widths[1], depths[1], 2)
        self.stage3 = stage(widths[1], widths[2], depths[2], 2)
        self.stage4 = stage(widths[2], widths[3], depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # shapes for 64×64 images, stem_stride 1     (N, 3, 64, 64)
        x = self.relu1(self.bn1(self.conv1(x)))    # (N, 32, 64, 64)
        x = self.blur(x)                           # (N, 32, 64, 64)
        x = self.relu2(self.bn2(self.conv2(x)))    # (N, 64, 32, 32)
        x = self.stage1(x)                         # (N, 64, 32, 32)
        x = self.stage2(x)                         # (N, 128, 16, 16)
        x = self.stage3(x)                         # (N, 256, 8, 8)
        x = self.stage4(x)                         # (N, 320, 4, 4)
        x = self.avgpool(x).flatten(1)             # (N, 320)
        return self.fc(self.dropout(x))            # (N, num_classes)

    def predict_proba(self, x: Tensor) -> Tensor:
        """Class probabilities, shape (N, num_classes), rows summing to 1."""
        return self(x).softmax(dim=1)
