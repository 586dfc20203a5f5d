"""Images made by optimization: what a unit, a map or a class would most like to see.

Gradient ascent on the pixels (Erhan et al. 2009, Visualizing Higher-Layer Features), with the two
regularizers of Olah et al. 2017 (Feature Visualization): the image is described by its spatial
frequencies, low ones weighing more, and it is shifted a little before every step, for without them
the ascent finds noise that no eye can read.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from convlens.models.hooks import check_numbers, layer_outputs

# From frequencies to colors that are correlated as those of photographs are: the square root of
# the colors' covariance in natural images, as Olah et al. use it, to a norm of 1.
COLORS = torch.tensor([[0.56, 0.19, 0.04], [0.58, 0.0, -0.05], [0.58, -0.19, 0.03]])


def optimized(
    model: nn.Module,
    layer: str | None,
    maps: Sequence[int],
    mean: Tensor,
    std: Tensor,
    *,
    size: int = 64,
    unit: tuple[int, int] | None = None,
    steps: int = 128,
    learning_rate: float = 0.01,
    jitter: int = 4,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """An image for each of `maps` of `layer`, and how strongly each excites its map.

    layer: a name as in `look.activations`; None for the logits, of which `maps` are classes. unit:
    (down, across) of the map; None for its mean. mean, std: (3,), what the model's input is
    normalized by. jitter: pixels of the random shift, at most. Images: float32, (M, size, size, 3),
    0..1. Activations: float32, (M,), of the finished images. The model is left as it was.

    UserError for a layer or a map that the model does not have.
    """
    device = next(model.parameters(), torch.empty(0)).device
    generator = torch.Generator().manual_seed(seed)
    rows = torch.fft.fftfreq(size)[:, None]
    columns = torch.fft.rfftfreq(size)[None]
    falling = 1 / torch.sqrt(rows**2 + columns**2).clamp(min=1 / size)  # 1/f, as in photographs
    shape = (len(maps), 3, size, size // 2 + 1, 2)
    spectrum = (0.01 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
    falling, colors = falling.to(device), COLORS.to(device)
    shift, scale = mean.view(3, 1, 1).to(device), std.view(3, 1, 1).to(device)

    def image() -> Tensor:
        waves = torch.view_as_complex(spectrum) * falling
        planes = torch.fft.irfft2(waves, s=(size, size), norm="ortho")
        return torch.einsum("rc,nchw->nrhw", colors, 4 * planes).sigmoid()

    optimizer = torch.optim.Adam([spectrum], learning_rate)
    wanted = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)
    try:
        for _ in range(steps):
            down, right = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
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
