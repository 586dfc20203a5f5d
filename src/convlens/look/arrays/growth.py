"""How features grew: the same maps at several epochs of a run (Zeiler and Fergus 2014, fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convlens.data.dataset import Rows, center_crop
from convlens.data.readahead import will_need
from convlens.inference.classifier import Classifier
from convlens.look.arrays.deconvolution import deconvolution
from convlens.look.arrays.top_patches import crop, top_activating_patches
from convlens.models.hooks import check_numbers


@dataclass(frozen=True)
class Growth:
    """Of M maps at E epochs the strongest activation over all images, projected to pixels.

    epochs: E. maps: M numbers. values: float32, (E, M): the activations. rows: int64, (E, M): which
    image each was found in. projections: float32, (E, M, h, w, channels), by `deconvolution`,
    cut to the unit's receptive field; all 0 where the value is not above 0. patches: uint8,
    (E, M, h, w, 3): what is there.
    """

    layer: str
    epochs: tuple[int, ...]
    maps: tuple[int, ...]
    values: np.ndarray
    rows: np.ndarray
    projections: np.ndarray
    patches: np.ndarray


def growth(
    classifiers: Mapping[int, Classifier],
    images: np.ndarray | Rows,
    layer: str,
    maps: Sequence[int] = (),
    count: int = 8,
) -> Growth:
    """Follow maps through the epochs of a run, with one pass over `images` for each epoch.

    Args:
        classifiers: By epoch, the same network as it was after it.
        images: uint8, (N, size, size, 3); a memory map is read a batch at a time.
        layer: A layer that gives maps.
        maps: Numbers; none takes the `count` strongest of the last epoch.
        count: How many maps, where `maps` names none.

    Raises:
        UserError: for a layer or map that is not there.
    """
    found = [top_activating_patches(each, images, layer, 1) for each in classifiers.values()]
    check_numbers(maps, len(found[-1].values), f"layer {layer} has no map")
    chosen = list(maps) or found[-1].by_strength()[:count]
    projections, patches = [], []
    for classifier, strongest in zip(classifiers.values(), found, strict=True):
        boxes, rows = strongest.boxes[chosen, 0], strongest.rows[chosen, 0]
        cropped = center_crop(images, classifier.size)
        will_need(cropped, rows)
        excited = np.stack([cropped[row] for row in rows])
        x, positions = classifier.inputs(excited), strongest.positions[chosen, 0]
        projected = deconvolution(classifier.model, x, layer, chosen, positions)
        projections.append([crop(*each, 0) for each in zip(projected, boxes, strict=True)])
        patches.append([crop(*each) for each in zip(excited, boxes, strict=True)])
    return Growth(
        layer,
        tuple(classifiers),
        tuple(chosen),
        np.stack([strongest.values[chosen, 0] for strongest in found]),
        np.stack([strongest.rows[chosen, 0] for strongest in found]),
        np.array(projections),
        np.array(patches),
    )
