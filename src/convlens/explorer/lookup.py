"""What the parts of a path name: runs, images, layers, maps and classes.

All are looked up in what the explorer holds. NotThere is raised for what it does not hold.
"""

import numpy as np

from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.survey import NotThere, Survey


def network_of(explorer: Explorer, run: str) -> Network:
    """The network of the run of that number."""
    if int(run) >= len(explorer.networks):
        raise NotThere(f"there is no run {run}")
    return explorer.networks[int(run)]


def survey_of(explorer: Explorer, run: str) -> Survey:
    """What is known of the data set, where there is one that can be read."""
    network_of(explorer, run)
    if not explorer.surveys:
        raise NotThere("this needs a data set; start it with `convlens explore RUN --data DIR`")
    if explorer.surveyor.failure:
        raise NotThere(explorer.surveyor.failure)
    return explorer.surveys[int(run)]


def pixels_of(explorer: Explorer, image: str, network: Network) -> np.ndarray:
    """The image of that name as the network is given it, uint8, (size, size, 3)."""
    try:
        return explorer.pixels(image, network)
    except KeyError:
        if image[0] == "u":
            raise NotThere("this image is no longer kept; choose it again") from None
        raise NotThere(f"there is no image {image}") from None


def stage_of(network: Network, layer: str) -> int:
    """The number of a stage."""
    if int(layer) >= len(network.stages):
        raise NotThere(f"{network.name} has no layer {layer}")
    return int(layer)


def map_of(network: Network, stage: int, number: str) -> int:
    """The number of one of the stage's maps."""
    count = network.stages[stage].shape[0]
    if int(number) >= count:
        name = network.layers[stage]
        raise NotThere(f"layer {name} has no map {number}; its last is {count - 1}")
    return int(number)


def class_of(network: Network, number: str) -> int:
    """The number of one of the network's classes."""
    if int(number) >= len(network.classifier.class_names):
        raise NotThere(f"{network.name} has no class {number}")
    return int(number)
