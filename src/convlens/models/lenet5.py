"""LeNet5 as the assignment specifies it, after LeCun et al. 1998 (Gradient-Based Learning)."""

from torch import Tensor, nn

from convlens.models.layers.convolution import Conv2d, check_channels
from convlens.models.layers.drop_path import probability
from convlens.models.layers.pooling import pool_rectified


class TooSmall(ValueError):
    """Images are smaller than the network can shrink them."""


class LeNet5(nn.Module):
    """Two 5×5 convolutions (32 and 64 filters), each with ReLU and 4×4/4 max-pooling, then three
    fully connected layers (1021, 84, num_classes).

    Padding. The assignment names none. We pad by 2, so that a convolution keeps its map's size and
    every pool divides its map evenly: 64 → 16 → 4, and 64·4·4 = 1024 numbers enter the
    layer of 1021. With `padding=0` (LeCun's own; he padded the image instead, from 28 to 32) the
    second pool would meet an 11×11 map and drop its last three rows and columns, 47 % of it.

    The softmax layer is `predict_proba`; `forward` returns logits, because cross-entropy is exact
    and stable on logits only.

    batch_norm (after each convolution and hidden layer) and dropout (of what enters and what leaves
    the wide layer of 1021, probability in [0, 1); the layer of 84 is too narrow to lose numbers)
    leave the layers above as they are; the plain LeNet5 has neither.

    in_channels: 3 for images in color, 1 for gray ones. size: side of the images, at least 16
    pixels. The layers are the assignment's at every size, so the first fully connected one grows
    with the pixels: from 1024 numbers at 64 pixels to 12,544, and from 1.0 to 12.8 million
    weights, at 224.
    Input: float, shape (N, in_channels, size, size). Output: logits, shape (N, num_classes).
    """

    def __init__(
        self,
        num_classes: int = 101,
        *,
        size: int = 64,
        padding: int = 2,
        batch_norm: bool = False,
        dropout: float = 0.0,
        in_channels: int = 3,
    ):
        super().__init__()
        self.in_channels = check_channels(in_channels)
        if not (1 <= size <= 4096 and 0 <= padding <= 64):
            raise ValueError(f"size is at most 4096 and padding at most 64, not {size}, {padding}")
        side = size
        for _ in range(2):
            side = (side + 2 * padding - 4) // 4
        if side < 1:
            least = max(1, 36 - 10 * padding)  # of which the second pool still makes a unit
            raise TooSmall(
                f"LeNet5 needs images of at least {least}×{least} pixels, not {size}×{size}, with "
                f"padding {padding}"
            )

        def norm2d(channels: int) -> nn.Module:
            return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()

        def norm1d(features: int) -> nn.Module:
            return nn.BatchNorm1d(features) if batch_norm else nn.Identity()

        # Batch norm brings its own shift, which makes a bias before it idle.
        bias = not batch_norm
        self.conv1 = Conv2d(in_channels, 32, 5, padding=padding, bias=bias)
        self.bn1 = norm2d(32)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(4, 4)
        self.conv2 = Conv2d(32, 64, 5, padding=padding, bias=bias)
        self.bn2 = norm2d(64)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(4, 4)
        self.drop1 = nn.Dropout(probability(dropout, "dropout"))
        self.fc1 = nn.Linear(64 * side * side, 1021, bias=bias)
        self.bn3 = norm1d(1021)
        self.relu3 = nn.ReLU()
        self.drop2 = nn.Dropout(probability(dropout, "dropout"))
        self.fc2 = nn.Linear(1021, 84, bias=bias)
        self.bn4 = norm1d(84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # shapes for 64×64 images                            (N, in_channels, 64, 64)
        x = self.bn1(self.conv1(x))  # (N, 32, 64, 64)
        x = pool_rectified(self.relu1, self.pool1, x)  # (N, 32, 16, 16)
        x = self.bn2(self.conv2(x))  # (N, 64, 16, 16)
        x = pool_rectified(self.relu2, self.pool2, x)  # (N, 64, 4, 4)
        x = x.flatten(1)  # (N, 1024)
        x = self.relu3(self.bn3(self.fc1(self.drop1(x))))  # (N, 1021)
        x = self.relu4(self.bn4(self.fc2(self.drop2(x))))  # (N, 84)
        return self.fc3(x)  # (N, num_classes)

    def predict_proba(self, x: Tensor) -> Tensor:
        """Class probabilities, shape (N, num_classes), rows summing to 1: the softmax layer."""
        return self(x).softmax(dim=1)
