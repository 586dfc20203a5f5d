"""From a path to bytes: everything that the page asks for, by HTTP or from a static copy.

`ROUTES` is the whole of it. A path holds names of images and numbers of runs, layers, maps and
classes, which are looked up in what the explorer holds; no part of it reaches the file system.
"""

import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np

from convlens.errors import UserError
from convlens.explorer import pictures, studies
from convlens.explorer.attribution import METHODS, PREVIEWS, draw
from convlens.explorer.forms import Answer, as_json, as_png
from convlens.explorer.inside import Explorer
from convlens.explorer.lookup import (
    NotThere,
    class_of,
    map_of,
    network_of,
    pixels_of,
    stage_of,
    survey_of,
)
from convlens.explorer.marks import marks
from convlens.explorer.pictures import Picture, short
from convlens.explorer.site import describe
from convlens.explorer.survey import NotYet, Survey
from convlens.explorer.units import map_values, softmax, unit
from convlens.inference.classifier import Classifier
from convlens.inference.metrics import score
from convlens.look.arrays.features import embedding, nearest
from convlens.look.arrays.tsne import tsne

NEIGHBORS = 8
STUDIES = ["invariance", "visualization", "growth"]  # which are slow
MOST_PLACED = 2000  # images by t-SNE, whose time grows with their square
KINDS = {  # of the page's own files
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


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
                with np.errstate(all="ignore"):  # what is not finite is null, or drawn as 0
                    return function(explorer, *found.groups())
            except (NotThere, NotYet):
                raise
            except UserError as problem:  # the network has not what this view needs
                raise NotThere(str(problem)) from None
    raise NotThere(f"there is nothing at {path[:100]}")


def slow(path: str) -> bool:
    """Whether the answer takes longer than a click should."""
    names = [name for name, method in METHODS.items() if method.slow] + STUDIES
    return any(f"/{name}-" in path for name in names) or path.endswith("/embedding.json")


# The answers


def site(explorer: Explorer) -> Answer:
    """What there is to see."""
    return as_json(describe(explorer))


def progress(explorer: Explorer) -> Answer:
    """How far the surveys are."""
    tasks = [
        {"name": task.name, "done": task.done, "total": task.total}
        for survey in explorer.surveys
        for task in survey.tasks.values()
    ]
    return as_json({"tasks": tasks, "failure": explorer.surveyor.failure}, final=False)


def image(explorer: Explorer, run: str, name: str) -> Answer:
    """As that run's network is given it, in color also where that makes gray of it."""
    return as_png(pixels_of(explorer, name, network_of(explorer, run)))


def loaded(explorer: Explorer, run: str, name: str) -> Answer:
    """As it is loaded for that run, with the margin that the network is not given."""
    network = network_of(explorer, run)
    pixels_of(explorer, name, network)  # which says where there is none
    return as_png(explorer.images.pixels(name, network.loading))


def validation_images(explorer: Explorer) -> Answer:
    """All of them as thumbnails in one picture."""
    if explorer.dataset is None:
        raise NotThere("there is no data set; start it with `convlens explore RUN --data DIR`")
    return as_png(pictures.thumbnails(explorer.dataset.validation.images))


def prediction(explorer: Explorer, run: str, name: str) -> Answer:
    """The probability of each class, at the run's temperature, and the true class if known."""
    network = network_of(explorer, run)
    seen = network.look(name, pixels_of(explorer, name, network))
    label, classes = explorer.images.label(name), network.classifier.class_names
    return as_json(
        {
            "probabilities": short(network.classifier.probabilities(seen.logits)[0], 6),
            "label": classes.index(label) if label in classes else None,
        }
    )


def layers(explorer: Explorer, run: str, name: str) -> Answer:
    """Of each layer, figures of its maps."""
    network = network_of(explorer, run)
    seen = network.look(name, pixels_of(explorer, name, network))
    pairs = zip(seen.maps, seen.scales, strict=True)
    return as_json([statistics(maps[0], scale) for maps, scale in pairs])


def statistics(maps: np.ndarray, scale: float) -> dict[str, Any]:
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
    """A layer's maps in one picture."""
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    seen = network.look(name, pixels_of(explorer, name, network))
    return as_png(pictures.sprite(seen.maps[stage][0], seen.scales[stage]))


def deconvolution(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Answer:
    """What in the image excites a map most."""
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    chosen = map_of(network, stage, map_)
    if len(network.stages[stage].shape) != 3:
        raise NotThere(f"layer {network.layers[stage]} has no maps to project")
    values = network.deconvolution(pixels_of(explorer, name, network), stage, [chosen])[0]
    return as_png(projection(values))


def projection(values: np.ndarray) -> np.ndarray:
    """A deconvolution, float (H, W, 3), as pixels: gray is 0."""
    return pictures.on_gray(values, pictures.largest(values) or 1.0)


def attribution(explorer: Explorer, run: str, name: str, method: str, number: str) -> Answer:
    """What speaks for a class, as a picture."""
    return as_png(_attribution(explorer, run, name, method, number).pixels)


def caption(explorer: Explorer, run: str, name: str, method: str, number: str) -> Answer:
    """The scale of that picture."""
    return as_json(_attribution(explorer, run, name, method, number).caption)


def _attribution(explorer: Explorer, run: str, name: str, method: str, number: str) -> Picture:
    network = network_of(explorer, run)
    target = class_of(network, number)
    if method not in METHODS and method not in PREVIEWS:
        raise NotThere(f"there is no view {method}; there are {', '.join(METHODS)}")
    pixels = pixels_of(explorer, name, network)
    return draw(network, method, name, pixels, target)


def neighbors(explorer: Explorer, run: str, name: str) -> Answer:
    """The training images of the most similar features."""
    network, survey = network_of(explorer, run), survey_of(explorer, run)
    pixels = pixels_of(explorer, name, network)
    query, known = network.look(name, pixels).features, survey.seen("train").features
    if query is None or known is None:
        raise NotThere(f"{network.name} has no linear layer, before which features are read")
    near = nearest(query, known, NEIGHBORS + 1)
    images, labels = survey.dataset.train.images, survey.labels("train")
    found = [
        {"image": f"t{row}", "label": _label(labels[row]), "similarity": short([alike])[0]}
        for row, alike in zip(near.rows[0].tolist(), near.similarity[0], strict=True)
        if not np.array_equal(images[row], pixels)  # an image is not its own neighbor
    ]
    return as_json(found[:NEIGHBORS])


def filters(explorer: Explorer, run: str, number: str, map_: str) -> Answer:
    """The weights that make a map."""
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    found = network.filter(stage, map_of(network, stage, map_))
    if found is None:
        raise NotThere(f"layer {network.layers[stage]} has no filters")
    return as_json(found)


def patches(explorer: Explorer, run: str, number: str) -> Answer:
    """The training patches that excite each of a layer's maps most."""
    network, survey = network_of(explorer, run), survey_of(explorer, run)
    found = survey.top_patches(stage_of(network, number))
    labels = survey.labels("train")
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
    survey = survey_of(explorer, run)
    return as_json({"dead": [_dead(survey, stage) for stage in range(len(survey.network.stages))]})


def _dead(survey: Survey, stage: int) -> list[int]:
    return np.flatnonzero(survey.top_patches(stage).values[:, 0] <= 0).tolist()


def history(explorer: Explorer, run: str) -> Answer:
    """The columns and rows of history.csv, under its names: with a hold-out, holdout_loss, …"""
    return as_json(network_of(explorer, run).history)


def evaluation(explorer: Explorer, run: str) -> Answer:
    """What the network says of all validation images."""
    network, survey = network_of(explorer, run), survey_of(explorer, run)
    probabilities = network.classifier.probabilities(survey.seen("validation").logits)
    labels = survey.labels("validation")
    accuracy = None
    if survey.training is not None:
        known = (truth := survey.labels("train")) >= 0
        right = (survey.training.logits.argmax(axis=1) == truth)[known]
        accuracy = round(float(right.mean()), 5) if len(right) else None
    of_label = probabilities[np.arange(len(labels)), labels]
    return as_json(
        {
            "labels": [_label(label) for label in labels],
            "predicted": probabilities.argmax(axis=1).tolist(),
            "probability": short(probabilities.max(axis=1)),
            "of_label": short(np.where(labels < 0, 0, of_label)),
            "train": accuracy,
            **_measures(network.classifier, survey.seen("validation").logits, labels),
        },
        final=survey.training is not None,
    )


def _measures(classifier: Classifier, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Of the images whose class the network knows: `measures`, as metrics.json has them, and
    `per_class`, each with a value a class; null for what is not defined."""
    known = labels >= 0
    if not known.any():
        return {"measures": None, "per_class": None}
    seen = score(logits[known], labels[known], classifier.class_names, classifier.temperature)
    intervals = ("precision_interval", "recall_interval", "f1_interval")
    return {
        "measures": seen.measures(),
        "per_class": {
            **{name: short(getattr(seen, name)) for name in ("precision", "f1", "roc_auc")},
            **{name: [short(ends) for ends in getattr(seen, name)] for name in intervals},
        },
    }


def places(explorer: Explorer, run: str) -> Answer:
    """Where the features of the validation images lie in two dimensions: by t-SNE, and of very many
    in those two in which they differ most, with the `share` of their variance."""
    network, survey = network_of(explorer, run), survey_of(explorer, run)
    vectors = survey.seen("validation").features
    if vectors is None:
        raise NotThere(f"{network.name} has no linear layer, before which features are read")
    if not np.isfinite(vectors - vectors.mean(axis=0)).all():
        raise NotThere(f"{network.name} finds features that are not finite numbers")
    if len(vectors) <= MOST_PLACED:
        return as_json({"points": [short(point) for point in tsne(vectors)], "share": None})
    points, share = embedding(vectors)
    return as_json({"points": [short(point) for point in points], "share": round(share, 4)})


def _label(number: int | np.ndarray) -> int | None:
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
        (rf"images/{NUMBER}/{IMAGE}-loaded\.png", loaded),
        (rf"{RUN}/{IMAGE}/prediction\.json", prediction),
        (rf"{RUN}/{IMAGE}/layers\.json", layers),
        (rf"{RUN}/{IMAGE}/layer-{NUMBER}\.png", layer),
        (rf"{RUN}/{IMAGE}/deconvolution-{NUMBER}-{NUMBER}\.png", deconvolution),
        (rf"{RUN}/{IMAGE}/map-{NUMBER}-{NUMBER}\.json", map_values),
        (rf"{RUN}/{IMAGE}/unit-{NUMBER}-{NUMBER}(?:-{NUMBER}-{NUMBER})?\.json", unit),
        (rf"{RUN}/{IMAGE}/softmax-{NUMBER}\.json", softmax),
        (rf"{RUN}/{IMAGE}/neighbors\.json", neighbors),
        (rf"{RUN}/{IMAGE}/invariance-{NUMBER}\.json", studies.invariance),
        (rf"{RUN}/{IMAGE}/growth-{NUMBER}-{NUMBER}\.png", studies.growth),
        (rf"{RUN}/{IMAGE}/growth-{NUMBER}-{NUMBER}\.json", studies.grown),
        (rf"{RUN}/visualization-{NUMBER}-{NUMBER}\.png", studies.visualization),
        (rf"{RUN}/visualization-{NUMBER}-{NUMBER}\.json", studies.excitation),
        (rf"{RUN}/{IMAGE}/([a-z-]{{1,40}})-{NUMBER}\.png", attribution),
        (rf"{RUN}/{IMAGE}/([a-z-]{{1,40}})-{NUMBER}\.json", caption),
        (rf"{RUN}/filter-{NUMBER}-{NUMBER}\.json", filters),
        (rf"{RUN}/patches-{NUMBER}\.json", patches),
        (rf"{RUN}/dead\.json", dead),
        (rf"{RUN}/history\.json", history),
        (rf"{RUN}/evaluation\.json", evaluation),
        (rf"{RUN}/embedding\.json", places),
        (rf"{RUN}/marks\.json", marks),
    )
]
