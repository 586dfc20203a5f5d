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
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table, to_text
from convlens.look.occlusion import occlusion
from convlens.predict import find_images
from convlens.train.checkpoint import Trained, load_trained
from convlens.train.run import open_for

IMAGE_VIEWS = ("activations", "attribution", "occlusion")
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
) -> list[Path]:
    """Draw `views` of the network in `run` into the folder `out`; returns the files written.

    target: the class that attribution and occlusion ask about, by default the predicted one.
    """
    trained = load_trained(run)
    number = None if target is None else class_number(trained, target)
    of_images = [view for view in views if view in IMAGE_VIEWS]
    chosen: list[tuple[str, np.ndarray]] = []
    if of_images and images:
        chosen = [(str(path), decode(path, trained.size)) for path in find_images(images)]
    elif of_images:
        dataset = open_for(trained, run, data)
        print(f"data set   {dataset.describe()}")
        chosen = assigned_images(dataset)
    # Nothing is written before everything asked for has been found.
    written: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    if "layers" in views:
        print(to_text(layer_table(trained.model, trained.size)))
    if "filters" in views:
        figures.save(figures.filters(first_filters(trained.model)), out / "filters.png")
        written.append(out / "filters.png")
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
        figures.save(figures.activations(image, maps[layer][0], title), target)
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


def _stem(trained: Trained, path: str, target: int | None) -> str:
    """Names the image, and the class where the user chose it."""
    name = "-".join(Path(path).with_suffix("").parts[-2:])
    return name if target is None else f"{name}-for-{trained.classes[target]}"
