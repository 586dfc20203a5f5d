"""Augmentation of whole batches: uint8 images in, normalized float images out.

Every image has random parameters of its own. Crop, scale, rotation, shear of the aspect and flip
are one affine map and so one resampling; brightness, contrast, saturation and normalization are one
3×4 matrix on the colors. Erasing, mixup and cutmix follow. All random numbers of a batch come
from its seed, drawn on the CPU, so that a batch looks the same on every device.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from convlens.data.batches import Batch
from convlens.data.normalize import LUMA, Normalize
from convlens.data.trivial_augment import OPERATIONS, TrivialAugment
from convlens.fields import Bounds

Fraction = Annotated[float, Bounds(0, 1)]
Probability = Fraction


@dataclass(frozen=True)
class Augment:
    """How training batches are changed; all zeros (the default) changes nothing."""

    scale: Annotated[float, Bounds(0, 0.99)] = 0.0
    """Crop: the share of the image's area kept is drawn from [1 - scale, 1]; range [0, 1)."""
    aspect: Annotated[float, Bounds(0)] = 0.0
    """Crop: its sides' ratio is drawn from [1 / (1 + aspect), 1 + aspect], log-uniformly."""
    translate: Fraction = 0.0
    """Shift beyond what the crop leaves free, at most this share of the side, range [0, 1]."""
    rotate: Annotated[float, Bounds(0, 180)] = 0.0
    """Rotation, at most this many degrees either way."""
    flip: Probability = 0.0
    """Probability of a left-right flip."""
    color: Fraction = 0.0
    """Brightness, contrast and saturation, each times a factor from [1 - color, 1 + color]."""
    grayscale: Probability = 0.0
    """Probability that an image loses its color."""
    trivial_augment: Probability = 0.0
    """Probability of one of TrivialAugment's 14 operations, drawn with its strength."""
    erase: Probability = 0.0
    """Probability that a rectangle (2 to 33 % of the area) is replaced by the mean color."""
    mixup: Probability = 0.0
    """Probability that an image is blended with its partner in the batch (Zhang et al. 2018)."""
    cutmix: Probability = 0.0
    """Probability that a rectangle is the partner's (Yun et al. 2019); with mixup at most 1."""


def augment(
    batch: Batch, policy: Augment, normalize: Normalize, size: int
) -> tuple[Tensor, Tensor]:
    """One training batch as the network sees it.

    normalize: on the device of the images. size: side of the result in pixels.
    Returns images, float32, (B, channels, size, size), channels-last, of the channels that
    `normalize` gives, and targets, float32, (B, C), whose rows sum to 1.
    """
    images, targets = batch.images, batch.targets
    draw = _Draw(batch, images.device)
    trivial = _trivial(policy, draw) if policy.trivial_augment else None
    if policy.scale or policy.aspect or policy.translate or policy.rotate or trivial:
        maps = _affine(policy, draw)
        if trivial:
            maps = _after(maps, trivial.affine())
        images = _resample(images, maps, size)
    else:
        if policy.flip:
            flipped = draw.uniform() < policy.flip
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
        if images.shape[-1] != size:
            images = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    if trivial:
        images = trivial.change(images)
    images = _recolor(images, policy, normalize, draw, trivial)
    if policy.erase:
        box = _boxes(draw.uniform(0.02, 0.33), draw, size, draw.uniform() < policy.erase, 3.3)
        images = images * (1 - box)  # 0 is the mean color once normalized
    if policy.mixup or policy.cutmix:
        images, targets = _mix(images, targets, policy, draw)
    return images.contiguous(memory_format=torch.channels_last), targets


