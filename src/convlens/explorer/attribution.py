"""The attribution views as pictures that can lie beside or over the image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convlens.explorer import pictures
from convlens.explorer.network import Network
from convlens.explorer.pictures import Picture


@dataclass(frozen=True)
class Method:
    """A way to ask which pixels speak for a class.

    name, about: for the page. make: draws one image, uint8 (size, size, 3), for the class of that
    number. slow: takes more than half a second, so it is asked of the network's copy.
    """

    name: str
    about: str
    make: Callable[[Network, np.ndarray, int], Picture]
    slow: bool = False


def draw(network: Network, method: str, name: str, image: np.ndarray, target: int) -> Picture:
    """What one of METHODS or PREVIEWS shows of an image.

    It is kept for a while by the image's name: its pixels and its caption are asked for one after
    the other.
    """
    make = (METHODS | PREVIEWS)[method].make
    return network.drawn.made((method, name, target), lambda: make(network, image, target))


def _grad_cam(network: Network, image: np.ndarray, target: int) -> Picture:
    from convlens.look.arrays.attribution import grad_cam, grad_cam_layer

    layer = grad_cam_layer(network.model, network.size)
    values = grad_cam(network.model, network.normalized(image), target, layer)[0]
    high = pictures.largest(values)  # none is below 0
    return Picture(
        pictures.heat(values, high or 1),
        {"low": 0.0, "high": high, "unit": "logits × activation", "layer": layer},
    )


def _guided(network: Network, image: np.ndarray, target: int) -> Picture:
    from convlens.look.arrays.attribution import guided_backprop

    values = guided_backprop(network.model, network.normalized(image), target)[0]
    limit = pictures.magnitude_of(values)
    return Picture(
        pictures.on_gray(values.transpose(1, 2, 0), limit),
        {"low": -limit, "high": limit, "unit": "logits per standard deviation of the color"},
    )


def _integrated(network: Network, image: np.ndarray, target: int) -> Picture:
    from convlens.look.arrays.attribution import integrated_gradients

    values = integrated_gradients(network.copy, network.normalized(image), target)[0].sum(axis=0)
    limit = pictures.magnitude_of(values)
    return Picture(
        pictures.for_and_against(values, limit),
        {"low": -limit, "high": limit, "unit": "logits a pixel"},
    )


def _occlusion(network: Network, image: np.ndarray, target: int) -> Picture:
    """Its caption has the probability of the whole image, `whole`, and of each square's place."""
    return _occluded(network, image, target, steps=4)


def _first_occlusion(network: Network, image: np.ndarray, target: int) -> Picture:
    """The same with squares beside one another, a sixteenth of the work."""
    return _occluded(network, image, target, steps=1)


def _occluded(network: Network, image: np.ndarray, target: int, steps: int) -> Picture:
    """steps: from one square to the next that does not overlap it."""
    from convlens.look.arrays.occlusion import occlusion

    square = max(network.size // 4, 1)
    seen = occlusion(
        network.copy,
        network.normalized(image),
        target,
        square=square,
        stride=max(square // steps, 1),
        temperature=network.classifier.temperature,
    )
    fall = seen.whole - seen.probability  # (rows, columns) of cells of stride × stride pixels
    limit = pictures.largest(fall)
    pixels = fall.repeat(seen.stride, axis=0).repeat(seen.stride, axis=1)
    return Picture(
        pictures.overlay(pixels[: network.size, : network.size], limit or 1),
        {
            "low": -limit,
            "high": limit,
            "unit": f"fall of the probability under a square of {seen.square} pixels",
            "square": seen.square,
            "stride": seen.stride,
            "whole": pictures.short([seen.whole], 6)[0],
            "probability": np.round(seen.probability, 4).tolist(),
            "predicted": seen.predicted.tolist(),
        },
    )


METHODS = {
    "grad-cam": Method(
        "Grad-CAM",
        "Where the last maps speak for the class. Selvaraju et al. 2017.",
        _grad_cam,
    ),
    "guided-backpropagation": Method(
        "Guided backpropagation",
        "How pixels would have to change to speak louder for the class; gray means not at all. "
        "Springenberg et al. 2015.",
        _guided,
    ),
    "integrated-gradients": Method(
        "Integrated gradients",
        "Red pixels speak for the class, blue ones against it; smoothed over eight noisy copies. "
        "Sundararajan et al. 2017, Smilkov et al. 2017.",
        _integrated,
        slow=True,
    ),
    "occlusion": Method(
        "Occlusion",
        "Red where the class becomes less probable once a gray square hides the place, blue where "
        "more. Zeiler and Fergus 2014.",
        _occlusion,
        slow=True,
    ),
}

# What is shown until a method that takes seconds has ended, under a name that begins with its own.
PREVIEWS = {"occlusion-first": Method("Occlusion", "", _first_occlusion, slow=True)}


def methods_of(network: Network) -> list[str]:
    """Those of METHODS that work on this network."""
    from convlens.look.arrays.attribution import can_be_guided

    guided = can_be_guided(network.model)
    return [name for name in METHODS if guided or name != "guided-backpropagation"]
