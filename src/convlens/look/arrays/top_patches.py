"""The training patches that excite each map most (Zeiler and Fergus 2014, fig. 2, right halves)."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from convlens.data.batches import batches_of
from convlens.data.dataset import Rows, center_crop
from convlens.inference.classifier import Classifier, images_at_once
from convlens.look.arrays.activations import activations
from convlens.look.arrays.layers import Field, receptive_field
from convlens.models.hooks import check_maps, conv_relu_layers


@dataclass(frozen=True)
class TopPatches:
    """Of each of a layer's C maps the k patches that excite it most, one an image at most.

    values: float32, (C, k): the activations, strongest first. rows: int64, (C, k): which images.
    positions: int64, (C, k, 2): which unit of the map, (down, across). boxes: int64, (C, k, 4): the
    unit's receptive field on the image, first row and column, then those after its last; it may
    reach over the image's border. A map whose values are not above 0 is dead: its patches excite
    nothing.
    """

    layer: str
    values: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    boxes: np.ndarray

    def by_strength(self) -> list[int]:
        """The maps' numbers, the one with the largest activation first; of equals the first."""
        return np.argsort(-self.values[:, 0], kind="stable").tolist()


class Strongest:
    """The `count` strongest patches of each of a layer's maps, among the images seen so far.

    Of equally strong patches the earliest image's counts, and in an image the first unit in raster
    order. There are fewer than `count` where fewer images were seen.
    """

    def __init__(self, count: int = 9):
        self.count = count
        self.seen = 0  # images
        # (k, C) each, strongest first; empty before the first batch
        self.values: np.ndarray = np.empty((0, 0), np.float32)
        self.rows: np.ndarray = np.empty((0, 0), np.int64)
        self.units: np.ndarray = np.empty((0, 0), np.int64)
        self.shape: tuple[int, ...] = ()  # of a map

    def add(self, maps: np.ndarray) -> None:
        """maps: float32, (B, C, h, w), of the B images that follow those seen so far."""
        self.shape = maps.shape[2:]
        flat = maps.reshape(*maps.shape[:2], -1)
        units = flat.argmax(axis=2)  # (B, C): one an image
        values = np.take_along_axis(flat, units[..., None], axis=2)[..., 0]
        rows = np.arange(self.seen, self.seen + len(maps))[:, None]
        rows = np.broadcast_to(rows, units.shape)
        if self.seen:  # those kept so far come first, so that they win where equal
            values = np.concatenate([self.values, values])
            rows = np.concatenate([self.rows, rows])
            units = np.concatenate([self.units, units])
        best = np.argsort(-values, axis=0, kind="stable")[: self.count]
        self.values, self.rows, self.units = (
            np.take_along_axis(a, best, axis=0) for a in (values, rows, units)
        )
        self.seen += len(maps)

    def patches(self, layer: str, field: Field | None, size: int) -> TopPatches:
        """field: the layer's receptive field, None for the whole image. size: the images' side."""
        positions = np.stack(np.unravel_index(self.units.T, self.shape), axis=-1)
        boxes = boxes_of(positions, field, size)
        return TopPatches(layer, self.values.T.copy(), self.rows.T.copy(), positions, boxes)


def boxes_of(positions: np.ndarray, field: Field | None, size: int) -> np.ndarray:
    """The `boxes` of TopPatches at its `positions`; arguments as those of `Strongest.patches`."""
    if field is None:
        return np.broadcast_to([0, 0, size, size], (*positions.shape[:2], 4)).copy()
    return np.array([[field.box(*unit) for unit in of_map] for of_map in positions.tolist()])


def top_activating_patches(
    classifier: Classifier,
    images: np.ndarray | Rows,
    layer: str,
    count: int = 9,
    batch_size: int | None = None,
) -> TopPatches:
    """Find the `count` strongest patches of each map of a layer, in one pass over `images`.

    Args:
        classifier: The network with its normalization.
        images: uint8, (N, size, size, 3), or larger by its `crop_pct`; a memory map is read a batch
            at a time. The patches' boxes are on the middle size × size pixels.
        layer: A layer that gives maps.
        count: Patches of a map. Ties are settled as `Strongest` says.
        batch_size: Images in a forward pass, by default `images_at_once`.

    Raises:
        UserError: for a layer that is not there or gives no maps.
    """
    found, model, size = Strongest(count), classifier.model, classifier.size
    batch_size = batch_size or images_at_once(size, classifier.device)
    for batch in batches_of(center_crop(images, size), batch_size):
        x = classifier.normalize(batch.to(classifier.device))
        maps = activations(model, x, [layer])[layer]
        check_maps(layer, maps)
        found.add(maps)
    return found.patches(layer, receptive_field(model, layer, size), size)


def crop(image: np.ndarray, box: np.ndarray, fill: float = 128) -> np.ndarray:
    """The part of `image`, shape (H, W, channels), in a box of `TopPatches.boxes`.

    What lies beyond the border is `fill`; but a side on which the box is longer than the image is
    the image's own, for a deep layer's field can be many times larger than the image.
    """
    spans = []
    pads = []
    for side, first, last in zip(image.shape, box[:2], box[2:], strict=False):
        if last - first > side:
            first, last = 0, side
        spans.append(slice(max(first, 0), max(last, 0)))
        pads.append((min(max(-first, 0), last - first), min(max(last - side, 0), last - first)))
    return np.pad(image[tuple(spans)], (*pads, (0, 0)), constant_values=fill)


def deepest_local_layer(model: nn.Module, size: int) -> str:
    """The last layer after a convolution's ReLU whose receptive fields fit into the image.

    Its patches are the largest that still show a part. The first such layer where none fits.
    """
    layers = conv_relu_layers(model, size)
    for layer in reversed(layers):
        field = receptive_field(model, layer, size)
        if field and max(field.size) <= size:
            return layer
    return layers[0]
