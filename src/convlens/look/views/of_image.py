"""Sheets of given images: what the network makes of them, and why."""

import csv
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from convlens import figures
from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.data.dataset import Dataset
from convlens.errors import UserError
from convlens.files import replacing
from convlens.look.arrays.activations import activations, map_statistics
from convlens.models.hooks import conv_relu_layers
from convlens.look.arrays.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
    targets,
)
from convlens.look.arrays.features import features, nearest
from convlens.look.arrays.invariance import CHANGES, invariance
from convlens.look.arrays.occlusion import occlusion
from convlens.look.views.names import file_name
from convlens.training.run_folder import Trained

UNITS = {"translation": "pixels down", "scale": "times", "rotation": "degrees"}
NEIGHBORS = 7
MOST_CURVES = 6  # images in the picture of invariance: more lines cannot be told apart


def describe_prediction(trained: Trained, x: torch.Tensor) -> str:
    """ "class 93.1 %" for a normalized image (1, 3, H, W)."""
    with torch.inference_mode():
        probabilities = (trained.model(x) / trained.temperature).softmax(dim=1)[0]
    best = int(probabilities.argmax())
    return f"{trained.classes[best]} {float(probabilities[best]):.1%}"


def class_number(trained: Trained, name: str) -> int:
    """The number of the class `name`; UserError where the network does not know it."""
    if name in trained.classes:
        return trained.classes.index(name)
    close = get_close_matches(name, trained.classes, 1)
    hint = f"did you mean {close[0]}?" if close else "choose a class of its data set"
    raise UserError(f"{trained.network} was not trained on a class {name!r}; {hint}")


def draw_activations(trained: Trained, path: str, image: np.ndarray, out: Path) -> list[Path]:
    """The maps after the ReLU of the first and the second convolution, a picture each."""
    x = _normalized(trained, [image])
    layers = conv_relu_layers(trained.model, trained.size)[:2]
    maps = activations(trained.model, x, layers)
    written = []
    for number, layer in enumerate(layers, 1):
        title = (
            f"{trained.network}, {layer}: after the ReLU of convolution {number}\n"
            f"{path}, predicted {describe_prediction(trained, x)}"
        )
        target = out / f"activations-{_stem(trained, path, None)}-conv{number}.png"
        # a few bright pixels would leave all other maps dark under their maximum
        figures.save(figures.activations(image, maps[layer][0], title, percentile=99.5), target)
        written.append(target)
    return written


def draw_layer(
    trained: Trained,
    path: str,
    image: np.ndarray,
    layer: str,
    asked: tuple[int, ...],
    out: Path,
) -> list[Path]:
    """All maps of a layer, or those asked for, strongest first; their statistics also as a table.

    A linear layer's features are drawn as maps of one unit.
    """
    x = _normalized(trained, [image])
    maps = activations(trained.model, x, [layer])[layer][0]
    maps = maps.reshape(len(maps), *(maps.shape[1:] or (1, 1)))
    seen = map_statistics(maps)
    order = [number for number in seen.by_strength() if not asked or number in asked]
    title = (
        f"{trained.network}, {layer}: {'maps given' if asked else f'its {len(order)} maps'}, the "
        f"one with the largest mean first\n{path}, predicted {describe_prediction(trained, x)}"
    )
    stem = file_name(f"activations-{_stem(trained, path, None)}", layer, asked)
    drawn = figures.sorted_activations(
        image, maps[order], order, seen.mean[order], seen.maximum[order], seen.active[order], title
    )
    table = out / f"{stem}.csv"
    with replacing(table) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["map", "mean", "maximum", "share_active"])
        for i in order:
            row = (seen.mean[i], seen.maximum[i], seen.active[i])
            writer.writerow([i, *(f"{value:.6g}" for value in row)])
    return [figures.save(drawn, out / f"{stem}.png"), table]


