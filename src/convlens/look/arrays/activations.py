"""Activations: what a network's inner layers put out, and how strong each map is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convlens.models.hooks import layer_outputs


def activations(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """What the named layers output for `x`, in evaluation mode, without gradients.

    x: normalized float, shape (N, channels, H, W); moved to the model's device.
    Returns for each layer float32, shape (N, C, h, w) for a convolution's map, (N, features) for
    a linear layer. UserError for a layer that the model does not have or does not run.
    """
    with torch.no_grad():
        outputs = layer_outputs(model, x, layers)
    return {
        layer: np.ascontiguousarray(output.to("cpu", torch.float32).numpy())
        for layer, output in outputs.items()
    }


@dataclass(frozen=True)
class MapStatistics:
    """What each of a layer's C maps does on one image; float32, shape (C,).

    mean, maximum: activations. active: share of its units above 0, 0..1; a map with none is dead
    on this image.
    """

    mean: np.ndarray
    maximum: np.ndarray
    active: np.ndarray

    def by_strength(self) -> list[int]:
        """The maps' numbers, the one with the largest mean first; of equals the first."""
        return np.argsort(-self.mean, kind="stable").tolist()


def map_statistics(maps: np.ndarray) -> MapStatistics:
    """maps: float, (C, h, w), an image's maps as `activations` gives them; or (C,), of single
    numbers."""
    units = maps.reshape(len(maps), -1)
    return MapStatistics(
        units.mean(axis=1), units.max(axis=1), (units > 0).mean(axis=1, dtype=np.float32)
    )
