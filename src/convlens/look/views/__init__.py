"""Pictures of a network for `convlens look`: which images, which layers, which files.

`draw` finds what is asked for; `of_image` draws what a network makes of given images, `of_data`
what needs a whole data set or none.
"""

from pathlib import Path

import numpy as np

from convlens import figures
from convlens.data.dataset import Dataset
from convlens.models.hooks import check_numbers
from convlens.look.arrays.filters import composite_filters, first_filters
from convlens.look.arrays.layers import layer_table, to_text
from convlens.look.arrays.top_patches import deepest_local_layer, strongest_patches
from convlens.look.views.of_data import (
    count_maps,
    draw_deconvolution,
    draw_embedding,
    draw_filters,
    draw_growth,
    draw_optimized,
    draw_patches,
    maps_to_optimize,
)
from convlens.look.views.of_image import (
    class_number,
    describe_prediction,
    draw_activations,
    draw_attribution,
    draw_invariance,
    draw_layer,
    draw_neighbors,
    draw_occlusion,
)
from convlens.inference.prediction import find_images
from convlens.training.run_folder import load_snapshots, load_trained
from convlens.training.run import open_for

__all__ = ["assigned_images", "describe_prediction", "draw"]

IMAGE_VIEWS = {"activations", "attribution", "occlusion", "invariance", "neighbors"}
PATCH_VIEWS = {"patches", "deconvolution"}
LOCAL_VIEWS = {*PATCH_VIEWS, "growth"}
DATA_VIEWS = {*LOCAL_VIEWS, "embedding", "neighbors"}
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

    target: the class that attribution, occlusion and invariance ask about, by default the predicted
    one, and that an image is made for by optimization. layer: whose maps are shown; by default the
    first two convolutions' activations, the first one's filters, the patches, deconvolutions and
    growth of `deepest_local_layer`, and images made for the logits. maps: which of them, by default
    all, the strongest or the first.
    """
    trained = load_trained(run)
    local = layer
    if LOCAL_VIEWS.intersection(views):
        local = layer or deepest_local_layer(trained.model, trained.size)
    if local is not None:
        check_numbers(maps, count_maps(trained, local), f"layer {local} has no map")
    snapshots = load_snapshots(run) if "growth" in views else {}
    number = None if target is None else class_number(trained, target)
    of_images = IMAGE_VIEWS.intersection(views)
    chosen: list[tuple[str, np.ndarray]] = []
    if of_images and images:
        chosen = [(str(path), trained.decode(path)) for path in find_images(images)]
    if DATA_VIEWS.intersection(views) or (of_images and not images):
        dataset = open_for(trained, run, data)
        print(f"data set   {dataset.describe()}")
    if of_images and not images:
        chosen = assigned_images(dataset)
    if PATCH_VIEWS.intersection(views):
        found = strongest_patches(
            trained.model, dataset.train.images, trained.mean, trained.std, local
        )
    if "optimized" in views:
        wanted = maps_to_optimize(trained, layer, maps, number)
    if "filters" in views and layer is not None:
        composites = composite_filters(trained.model, layer, trained.size)
    # Nothing is written before everything asked for has been found.
    written: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    if "layers" in views:
        print(to_text(layer_table(trained.model, trained.size)))
    if "filters" in views and layer is not None:
        written += draw_filters(trained, layer, composites, maps, out)
    elif "filters" in views:
        figures.save(figures.filters(first_filters(trained.model)), out / "filters.png")
        written.append(out / "filters.png")
    if "patches" in views:
        written.append(draw_patches(trained, dataset, found, maps, out))
    if "deconvolution" in views:
        written.append(draw_deconvolution(trained, dataset, found, maps, out))
    if "optimized" in views:
        written.append(draw_optimized(trained, layer, wanted, out))
    if "embedding" in views:
        written.append(draw_embedding(trained, dataset, out))
    if "growth" in views:
        written.append(draw_growth(trained, snapshots, dataset, local, maps, out))
    for path, image in chosen:
        if "activations" in views and layer is not None:
            written += draw_layer(trained, path, image, layer, maps, out)
        elif "activations" in views:
            written += draw_activations(trained, path, image, out)
        if "attribution" in views:
            written.append(draw_attribution(trained, path, image, number, out))
        if "occlusion" in views:
            written.append(draw_occlusion(trained, path, image, number, out))
    if "invariance" in views:
        written.append(draw_invariance(trained, chosen, number, out))
    if "neighbors" in views:
        written.append(draw_neighbors(trained, chosen, dataset, out))
    return written
