"""A recipe's options by the names that the command line has for them, and recipes in files."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from convlens.errors import UserError
from convlens.files import replacing
from convlens.recipes.recipe import Recipe


def flatten(recipe: Recipe) -> dict[str, Any]:
    """Options as the command line names them: nested ones with a dot."""
    flat = {}
    for key, value in dataclasses.asdict(recipe).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat


def with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """`recipe` with those options changed: the inverse of `flatten`.

    Raises UserError for an option that the recipe does not have, and for a value of another kind
    than the recipe's own.
    """
    own = flatten(recipe)
    # a recipe may say 8 where its kind is that of the default, 0.0
    kinds = own | flatten(Recipe(name="", model="LeNet5"))
    changes: dict[str, Any] = {}
    for name, value in options.items():
        group, _, inner = name.rpartition(".")
        if name in own:
            value = _as(type(kinds[name]), name, value)
        elif group != "model_options":  # which the network's constructor checks
            close = difflib.get_close_matches(name, own, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"recipe {recipe.name} has no option {name}{hint}")
        if group:
            changes.setdefault(group, {})[inner] = value
        else:
            changes[name] = value
    if inner := changes.get("augment"):
        changes["augment"] = dataclasses.replace(recipe.augment, **inner)
    if inner := changes.get("model_options"):
        changes["model_options"] = {**recipe.model_options, **inner}
    return dataclasses.replace(recipe, **changes)


def _as(kind: type, name: str, value: Any) -> Any:
    """A number may be written as another kind of number, and as text (YAML reads 1e-3 as such)."""
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    try:
        if kind is bool or isinstance(value, bool | list | dict | None):
            raise ValueError
        converted = kind(value)
        if kind is int and converted != float(value):
            raise ValueError
        return converted
    except (TypeError, ValueError):
        raise UserError(f"{name} is {value!r}; it must be of type {kind.__name__}") from None


def write_recipe(path: Path, recipe: Recipe, plain: Recipe) -> None:
    """Write what of `recipe` differs from `plain`, that of the same name, as YAML, atomically.

    `convlens train PATH` trains it.
    """
    own = flatten(plain)
    changed = {name: v for name, v in flatten(recipe).items() if own.get(name) != v}
    with replacing(path) as temporary:
        text = yaml.safe_dump({"recipe": recipe.name, **changed}, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")


def read_recipe(path: Path, recipes: Mapping[str, Callable[[], Recipe]]) -> Recipe:
    """The recipe in a file that `write_recipe` wrote, or a person: a recipe's name and options.

    Raises UserError, which names the file, when it is none.
    """
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UserError(f"{path} cannot be read ({problem.strerror}); give a recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path} is no YAML; it should hold `recipe: NAME` and options") from None
    if not isinstance(options, dict) or options.get("recipe") not in list(recipes):
        known = ", ".join(recipes)
        raise UserError(f"{path} must say `recipe: NAME`, with one of {known}")
    try:
        recipe = recipes[options.pop("recipe")]()
        return with_options(recipe, {str(name): value for name, value in options.items()})
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None
