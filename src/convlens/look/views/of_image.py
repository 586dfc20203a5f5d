"""Views of given images: what the network makes of them, and why."""

from collections.abc import Sequence

import numpy as np

from convlens import figures
from convlens.inference.classifier import Classifier
from convlens.look.arrays.activations import activations as activations_of
from convlens.look.arrays.activations import map_statistics
from convlens.look.arrays.attribution import (
    can_be_guided,
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
    targets,
)
from convlens.look.arrays.features import features, nearest
from convlens.look.arrays.invariance import CHANGES, UNITS
from convlens.look.arrays.invariance import invariance as invariance_of
from convlens.look.arrays.occlusion import occlusion as occlusion_of
from convlens.look.view import Table, View
from convlens.look.views.given import (
    Data,
    NamedImage,
    OneImage,
    SomeImages,
    check_maps_of,
    describe_prediction,
    filled,
    open_data,
    read_image,
    read_images,
    rows_of,
)
from convlens.look.views.names import file_name, maps_of
from convlens.models.hooks import conv_relu_layers

NEIGHBORS = 7
MOST_CURVES = 6  # images in the picture of invariance: more lines cannot be told apart


def activations(
    classifier: Classifier,
    image: OneImage,
    layer: str | None = None,
    maps: Sequence[int] = (),
) -> View:
    """What the maps of a layer hold of an image, on one common scale.

    Zeiler and Fergus 2014 (Visualizing and Understanding Convolutional Networks) look so at trained
    networks. The view of a named layer sorts its maps by their mean and has a table of what each
    does; a linear layer's features are maps of one unit.

    Args:
        classifier: The network.
        image: A file, a Pillow image or pixels.
        layer: Any, as in `named_modules()`: "conv1" shows what that convolution puts out, before
            its ReLU. By default that after the first convolution's ReLU, in raster order.
        maps: Which of the layer's maps; by default all.

    Returns:
        A view with `image` and `maps`, (C, h, w); of a named layer also `numbers`, `mean`,
        `maximum` and `active` of each map, (C,).

    Raises:
        UserError: for an image that cannot be read, and a layer or map that is not there.
    """
    seen = read_image(classifier, image)
    if layer is None and not maps:
        return _first_activations(classifier, seen, count=1)[0]
    if layer is None:
        layer = conv_relu_layers(classifier.model, classifier.size)[0]
    return _sorted_activations(classifier, seen, layer, maps)


def first_activations(classifier: Classifier, image: OneImage) -> list[View]:
    """What the first and the second convolution hold of an image after their ReLUs, a view each.

    Arguments and errors are those of `activations`.
    """
    return _first_activations(classifier, read_image(classifier, image), count=2)


def _first_activations(classifier: Classifier, image: NamedImage, count: int) -> list[View]:
    x = classifier.inputs(image.pixels[None])
    layers = conv_relu_layers(classifier.model, classifier.size)[:count]
    found = activations_of(classifier.model, x, layers)
    told = f"{image.title}, predicted {describe_prediction(classifier, image.pixels)}"

    def view(number: int, layer: str, maps: np.ndarray) -> View:
        title = f"{classifier.name}, {layer}: after the ReLU of convolution {number}\n{told}"
        return View(
            f"activations-{image.stem}-conv{number}",
            {"image": image.pixels, "maps": maps},
            # a few bright pixels would leave all other maps dark under their maximum
            lambda: figures.activations(image.pixels, maps, title, percentile=99.5),
        )

    return [view(number, layer, found[layer][0]) for number, layer in enumerate(layers, 1)]


def _sorted_activations(
    classifier: Classifier, image: NamedImage, layer: str, asked: Sequence[int]
) -> View:
    check_maps_of(classifier, layer, asked)
    x = classifier.inputs(image.pixels[None])
    maps = activations_of(classifier.model, x, [layer])[layer][0]
    maps = maps.reshape(len(maps), *(maps.shape[1:] or (1, 1)))
    seen = map_statistics(maps)
    order = [number for number in seen.by_strength() if not asked or number in asked]
    which = maps_of(asked, f"its {len(order)} maps")
    title = (
        f"{classifier.name}, {layer}: {which}, the one with the largest mean first\n"
        f"{image.title}, predicted {describe_prediction(classifier, image.pixels)}"
    )
    mean, maximum, active = seen.mean[order], seen.maximum[order], seen.active[order]
    rows = tuple(
        (str(number), *(f"{value:z.6g}" for value in values))
        for number, *values in zip(order, mean, maximum, active, strict=True)
    )
    arrays = {
        "image": image.pixels,
        "maps": maps[order],
        "numbers": np.array(order),
        "mean": mean,
        "maximum": maximum,
        "active": active,
    }
    return View(
        file_name(f"activations-{image.stem}", layer, asked),
        arrays,
        lambda: figures.sorted_activations(
            image.pixels, maps[order], order, mean, maximum, active, title
        ),
        Table(("map", "mean", "maximum", "share_active"), rows),
    )


