"""Where `convlens tune` looks: for each recipe the options that matter most, and their ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convlens.fields import flatten
from convlens.recipes.recipe import Recipe


@dataclass(frozen=True)
class Range:
    """From low to high; with `log` evenly in the logarithm."""

    low: float
    high: float
    log: bool = False


# From an option, as the command line names it, to its range or to the values it may have.
Space = Mapping[str, Range | tuple[Any, ...]]

_RATE: Space = {"learning_rate": Range(5e-4, 2e-2, log=True)}
_DECAY: Space = {"weight_decay": Range(0.01, 0.5, log=True), "label_smoothing": Range(0, 0.2)}
_CROPS: Space = {
    "augment.scale": Range(0, 0.85),
    "augment.aspect": Range(0, 0.4),
    "augment.rotate": Range(0, 25),
    "augment.color": Range(0, 0.5),
    # few, for each has the data set decoded to its size
    "crop_pct": (1.0, 0.909, 0.893, 0.877, 0.833, 0.8),
}
_MIXES: Space = {
    "augment.erase": Range(0, 0.6),
    "augment.cutmix": Range(0, 0.7),
    "augment.trivial_augment": Range(0, 1),
}

# The recipe's own setting lies in its space: it is the first one tried.
SPACES: Mapping[str, Space] = {
    "lenet5": {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": (32, 64, 128, 256),
        "optimizer": ("adamw", "sgd", "muon"),
    },
    "lenet5plus": {
        **_RATE,
        **_DECAY,
        "model_options.dropout": Range(0, 0.6),
        **_CROPS,
        "augment.trivial_augment": Range(0, 1),
    },
    "convnet": {**_RATE, **_DECAY, **_CROPS, **_MIXES},
    "resnet18": {**_RATE, **_DECAY, **_CROPS, **_MIXES},
    "resnet18_stride2": {**_RATE, **_DECAY, **_CROPS, **_MIXES},
    "finetune": {
        **_RATE,
        **_DECAY,
        "backbone_lr_scale": Range(0.03, 1, log=True),
        **{name: r for name, r in _CROPS.items() if name != "crop_pct"},
        "augment.erase": Range(0, 0.6),
        "augment.cutmix": Range(0, 0.7),
    },
    "quick": {**_RATE, **_DECAY, **_CROPS, "batch_size": (64, 128, 256)},
}


def own_setting(recipe: Recipe, space: Space) -> dict[str, Any]:
    """The recipe's own values of the options in `space`."""
    options = flatten(recipe)
    return {name: options[name] for name in space}
