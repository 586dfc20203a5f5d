"""Pictures of a network for `convlens look`: which images, which layers, which files."""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from convlens import figures
from convlens.data.augment import normalise
from convlens.data.batches import to_tensor
from convlens.data.cache import decode
from convlens.data.dataset import Dataset
from convlens.errors import UserError
from convlens.look.activations import activations, conv_relu_layers
from convlens.look.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
    targets,
)
from convlens.look.deconvolution import deconvolution
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table, to_text
from convlens.look.occlusion import occlusion
from convlens.look.patches import Patches, crop, deepest_local_layer, strongest_patches
from convlens.predict import find_images
from convlens.train.checkpoint import Trained, load_trained
from convlens.train.run import open_for

IMAGE_VIEWS = ("activations", "attribution", "occlusion")
TRAINING_VIEWS = ("patches", "deconvolution")
MOST_MAPS = 96  # in the picture of patches: more would be too small to see
ASSIGNED = ("accordion/image_0001", "camera/image_0001")


def assigned_images(dataset: Dataset) -> list[tuple[str, np.ndarray]]:
    """The two images whose activations the assignment asks for, (path, uint8 (H, W, 3)) each.

    On another data set: the first training images of the first two classes.
    """
    found = {
        "/".join(Path(path).with_suffix("").parts[-2:]): (path, image)
        for split in (dataset.train, dataset.validation)
        for path, image in zip(split.paths, split.images, strict=True)
        if path.rpartition("/")[2].startswith("image_0001.")
    }
    if all(name in found for name in ASSIGNED):
        chosen = [found[name] for name in ASSIGNED]
    else:
        train = dataset.train
        rows = [np.flatnonzero(train.labels == label)[0] for label in (0, 1)]
        chosen = [(train.paths[row], train.images[row]) for row in rows]
    return [(path, np.array(image)) for path, image in chosen]


def describe_prediction(trained: Trained, x: torch.Tensor) -> str:
    """ "class 93.1 %" for a normalised image (1, 3, H, W)."""
    with torch.inference_mode():
        probabilities = trained.model(x).softmax(dim=1)[0]
    best = int(probabilities.argmax())
    return f"{trained.classes[best]} {float(probabilities[best]):.1%}"


def draw(
    run: Path,
    images: tuple[Path, ...],
    views: tuple[str, ...],
    data: Path | None,
    out: Path,
    target: str | None = None,
    layer: str | None = None,
    maps: tuple[int, ...] = (),
) -> list[Path]:
    """Draw `views` of the network in `run` into the folder `out`; returns the files written.

    target: the class that attribution and occlusion ask about, by default the predicted one.
    layer: whose maps patches and deconvolution show, by default `deepest_local_layer`'s. maps:
    which of them, by default the strongest.
    """
    trained = load_trained(run)
    number = None if target is None else class_number(trained, target)
    of_images = [view for view in views if view in IMAGE_VIEWS]
    chosen: list[tuple[str, np.ndarray]] = []
    if of_images and images:
        chosen = [(str(path), decode(path, trained.size)) for path in find_images(images)]
    of_training = [view for view in views if view in TRAINING_VIEWS]
    if of_training or (of_images and not images):
        dataset = open_for(trained, run, data)
        print(f"data set   {dataset.describe()}")
    if of_images and not images:
        chosen = assigned_images(dataset)
    if of_training:
        layer = layer or deepest_local_layer(trained.model, trained.size)
        found = strongest_patches(
            trained.model, dataset.train.images, trained.mean, trained.std, layer
        )
        check_maps(found, maps)
    # Nothing is written before everything asked for has been found.
    written: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    if "layers" in views:
        print(to_text(layer_table(trained.model, trained.size)))
    if "filters" in views:
        figures.save(figures.filters(first_filters(trained.model)), out / "filters.png")
        written.append(out / "filters.png")
    if "patches" in views:
        written.append(draw_patches(trained, dataset, found, maps, out))
    if "deconvolution" in views:
        written.append(draw_deconvolution(trained, dataset, found, maps, out))
    for path, image in chosen:
        if "activations" in views:
            written += draw_activations(trained, path, image, out)
        if "attribution" in views:
            written.append(draw_attribution(trained, path, image, number, out))
        if "occlusion" in views:
            written.append(draw_occlusion(trained, path, image, number, out))
    return written


def class_number(trained: Trained, name: str) -> int:
    """The number of the class `name`; UserError where the network does not know it."""
    if name in trained.classes:
        return trained.classes.index(name)
    close = get_close_matches(name, trained.classes, 1)
    hint = f"did you mean {close[0]}?" if close else "choose a class of its data set"
    raise UserError(f"{trained.network} was not trained on a class {name!r}; {hint}")


def draw_activations(trained: Trained, path: str, image: np.ndarray, out: Path) -> list[Path]:
    """The maps after the ReLU of the first and the second convolution, a picture each."""
    x = normalise(to_tensor(image[None]), trained.mean, trained.std)
    layers = conv_relu_layers(trained.model, trained.size)[:2]
    maps = activations(trained.model, x, layers)
    written = []
    for number, layer in enumerate(layers, 1):
        title = (
            f"{trained.network}, {layer}: after the ReLU of convolution {number}\n"
            f"{path}, predicted {describe_prediction(trained, x)}"
        )
        name = "-".join(Path(path).with_suffix("").parts[-2:])
        target = out / f"activations-{name}-conv{number}.png"
        # a few bright pixels would leave all other maps dark under their maximum
        figures.save(figures.activations(image, maps[layer][0], title, percentile=99.5), target)
        written.append(target)
    return written