def attribution(classifier: Classifier, image: OneImage, target: str | None = None) -> View:
    """Which pixels of an image speak for a class, by three methods.

    Grad-CAM (Selvaraju et al. 2017), guided backpropagation (Springenberg et al. 2015) and
    integrated gradients (Sundararajan et al. 2017), smoothed (Smilkov et al. 2017).

    Args:
        classifier: The network.
        image: A file, a Pillow image or pixels.
        target: A class's name; by default the predicted one.

    Returns:
        A view with `image`, `grad_cam`, (H, W), at least 0, and `guided_backprop` and
        `integrated_gradients`, (channels, H, W), of either sign. Without `guided_backprop` where
        the network has no `nn.ReLU`.

    Raises:
        UserError: for an image that cannot be read, and a class that the network does not know.
    """
    seen, model = read_image(classifier, image), classifier.model
    x = classifier.inputs(seen.pixels[None])
    number = int(targets(model, x, None if target is None else classifier.label(target)))
    layer = grad_cam_layer(model, classifier.size)
    arrays = {
        "image": seen.pixels,
        "grad_cam": grad_cam(model, x, number, layer)[0],
        "integrated_gradients": integrated_gradients(model, x, number)[0],
    }
    cam = f"Grad-CAM\n{layer}"
    maps = {cam: arrays["grad_cam"]}
    if can_be_guided(model):
        arrays["guided_backprop"] = guided_backprop(model, x, number)[0]
        maps["guided\nbackpropagation"] = arrays["guided_backprop"]
    maps["integrated gradients,\nsmoothed"] = arrays["integrated_gradients"]
    title = (
        f"{classifier.name}: what speaks for the target, {classifier.class_names[number]}\n"
        f"{seen.title}, predicted {describe_prediction(classifier, seen.pixels)}"
    )
    return View(
        _for_target("attribution", seen, target and classifier.class_names[number]),
        arrays,
        lambda: figures.attribution(seen.pixels, maps, (cam,), title),
    )


def occlusion(classifier: Classifier, image: OneImage, target: str | None = None) -> View:
    """What the network says while a gray square hides each part of an image in turn.

    Zeiler and Fergus 2014, section 4.2 and figure 6: where the square hides what the network looks
    at, the probability of the class falls.

    Args:
        classifier: The network.
        image: A file, a Pillow image or pixels.
        target: A class's name; by default the predicted one.

    Returns:
        A view with `image`; by place of the square, (rows, columns), `activation`, `probability` of
        the target, 0..1, and `predicted`, class numbers; and `whole`, the probability of the target
        where nothing is hidden.

    Raises:
        UserError: for an image that cannot be read, and a class that the network does not know.
    """
    seen = read_image(classifier, image)
    x = classifier.inputs(seen.pixels[None])
    number = None if target is None else classifier.label(target)
    found = occlusion_of(classifier.model, x, number, temperature=classifier.temperature)
    places = figures.Places(
        found.activation, found.probability, found.predicted, found.square, found.stride
    )
    names, layer = classifier.class_names, f"{found.layer}, map {found.map}"
    title = (
        f"{classifier.name}: a square of the mean color hides each part of the image\n"
        f"{seen.title}, predicted {describe_prediction(classifier, seen.pixels)}"
    )
    arrays = {
        "image": seen.pixels,
        "activation": found.activation,
        "probability": found.probability,
        "predicted": found.predicted,
        "whole": np.array(found.whole, np.float32),
    }
    return View(
        _for_target("occlusion", seen, target and names[found.target]),
        arrays,
        lambda: figures.occlusion(seen.pixels, places, names, names[found.target], layer, title),
    )


