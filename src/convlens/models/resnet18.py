"""ResNet-18 of He et al. 2016, Deep Residual Learning, table 1, with torchvision's names."""

from torch import Tensor, nn

from convlens.models.layers.convolution import Conv2d, check_channels
from convlens.models.layers.drop_path import DropPath, drop_rates
from convlens.models.layers.pooling import pool_rectified


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al. 2016, fig. 5 left; shortcut option B).

    Input: (N, in_channels, H, W). Output: (N, channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, drop: float = 0.0):
        super().__init__()
        self.conv1 = Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.drop_path = DropPath(drop)
        self.relu2 = nn.ReLU()
        self.downsample = None
        if stride != 1 or in_channels != channels:
            # A projection, because the shortcut's shape must follow the block's.
            self.downsample = nn.Sequential(
                Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.drop_path(self.bn2(self.conv2(x))) + shortcut)


class ResNet18(nn.Module):
    """7×7/2 convolution, 3×3/2 max-pool, four stages of two basic blocks, global average pool.

    conv2_stride. The assignment writes "stride 2×2" in the line of conv_2 (here `layer1`), which
    can be read in two ways. In the paper it belongs to the max-pool that opens the stage and the
    blocks keep the map's size: `conv2_stride=1`, the default and the network everyone calls
    ResNet-18. Read literally, the stage's blocks stride too: `conv2_stride=2` halves the map once
    more, in the first block (as in the other stages), with a projection on its shortcut; then
    every later map has a quarter of the pixels, and at 64×64 the last stage works on 1×1 maps.

    drop_path: probability in [0, 1) that the last block's branch is left out in training;
    the blocks before it less, the first never. It changes nothing of the topology.
    in_channels: 3 for images in color, 1 for gray ones.
    Input: float, shape (N, in_channels, H, W). Output: logits, shape (N, num_classes).
    """

    def __init__(
        self,
        num_classes: int = 101,
        *,
        conv2_stride: int = 1,
        drop_path: float = 0.0,
        in_channels: int = 3,
    ):
        super().__init__()
        self.in_channels = check_channels(in_channels)
        if conv2_stride not in (1, 2):
            raise ValueError(f"conv2_stride is 1 or 2, not {conv2_stride}")
        self.conv1 = Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        d = drop_rates(drop_path, 8)
        first = BasicBlock(64, 64, conv2_stride, d[0])
        self.layer1 = nn.Sequential(first, BasicBlock(64, 64, 1, d[1]))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2, d[2]), BasicBlock(128, 128, 1, d[3]))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2, d[4]), BasicBlock(256, 256, 1, d[5]))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2, d[6]), BasicBlock(512, 512, 1, d[7]))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # shapes for 64×64 images, conv2_stride 1           (N, in_channels, 64, 64)
        x = self.bn1(self.conv1(x))  # (N, 64, 32, 32)
        x = pool_rectified(self.relu, self.maxpool, x)  # (N, 64, 16, 16)
        x = self.layer1(x)  # (N, 64, 16, 16)
        x = self.layer2(x)  # (N, 128, 8, 8)
        x = self.layer3(x)  # (N, 256, 4, 4)
        x = self.layer4(x)  # (N, 512, 2, 2)
        x = self.avgpool(x).flatten(1)  # (N, 512)
        return self.fc(x)  # (N, num_classes)

    def predict_proba(self, x: Tensor) -> Tensor:
        """Class probabilities, shape (N, num_classes), rows summing to 1."""
        return self(x).softmax(dim=1)
