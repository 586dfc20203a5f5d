"""How features grew: the same maps at several epochs of a run (Zeiler and Fergus 2014, fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.models.hooks import check_numbers
from convlens.look.arrays.deconvolution import deconvolution
from convlens.look.arrays.top_patches import crop, strongest_patches


@dataclass(frozen=True)
class Growth:
    """Of M maps at E epochs the strongest activation over all images, projected to pixels.

    epochs: E. maps: M numbers. values: float32, (E, M): the activations. rows: int64, (E, M): which
    image each was found in. projections: float32, (E, M, h, w, 3), by `deconvolution`, cut to the
    unit's receptive field; all 0 where the value is not above 0. patches: uint8, the same shape:
    what is there.
    """

    layer: str
    epochs: tuple[int, ...]
    maps: tuple[int, ...]
    values: np.ndarray
    rows: np.ndarray
    projections: np.ndarray
    patches: np.ndarray


def growth(
    models: Mapping[int, nn.Module],
    images: np.ndarray,
    mean: Tensor,
    std: Tensor,
    layer: str,
    maps: Sequence[int] = (),
    count: int = 8,
) -> Growth:
    """One pass over `images` for each epoch.

    models: by epoch, the same network as it was after it. images: uint8, (N, size, size, 3); a
    memory map is read a batch at a time. mean, std: (3,), what the models' input is normalized by.
    maps: numbers; none takes the `count` strongest of the last epoch. UserError for a layer or map
    that is not there.
    """
    found = [strongest_patches(m, images, mean, std, layer, count=1) for m in models.values()]
    check_numbers(maps, len(found[-1].values), f"layer {layer} has no map")
    chosen = list(maps) or found[-1].by_strength()[:count]
    projections, patches = [], []
    for model, strongest in zip(models.values(), found, strict=True):
        boxes = strongest.boxes[chosen, 0]
        excited = np.stack([images[row] for row in strongest.rows[chosen, 0]])
        x = normalize(to_tensor(excited), mean, std)
        projected = deconvolution(model, x, layer, chosen, strongest.positions[chosen, 0])
        projections.append([crop(*each, 0) for each in zip(projected, boxes, strict=True)])
        patches.append([crop(*each) for each in zip(excited, boxes, strict=True)])
    return Growth(
        layer,
        tuple(models),
        tuple(chosen),
        np.stack([strongest.values[chosen, 0] for strongest in found]),
        np.stack([strongest.rows[chosen, 0] for strongest in found]),
        np.array(projections),
        np.array(patches),
    )
