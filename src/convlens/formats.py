"""The formats of the files that ConvLens writes, and how those of earlier versions are read.

Every file of data carries `format`. Format 1, which did not say so, is that of version 0.1: it has
other words for the same things, and nothing else changed.
"""

import math
from typing import Any, TypeVar

T = TypeVar("T")

FORMAT = 2

# Options of a recipe, of its augmentation and of a run: the word of format 1, then today's.
RECIPE = {
    "optimiser": "optimizer",
    "initialisation": "initialization",
    "average": "ema_decay",
    "swa": "swa_fraction",
    "balance": "logit_adjust_tau",
    "early_share": "early_fraction",
}
AUGMENT = {"colour": "color", "grey": "grayscale", "trivial": "trivial_augment"}
RUN = {"images": "max_train_images", "teacher": "teachers"}
MODEL = {"stochastic_depth": "drop_path"}
# Of metrics: "near-duplicates" is the one word for them.
METRICS = {
    "_duplicates": "_near_duplicates",
    "_accuracy_without_duplicates": "_accuracy_without_near_duplicates",
}


def crop_pct_of(zoom: Any) -> float:
    """The share of a side that is left of an image enlarged `zoom` times; NaN for what is none."""
    if not isinstance(zoom, int | float) or isinstance(zoom, bool) or not zoom:
        return math.nan
    return 1 / zoom


def renamed(values: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """`values` under today's names."""
    return {words.get(name, name): value for name, value in values.items()}


def read_config(values: Any) -> Any:
    """The content of a config.yaml in today's words; what is not a mapping stays what it is."""
    if not isinstance(values, dict):
        return values
    if "format" in values:
        return {name: value for name, value in values.items() if name != "format"}
    values = renamed(values, RUN)
    if values.get("max_train_images") == 0:
        values["max_train_images"] = None
    recipe = values.get("recipe")
    if isinstance(recipe, dict):
        values["recipe"] = read_recipe(recipe)
    return values


def read_recipe(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's options, nested or by dotted names, in today's words."""
    recipe = renamed(values, RECIPE)
    for name, value in list(recipe.items()):
        group, _, inner = str(name).partition(".")
        words = {"augment": AUGMENT, "model_options": MODEL}.get(group, {})
        if inner in words:
            recipe[f"{group}.{words[inner]}"] = recipe.pop(name)
        elif words and isinstance(value, dict):
            recipe[name] = renamed(value, words)
    if "zoom" in recipe:
        recipe["crop_pct"] = crop_pct_of(recipe.pop("zoom"))
    return recipe


def read_metrics(values: dict[str, Any]) -> dict[str, Any]:
    """The content of a metrics.json, or a record of results, in today's words."""
    found = {}
    for name, value in values.items():
        for old, new in METRICS.items():
            if name.endswith(old) and not name.endswith(new):
                name = name.removesuffix(old) + new
        found[name] = value
    return found


def read_weights(values: dict[str, Any]) -> dict[str, Any]:
    """What a weights file says beside its tensors, in today's words."""
    if "format" in values:
        return values
    found = renamed(values, {"classes": "class_names"})
    found["crop_pct"] = crop_pct_of(found.pop("zoom", 1.0))
    if isinstance(found.get("options"), dict):
        found["options"] = renamed(found["options"], MODEL)
    return found


def read_state(values: dict[str, Any]) -> dict[str, Any]:
    """The content of a state.pt in today's words. Raises KeyError or TypeError for another."""
    if "format" in values:
        return values
    return {
        "history": values["history"],
        "model": values["model"],
        "ema": values["average"],
        "optimizers": values["optimisers"],
        "convolutions": {
            layer: {f"{height}x{width}": algorithm for (height, width), algorithm in sizes.items()}
            for layer, sizes in values["plan"].items()
        },
    }


def read_epoch(row: dict[str, T], monitored: str) -> dict[str, T]:
    """A row of history.csv with its columns named after the split that was measured.

    Format 1 calls that split validation, even where it was held out of train.
    """
    return {
        f"{monitored}_{name.removeprefix('validation_')}"
        if name.startswith("validation_")
        else name: value
        for name, value in row.items()
    }
