"""Pixels to numbers of mean 0 and spread 1: the last thing done to an image before a network."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.dataset import Rows
from convlens.data.readahead import will_need


class Normalize(nn.Module):
    """Each color in 0..1, less its mean, over its standard deviation.

    Args:
        mean: Three numbers, of the training images' R, G and B in 0..1.
        std: Three numbers above 0, likewise.

    Input: uint8 or float, shape (N, 3, H, W), 0..255. Output: float32, the same shape.
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

    @classmethod
    def of(cls, images: np.ndarray | Rows, max_images: int = 20_000) -> "Normalize":
        """By the mean and the standard deviation of `images`, uint8, shape (N, H, W, 3).

        Of more than `max_images` images an even sample is read.
        """
        step = math.ceil(len(images) / max_images)
        count, total, squares = 0, np.zeros(3), np.zeros(3)
        for start in range(0, len(images), 1024 * step):
            will_need(images, np.arange(start, min(start + 1024 * step, len(images)), step))
            chunk = np.asarray(images[start : start + 1024 * step : step]).reshape(-1, 3)
            # a histogram of the 256 values is exact, and faster than arithmetic on every pixel
            for channel in range(3):
                bins = np.bincount(chunk[:, channel], minlength=256)
                total[channel] += bins @ np.arange(256)
                squares[channel] += bins @ np.arange(256) ** 2
            count += len(chunk)
        mean = total / count / 255
        variance = squares / count / 255**2 - mean**2
        # A data set of one color has no spread; 1/255 keeps the division defined.
        std = np.sqrt(np.maximum(variance, 1 / 255**2))
        return cls(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        scale = (1 / (255 * self.std)).view(1, 3, 1, 1)
        shift = (-self.mean / self.std).view(1, 3, 1, 1)
        return images.float() * scale + shift
