"""Answers about single units: the sum behind a number of a map, and behind a probability."""

from typing import Any

import numpy as np

from convlens.explorer.forms import Answer, as_json
from convlens.explorer.inside import Explorer
from convlens.explorer.lookup import (
    NotThere,
    class_of,
    map_of,
    network_of,
    pixels_of,
    stage_of,
)
from convlens.explorer.pictures import short
from convlens.look.arrays.sums import Term

DIGITS = 7  # what float32 knows
RIVALS = 10  # classes that are told beside one


def unit(explorer: Explorer, run: str, name: str, number: str, *place: str | None) -> Answer:
    """From the numbers that a unit reads to the one in its map, as `look.arrays.sums` tells it.

    place: its map and, of a layer with maps, row and column.
    """
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    shape = network.stages[stage].shape
    chosen = [int(each) for each in place if each is not None]
    map_of(network, stage, str(chosen[0]))
    inside = (i < n for i, n in zip(chosen, shape, strict=False))
    if len(chosen) != len(shape) or not all(inside):
        raise NotThere(f"layer {network.layers[stage]} has no such unit; it is of shape {shape}")
    term = network.explain(name, pixels_of(explorer, name, network), stage, chosen)
    return as_json(_told(term))


def _told(content: Any) -> Any:
    """Terms as mappings, arrays as lists, numbers with as many digits as they have."""
    if isinstance(content, Term):
        of_itself = {"kind": content.kind, "value": content.value}
        parts = {"parts": content.parts} if content.parts else {}
        return _told(of_itself | content.about | parts)
    if isinstance(content, dict):
        return {name: _told(value) for name, value in content.items()}
    if isinstance(content, np.ndarray) and content.ndim == 1:
        return short(content, DIGITS)
    if isinstance(content, list | tuple | np.ndarray):
        return [_told(value) for value in content]
    if isinstance(content, float | np.floating):
        return short([float(content)], DIGITS)[0]
    return content


def map_values(explorer: Explorer, run: str, name: str, number: str, map_: str) -> Answer:
    """The numbers of one map, (h, w), which its picture shows cut off at the layer's white."""
    network = network_of(explorer, run)
    stage = stage_of(network, number)
    chosen = map_of(network, stage, map_)
    seen = network.look(name, pixels_of(explorer, name, network))
    return as_json([short(row, DIGITS) for row in seen.maps[stage][0, chosen]])


def softmax(explorer: Explorer, run: str, name: str, number: str) -> Answer:
    """How the logits become the probability of a class, at the run's temperature."""
    network = network_of(explorer, run)
    target = class_of(network, number)
    seen = network.look(name, pixels_of(explorer, name, network))
    logits, temperature = seen.logits[0].astype(np.float64), network.classifier.temperature
    powers = np.exp((logits - logits.max()) / temperature)
    order = np.argsort(-logits, kind="stable")[:RIVALS].tolist()
    return as_json(
        _told(
            {
                "kind": "softmax",
                "class": target,
                "logit": logits[target],
                "largest": logits.max(),
                "temperature": temperature,
                "power": powers[target],
                "total": powers.sum(),
                "value": network.classifier.probabilities(seen.logits)[0, target],
                "inputs": [{"class": c, "logit": logits[c], "power": powers[c]} for c in order],
            }
        )
    )
