"""Images made by optimization: what a unit, a map or a class would most like to see.

Gradient ascent on the pixels (Erhan et al. 2009, Visualizing Higher-Layer Features), with the two
regularizers of Olah et al. 2017 (Feature Visualization): the image is described by its spatial
frequencies, low ones weighing more, and it is shifted a little before every step, for without them
the ascent finds noise that no eye can read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convlens.inference.classifier import Classifier
from convlens.models.hooks import check_numbers, layer_outputs
from convlens.optimizers import Adam

# From frequencies to colors that are correlated as those of photographs are: the square root of
# the colors' covariance in natural images, as Olah et al. use it, to a norm of 1.
COLORS = torch.tensor([[0.56, 0.19, 0.04], [0.58, 0.0, -0.05], [0.58, -0.19, 0.03]])


@dataclass(frozen=True)
class Ascent:
    """How images are improved. steps: of Adam. jitter: pixels of the random shift, at most.

    seed: of the first images and the shifts.
    """

    steps: int = 128
    learning_rate: float = 0.01
    jitter: int = 4
    seed: int = 0


def feature_visualization(
    classifier: Classifier,
    layer: str | None,
    maps: Sequence[int],
    unit: tuple[int, int] | None = None,
    ascent: Ascent | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make an image for each of `maps` of `layer`, and say how strongly each excites its map.

    Args:
        classifier: The network with its normalization; left as it was.
        layer: A name as in `named_modules()`; None for the logits, of which `maps` are classes.
        maps: M numbers.
        unit: (down, across) of the map; None for its mean.
        ascent: How the images are improved, by default as `Ascent` says.

    Returns:
        The images, float32, (M, size, size, 3), 0..1, of a network for gray images with three
        equal colors, and what they give, float32, (M,).

    Raises:
        UserError: for a layer or a map that the model does not have.
    """
    ascent = ascent or Ascent()
    model, device, size = classifier.model, classifier.device, classifier.size
    generator = torch.Generator().manual_seed(ascent.seed)
    rows = torch.fft.fftfreq(size)[:, None]
    columns = torch.fft.rfftfreq(size)[None]
    falling = 1 / torch.sqrt(rows**2 + columns**2).clamp(min=1 / size)  # 1/f, as in photographs
    channels = classifier.normalize.channels
    shape = (len(maps), channels, size, size // 2 + 1, 2)
    spectrum = (0.01 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
    # of gray the first color of COLORS alone, which is the brightness
    colors = COLORS if channels == 3 else COLORS[:, :1].mean(dim=0, keepdim=True)
    falling, colors = falling.to(device), colors.to(device)
    shift, scale = (
        values.view(channels, 1, 1).to(device)
        for values in (classifier.normalize.mean, classifier.normalize.std)
    )

    def image() -> Tensor:
        waves = torch.view_as_complex(spectrum) * falling
        planes = torch.fft.irfft2(waves, s=(size, size), norm="ortho")
        return torch.einsum("rc,nchw->nrhw", colors, 4 * planes).sigmoid()

    optimizer = Adam([spectrum], ascent.learning_rate)
    wanted = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)
    try:
        low, high = -ascent.jitter, ascent.jitter + 1
        for _ in range(ascent.steps):
            down, right = torch.randint(low, high, (2,), generator=generator).tolist()
            pixels = torch.roll(image(), (down, right), (2, 3))
            value = _excitation(model, layer, maps, (pixels - shift) / scale, unit)
            optimizer.zero_grad()
            (-value.sum()).backward()
            optimizer.step()
        with torch.no_grad():
            pixels = image()
            value = _excitation(model, layer, maps, (pixels - shift) / scale, unit)
    finally:
        for p, needed in zip(model.parameters(), wanted, strict=True):
            p.requires_grad_(needed)
    pixels = pixels.expand(-1, 3, -1, -1)
    return pixels.permute(0, 2, 3, 1).cpu().numpy(), value.float().cpu().numpy()


def _excitation(
    model: nn.Module,
    layer: str | None,
    maps: Sequence[int],
    x: Tensor,
    unit: tuple[int, int] | None,
) -> Tensor:
    """(M,): of image i, the mean of map maps[i] of the layer, or its unit."""
    output = layer_outputs(model, x, [layer or ""])[layer or ""].float()  # "" is the model itself
    name = "logits have no class" if layer is None else f"layer {layer} has no map"
    check_numbers(maps, output.shape[1], name)
    chosen = output[torch.arange(len(maps)), list(maps)]  # (M, h, w), or (M,) of a linear layer
    if chosen.dim() == 1:
        return chosen
    return chosen[:, unit[0], unit[1]] if unit else chosen.mean(dim=(1, 2))
