"""From a path to bytes: everything that the page asks for, by HTTP or from a static copy.

`ROUTES` is the whole of it. A path holds names of images and numbers of runs, layers, maps and
classes, which are looked up in what the explorer holds; no part of it reaches the file system.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

import convlens
from convlens.errors import UserError
from convlens.explorer import pictures
from convlens.explorer.attribution import METHODS, Picture, methods_of
from convlens.explorer.images import MOST_BYTES, MOST_PIXELS
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network, short
from convlens.explorer.survey import NotYet, Survey
from convlens.look.arrays.features import embedding, nearest

NEIGHBORS = 8
JSON, PNG = "application/json", "image/png"
KINDS = {  # of the page's own files
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class NotThere(UserError):
    """No answer lies at this path; the sentence says why."""


@dataclass(frozen=True)
class Answer:
    """body: the bytes. kind: the content type. final: the same path will never give another."""

    body: bytes
    kind: str
    final: bool = True


def page_files() -> dict[str, Answer]:
    """The files of the page by their names."""
    files = {}
    for file in resources.files("convlens.explorer").joinpath("page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in KINDS:
            files[file.name] = Answer(file.read_bytes(), KINDS[suffix])
    return files


def answer(explorer: Explorer, path: str) -> Answer:
    """The bytes at `path`, which has no leading slash.

    Raises NotThere, and NotYet for what the survey has not found yet. Of paths that are `slow` only
    one thread may ask at a time, and of all others another one.
    """
    for pattern, function in ROUTES:
        if found := pattern.fullmatch(path):
            try:
                return function(explorer, *found.groups())
            except (NotThere, NotYet):
                raise
            except UserError as problem:  # the network has not what this view needs
                raise NotThere(str(problem)) from None
    raise NotThere(f"there is nothing at {path[:100]}")


def slow(path: str) -> bool:
    """Whether the answer takes longer than a click should."""
    return any(f"/{name}-" in path for name, method in METHODS.items() if method.slow)


def as_json(content: Any, final: bool = True) -> Answer:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Answer(text.encode(), JSON, final)


def _png(pixels: np.ndarray) -> Answer:
    return Answer(pictures.png(pixels), PNG)


# What is asked about


def _network(explorer: Explorer, run: str) -> Network:
    if int(run) >= len(explorer.networks):
        raise NotThere(f"there is no run {run}")
    return explorer.networks[int(run)]


def _survey(explorer: Explorer, run: str) -> Survey:
    _network(explorer, run)
    if not explorer.surveys:
        raise NotThere("this needs a data set; start the explorer with --data DIR")
    if explorer.surveyor.failure:
        raise NotThere(explorer.surveyor.failure)
    return explorer.surveys[int(run)]


def _pixels(explorer: Explorer, image: str, network: Network) -> np.ndarray:
    try:
        return explorer.pixels(image, network)
    except KeyError:
        if image[0] == "u":
            raise NotThere("this image is no longer kept; choose it again") from None
        raise NotThere(f"there is no image {image}") from None


def _stage(network: Network, layer: str) -> int:
    if int(layer) >= len(network.stages):
        raise NotThere(f"{network.name} has no layer {layer}")
    return int(layer)


def _map(network: Network, stage: int, number: str) -> int:
    count = network.stages[stage].shape[0]
    if int(number) >= count:
        name = network.layers[stage]
        raise NotThere(f"layer {name} has no map {number}; its last is {count - 1}")
    return int(number)


def _class(network: Network, number: str) -> int:
    if int(number) >= len(network.trained.classes):
        raise NotThere(f"{network.name} has no class {number}")
    return int(number)


# The answers


def site(explorer: Explorer) -> Answer:
    return as_json(describe(explorer))


def describe(explorer: Explorer) -> dict:
    """What there is to see; a static copy changes what it has not."""
    split = explorer.dataset.validation if explorer.dataset else None
    return {
        "version": convlens.__version__,
        "static": False,
        "runs": [_describe(number, network) for number, network in enumerate(explorer.networks)],
        "data": {
            "name": explorer.dataset.name,
            "train": len(explorer.dataset.train),
            "validation": len(split),
        } if split else None,
        "images": [
            {"id": f"v{row}", "path": path, "label": int(label)}
            for row, (path, label) in enumerate(zip(split.paths, split.labels, strict=True))
        ] if split else [],
        "examples": explorer.examples(),
        "methods": [
            {"id": name, "name": method.name, "about": method.about}
            for name, method in METHODS.items()
        ],
        "targets": "any",
        "upload": {"bytes": MOST_BYTES, "pixels": MOST_PIXELS},
    }  # fmt: skip


def _describe(number: int, network: Network) -> dict:
    trained = network.trained
    return {
        "id": number,
        "name": network.name,
        "network": trained.network,
        "recipe": trained.recipe,
        "size": trained.size,
        "classes": trained.classes,
        "temperature": trained.temperature,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "summary": network.summary,
        "methods": methods_of(network),
        "features": network.reads_features,
        "layers": [
            {
                "name": stage.name,
                "kind": stage.kind,
                "shape": stage.shape,
                "field": stage.field and stage.field.size,
                "stride": stage.field and stage.field.stride,
                "start": stage.field and stage.field.start,
                "parameters": stage.parameters,
                "multiply_adds": stage.multiply_adds,
                "filters": stage.convolution is not None,
            }
            for stage in network.stages
        ],
    }


def progress(explorer: Explorer) -> Answer:
    tasks = [
        {"name": task.name, "done": task.done, "total": task.total}
        for survey in explorer.surveys
        for task in survey.tasks.values()
    ]
    return as_json({"tasks": tasks, "failure": explorer.surveyor.failure}, final=False)


def image(explorer: Explorer, run: str, name: str) -> Answer:
    """As that run's network is given it."""
    return _png(_pixels(explorer, name, _network(explorer, run)))


