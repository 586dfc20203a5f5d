"""The explorer as files: the same page and the same answers, for any file server.

Every path that the page may ask for is answered once and written; `site.json` tells the page what
there is. A new image cannot be asked about, and an attribution speaks for the true class and for
those that were predicted.
"""

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from convlens.data.decode import open_file, read_bytes
from convlens.errors import UserError
from convlens.explorer import pictures
from convlens.explorer.answers import Answer, answer, as_json, page_files, projection
from convlens.explorer.attribution import methods_of
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.site import describe
from convlens.files import sweep, temporary_name
from convlens.inference.prediction import find_images

EXAMPLES = 4
MISTAKES = 4
AT_ONCE = 32  # deconvolutions in a pass


def write_page(explorer: Explorer, out: Path, images: Sequence[Path | str] = ()) -> Path:
    """Write the page into a folder; one that was written there before is replaced.

    Args:
        explorer: What it shows.
        out: The folder, which is made; an old page stays there until the new one is whole.
        images: Files or folders; by default a few validation images and the worst mistakes.

    Returns:
        The folder.

    Raises:
        UserError: where `out` holds anything else, and for an image that cannot be read.
    """
    out = out.resolve()
    _check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent)
    temporary = out.with_name(temporary_name(out.name))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Reading the data set", total=None)
        explorer.surveyor.give_way = lambda: _advance(bar, task, explorer)
        explorer.surveyor.run()
        chosen = _choose(explorer, images)
        targets = {image["id"]: _targets(explorer, image["id"]) for image in chosen}
        site = describe(explorer) | {
            "static": True,
            "images": chosen,
            "examples": [image["id"] for image in chosen],
            "targets": targets,
            "upload": None,
        }
        try:
            for count, (path, found) in enumerate(_everything(explorer, site, targets), 1):
                file = temporary / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(found.body)
                bar.update(task, description=f"Writing, {count:,} files", total=None)
            _put(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return out


def _advance(bar: Progress, task: TaskID, explorer: Explorer) -> None:
    tasks = [task for survey in explorer.surveys for task in survey.tasks.values()]
    done, total = (sum(getattr(each, what) for each in tasks) for what in ("done", "total"))
    bar.update(task, completed=done, total=total)


def _check(out: Path) -> None:
    """UserError unless `out` is free, empty or a page written before."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        with open_file(out / "api" / "site.json") as file:
            if json.load(file)["static"] is True:
                return
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{out} holds something else than an exported page; name another folder")


def _put(temporary: Path, out: Path) -> None:
    """Rename the new folder to `out`, whose old one is removed only then."""
    old = out.with_name(temporary_name(out.name))
    if out.exists():
        out.rename(old)
    temporary.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _choose(explorer: Explorer, images: Sequence[Path | str]) -> list[dict[str, Any]]:
    """What `site.json` tells of each image: its name, where it is from, its class if known."""
    if images:
        return [_add(explorer, path) for path in find_images(images)]
    if explorer.dataset is None:
        raise UserError(
            "there is no data set to take images from; give `images` or `data`",
            option=("images", "data"),
        )
    seen = explorer.surveys[0].seen("validation")
    probabilities = explorer.networks[0].classifier.probabilities(seen.logits)
    split = explorer.dataset.validation
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != split.labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    rows = [int(name[1:]) for name in explorer.examples()[:: max(1, 8 // EXAMPLES)]]
    rows += worst[:MISTAKES].tolist()
    return [
        {"id": f"v{row}", "path": split.paths[row], "label": int(split.labels[row])}
        for row in dict.fromkeys(rows)
    ]


def _add(explorer: Explorer, path: Path) -> dict[str, Any]:
    content = read_bytes(path)
    try:
        upload = explorer.images.add(content, sent=False)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None
    return {"id": upload.name, "path": path.name, "label": None}


def _targets(explorer: Explorer, image: str) -> list[int]:
    """The true class of an image, if known, then what each network predicts."""
    found = []
    for network in explorer.networks:
        pixels = explorer.pixels(image, network)
        label = explorer.images.label(image)
        if label in network.classifier.class_names:
            found.append(network.classifier.class_names.index(label))
        found.append(int(network.look(image, pixels).logits[0].argmax()))
    return sorted(set(found), key=found.index)


def _everything(
    explorer: Explorer, site: dict[str, Any], targets: dict[str, list[int]]
) -> Iterator[tuple[str, Answer]]:
    """Every path with its answer."""
    yield from page_files().items()
    yield "api/site.json", as_json(site)
    related: set[tuple[str, str]] = set()  # runs and images that their answers name
    for path in _paths(explorer, targets):
        found = answer(explorer, path)
        named: list[dict[str, Any]] = []
        if "/patches-" in path:
            named = [patch for of_map in json.loads(found.body)["maps"] for patch in of_map]
        elif path.endswith("/neighbors.json"):
            named = json.loads(found.body)
        related |= {(path.split("/")[1], each["image"]) for each in named}
        yield path, found
    for run, image in sorted(related):
        path = f"images/{run}/{image}.png"
        yield path, answer(explorer, path)
    for run, network in enumerate(explorer.networks):
        for image in targets:
            pixels = explorer.pixels(image, network)
            yield from _deconvolutions(network, f"api/{run}/{image}", image, pixels)


def _paths(explorer: Explorer, targets: dict[str, list[int]]) -> Iterator[str]:
    """All but the images that others name, and deconvolutions."""
    yield "api/progress.json"
    for run in range(len(explorer.networks)):
        yield from (f"images/{run}/{image}.png" for image in targets)
    if explorer.dataset is not None:
        yield "images/validation.png"
    for run, network in enumerate(explorer.networks):
        numbers = range(len(network.stages))
        yield f"api/{run}/history.json"
        if explorer.dataset is not None:
            yield f"api/{run}/evaluation.json"
            yield f"api/{run}/dead.json"
            yield from (f"api/{run}/patches-{number}.json" for number in numbers)
            if network.reads_features:
                yield f"api/{run}/embedding.json"
        for number, stage in enumerate(network.stages):
            if stage.convolution is not None:
                maps = range(stage.shape[0])
                yield from (f"api/{run}/filter-{number}-{map_}.json" for map_ in maps)
        for image, classes in targets.items():
            here = f"api/{run}/{image}"
            yield f"{here}/prediction.json"
            yield f"{here}/layers.json"
            yield from (f"{here}/layer-{number}.png" for number in numbers)
            if explorer.dataset is not None and network.reads_features:
                yield f"{here}/neighbors.json"
            for method, target in itertools.product(methods_of(network), classes):
                if target < len(network.classifier.class_names):
                    yield f"{here}/{method}-{target}.png"
                    yield f"{here}/{method}-{target}.json"


def _deconvolutions(
    network: Network, here: str, image: str, pixels: np.ndarray
) -> Iterator[tuple[str, Answer]]:
    """Those of a layer's maps in one picture, placed as the maps are in theirs; a file for each
    would be thousands. Gray where the image excites nothing."""
    for number, maps in enumerate(network.look(image, pixels).maps):
        if len(network.stages[number].shape) != 3:
            continue
        columns = pictures.columns_of(maps.shape[1])
        rows = -(-maps.shape[1] // columns)
        cells = np.stack([projection(np.zeros(pixels.shape))] * (rows * columns))
        excited = np.flatnonzero(maps[0].max(axis=(1, 2)) > 0)
        for start in range(0, len(excited), AT_ONCE):
            chunk = excited[start : start + AT_ONCE].tolist()
            cells[chunk] = [projection(v) for v in network.deconvolution(pixels, number, chunk)]
        body = pictures.png(pictures.tiled(cells, columns))
        yield f"{here}/deconvolutions-{number}.png", Answer(body, "image/png")
