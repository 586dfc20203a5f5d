"""Views of a network alone: its layers, its filters, and images made for its maps and classes."""

from collections.abc import Sequence

import numpy as np

from convlens import figures
from convlens.inference.classifier import Classifier
from convlens.look.arrays.feature_visualization import feature_visualization as visualize
from convlens.look.arrays.filters import composite_filters, first_filters
from convlens.look.arrays.filters import kernels as kernels_of
from convlens.look.arrays.layers import cells, layer_table
from convlens.look.view import Table, View
from convlens.look.views.given import check_maps_of
from convlens.look.views.names import file_name, maps_of
from convlens.models.hooks import check_numbers

MOST_KERNELS = 16  # maps in the picture of kernels
MOST_IMAGES = 24  # made by optimization: each takes a second or so


def layers(classifier: Classifier) -> View:
    """The layer table: shape, parameters, multiply-adds and receptive field of each layer.

    Receptive fields follow Araujo et al. 2019 (Computing Receptive Fields of Convolutional Neural
    Networks).

    Args:
        classifier: The network.

    Returns:
        A view with a table, and `parameters` and `multiply_adds` of each layer, (layers,).
    """
    rows = layer_table(classifier.model, classifier.size)
    arrays = {
        "parameters": np.array([row.parameters for row in rows]),
        "multiply_adds": np.array([row.multiply_adds for row in rows]),
    }
    title = (
        f"{classifier.name}: where its {arrays['parameters'].sum():,} parameters are, and its "
        f"{arrays['multiply_adds'].sum():,} multiply-adds for an image"
    )
    names = [row.name for row in rows]
    header, *lines = cells(rows)
    return View(
        "layers",
        arrays,
        lambda: figures.layers(names, arrays["parameters"], arrays["multiply_adds"], title),
        Table(header, tuple(lines)),
    )


def filters(classifier: Classifier, layer: str | None = None, maps: Sequence[int] = ()) -> View:
    """The filters of a layer in color.

    The first convolution's are shown as they are; those of a deeper layer as what its maps would
    weigh the pixels by if all layers up to it were linear (expanded weights, Voss et al. 2021,
    Visualizing Weights).

    Args:
        classifier: The network.
        layer: One that gives maps; by default the first convolution itself.
        maps: Which of its maps; by default all.

    Returns:
        A view with `filters`, (M, h, w, channels), of either sign, and their `numbers`, (M,).

    Raises:
        UserError: for a layer or map that is not there, and a layer that gives no maps.
    """
    title = ""
    if layer is None:
        weights = first_filters(classifier.model)
        check_numbers(maps, len(weights), "the first convolution has no map")
    else:
        check_maps_of(classifier, layer, maps)
        weights = composite_filters(classifier.model, layer, classifier.size)
        title = (
            f"{classifier.name}, {layer}: what its maps would weigh the pixels by if all layers up "
            "to it were linear"
        )
    chosen = list(maps) or list(range(len(weights)))
    shown = weights[chosen]
    return View(
        "filters" if layer is None and not maps else file_name("filters", layer or "first", maps),
        {"filters": shown, "numbers": np.array(chosen)},
        lambda: figures.filters(shown, chosen, title),
    )


def kernels(classifier: Classifier, layer: str, maps: Sequence[int] = ()) -> View:
    """The kernels that a layer's filters are put together from.

    Beside each map's filter on the pixels, as if linear, stand its convolution's weights on the
    input maps where they are strongest.

    Args:
        classifier: The network.
        layer: A convolution, or what follows one.
        maps: Which of its maps; by default the sixteen of the largest filters.

    Returns:
        A view with `filters`, (M, h, w, channels), `kernels`, (M, k, kh, kw), the input maps that
        they are `inputs` of, (M, k), and the maps' `numbers`, (M,).

    Raises:
        UserError: for a layer or map that is not there, and a layer without a convolution.
    """
    check_maps_of(classifier, layer, maps)
    composites = composite_filters(classifier.model, layer, classifier.size)
    chosen = list(maps)
    if not chosen:
        norms = np.linalg.norm(composites.reshape(len(composites), -1), axis=1)
        chosen = sorted(np.argsort(-norms, kind="stable")[:MOST_KERNELS].tolist())
    seen = kernels_of(classifier.model, layer, chosen, size=classifier.size)
    title = (
        f"{classifier.name}, {layer}: the kernels of {seen.convolution} behind "
        f"{maps_of(maps, f'the {len(chosen)} maps of the largest filters')}\n"
        "left the filter on the pixels, as if linear; then the kernels on the input maps where "
        "they are strongest:\nred adds, blue takes away; every filter and every map's kernels "
        "have a scale of their own"
    )
    shown = composites[chosen]
    arrays = {
        "filters": shown,
        "kernels": seen.weights,
        "inputs": seen.inputs,
        "numbers": np.array(chosen),
    }
    return View(
        file_name("kernels", layer, maps),
        arrays,
        lambda: figures.kernels(shown, seen.weights, seen.inputs, chosen, title),
    )


def feature_visualization(
    classifier: Classifier,
    layer: str | None = None,
    maps: Sequence[int] = (),
    target: str | None = None,
) -> View:
    """Images made by optimization: what a map or a class would most like to see.

    Gradient ascent on the pixels (Erhan et al. 2009), with the regularizers of Olah et al. 2017
    (Feature Visualization).

    Args:
        classifier: The network.
        layer: Whose maps images are made for; by default they are made for classes.
        maps: Which maps, or class numbers; by default the first 24.
        target: Without a layer, the name of the one class that an image is made for.

    Returns:
        A view with `images`, float32, (M, size, size, 3), 0..1, the `values` that they give, (M,),
        and the `numbers` of their maps or classes, (M,).

    Raises:
        UserError: for a layer, a map or a class that is not there.
    """
    number = None if target is None else classifier.label(target)
    if layer is not None:
        count = check_maps_of(classifier, layer, maps)
    else:
        count = len(classifier.class_names)
        maps = maps if number is None else [number]
        check_numbers(maps, count, f"{classifier.name} has no class")
    chosen = list(maps) or list(range(min(count, MOST_IMAGES)))
    images, values = visualize(classifier, layer, chosen)
    names = [classifier.class_names[i] if layer is None else f"map {i}" for i in chosen]
    title = (
        f"{classifier.name}: images made by optimization for "
        + ("classes, with their logit" if layer is None else f"maps of {layer}, with their mean")
        + "\ngradient ascent on the image's frequencies, shifted at random before each step"
    )
    asked = [] if chosen == list(range(len(chosen))) and len(chosen) > 1 else chosen
    name = file_name("feature-visualization", layer or "classes", asked)
    if layer is None and len(chosen) == 1:
        name = f"feature-visualization-for-{names[0]}"
    return View(
        name,
        {"images": images, "values": values, "numbers": np.array(chosen)},
        lambda: figures.feature_visualization(images, names, values, title),
    )