def draw_attribution(
    trained: Trained, path: str, image: np.ndarray, target: int | None, out: Path
) -> Path:
    """Grad-CAM, guided backpropagation and integrated gradients, in one picture."""
    x = _normalized(trained, [image])
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
    """What a gray square over each part of the image does to the network, in one picture."""
    x = _normalized(trained, [image])
    seen = occlusion(trained.model, x, target)
    title = (
        f"{trained.network}: a square of the mean color hides each part of the image\n"
        f"{path}, predicted {describe_prediction(trained, x)}"
    )
    figure = figures.occlusion(
        image, seen.activation, seen.probability, seen.predicted, trained.classes, seen.square,
        seen.stride, trained.classes[seen.target], f"{seen.layer}, map {seen.map}", title,
    )  # fmt: skip
    return figures.save(figure, out / f"occlusion-{_stem(trained, path, target)}.png")


def draw_invariance(
    trained: Trained, chosen: list[tuple[str, np.ndarray]], target: int | None, out: Path
) -> Path:
    """How answers change as the images move, grow and turn, all images in one picture."""
    chosen = chosen[:MOST_CURVES]
    x = _normalized(trained, [image for _, image in chosen])
    wanted = targets(trained.model, x, target).tolist()
    seen = {change: invariance(trained.model, x, wanted, change) for change in CHANGES}
    labels = {change: f"{change}, {UNITS[change]}" for change in CHANGES}
    layers = next(iter(seen.values())).distances
    curves = {
        f"{layer}:\nrelative distance": {labels[c]: seen[c].distances[layer] for c in CHANGES}
        for layer in layers
    }
    curves["probability\nof the target"] = {labels[c]: seen[c].probability for c in CHANGES}
    names = [
        f"{Path(path).parent.name}/{Path(path).stem}: {trained.classes[number]}"
        for (path, _), number in zip(chosen, wanted, strict=True)
    ]
    title = (
        f"{trained.network}: how far the output of a layer moves, and the probability of the "
        "target,\nas the image moves, grows and turns"
    )
    values = {labels[change]: seen[change].values for change in CHANGES}
    return figures.save(figures.invariance(values, curves, names, title), out / "invariance.png")


def draw_neighbors(
    trained: Trained, chosen: list[tuple[str, np.ndarray]], dataset: Dataset, out: Path
) -> Path:
    """The training images that the network holds to be most like each image, in one picture.

    An image of the training set itself is not its own neighbor.
    """
    training = dataset.train
    images = np.stack([image for _, image in chosen])
    statistics = trained.mean, trained.std
    mine = features(trained.model, images, *statistics)
    found = nearest(mine, features(trained.model, training.images, *statistics), NEIGHBORS + 1)
    count = min(NEIGHBORS, len(training) - 1)
    names, rows, similarity = [], [], []
    for (path, image), near, alike in zip(chosen, found.rows, found.similarity, strict=True):
        itself = [np.array_equal(training.images[row], image) for row in near]
        others = np.flatnonzero(~np.array(itself))[:count]
        rows.append(near[others])
        similarity.append(alike[others])
        told = describe_prediction(trained, _normalized(trained, [image]))
        names.append(f"{Path(path).parent.name}/{Path(path).stem}\n{told}")
    classes = [[trained.classes[label] for label in training.labels[near]] for near in rows]
    pictures = np.stack([training.images[near] for near in rows])
    title = (
        f"{trained.network}: the training images most like each image to the network, by the "
        f"cosine of their features\n{dataset.name}, {len(training):,} training images"
    )
    figure = figures.neighbors(images, names, pictures, classes, np.stack(similarity), title)
    return figures.save(figure, out / "neighbors.png")


def _normalized(trained: Trained, images: list[np.ndarray]) -> torch.Tensor:
    """(N, 3, H, W), as the network sees them."""
    return normalize(to_tensor(np.stack(images)), trained.mean, trained.std)


def _stem(trained: Trained, path: str, target: int | None) -> str:
    """Names the image, and the class where the user chose it."""
    name = "-".join(Path(path).with_suffix("").parts[-2:])
    return name if target is None else f"{name}-for-{trained.classes[target]}"
