"""A low-pass before a stride, against aliasing."""

import torch
from torch import Tensor, nn


class Blur(nn.Module):
    """A binomial 3×3 low-pass on every map, so that what is skipped next is not aliased.

    Zhang 2019, "Making Convolutional Networks Shift-Invariant Again", section 3.2, "Triangle-3".
    Input and output: (N, channels, H, W).
    """

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        # on the CPU even where a network is built on the meta device, for no file holds it
        taps = torch.tensor([0.25, 0.5, 0.25], device="cpu")
        kernel = (taps.view(3, 1) * taps).expand(channels, 1, 3, 3).clone()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])
