"""What takes a moment and is made only when it is asked for: how an answer changes as the image
moves, what a map or a class would most like to see, how a map grew in training.

They ask the network's copy, or the networks that the run kept, while the first goes on answering.
"""

import numpy as np

from convlens.explorer import pictures
from convlens.explorer.forms import Answer, as_json, as_png
from convlens.explorer.inside import Explorer
from convlens.explorer.lookup import NotThere, class_of, map_of, network_of, pixels_of, stage_of
from convlens.explorer.network import Network
from convlens.explorer.pictures import Picture, short


def invariance(explorer: Explorer, run: str, name: str, number: str) -> Answer:
    """The probability of a class, and how far two layers' outputs move, change by change."""
    from convlens.look.arrays.invariance import CHANGES, UNCHANGED, UNITS
    from convlens.look.arrays.invariance import invariance as invariance_of

    network = network_of(explorer, run)
    target, pixels = class_of(network, number), pixels_of(explorer, name, network)
    x, temperature = network.normalized(pixels), network.classifier.temperature
    found = {}
    for change in CHANGES:
        seen = invariance_of(network.copy, x, [target], change, temperature=temperature)
        found[change] = {
            "unit": UNITS[change],
            "unchanged": UNCHANGED[change],
            "values": short(seen.values),
            "probability": short(seen.probability[0], 6),
            "distances": {layer: short(each[0]) for layer, each in seen.distances.items()},
        }
    return as_json(found)


def visualization(explorer: Explorer, run: str, number: str, map_: str) -> Answer:
    """An image made for a map, a feature, or beyond the last layer a class."""
    return as_png(_visualization(explorer, run, number, map_).pixels)


def excitation(explorer: Explorer, run: str, number: str, map_: str) -> Answer:
    """What that image gives: a map's mean, a feature's value, a class's logit."""
    return as_json(_visualization(explorer, run, number, map_).caption)


def _visualization(explorer: Explorer, run: str, number: str, map_: str) -> Picture:
    from convlens.look.arrays.feature_visualization import feature_visualization

    network = network_of(explorer, run)
    if int(number) == len(network.stages):
        layer, chosen = None, class_of(network, map_)
    else:
        stage = stage_of(network, number)
        layer, chosen = network.layers[stage], map_of(network, stage, map_)

    def make() -> Picture:
        images, values = feature_visualization(network.second, layer, [chosen])
        pixels = np.rint(255 * images[0]).astype(np.uint8)
        return Picture(pixels, {"value": short(values)[0]})

    return network.drawn.made(("visualization", layer, chosen), make)


def growth(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Answer:
    """A map at the epochs that the run kept, side by side in a row, all on one scale."""
    return as_png(_growth(explorer, run, name, number, map_).pixels)


def grown(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Answer:
    """Of that row, the `epochs`, the map's `max` and the `probability` of the class that is
    predicted in the end, after each; what is drawn white."""
    return as_json(_growth(explorer, run, name, number, map_).caption)


def _growth(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Picture:
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    chosen, pixels = map_of(network, stage, map_), pixels_of(explorer, name, network)
    if not network.epochs:
        raise NotThere(f"{network.name} kept no snapshots; train with --snapshots to see it grow")
    key = "growth", name, stage, chosen
    return network.drawn.made(key, lambda: _drawn(network, pixels, stage, chosen))


def _drawn(network: Network, pixels: np.ndarray, stage: int, chosen: int) -> Picture:
    passes = network.grown(pixels, stage)
    maps = np.stack([maps[chosen] for _, maps in passes])  # (epochs, h, w)
    scale = pictures.scale_of(maps)
    best = passes[-1][0].argmax()
    return Picture(
        pictures.tiled(np.stack([pictures.sprite(each[None], scale) for each in maps]), len(maps)),
        {
            "epochs": network.epochs,
            "max": short(maps.max(axis=(1, 2))),
            "class": int(best),
            "probability": short([shares[best] for shares, _ in passes], 6),
            "scale": short([scale])[0],
        },
    )