def draw_attribution(
    trained: Trained, path: str, image: np.ndarray, target: int | None, out: Path
) -> Path:
    """Grad-CAM, guided backpropagation and integrated gradients, in one picture."""
    x = normalise(to_tensor(image[None]), trained.mean, trained.std)
    number = int(targets(trained.model, x, target))
    layer = grad_cam_layer(trained.model, trained.size)
    cam = f"Grad-CAM\n{layer}"
    maps = {
        cam: grad_cam(trained.model, x, number, layer)[0],
        "guided\nbackpropagation": guided_backprop(trained.model, x, number)[0],
        "integrated gradients,\nsmoothed": integrated_gradients(trained.model, x, number)[0],
    }
    title = (
        f"{trained.network}: what speaks for the target, {trained.classes[number]}\n"
        f"{path}, predicted {describe_prediction(trained, x)}"
    )
    file = out / f"attribution-{_stem(trained, path, target)}.png"
    return figures.save(figures.attribution(image, maps, (cam,), title), file)


def draw_occlusion(
    trained: Trained, path: str, image: np.ndarray, target: int | None, out: Path
) -> Path:
    """What a grey square over each part of the image does to the network, in one picture."""
    x = normalise(to_tensor(image[None]), trained.mean, trained.std)
    seen = occlusion(trained.model, x, target)
    title = (
        f"{trained.network}: a square of the mean colour hides each part of the image\n"
        f"{path}, predicted {describe_prediction(trained, x)}"
    )
    figure = figures.occlusion(
        image, seen.activation, seen.probability, seen.predicted, trained.classes, seen.square,
        seen.stride, trained.classes[seen.target], f"{seen.layer}, map {seen.map}", title,
    )  # fmt: skip
    return figures.save(figure, out / f"occlusion-{_stem(trained, path, target)}.png")


def check_maps(found: Patches, maps: tuple[int, ...]) -> None:
    """UserError for a map that the layer does not have."""
    for number in maps:
        if not 0 <= number < len(found.values):
            raise UserError(
                f"layer {found.layer} has no map {number}; choose from 0 to {len(found.values) - 1}"
            )


def draw_patches(
    trained: Trained, dataset: Dataset, found: Patches, maps: tuple[int, ...], out: Path
) -> Path:
    """The nine strongest training patches of every map of a layer, in one picture."""
    count = len(found.values)
    which = f"{count} maps"
    if not maps and count > MOST_MAPS:
        which = f"the strongest {MOST_MAPS} of {count} maps"
    # Every map in its own order; of more than a picture holds, the strongest.
    chosen = maps or tuple(sorted(_by_strength(found)[:MOST_MAPS]))
    title = (
        f"{trained.network}, {found.layer}: the strongest training patches of "
        f"{'maps given' if maps else which}, one an image\n{_describe_patches(dataset, found)}"
    )
    blocks = [_cropped(dataset.train.images, found, number) for number in chosen]
    figure = figures.patches(np.stack(blocks), chosen, found.values[list(chosen)], title)
    return figures.save(figure, out / f"patches-{found.layer}.png")


def draw_deconvolution(
    trained: Trained, dataset: Dataset, found: Patches, maps: tuple[int, ...], out: Path
) -> Path:
    """Zeiler and Fergus 2014, fig. 2: deconvolutions of a layer's maps beside their patches."""
    chosen = maps or tuple(_by_strength(found)[:8])
    projections = []
    for number in chosen:
        images = dataset.train.images[found.rows[number]]
        x = normalise(to_tensor(images), trained.mean, trained.std)
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
        "scale of the projections: one for each map, from −m to m, grey is 0"
    )
    blocks = [_cropped(dataset.train.images, found, number) for number in chosen]
    values = found.values[list(chosen)]
    figure = figures.deconvolution(np.stack(projections), np.stack(blocks), chosen, values, title)
    return figures.save(figure, out / f"deconvolution-{found.layer}.png")


def _by_strength(found: Patches) -> list[int]:
    """The maps, the one with the largest activation first."""
    return np.argsort(-found.values[:, 0], kind="stable").tolist()


def _cropped(images: np.ndarray, found: Patches, number: int) -> np.ndarray:
    """The patches of one map, uint8, shape (k, h, w, 3)."""
    pairs = zip(found.rows[number], found.boxes[number], strict=True)
    return np.stack([crop(images[row], box) for row, box in pairs])


def _describe_patches(dataset: Dataset, found: Patches) -> str:
    """ "toy, 60 training images, fields of 24×24 pixels, grey beyond the image" """
    top, left, bottom, right = found.boxes[0, 0]
    fits = max(right - left, bottom - top) <= dataset.size
    return (
        f"{dataset.name}, {len(dataset.train):,} training images, fields of "
        f"{right - left}×{bottom - top} pixels, {'grey beyond' if fits else 'cut to'} the image"
    )


def _stem(trained: Trained, path: str, target: int | None) -> str:
    """Names the image, and the class where the user chose it."""
    name = "-".join(Path(path).with_suffix("").parts[-2:])
    return name if target is None else f"{name}-for-{trained.classes[target]}"
