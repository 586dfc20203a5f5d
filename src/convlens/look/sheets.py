"""Pictures of a network for `convlens look`: which images, which layers, which files."""

from pathlib import Path

import numpy as np
import torch

from convlens import figures
from convlens.data.augment import normalise
from convlens.data.batches import to_tensor
from convlens.data.cache import decode
from convlens.data.dataset import Dataset
from convlens.look.activations import activations, conv_relu_layers
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table, to_text
from convlens.predict import find_images
from convlens.train.checkpoint import Trained, load_trained
from convlens.train.run import open_for

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
) -> list[Path]:
    """Draw `views` of the network in `run` into the folder `out`; returns the files written."""
    trained = load_trained(run)
    chosen: list[tuple[str, np.ndarray]] = []
    if "activations" in views and images:
        chosen = [(str(path), decode(path, trained.size)) for path in find_images(images)]
    elif "activations" in views:
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
        written += draw_activations(trained, path, image, out)
    return written


def draw_activations(trained: Trained, path: str, image: np.ndarray, out: Path) -> list[Path]:
    """The maps after the ReLU of the first and the second convolution, a picture each."""
    x = normalise(to_tensor(image[None]), trained.mean, trained.std)
    layers = conv_relu_layers(trained.model)[:2]
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
