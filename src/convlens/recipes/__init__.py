"""Recipes: each a function whose docstring gives its command, run time and expected result."""

from pathlib import Path

from convlens.errors import UserError, did_you_mean
from convlens.recipes.convnet import convnet
from convlens.recipes.file import read_recipe
from convlens.recipes.finetune import finetune
from convlens.recipes.lenet5 import lenet5, lenet5plus
from convlens.recipes.quick import quick
from convlens.recipes.recipe import Recipe
from convlens.recipes.resnet18 import resnet18, resnet18_stride2

RECIPES = {
    recipe.__name__: recipe
    for recipe in (lenet5, lenet5plus, convnet, resnet18, resnet18_stride2, quick, finetune)
}

__all__ = [
    "RECIPES",
    "Recipe",
    "convnet",
    "find_recipe",
    "finetune",
    "lenet5",
    "lenet5plus",
    "quick",
    "resnet18",
    "resnet18_stride2",
]


def find_recipe(name: str | Path) -> Recipe:
    """The recipe of that name, or in the file of that name if it ends in .yaml.

    Raises UserError for an unknown name and a file that holds none.
    """
    name = str(name)
    if name.endswith((".yaml", ".yml")):
        return read_recipe(Path(name), RECIPES)
    if name in RECIPES:
        return RECIPES[name]()
    hint = did_you_mean(name, RECIPES)
    raise UserError(f"there is no recipe {name!r}{hint} (there are {', '.join(RECIPES)})")
