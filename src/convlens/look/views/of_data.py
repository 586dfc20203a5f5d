"""Views that need a data set: what excites a network's maps, and where it puts the images."""

from collections.abc import Mapping, Sequence

import numpy as np

from convlens import figures
from convlens.data.dataset import Dataset, Rows
from convlens.data.readahead import will_need
from convlens.errors import UserError
from convlens.inference.classifier import Classifier
from convlens.look.arrays.deconvolution import deconvolution as deconvolution_of
from convlens.look.arrays.features import embedding as embedding_of
from convlens.look.arrays.features import features
from convlens.look.arrays.growth import growth as growth_of
from convlens.look.arrays.top_patches import (
    TopPatches,
    crop,
    deepest_local_layer,
    top_activating_patches,
)
from convlens.look.view import View
from convlens.look.views.given import Data, check_maps_of, filled, open_data, rows_of
from convlens.look.views.names import file_name, maps_of

MOST_MAPS = 96  # in the picture of patches: more would be too small to see
PROJECTED_MAPS = 8  # in the picture of deconvolutions
THUMBNAILS = 400  # in the picture of an embedding


def find_patches(
    classifier: Classifier, data: Data = None, layer: str | None = None, maps: Sequence[int] = ()
) -> TopPatches:
    """The nine strongest training patches of each map of a layer, for `patches` and others.

    Args:
        classifier: The network.
        data: The data set, or its folder.
        layer: One that gives maps; by default the deepest whose receptive fields fit the image.
        maps: Those that must be there.

    Raises:
        UserError: for a layer or map that is not there, and a data set that cannot be opened.
    """
    layer = layer or deepest_local_layer(classifier.model, classifier.size)
    check_maps_of(classifier, layer, maps)
    images = filled(open_data(classifier, data), "train").images
    return top_activating_patches(classifier, images, layer)


def patches(
    classifier: Classifier,
    data: Data = None,
    layer: str | None = None,
    maps: Sequence[int] = (),
    found: TopPatches | None = None,
) -> View:
    """The nine training patches that excite each map of a layer most, one an image.

    Zeiler and Fergus 2014, figure 2, right halves.

    Args:
        classifier: The network.
        data: The data set, or its folder.
        layer: One that gives maps; by default the deepest whose receptive fields fit the image.
        maps: Which of its maps; by default all, or the strongest where there are too many.
        found: What `find_patches` found, where that is known.

    Returns:
        A view with `patches`, uint8, (M, k, h, w, 3), strongest first, the maps' `numbers`, (M,),
        the activations, `values`, and the `rows` of the training set that they are from, (M, k).

    Raises:
        UserError: for a layer or map that is not there, and a data set that cannot be opened.
    """
    dataset = open_data(classifier, data)
    found = found or find_patches(classifier, dataset, layer, maps)
    count = len(found.values)
    which = f"{count} maps"
    if count > MOST_MAPS:
        which = f"the strongest {MOST_MAPS} of {count} maps"
    # Every map in its own order; of more than a picture holds, the strongest.
    chosen = list(maps) or sorted(found.by_strength()[:MOST_MAPS])
    title = (
        f"{classifier.name}, {found.layer}: the strongest training patches of "
        f"{maps_of(maps, which)}, one an image\n{_describe_patches(dataset, found)}"
    )
    arrays = _arrays(dataset.train.images, found, chosen)
    return View(
        file_name("patches", found.layer, maps),
        arrays,
        lambda: figures.patches(arrays["patches"], chosen, arrays["values"], title),
    )


def deconvolution(
    classifier: Classifier,
    data: Data = None,
    layer: str | None = None,
    maps: Sequence[int] = (),
    found: TopPatches | None = None,
) -> View:
    """What in its strongest training patches excites each map of a layer.

    Zeiler and Fergus 2014, figure 2: the activation is carried back to the pixels by their
    deconvnet (section 2.1).

    Args:
        classifier: The network.
        data: The data set, or its folder.
        layer: One that gives maps; by default the deepest whose receptive fields fit the image.
        maps: Which of its maps; by default the eight strongest.
        found: What `find_patches` found, where that is known.

    Returns:
        A view with `projections`, float32, (M, k, h, w, channels), of either sign, and the
        `patches`, `numbers`, `values` and `rows` of the view `patches`.

    Raises:
        UserError: for a layer or map that is not there, and a data set that cannot be opened.
    """
    dataset = open_data(classifier, data)
    found = found or find_patches(classifier, dataset, layer, maps)
    chosen = list(maps) or found.by_strength()[:PROJECTED_MAPS]
    projections = []
    for number in chosen:
        x = classifier.inputs(rows_of(dataset.train.images, found.rows[number]))
        projected = deconvolution_of(
            classifier.model, x, found.layer, [number] * len(x), found.positions[number]
        )
        boxes = found.boxes[number]
        projections.append(
            np.stack([crop(*each, 0) for each in zip(projected, boxes, strict=True)])
        )
    arrays = {
        "projections": np.stack(projections),
        **_arrays(dataset.train.images, found, chosen),
    }
    title = (
        f"{classifier.name}, {found.layer}: "
        f"{maps_of(maps, f'its {len(chosen)} strongest maps')}, projected to pixels "
        f"(left) from their strongest training patches (right)\n"
        f"{_describe_patches(dataset, found)}\n"
        "scale of the projections: one for each map, from −m to m, gray is 0"
    )
    return View(
        file_name("deconvolution", found.layer, maps),
        arrays,
        lambda: figures.deconvolution(
            arrays["projections"], arrays["patches"], chosen, arrays["values"], title
        ),
    )


