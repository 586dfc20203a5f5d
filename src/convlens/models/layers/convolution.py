"""Convolution as a matrix product, for the small maps where libraries' convolutions are slow.

On a 2×2 map a 3×3 convolution uses 16 of its 36 taps: it is a small dense layer. Libraries compute
it as a sliding window all the same, and their weight gradient then runs at a fraction of the
machine's matrix rate. Two other ways to the same result, exact to rounding:

    patches   unfold the windows into rows, one product with the kernel (im2col; Chellapilla et al.
              2006, High Performance Convolutional Neural Networks, section 3.1)
    dense     write the whole layer as one matrix from input pixels to output pixels

Which one is fastest depends on the machine and the shape; `training.autotune` measures it.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Unfolded windows of a larger map are many times its size, and were never faster.
MOST_PIXELS = 16 * 16
# The dense matrix has (input pixels × output pixels) blocks; beyond this it cannot pay.
MOST_BLOCKS = 64


def check_channels(in_channels: int) -> int:
    """The number as it is; ValueError unless images can have so many channels: 1 or 3."""
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels is 1 or 3, not {in_channels}")
    return in_channels


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with a choice of algorithm for each map size; without one it is `nn.Conv2d`.

    algorithms: from the input map's (height, width) to "patches" or "dense". It is no part of the
    state dict: it says how to compute, not what.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.algorithms: dict[tuple[int, int], str] = {}

    def forward(self, input: Tensor) -> Tensor:
        x = input
        algorithm = self.algorithms.get((x.shape[2], x.shape[3]))
        if algorithm is None:
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):  # as autocast does for F.conv2d
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        padding = int(self.padding[0])  # `choices` offers no algorithm where it is a word
        y = ALGORITHMS[algorithm].apply(x, weight, self.stride[0], padding)
        return y if bias is None else y + bias.view(1, -1, 1, 1)

    def choices(self, height: int, width: int) -> list[str]:
        """The algorithms, besides the library's, that can compute this layer on such a map."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        square = len(set(self.stride)) == 1 and not isinstance(self.padding, str)
        if not (plain and square and len(set(self.padding)) == 1) or height * width > MOST_PIXELS:
            return []
        sides = zip((height, width), self.kernel_size, strict=True)
        padding = int(self.padding[0])
        out = [(n + 2 * padding - k) // self.stride[0] + 1 for n, k in sides]
        small = height * width * out[0] * out[1] <= MOST_BLOCKS
        return ["patches", "dense"] if small else ["patches"]


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) → contiguous (N, H, W, C); no copy where x is channels-last already."""
    return x.permute(0, 2, 3, 1).contiguous()


class Patches(torch.autograd.Function):
    """conv2d(x, weight, stride, padding) by unfolded windows.

    x: (N, C, H, W). weight: (O, C, kh, kw). Result: (N, O, h, w), channels-last in memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        windows = _windows(
            _rows(x), (weight.shape[2], weight.shape[3]), stride, padding
        )  # (N, h, w, kh, kw, C)
        n, h, w = windows.shape[:3]
        rows = windows.reshape(n * h * w, -1)
        ctx.save_for_backward(rows, weight)
        ctx.shapes = x.shape, (n, h, w), stride, padding
        y = rows @ _rows(weight).flatten(1).T  # (N·h·w, O)
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        rows, weight = ctx.saved_tensors
        (n, c, height, width), (_, h, w), stride, padding = ctx.shapes
        o, _, kh, kw = weight.shape
        g = _rows(grad).view(n * h * w, o)
        grad_weight = (g.T @ rows).view(o, kh, kw, c).permute(0, 3, 1, 2)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None, None
        taps = (g @ _rows(weight).flatten(1)).view(n, h, w, kh, kw, c)
        padded = taps.new_zeros(n, height + 2 * padding, width + 2 * padding, c)
        for y in range(kh):
            for x in range(kw):
                reached = padded[:, y : y + stride * h : stride, x : x + stride * w : stride]
                reached += taps[:, :, :, y, x]
        inner = padded[:, padding : padding + height, padding : padding + width]
        return inner.permute(0, 3, 1, 2), grad_weight, None, None


def _windows(x: Tensor, kernel: tuple[int, int], stride: int, padding: int) -> Tensor:
    """(N, H, W, C) → view (N, h, w, kh, kw, C) of the zero-padded map."""
    x = F.pad(x, (0, 0, padding, padding, padding, padding))
    windows = x.unfold(1, kernel[0], stride).unfold(2, kernel[1], stride)  # (N, h, w, C, kh, kw)
    return windows.permute(0, 1, 2, 4, 5, 3)


class Dense(torch.autograd.Function):
    """conv2d(x, weight, stride, padding) by one matrix from all input to all output pixels.

    x: (N, C, H, W). weight: (O, C, kh, kw). Result: (N, O, h, w), channels-last in memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        n, c, height, width = x.shape
        o, _, kh, kw = weight.shape
        h = (height + 2 * padding - kh) // stride + 1
        w = (width + 2 * padding - kw) // stride + 1
        ctx.geometry = (height, width), (h, w), (kh, kw), stride, padding
        taps = _rows(weight)  # (O, kh, kw, C)
        pairs = list(_pairs(*ctx.geometry))
        full = len(pairs) == h * w * height * width  # on 2×2 a 3×3 kernel leaves nothing at zero
        matrix = (x.new_empty if full else x.new_zeros)(h * w, o, height * width, c)
        for out, into, y, k in pairs:
            matrix[out, :, into] = taps[:, y, k]
        matrix = matrix.view(h * w * o, height * width * c)
        flat = _rows(x).view(n, -1)
        ctx.save_for_backward(flat, matrix)
        return (flat @ matrix.T).view(n, h, w, o).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        flat, matrix = ctx.saved_tensors
        (height, width), (h, w), (kh, kw), *_ = ctx.geometry
        n, o = grad.shape[:2]
        g = _rows(grad).view(n, -1)
        blocks = (g.T @ flat).view(h * w, o, height * width, -1)
        taps = g.new_zeros(o, kh, kw, blocks.shape[-1])
        for out, into, y, k in _pairs(*ctx.geometry):
            taps[:, y, k] += blocks[out, :, into]
        grad_weight = taps.permute(0, 3, 1, 2)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None, None
        grad_x = (g @ matrix).view(n, height, width, -1).permute(0, 3, 1, 2)
        return grad_x, grad_weight, None, None


def _pairs(
    size: tuple[int, int], out: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int
) -> Iterator[tuple[int, int, int, int]]:
    """(output pixel, input pixel, tap's row, tap's column) wherever a tap meets the map."""
    for oy in range(out[0]):
        for ox in range(out[1]):
            for y in range(kernel[0]):
                for x in range(kernel[1]):
                    iy, ix = oy * stride + y - padding, ox * stride + x - padding
                    if 0 <= iy < size[0] and 0 <= ix < size[1]:
                        yield oy * out[1] + ox, iy * size[1] + ix, y, x


ALGORITHMS = {"patches": Patches, "dense": Dense}
