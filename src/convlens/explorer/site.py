"""What there is to see: the runs with their layers, the data set and its images, the views."""

from typing import Any

import convlens
from convlens.explorer.attribution import METHODS, methods_of
from convlens.explorer.images import MOST_BYTES, MOST_PIXELS
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.look.arrays.stages import IMAGE


def describe(explorer: Explorer) -> dict[str, Any]:
    """What there is to see; a static copy changes what it has not."""
    dataset = explorer.dataset
    data, images = None, []
    if dataset is not None:
        split = dataset.validation
        data = {"name": dataset.name, "train": len(dataset.train), "validation": len(split)}
        images = [
            {"id": f"v{row}", "path": path, "label": int(label)}
            for row, (path, label) in enumerate(zip(split.paths, split.labels, strict=True))
        ]
    return {
        "version": convlens.__version__,
        "static": False,
        "runs": [_describe(number, network) for number, network in enumerate(explorer.networks)],
        "data": data,
        "images": images,
        "examples": explorer.examples(),
        "methods": [
            {"id": name, "name": method.name, "about": method.about}
            for name, method in METHODS.items()
        ],
        "targets": "any",
        "upload": {"bytes": MOST_BYTES, "pixels": MOST_PIXELS},
    }


def _describe(number: int, network: Network) -> dict[str, Any]:
    classifier = network.classifier
    return {
        "id": number,
        "name": network.name,
        "network": classifier.name,
        "recipe": classifier.origin.recipe,
        "size": classifier.size,
        "classes": classifier.class_names,
        "temperature": classifier.temperature,
        "parameters": sum(p.numel() for p in network.model.parameters()),
        "summary": network.summary,
        "half": network.half,
        "home": network.is_at_home,
        "channels": classifier.normalize.channels,
        "methods": methods_of(network),
        "features": network.reads_features,
        "snapshots": network.epochs,
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
                "reads": [_number(network, name) for name in stage.reads],
                "shortcut": stage.shortcut
                and {
                    "reads": [_number(network, name) for name in stage.shortcut.reads],
                    "layer": stage.shortcut.layer,
                    "kind": stage.shortcut.kind,
                    "parameters": stage.shortcut.parameters,
                    "multiply_adds": stage.shortcut.multiply_adds,
                },
            }
            for stage in network.stages
        ],
    }


def _number(network: Network, layer: str) -> int:
    """Of a stage by its name; -1 is the image."""
    return network.layers.index(layer) if layer != IMAGE else -1
