"""Pixels to numbers of mean 0 and spread 1: the last thing done to an image before a network."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.dataset import Rows
from convlens.data.readahead import will_need

# Luma of ITU-R BT.601, the grayscale that Pillow's "L" uses.
LUMA = (0.299, 0.587, 0.114)
# Pixels that are counted at once: 1024 images of 64×64.
COUNTED = 2**22


class Normalize(nn.Module):
    """Each color in 0..1, less its mean, over its standard deviation; or the gray of the colors.

    Gray is the luma of ITU-R BT.601, as Pillow's "L" but not rounded to whole numbers.

    Args:
        mean: Three numbers, of the training images' R, G and B in 0..1; or one, of their gray.
        std: As many numbers above 0, likewise.

    Input: uint8 or float, shape (N, 3, H, W), 0..255. Output: float32, (N, channels, H, W).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | Tensor = (0.5, 0.5, 0.5),
        std: Sequence[float] | Tensor = (0.25, 0.25, 0.25),
    ):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32))

    @property
    def channels(self) -> int:
        """Of the result: 3 colors, or 1 for gray."""
        return len(self.mean)

    @classmethod
    def of(
        cls, images: np.ndarray | Rows, channels: int = 3, max_images: int = 20_000
    ) -> "Normalize":
        """By the mean and the standard deviation of `images`, uint8, shape (N, H, W, 3).

        With `channels` 1 by those of their gray. Of more than `max_images` images an even sample
        is read.
        """
        step = math.ceil(len(images) / max_images)
        at_once = max(COUNTED // math.prod(images.shape[1:3]), 1) * step
        count, total, squares = 0, np.zeros(channels), np.zeros(channels)
        for start in range(0, len(images), at_once):
            will_need(images, np.arange(start, min(start + at_once, len(images)), step))
            chunk = np.asarray(images[start : start + at_once : step]).reshape(-1, 3)
            for channel, (times, values) in enumerate(_counted(chunk, channels)):
                total[channel] += times @ values
                squares[channel] += times @ values**2
            count += len(chunk)
        mean = total / count / 255
        variance = squares / count / 255**2 - mean**2
        # A data set of one color has no spread; 1/255 keeps the division defined.
        std = np.sqrt(np.maximum(variance, 1 / 255**2))
        return cls(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        scale = (1 / (255 * self.std)).view(1, -1, 1, 1)
        shift = (-self.mean / self.std).view(1, -1, 1, 1)
        images = images.float()
        if self.channels == 1:
            red, green, blue = (share * images[:, i] for i, share in enumerate(LUMA))
            images = (red + green + blue).unsqueeze(1)
        return images * scale + shift


def _counted(pixels: np.ndarray, channels: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each channel of uint8 pixels, (N, 3), how often each value occurs, and the values, 0..255.

    A histogram of whole numbers is exact, and faster than arithmetic on every pixel.
    """
    if channels == 3:
        for channel in range(3):
            yield np.bincount(pixels[:, channel], minlength=256), np.arange(256)
        return
    weights = np.rint(1000 * np.array(LUMA)).astype(np.int32)  # thousandths are whole numbers
    times = np.bincount(pixels @ weights, minlength=255_001)
    yield times, np.arange(255_001) / 1000
