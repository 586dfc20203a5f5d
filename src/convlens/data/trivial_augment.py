"""TrivialAugment on whole batches: one operation an image, drawn with its strength.

Müller and Hutter 2021, "TrivialAugment: Tuning-free yet State-of-the-Art Data Augmentation",
algorithm 1, with the operations and ranges of RandAugment (Cubuk et al. 2020). The arithmetic is
Pillow's, but shears, shifts and rotations are parts of the one affine map that `augment` resamples
by, and brightness, contrast and saturation of its one matrix on the colors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "sharpness",
    "brightness",
    "contrast",
    "saturation",
    "rotate",
    "shear_x",
    "shear_y",
    "shift_x",
    "shift_y",
)

FACTOR = 0.9  # brightness, contrast, saturation and sharpness are times 1 ± this at most
SHEAR = 0.3
SHIFT = 0.3  # of the side
ROTATION = 30.0  # degrees
LEAST_BITS = 4


class TrivialAugment:
    """What each image of a batch gets.

    operation: int64, (n,), an index of OPERATIONS. strength: float, (n,), in [-1, 1); operations
    without a direction take it as a share of their range, (strength + 1) / 2.
    """

    def __init__(self, operation: Tensor, strength: Tensor):
        self.operation, self.strength = operation, strength

    def affine(self) -> Tensor:
        """(n, 2, 3) maps from output to input coordinates, both in [-1, 1]."""
        angle = torch.deg2rad(self._of("rotate") * ROTATION)
        cos, sin = angle.cos(), angle.sin()
        # a shift by a share of the side is twice that in coordinates from -1 to 1
        rows = [
            [cos, SHEAR * self._of("shear_x") - sin, 2 * SHIFT * self._of("shift_x")],
            [SHEAR * self._of("shear_y") + sin, cos, 2 * SHIFT * self._of("shift_y")],
        ]
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)

    def factor(self, operation: str) -> Tensor:
        """(n,) what brightness, contrast or saturation are multiplied by; 1 where not drawn."""
        return 1 + FACTOR * self._of(operation)

    def change(self, images: Tensor) -> Tensor:
        """The operations on pixels; images: float (n, 3, H, W), 0..255, is changed in place."""
        for name, operate in PIXELS.items():
            rows = (self.operation == OPERATIONS.index(name)).nonzero().flatten()
            if len(rows):
                share = ((self.strength[rows] + 1) / 2).view(-1, 1, 1, 1)
                images[rows] = operate(images[rows], share)
        return images

    def _of(self, operation: str) -> Tensor:
        """(n,) the strength where that operation is drawn, else 0."""
        return torch.where(self.operation == OPERATIONS.index(operation), self.strength, 0.0)


def _autocontrast(images: Tensor, share: Tensor) -> Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * (255 / (high - low).clamp(min=1e-3)), images)


def _equalize(images: Tensor, share: Tensor) -> Tensor:
    """As ImageOps.equalize: every gray value of a channel equally frequent, as far as it goes."""
    n, channels, height, width = images.shape
    values = images.round().long().clamp(0, 255).reshape(n * channels, -1)
    histogram = torch.zeros(n * channels, 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    filled = histogram > 0
    last = 255 - filled.flip(1).long().argmax(dim=1, keepdim=True)  # the brightest there is
    step = (height * width - histogram.gather(1, last)) // 255
    before = histogram.cumsum(dim=1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    flat = (filled.sum(dim=1, keepdim=True) <= 1) | (step == 0)
    return torch.where(flat, values, table.gather(1, values)).view(images.shape).to(images.dtype)


def _posterize(images: Tensor, share: Tensor) -> Tensor:
    bits = (LEAST_BITS + share * (9 - LEAST_BITS)).floor().clamp(max=8)
    width = 2.0 ** (8 - bits)
    return (images / width).floor() * width


def _solarize(images: Tensor, share: Tensor) -> Tensor:
    return torch.where(images >= share * 256, 255 - images, images)


def _sharpness(images: Tensor, share: Tensor) -> Tensor:
    """As ImageEnhance.Sharpness: away from, or towards, the image smoothed; the border stays."""
    kernel = torch.ones(3, 3, device=images.device, dtype=images.dtype)
    kernel[1, 1] = 5
    kernel = (kernel / 13).expand(images.shape[1], 1, 3, 3)
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = F.conv2d(images, kernel, groups=images.shape[1])
    factor = 1 + FACTOR * (2 * share - 1)
    return torch.lerp(smooth, images, factor).clamp(0, 255)


PIXELS = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
    "sharpness": _sharpness,
}
