"""Sheets of a whole network: what excites its maps, and where it puts the images."""

from pathlib import Path

import numpy as np

from convlens import figures
from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.data.dataset import Dataset
from convlens.inference.metrics import compute_logits
from convlens.look.arrays.activations import activations
from convlens.models.hooks import blank_image, check_numbers
from convlens.look.arrays.deconvolution import deconvolution
from convlens.look.arrays.features import embedding, features
from convlens.look.arrays.filters import kernels
from convlens.look.arrays.growth import growth
from convlens.look.arrays.feature_visualization import optimized
from convlens.look.arrays.top_patches import Patches, crop
from convlens.look.views.names import file_name
from convlens.training.run_folder import Trained

MOST_MAPS = 96  # in the picture of patches: more would be too small to see
MOST_KERNELS = 16  # maps in the picture of kernels
MOST_IMAGES = 24  # made by optimization: each takes a second or so


def count_maps(trained: Trained, layer: str) -> int:
    """How many maps, or features, the layer has; UserError where there is no such layer."""
    blank = blank_image(trained.model, trained.size)
    return activations(trained.model, blank, [layer])[layer].shape[1]


def draw_filters(
    trained: Trained, layer: str, composites: np.ndarray, maps: tuple[int, ...], out: Path
) -> list[Path]:
    """The composite filters of a layer's maps, and the kernels that some are put together from."""
    chosen = maps or tuple(range(len(composites)))
    title = (
        f"{trained.network}, {layer}: what its maps would weigh the pixels by if all layers up to "
        "it were linear"
    )
    drawn = figures.filters(composites[list(chosen)], chosen, title)
    written = [figures.save(drawn, out / f"{file_name('filters', layer, maps)}.png")]
    if not maps:
        norms = np.linalg.norm(composites.reshape(len(composites), -1), axis=1)
        chosen = tuple(sorted(np.argsort(-norms, kind="stable")[:MOST_KERNELS].tolist()))
    seen = kernels(trained.model, layer, chosen, size=trained.size)
    title = (
        f"{trained.network}, {layer}: the kernels of {seen.convolution} behind "
        f"{'maps given' if maps else f'the {len(chosen)} maps of the largest filters'}\n"
        "left the filter on the pixels, as if linear; then the kernels on the input maps where "
        "they are strongest:\nred adds, blue takes away; every filter and every map's kernels "
        "have a scale of their own"
    )
    drawn = figures.kernels(composites[list(chosen)], seen.weights, seen.inputs, chosen, title)
    return [*written, figures.save(drawn, out / f"{file_name('kernels', layer, maps)}.png")]


def draw_patches(
    trained: Trained, dataset: Dataset, found: Patches, maps: tuple[int, ...], out: Path
) -> Path:
    """The nine strongest training patches of every map of a layer, in one picture."""
    count = len(found.values)
    which = f"{count} maps"
    if not maps and count > MOST_MAPS:
        which = f"the strongest {MOST_MAPS} of {count} maps"
    # Every map in its own order; of more than a picture holds, the strongest.
    chosen = maps or tuple(sorted(found.by_strength()[:MOST_MAPS]))
    title = (
        f"{trained.network}, {found.layer}: the strongest training patches of "
        f"{'maps given' if maps else which}, one an image\n{_describe_patches(dataset, found)}"
    )
    blocks = [_cropped(dataset.train.images, found, number) for number in chosen]
    figure = figures.patches(np.stack(blocks), chosen, found.values[list(chosen)], title)
    return figures.save(figure, out / f"{file_name('patches', found.layer, maps)}.png")


def draw_deconvolution(
    trained: Trained, dataset: Dataset, found: Patches, maps: tuple[int, ...], out: Path
) -> Path:
    """Zeiler and Fergus 2014, fig. 2: deconvolutions of a layer's maps beside their patches."""
    chosen = maps or tuple(found.by_strength()[:8])
    projections = []
    for number in chosen:
        images = dataset.train.images[found.rows[number]]
        x = normalize(to_tensor(images), trained.mean, trained.std)
        projected = deconvolution(
            trained.model, x, found.layer, [number] * len(x), found.positions[number]
        )
        boxes = found.boxes[number]
        projections.append(
            np.stack([crop(*each, 0) for each in zip(projected, boxes, strict=True)])
        )
    title = (
        f"{trained.network}, {found.layer}: "
        f"{'maps given' if maps else f'its {len(chosen)} strongest maps'}, projected to pixels "
        f"(left) from their strongest training patches (right)\n"
        f"{_describe_patches(dataset, found)}\n"
        "scale of the projections: one for each map, from −m to m, gray is 0"
    )
    blocks = [_cropped(dataset.train.images, found, number) for number in chosen]
    values = found.values[list(chosen)]
    figure = figures.deconvolution(np.stack(projections), np.stack(blocks), chosen, values, title)
    return figures.save(figure, out / f"{file_name('deconvolution', found.layer, maps)}.png")


