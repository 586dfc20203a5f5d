"""Recipes: each a function whose docstring gives its command, run time and expected result."""

from convlens.recipes.convnet import convnet
from convlens.recipes.lenet5 import lenet5, lenet5plus
from convlens.recipes.quick import quick
from convlens.recipes.recipe import Recipe
from convlens.recipes.resnet18 import resnet18, resnet18_stride2

RECIPES = {
    recipe.__name__: recipe
    for recipe in (lenet5, lenet5plus, convnet, resnet18, resnet18_stride2, quick)
}

__all__ = [
    "RECIPES", "Recipe", "convnet", "lenet5", "lenet5plus", "quick", "resnet18",
    "resnet18_stride2",
]