def _arrays(
    images: np.ndarray | Rows, found: TopPatches, chosen: Sequence[int]
) -> dict[str, np.ndarray]:
    """The patches of some maps with their numbers, activations and rows."""
    will_need(images, found.rows[chosen].ravel())
    cut = [
        [crop(images[row], box) for row, box in zip(found.rows[i], found.boxes[i], strict=True)]
        for i in chosen
    ]
    return {
        "patches": np.array(cut),
        "numbers": np.array(chosen),
        "values": found.values[chosen],
        "rows": found.rows[chosen],
    }


def _describe_patches(dataset: Dataset, found: TopPatches) -> str:
    """ "toy, 60 training images, fields of 24×24 pixels, gray beyond the image" """
    top, left, bottom, right = found.boxes[0, 0]
    fits = max(right - left, bottom - top) <= dataset.size
    return (
        f"{dataset.name}, {len(dataset.train):,} training images, fields of "
        f"{right - left}×{bottom - top} pixels, {'gray beyond' if fits else 'cut to'} the image"
    )


def growth(
    snapshots: Mapping[int, Classifier],
    data: Data = None,
    layer: str | None = None,
    maps: Sequence[int] = (),
) -> View:
    """How the features of a layer grew: the same maps at the epochs that a run kept.

    Zeiler and Fergus 2014, figure 4: of each map and epoch the strongest activation in the training
    set, projected to pixels.

    Args:
        snapshots: The networks by epoch, as `RunFolder.snapshots` gives them.
        data: The data set that the run trained on, or its folder.
        layer: One that gives maps; by default the deepest whose receptive fields fit the image.
        maps: Which of its maps; by default the eight strongest of the last epoch.

    Returns:
        A view with `projections`, (epochs, M, h, w, channels), and `patches`, (epochs, M, h, w, 3),
        their `values` and `rows`, (epochs, M), the maps' `numbers`, (M,), and the `epochs`.

    Raises:
        UserError: without snapshots, for a layer or map that is not there, and a data set that
            cannot be opened.
    """
    if not snapshots:
        raise UserError(
            "`snapshots` holds no network; train with snapshots to keep some", option="snapshots"
        )
    last = list(snapshots.values())[-1]
    layer = layer or deepest_local_layer(last.model, last.size)
    check_maps_of(last, layer, maps)
    dataset = open_data(last, data)
    seen = growth_of(snapshots, dataset.train.images, layer, maps)
    title = (
        f"{last.name}, {layer}: {maps_of(maps, 'its strongest maps')}, epoch by epoch\n"
        f"the strongest activation in {len(dataset.train):,} training images of {dataset.name}, "
        "projected to pixels, above what is there\n"
        "every projection has a scale of its own, gray is 0; the number is the activation"
    )
    arrays = {
        "projections": seen.projections,
        "patches": seen.patches,
        "values": seen.values,
        "rows": seen.rows,
        "numbers": np.array(seen.maps),
        "epochs": np.array(seen.epochs),
    }
    return View(
        file_name("growth", layer, maps),
        arrays,
        lambda: figures.growth(
            seen.projections, seen.patches, seen.maps, seen.epochs, seen.values, title
        ),
    )


def embedding(classifier: Classifier, data: Data = None) -> View:
    """Where the network puts the validation images before it decides.

    The two principal components of the features that the last layer reads.

    Args:
        classifier: The network.
        data: The data set, or its folder.

    Returns:
        A view with `places`, (N, 2); `right`, (N,), whether each was classified right; `share` of
        the variance that the two hold, 0..1; and `images`, (K, H, W, 3), of the rows `shown`, (K,).

    Raises:
        UserError: for a data set that cannot be opened, and a network without a linear layer.
    """
    dataset = open_data(classifier, data)
    split = filled(dataset, "validation")
    places, share = embedding_of(features(classifier, split.images))
    right = classifier.logits(split.images).argmax(axis=1) == split.labels
    # of too many images an even sample
    shown = np.unique(np.linspace(0, len(split) - 1, min(THUMBNAILS, len(split))).astype(int))
    images = rows_of(split.images, shown)
    title = (
        f"{classifier.name}: what it reads before it decides, {len(split):,} validation images of "
        f"{dataset.name}"
    )
    arrays = {
        "places": places,
        "right": right,
        "share": np.array(share, np.float32),
        "shown": shown,
        "images": images,
    }
    return View(
        "embedding",
        arrays,
        lambda: figures.embedding(places, right, shown, images, share, title),
    )
