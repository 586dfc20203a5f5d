"""A recipe in a file: the name of one that there is, and the options that differ from it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from convlens import formats
from convlens.errors import UserError
from convlens.fields import flatten, replace
from convlens.files import replacing
from convlens.recipes.recipe import Recipe


def write_recipe(path: Path, recipe: Recipe, plain: Recipe) -> None:
    """Write what of `recipe` differs from `plain`, that of the same name, as YAML, atomically.

    `convlens train PATH` trains it.
    """
    own = flatten(plain)
    changed = {name: v for name, v in flatten(recipe).items() if own.get(name) != v}
    content = {"format": formats.FORMAT, "recipe": recipe.name, **changed}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def read_recipe(path: Path, recipes: Mapping[str, Callable[[], Recipe]]) -> Recipe:
    """The recipe in a file that `write_recipe` wrote, or a person: a recipe's name and options.

    Raises UserError, which names the file, when it is none.
    """
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UserError(f"{path} cannot be read ({problem.strerror}); give a recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise UserError(f"{path} is no YAML; it should hold `recipe: NAME` and options") from None
    if not isinstance(options, dict) or options.get("recipe") not in list(recipes):
        known = ", ".join(recipes)
        raise UserError(f"{path} must say `recipe: NAME`, with one of {known}")
    recipe = recipes[options.pop("recipe")]()
    options = {str(name): value for name, value in options.items()}
    written = options.pop("format", 1)
    if written not in (1, formats.FORMAT):
        raise UserError(f"{path} has format {written!r}; this version of ConvLens does not read it")
    if written != formats.FORMAT:
        options = formats.read_recipe(options)
    try:
        changed = replace(recipe, options)
        changed.check()
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None
    return changed