class _Draw:
    """Random numbers for a batch of n images, one for each image at a call, from its seed.

    They are drawn for the whole batch, of which several processes may each have a share, so that an
    image looks the same however many processes there are.
    """

    def __init__(self, batch: Batch, device: torch.device):
        self.whole, self.device = batch.whole or len(batch.images), device
        self.rows = slice(batch.first, batch.first + len(batch.images))
        self.generator = torch.Generator().manual_seed(batch.seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n,) uniform in [low, high)."""
        values = torch.rand(self.whole, generator=self.generator) * (high - low) + low
        return values[self.rows].to(self.device)


def _trivial(policy: Augment, draw: _Draw) -> TrivialAugment:
    operation = (draw.uniform() * len(OPERATIONS)).long()
    operation = torch.where(draw.uniform() < policy.trivial_augment, operation, 0)
    return TrivialAugment(operation, draw.uniform(-1, 1))


def _affine(policy: Augment, draw: _Draw) -> Tensor:
    """(n, 2, 3) maps from output to input coordinates, both in [-1, 1], as affine_grid wants."""
    area = draw.uniform(1 - policy.scale, 1)
    ratio = torch.exp(draw.uniform(-1, 1) * torch.log(torch.tensor(1.0 + policy.aspect)))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    # A crop lies anywhere inside the image; `translate` lets it reach beyond the border.
    x = draw.uniform(-1, 1) * ((1 - width).clamp(min=0) + 2 * policy.translate)
    y = draw.uniform(-1, 1) * ((1 - height).clamp(min=0) + 2 * policy.translate)
    angle = torch.deg2rad(draw.uniform(-policy.rotate, policy.rotate))
    mirror = torch.where(draw.uniform() < policy.flip, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [
            torch.stack([mirror * width * cos, -height * sin, x], dim=1),
            torch.stack([mirror * width * sin, height * cos, y], dim=1),
        ],
        dim=1,
    )


def _after(outer: Tensor, inner: Tensor) -> Tensor:
    """(n, 2, 3) maps: first `inner`, then `outer`."""
    both = outer[..., :2] @ inner
    both[..., 2] += outer[..., 2]
    return both


def _resample(images: Tensor, maps: Tensor, size: int) -> Tensor:
    """uint8 (n, 3, H, W) → float (n, 3, size, size), bilinear; outside the image its mirror image.

    The result's colors lie in planes: resampling and recoloring run along rows of one color, so
    a CPU is twice as fast there as on interleaved colors.
    """
    grid = _grid(maps, size)
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)


def _grid(maps: Tensor, size: int) -> Tensor:
    """`F.affine_grid(maps, (n, 3, size, size), align_corners=False)`, in a third of its time.

    An affine map is a sum of a part that depends on the column and one that depends on the row.
    """
    centers = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    x, y, shift = maps.view(-1, 1, 1, 2, 3).unbind(dim=4)
    return (y * centers.view(1, size, 1, 1) + shift) + x * centers.view(1, 1, size, 1)


def _recolor(
    images: Tensor,
    policy: Augment,
    normalize: Normalize,
    draw: _Draw,
    trivial: TrivialAugment | None,
) -> Tensor:
    """(n, 3, H, W) in 0..255 → normalized float32, colors changed by one 3×4 matrix an image.

    Where `normalize` makes gray of the colors it is one row of that matrix; the saturation, which
    leaves the luma as it is, has no part in it. Values pushed outside 0..255 are not clipped: the
    network has no need of it.
    """
    if not policy.color and not policy.grayscale and not trivial:
        return normalize(images)
    images = images.float()
    n, _, height, width = images.shape
    c = policy.color
    brightness, contrast, saturation = (draw.uniform(1 - c, 1 + c) for _ in range(3))
    if trivial:
        brightness = brightness * trivial.factor("brightness")
        contrast = contrast * trivial.factor("contrast")
        saturation = saturation * trivial.factor("saturation")
    saturation = torch.where(draw.uniform() < policy.grayscale, 0.0, saturation)
    luma = torch.tensor(LUMA, device=images.device)
    gray = (images.mean(dim=(2, 3)) @ luma).view(n, 1)  # the point that contrast turns about
    gain = brightness * contrast
    # saturation: s·x + (1 - s)·luma(x); then contrast about the mean luma; then brightness
    if normalize.channels == 1:
        matrix = luma.view(1, 1, 3)
    else:
        eye = torch.eye(3, device=images.device)
        matrix = saturation.view(n, 1, 1) * eye
        matrix = matrix + (1 - saturation).view(n, 1, 1) * luma.view(1, 1, 3)
    matrix = gain.view(n, 1, 1) * matrix / (255 * normalize.std).view(1, -1, 1)
    shift = (brightness * (1 - contrast)).view(n, 1) * gray / (
        255 * normalize.std
    ) - normalize.mean / normalize.std
    planes = images.reshape(n, 3, height * width)
    return torch.baddbmm(shift.view(n, -1, 1), matrix, planes).view(n, -1, height, width)


def _boxes(area: Tensor, draw: _Draw, size: int, chosen: Tensor, aspect: float = 1.0) -> Tensor:
    """(n, 1, size, size) float masks, each 1 in one rectangle that lies wholly inside the image.

    area: (n,) share of the image's area. chosen: (n,) bool, whose masks are not all 0. aspect: the
    sides' ratio is in [1 / aspect, aspect].
    """
    ratio = torch.exp(draw.uniform(-1, 1) * torch.log(torch.tensor(aspect)))
    height = ((area * ratio).sqrt() * size).round().clamp(max=size)
    width = ((area / ratio).sqrt() * size).round().clamp(max=size)
    top = (draw.uniform() * (size - height + 1)).floor()
    left = (draw.uniform() * (size - width + 1)).floor()
    pixel = torch.arange(size, device=area.device)
    rows = (pixel >= top.view(-1, 1)) & (pixel < (top + height).view(-1, 1))
    columns = (pixel >= left.view(-1, 1)) & (pixel < (left + width).view(-1, 1))
    columns &= chosen.view(-1, 1)
    return rows.view(-1, 1, size, 1).float() * columns.view(-1, 1, 1, size).float()


def _mix(images: Tensor, targets: Tensor, policy: Augment, draw: _Draw) -> tuple[Tensor, Tensor]:
    """Mixup or cutmix of every image with its neighbor; the targets are mixed in the same shares.

    The batch's order is random already, so neighbors (2i, 2i + 1) are random partners, and they
    stay together when a batch is shared out among processes.
    """
    n = len(images)
    partner = torch.arange(n, device=images.device) ^ 1
    partner = torch.where(partner < n, partner, torch.arange(n, device=images.device))
    choice, share = draw.uniform(), draw.uniform()  # Beta(1, 1), as cutmix draws its share
    mixup = choice < policy.mixup
    cutmix = ~mixup & (choice < policy.mixup + policy.cutmix)
    # how much of each pixel comes from the partner
    weight = _boxes(share, draw, images.shape[-1], cutmix)
    weight += (mixup * share).view(-1, 1, 1, 1)
    share = weight.mean(dim=(1, 2, 3)).view(-1, 1)  # exact, after rounding to whole pixels
    return torch.lerp(images, images[partner], weight), torch.lerp(targets, targets[partner], share)