def validation_images(explorer: Explorer) -> Answer:
    if explorer.dataset is None:
        raise NotThere("there is no data set; start the explorer with --data DIR")
    return _png(pictures.thumbnails(explorer.dataset.validation.images))


def prediction(explorer: Explorer, run: str, name: str) -> Answer:
    network = _network(explorer, run)
    seen = network.look(name, _pixels(explorer, name, network))
    label, classes = explorer.images.label(name), network.trained.classes
    return as_json(
        {
            "probabilities": short(network.probabilities(seen.logits)[0], 6),
            "label": classes.index(label) if label in classes else None,
        }
    )


def layers(explorer: Explorer, run: str, name: str) -> Answer:
    network = _network(explorer, run)
    seen = network.look(name, _pixels(explorer, name, network))
    pairs = zip(seen.maps, seen.scales, strict=True)
    return as_json([_statistics(maps[0], scale) for maps, scale in pairs])


def _statistics(maps: np.ndarray, scale: float) -> dict:
    """Of a stage's maps, (C, h, w); the strongest has the largest maximum."""
    flat = maps.reshape(len(maps), -1)
    highest = flat.max(axis=1)
    return {
        "columns": pictures.columns_of(len(maps)),
        "scale": short([scale])[0],
        "mean": short(flat.mean(axis=1)),
        "max": short(highest),
        "active": short((flat > 0).mean(axis=1)),
        "order": np.argsort(-highest, kind="stable").tolist(),
    }


def layer(explorer: Explorer, run: str, name: str, number: str) -> Answer:
    network = _network(explorer, run)
    stage = _stage(network, number)
    seen = network.look(name, _pixels(explorer, name, network))
    return _png(pictures.sprite(seen.maps[stage][0], seen.scales[stage]))