def _cropped(images: np.ndarray, found: Patches, number: int) -> np.ndarray:
    """The patches of one map, uint8, shape (k, h, w, 3)."""
    pairs = zip(found.rows[number], found.boxes[number], strict=True)
    return np.stack([crop(images[row], box) for row, box in pairs])


def _describe_patches(dataset: Dataset, found: Patches) -> str:
    """ "toy, 60 training images, fields of 24×24 pixels, gray beyond the image" """
    top, left, bottom, right = found.boxes[0, 0]
    fits = max(right - left, bottom - top) <= dataset.size
    return (
        f"{dataset.name}, {len(dataset.train):,} training images, fields of "
        f"{right - left}×{bottom - top} pixels, {'gray beyond' if fits else 'cut to'} the image"
    )


def draw_growth(
    trained: Trained,
    snapshots: dict[int, Trained],
    dataset: Dataset,
    layer: str,
    maps: tuple[int, ...],
    out: Path,
) -> Path:
    """The same maps at the epochs that a run kept; `dataset` is the one it trained on."""
    models = {epoch: each.model for epoch, each in snapshots.items()}
    seen = growth(models, dataset.train.images, trained.mean, trained.std, layer, maps)
    title = (
        f"{trained.network}, {layer}: {'maps given' if maps else 'its strongest maps'}, epoch by "
        "epoch\n"
        f"the strongest activation in {len(dataset.train):,} training images of {dataset.name}, "
        "projected to pixels, above what is there\n"
        "every projection has a scale of its own, gray is 0; the number is the activation"
    )
    drawn = figures.growth(
        seen.projections, seen.patches, seen.maps, seen.epochs, seen.values, title
    )
    return figures.save(drawn, out / f"{file_name('growth', layer, maps)}.png")


def draw_embedding(trained: Trained, dataset: Dataset, out: Path) -> Path:
    """The validation images at the two principal components of their features."""
    split, statistics = dataset.validation, (trained.mean, trained.std)
    places, share = embedding(features(trained.model, split.images, *statistics))
    right = compute_logits(trained.model, split.images, *statistics).argmax(1) == split.labels
    title = (
        f"{trained.network}: what it reads before it decides, {len(split):,} validation images of "
        f"{dataset.name}"
    )
    figure = figures.embedding(places, np.asarray(split.images), right, share, title)
    return figures.save(figure, out / "embedding.png")


def maps_to_optimize(
    trained: Trained, layer: str | None, maps: tuple[int, ...], target: int | None
) -> tuple[int, ...]:
    """Which maps of the layer, or which classes without a layer: those asked for, or the first.

    UserError for a layer or a map that is not there.
    """
    if layer is None and target is not None:
        return (target,)
    count = len(trained.classes) if layer is None else count_maps(trained, layer)
    none = f"layer {layer} has no map" if layer else f"{trained.network} has no class"
    check_numbers(maps, count, none)
    return maps or tuple(range(min(count, MOST_IMAGES)))


def draw_optimized(
    trained: Trained, layer: str | None, maps: tuple[int, ...], out: Path
) -> Path:
    """Images made for maps of a layer, or without a layer for classes, in one picture."""
    images, values = optimized(
        trained.model, layer, maps, trained.mean, trained.std, size=trained.size
    )
    names = [trained.classes[i] if layer is None else f"map {i}" for i in maps]
    title = (
        f"{trained.network}: images made by optimization for "
        + ("classes, with their logit" if layer is None else f"maps of {layer}, with their mean")
        + "\ngradient ascent on the image's frequencies, shifted at random before each step"
    )
    asked = () if maps == tuple(range(len(maps))) and len(maps) > 1 else maps
    name = file_name("optimized", layer or "classes", asked)
    if layer is None and len(maps) == 1:
        name = f"optimized-for-{names[0]}"
    return figures.save(figures.optimized(images, names, values, title), out / f"{name}.png")