def invariance(classifier: Classifier, images: SomeImages, target: str | None = None) -> View:
    """How answers change as images move, grow and turn.

    Zeiler and Fergus 2014, figure 5: the distance of a layer's output from that of the unchanged
    image, and the probability of the class.

    Args:
        classifier: The network.
        images: One image or up to six: files, folders, Pillow images or pixels. More are left out.
        target: A class's name, for all images; by default each one's predicted class.

    Returns:
        A view with `images` and, for each change ("translation", "scale", "rotation"), its steps,
        (V,), `CHANGE/probability` and, for two layers, `CHANGE/distance/LAYER`, (images, V).

    Raises:
        UserError: for an image that cannot be read, and a class that the network does not know.
    """
    given = read_images(classifier, images)
    seen = given[:MOST_CURVES]
    pixels = np.stack([image.pixels for image in seen])
    x = classifier.inputs(pixels)
    number = None if target is None else classifier.label(target)
    wanted = targets(classifier.model, x, number).tolist()
    found = {
        change: invariance_of(
            classifier.model, x, wanted, change, temperature=classifier.temperature
        )
        for change in CHANGES
    }
    labels = {change: f"{change}, {UNITS[change]}" for change in CHANGES}
    curves = {
        f"{layer}:\nrelative distance": {labels[c]: found[c].distances[layer] for c in CHANGES}
        for layer in found["translation"].distances
    }
    curves["probability\nof the target"] = {labels[c]: found[c].probability for c in CHANGES}
    arrays = {"images": pixels}
    for change, one in found.items():
        arrays |= {change: one.values, f"{change}/probability": one.probability}
        arrays |= {f"{change}/distance/{layer}": d for layer, d in one.distances.items()}
    names = [
        f"{image.short}: {classifier.class_names[number]}"
        for image, number in zip(seen, wanted, strict=True)
    ]
    title = (
        f"{classifier.name}: how far the output of a layer moves, and the probability of the "
        "target,\nas the image moves, grows and turns"
        + (f"; the first {len(seen)} of {len(given):,} images" if len(seen) < len(given) else "")
    )
    values = {labels[change]: found[change].values for change in CHANGES}
    return View("invariance", arrays, lambda: figures.invariance(values, curves, names, title))


def neighbors(classifier: Classifier, images: SomeImages, data: Data = None) -> View:
    """The training images that the network holds to be most like each image.

    Krizhevsky et al. 2012 (ImageNet Classification), figure 4: likeness is the cosine of the angle
    between the features that the last layer reads.

    Args:
        classifier: The network.
        images: One image or several: files, folders, Pillow images or pixels. One of the training
            set is not its own neighbor.
        data: The data set, or its folder.

    Returns:
        A view with `images`; of each image's k neighbors the `rows` in the training set and the
        `similarity`, -1..1, (images, k), and the `neighbors` themselves, (images, k, H, W, 3).

    Raises:
        UserError: for an image that cannot be read, and a data set that cannot be opened or has no
            training image.
    """
    seen = read_images(classifier, images)
    dataset = open_data(classifier, data)
    training, pixels = filled(dataset, "train"), np.stack([image.pixels for image in seen])
    candidates = features(classifier, training.images)
    found = nearest(features(classifier, pixels), candidates, NEIGHBORS + 1)
    near = rows_of(training.images, found.rows)  # (images, k + 1, H, W, 3)
    count = min(NEIGHBORS, len(training) - 1)
    kept = []
    for image, candidate in zip(pixels, near, strict=True):
        itself = (candidate == image).all(axis=(1, 2, 3))
        others = np.arange(len(itself)) != (itself.argmax() if itself.any() else -1)
        kept.append(np.flatnonzero(others)[:count])
    columns = np.stack(kept)
    arrays = {
        "images": pixels,
        "rows": np.take_along_axis(found.rows, columns, axis=1),
        "similarity": np.take_along_axis(found.similarity, columns, axis=1),
        "neighbors": near[np.arange(len(seen))[:, None], columns],
    }
    names = [f"{image.short}\n{describe_prediction(classifier, image.pixels)}" for image in seen]
    classes = [
        [classifier.class_names[label] for label in training.labels[rows]]
        for rows in arrays["rows"]
    ]
    title = (
        f"{classifier.name}: the training images most like each image to the network, by the "
        f"cosine of their features\n{dataset.name}, {len(training):,} training images"
    )
    return View(
        "neighbors",
        arrays,
        lambda: figures.neighbors(
            pixels, names, arrays["neighbors"], classes, arrays["similarity"], title
        ),
    )


def _for_target(view: str, image: NamedImage, target: str | None) -> str:
    """Names the image, and the class where the user chose it."""
    return f"{view}-{image.stem}" + ("" if target is None else f"-for-{target}")
