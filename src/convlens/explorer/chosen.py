"""Which images a page in one file has, and what it says of them."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convlens.data.decode import read_bytes
from convlens.errors import UserError
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.inference.prediction import find_images

EXAMPLES = 4
MISTAKES = 4
OPENED = 80  # more mistakes, of which everything is shown that the page can compute itself


def choose(
    explorer: Explorer, images: Sequence[Path | str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What `site.json` tells of each image, its name, where it is from, its class if known: of
    those that are prepared whole, and of those that are only opened."""
    if images:
        return [_add(explorer, path) for path in find_images(images)], []
    if explorer.dataset is None:
        raise UserError(
            "there is no data set to take images from; give `images` or `data`",
            option=("images", "data"),
        )
    split = explorer.dataset.validation
    worst: list[list[int]] = []
    for network, survey in zip(explorer.networks, explorer.surveys, strict=True):
        probabilities = network.classifier.probabilities(survey.seen("validation").logits)
        wrong = np.flatnonzero(probabilities.argmax(axis=1) != survey.labels("validation"))
        sure = -probabilities[wrong].max(axis=1)
        worst.append(wrong[np.argsort(sure, kind="stable")].tolist())
    rows = [int(name[1:]) for name in explorer.examples()[:: max(1, 8 // EXAMPLES)]]
    rows += worst[0][:MISTAKES]
    prepared = list(dict.fromkeys(rows))
    turns = itertools.chain(*itertools.zip_longest(*worst))
    more = [row for row in dict.fromkeys(turns) if row is not None and row not in prepared]

    def told(rows: list[int]) -> list[dict[str, Any]]:
        return [
            {"id": f"v{row}", "path": split.paths[row], "label": int(split.labels[row])}
            for row in rows
        ]

    return told(prepared), told(more[:OPENED])


def _add(explorer: Explorer, path: Path) -> dict[str, Any]:
    content = read_bytes(path)
    try:
        upload = explorer.images.add(content, sent=False)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None
    return {"id": upload.name, "path": path.name, "label": None}


def targets_of(explorer: Explorer, image: str) -> list[int]:
    """The true class of an image, if known, then what each network predicts."""
    found = []
    for network in explorer.networks:
        pixels = explorer.pixels(image, network)
        label = explorer.images.label(image)
        if label in network.classifier.class_names:
            found.append(network.classifier.class_names.index(label))
        found.append(int(network.look(image, pixels).logits[0].argmax()))
    return sorted(set(found), key=found.index)


def labels_of(
    explorer: Explorer, network: Network, images: list[dict[str, Any]]
) -> dict[str, int | None]:
    """The classes of images as a network numbers them; None where it does not know them."""
    names = network.classifier.class_names
    labels = {image["id"]: explorer.images.label(image["id"]) for image in images}
    return {id_: names.index(label) if label in names else None for id_, label in labels.items()}
