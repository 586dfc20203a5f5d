"""The explorer as one file: the page, what it asks for, and the networks, which it runs itself.

What takes a data set or a gradient is answered once and written: for a few images that are prepared
whole, and for the runs. What a forward pass tells is computed by the page, for any image.
"""

import io
import itertools
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convlens.data.decode import open_file
from convlens.errors import UserError
from convlens.explorer import pictures
from convlens.explorer.answers import Answer, answer, as_json, page_files, projection
from convlens.explorer.attribution import METHODS, methods_of
from convlens.explorer.chosen import choose, labels_of, targets_of
from convlens.explorer.export_progress import ExportProgress
from convlens.explorer.forms import as_png
from convlens.explorer.graph import Graph, Unknown, graph_of
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.pack import GENERATOR, Pack, document
from convlens.explorer.site import describe
from convlens.files import make_folder, make_parent, replacing

PROJECTED = 3  # strongest maps of a stage whose deconvolutions are prepared
TRAINING_PIXELS = 7e6  # of all training images that answers name, in one picture
WEBP_MOST = 16_383  # pixels of a side, by the format
PAGE_SUFFIXES = (".html", ".htm")

logger = logging.getLogger(__name__)


def write_page(explorer: Explorer, out: Path, images: Sequence[Path | str] = ()) -> Path:
    """Write the page as one file, which opens in a browser as it is, without a server.

    Args:
        explorer: What it shows.
        out: The file, named .html, or a folder, in which it is index.html. A page that was written
            there before is replaced, once the new one is whole.
        images: Files or folders; by default a few validation images and the mistakes.

    Returns:
        The file.

    Raises:
        UserError: where something else is there already, and for an image that cannot be read.
    """
    file = out.resolve()
    is_folder = file.is_dir() or file.suffix.lower() not in PAGE_SUFFIXES
    if is_folder:
        file /= "index.html"
    _check(file, out)
    with ExportProgress() as progress:
        explorer.surveyor.give_way = lambda: progress.surveyed(explorer)
        explorer.surveyor.run()
        prepared, opened = choose(explorer, images)
        graphs = [_graph(network) for network in explorer.networks]
        if None in graphs:  # a browser cannot run it: nothing is shown but what is prepared
            opened = []
        pack = _pack(explorer, prepared, opened, graphs, progress)
        if explorer.dataset is not None and len(explorer.dataset.validation):
            thumbnails = pictures.thumbnails(explorer.dataset.validation.images)
            pack.add("images/validation.png", _webp(thumbnails))
        content = document(page_files(), pack)
        if is_folder:  # which is no class of a data set that it may lie in
            make_folder(file.parent)
        make_parent(file)
        with replacing(file) as temporary:
            temporary.write_bytes(content)
        progress.say(f"{file.name} has {len(content) / 1e6:.1f} MB")
    return file


def _check(file: Path, out: Path) -> None:
    """UserError unless `file` is free or a page written before."""
    if not file.exists() and (file.parent.is_dir() or not file.parent.exists()):
        return
    try:
        with open_file(file) as opened:
            if GENERATOR.encode() in opened.read(2**16):
                return
    except OSError:
        pass
    raise UserError(f"{out} holds something else than an exported page; name another file")


def _graph(network: Network) -> Graph | None:
    try:
        return graph_of(network)
    except Unknown as problem:
        logger.warning(
            "page       %s computes %s, which a page cannot: it shows the prepared images alone",
            network.name,
            problem,
        )
        return None


def _pack(
    explorer: Explorer,
    prepared: list[dict[str, Any]],
    opened: list[dict[str, Any]],
    graphs: Sequence[Graph | None],
    progress: ExportProgress,
) -> Pack:
    """All that the page asks for."""
    targets = {image["id"]: targets_of(explorer, image["id"]) for image in prepared}
    site = describe(explorer)
    site |= {
        "static": True,
        "images": [*prepared, *opened],
        "examples": [image["id"] for image in prepared],
        "targets": targets,
        "upload": None if None in graphs else site["upload"],
    }
    pack = Pack()
    pack.add("api/site.json", as_json(site))
    related: list[dict[str, None]] = [{} for _ in explorer.networks]  # training images, by run
    paths = list(_paths(explorer, targets, [image["id"] for image in opened], graphs))
    for number, path in enumerate(paths):
        progress.at("preparing views", number, len(paths))
        found = answer(explorer, path)
        named: list[dict[str, Any]] = []
        if "/patches-" in path:
            named = [patch for of_map in json.loads(found.body)["maps"] for patch in of_map]
        elif path.endswith("/neighbors.json"):
            named = json.loads(found.body)
        if named:
            related[int(path.split("/")[1])].update({each["image"]: None for each in named})
        pack.add(path, found)
    for run, network in enumerate(explorer.networks):
        for image in targets:
            progress.at("projecting the strongest maps back", run, len(explorer.networks))
            for path, found in _deconvolutions(explorer, run, image):
                pack.add(path, found)
        thumbnail = _training(explorer, run, list(related[run]), pack)
        pack.head["sizes"].append(
            {
                "size": network.size,
                "loaded": network.classifier.loaded_size,
                "fit": network.classifier.fit,
                "thumbnail": thumbnail,
            }
        )
        pack.head["training"].append(list(related[run]))
        pack.head["labels"].append(labels_of(explorer, network, [*prepared, *opened]))
        pack.head["networks"].append(_network(network, graphs[run], pack))
    return pack