def deconvolution(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Answer:
    network = _network(explorer, run)
    stage = _stage(network, number)
    chosen = _map(network, stage, map_)
    if len(network.stages[stage].shape) != 3:
        raise NotThere(f"layer {network.layers[stage]} has no maps to project")
    values = network.deconvolution(_pixels(explorer, name, network), stage, [chosen])[0]
    return _png(projection(values))


def projection(values: np.ndarray) -> np.ndarray:
    """A deconvolution, float (H, W, 3), as pixels: gray is 0."""
    return pictures.on_gray(values, float(np.abs(values).max()) or 1.0)


def attribution(explorer: Explorer, run: str, name: str, method: str, number: str) -> Answer:
    return _png(_attribution(explorer, run, name, method, number).pixels)


def caption(explorer: Explorer, run: str, name: str, method: str, number: str) -> Answer:
    return as_json(_attribution(explorer, run, name, method, number).caption)


def _attribution(explorer: Explorer, run: str, name: str, method: str, number: str) -> Picture:
    network = _network(explorer, run)
    target = _class(network, number)
    if method not in METHODS:
        raise NotThere(f"there is no view {method}; there are {', '.join(METHODS)}")
    pixels = _pixels(explorer, name, network)
    return network.draw(METHODS[method], name, pixels, target)


def neighbors(explorer: Explorer, run: str, name: str) -> Answer:
    network, survey = _network(explorer, run), _survey(explorer, run)
    pixels = _pixels(explorer, name, network)
    query, known = network.look(name, pixels).features, survey.seen("train").features
    if query is None:
        raise NotThere(f"{network.name} has no linear layer, before which features are read")
    near = nearest(query, known, NEIGHBORS + 1)
    images, labels = survey.dataset.train.images, explorer.labels(network, "train")
    found = [
        {"image": f"t{row}", "label": _label(labels[row]), "similarity": round(float(alike), 4)}
        for row, alike in zip(near.rows[0].tolist(), near.similarity[0], strict=True)
        if not np.array_equal(images[row], pixels)  # an image is not its own neighbor
    ]
    return as_json(found[:NEIGHBORS])


def filters(explorer: Explorer, run: str, number: str, map_: str) -> Answer:
    network = _network(explorer, run)
    stage = _stage(network, number)
    found = network.filter(stage, _map(network, stage, map_))
    if found is None:
        raise NotThere(f"layer {network.layers[stage]} has no filters")
    return as_json(found)


def patches(explorer: Explorer, run: str, number: str) -> Answer:
    network, survey = _network(explorer, run), _survey(explorer, run)
    found = survey.strongest(_stage(network, number))
    labels = explorer.labels(network, "train")
    maps = [
        [
            {"image": f"t{row}", "label": _label(labels[row]), "value": value, "box": box}
            for row, value, box in zip(rows, short(values), boxes, strict=True)
        ]
        for rows, values, boxes in zip(
            found.rows.tolist(), found.values, found.boxes.tolist(), strict=True
        )
    ]
    return as_json({"maps": maps, "dead": _dead(survey, int(number))})


def dead(explorer: Explorer, run: str) -> Answer:
    """By layer, the maps that no training image excites."""
    survey = _survey(explorer, run)
    return as_json({"dead": [_dead(survey, stage) for stage in range(len(survey.network.stages))]})


def _dead(survey: Survey, stage: int) -> list[int]:
    return np.flatnonzero(survey.strongest(stage).values[:, 0] <= 0).tolist()


def history(explorer: Explorer, run: str) -> Answer:
    content = _network(explorer, run).history
    rows = [[value if np.isfinite(value) else None for value in row] for row in content["rows"]]
    return as_json({"columns": content["columns"], "rows": rows})


def evaluation(explorer: Explorer, run: str) -> Answer:
    network, survey = _network(explorer, run), _survey(explorer, run)
    probabilities = network.probabilities(survey.seen("validation").logits)
    labels = explorer.labels(network, "validation")
    accuracy = None
    if survey.training is not None:
        right = survey.training.logits.argmax(axis=1) == explorer.labels(network, "train")
        accuracy = round(float(right.mean()), 5)
    of_label = probabilities[np.arange(len(labels)), labels]
    return as_json(
        {
            "labels": [_label(label) for label in labels],
            "predicted": probabilities.argmax(axis=1).tolist(),
            "probability": short(probabilities.max(axis=1)),
            "of_label": short(np.where(labels < 0, 0, of_label)),
            "train": accuracy,
        },
        final=accuracy is not None,
    )


def places(explorer: Explorer, run: str) -> Answer:
    network, survey = _network(explorer, run), _survey(explorer, run)
    vectors = survey.seen("validation").features
    if vectors is None:
        raise NotThere(f"{network.name} has no linear layer, before which features are read")
    points, share = embedding(vectors)
    return as_json({"points": [short(point) for point in points], "share": round(share, 4)})


def _label(number: int) -> int | None:
    return None if number < 0 else int(number)


IMAGE = r"([vt]\d{1,9}|u[0-9a-f]{16})"
NUMBER = r"(\d{1,6})"
RUN = rf"api/{NUMBER}"
ROUTES: list[tuple[re.Pattern, Callable[..., Answer]]] = [
    (re.compile(pattern, re.ASCII), function)
    for pattern, function in (
        (r"api/site\.json", site),
        (r"api/progress\.json", progress),
        (r"images/validation\.png", validation_images),
        (rf"images/{NUMBER}/{IMAGE}\.png", image),
        (rf"{RUN}/{IMAGE}/prediction\.json", prediction),
        (rf"{RUN}/{IMAGE}/layers\.json", layers),
        (rf"{RUN}/{IMAGE}/layer-{NUMBER}\.png", layer),
        (rf"{RUN}/{IMAGE}/deconvolution-{NUMBER}-{NUMBER}\.png", deconvolution),
        (rf"{RUN}/{IMAGE}/neighbors\.json", neighbors),
        (rf"{RUN}/{IMAGE}/([a-z-]{{1,40}})-{NUMBER}\.png", attribution),
        (rf"{RUN}/{IMAGE}/([a-z-]{{1,40}})-{NUMBER}\.json", caption),
        (rf"{RUN}/filter-{NUMBER}-{NUMBER}\.json", filters),
        (rf"{RUN}/patches-{NUMBER}\.json", patches),
        (rf"{RUN}/dead\.json", dead),
        (rf"{RUN}/history\.json", history),
        (rf"{RUN}/evaluation\.json", evaluation),
        (rf"{RUN}/embedding\.json", places),
    )
]