def _paths(
    explorer: Explorer,
    targets: dict[str, list[int]],
    opened: list[str],
    graphs: Sequence[Graph | None],
) -> Iterator[str]:
    """What is answered once and for all; not the deconvolutions. Of the attributions that take
    seconds those of the predicted class alone."""
    yield "api/progress.json"
    for run, network in enumerate(explorer.networks):
        yield from (f"images/{run}/{image}-loaded.png" for image in [*targets, *opened])
        numbers = range(len(network.stages))
        yield f"api/{run}/history.json"
        if explorer.dataset is not None:
            yield f"api/{run}/evaluation.json"
            yield f"api/{run}/dead.json"
            yield f"api/{run}/marks.json"
            yield from (f"api/{run}/patches-{number}.json" for number in numbers)
            if network.reads_features:
                yield f"api/{run}/embedding.json"
        if graphs[run] is None:
            for number, stage in enumerate(network.stages):
                if stage.convolution is not None:
                    maps = range(stage.shape[0])
                    yield from (f"api/{run}/filter-{number}-{map_}.json" for map_ in maps)
        for image, classes in targets.items():
            here = f"api/{run}/{image}"
            if graphs[run] is None:
                yield f"{here}/prediction.json"
                yield f"{here}/layers.json"
                yield from (f"{here}/layer-{number}.png" for number in numbers)
            if explorer.dataset is not None and network.reads_features:
                yield f"{here}/neighbors.json"
            logits = network.look(image, explorer.pixels(image, network)).logits[0]
            for method, target in itertools.product(methods_of(network), classes):
                known = target < len(network.classifier.class_names)
                if known and (target == logits.argmax() or not METHODS[method].slow):
                    yield f"{here}/{method}-{target}.png"
                    yield f"{here}/{method}-{target}.json"


def _deconvolutions(explorer: Explorer, run: int, image: str) -> Iterator[tuple[str, Answer]]:
    """Of each stage's strongest maps; of all would be thousands."""
    network = explorer.networks[run]
    pixels = explorer.pixels(image, network)
    for number, maps in enumerate(network.look(image, pixels).maps):
        if len(network.stages[number].shape) != 3:
            continue
        highest = maps[0].max(axis=(1, 2))
        strongest = np.argsort(-highest, kind="stable")[:PROJECTED]
        excited = [int(map_) for map_ in strongest if highest[map_] > 0]
        if not excited:
            continue
        for map_, values in zip(
            excited, network.deconvolution(pixels, number, excited), strict=True
        ):
            body = pictures.png(projection(values))
            path = f"api/{run}/{image}/deconvolution-{number}-{map_}.png"
            yield path, Answer(body, "image/png")


def _training(explorer: Explorer, run: int, names: list[str], pack: Pack) -> int:
    """Add all training images that answers name in one picture; the side of each in it, pixels."""
    network = explorer.networks[run]
    if not names:
        return network.size
    side = min(network.size, int(math.sqrt(TRAINING_PIXELS / len(names))))
    columns = pictures.columns_of(len(names))
    cells = np.zeros((-(-len(names) // columns) * columns, side, side, 3), np.uint8)
    for cell, name in zip(cells, names, strict=False):
        image = Image.fromarray(explorer.pixels(name, network))
        cell[:] = np.asarray(image.resize((side, side), Image.Resampling.BOX))
    pack.add(f"images/{run}/training", _webp(pictures.tiled(cells, columns)))
    return side


def _webp(pixels: np.ndarray) -> Answer:
    """A picture of many photographs, in a tenth of the bytes of a PNG, which larger ones have."""
    if max(pixels.shape[:2]) > WEBP_MOST:
        return as_png(pixels)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=75)
    return Answer(file.getvalue(), "image/webp")


def _network(network: Network, graph: Graph | None, pack: Pack) -> dict[str, Any] | None:
    """What the page needs to run a network; its weights go into the pack."""
    if graph is None:
        return None
    normalize = network.classifier.normalize
    filters = []
    for stage, tensor in zip(network.stages, graph.filters, strict=True):
        filters.append(None)
        if stage.convolution is not None and tensor is not None:
            module = network.model.get_submodule(stage.convolution.partition("#")[0])
            groups = getattr(module, "groups", 1)
            filters[-1] = {"tensor": tensor, "name": stage.convolution, "groups": groups}
    return {
        "graph": {
            "size": network.size,
            "mean": normalize.mean.tolist(),
            "std": normalize.std.tolist(),
            "steps": graph.steps,
        },
        "temperature": network.classifier.temperature,
        "stages": network.layers,
        "filters": filters,
        "tensors": pack.tensors(graph.tensors),
    }
