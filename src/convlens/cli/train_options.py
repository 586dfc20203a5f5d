"""What `convlens train` is asked for. It imports torch, so the other verbs do without this file.

No option of a run or of a recipe is declared here: they are those of `RunConfig`.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from convlens.cli.options import Folder, read
from convlens.errors import UserError
from convlens.models import MODELS
from convlens.recipes import RECIPES, Recipe, find_recipe
from convlens.training.config import RunConfig


@dataclass(frozen=True)
class TrainOptions:
    """Train a recipe; every field of it is an option, shown with the recipe's own value."""

    config: Annotated[RunConfig, arg(name="")]
    out: Folder = None
    """The run folder; runs/RECIPE-sSEED if not given."""
    overwrite: bool = False
    """Replace the run that is in the run folder."""


@dataclass(frozen=True)
class ResumeOptions:
    """Continue a run from its last finished epoch, or train a finished one further."""

    resume: Annotated[Path, arg(metavar="RUN")]
    """The run folder."""
    epochs: int | None = None
    """The new number of epochs in all; more than before trains a finished run further."""
    data: Folder = None
    """The data set, where it has moved since."""


def parse(arguments: Sequence[str]) -> tuple[TrainOptions, Path] | ResumeOptions:
    """What the arguments after `convlens train` ask for: a new run and its folder, or an old one.

    Raises UserError where there is no recipe. Bad options and --help end the program.
    """
    if any(each == "--resume" or each.startswith("--resume=") for each in arguments):
        return read(ResumeOptions, arguments, "train")
    if not arguments or arguments[0].startswith("-"):
        raise UserError("train needs a recipe or --resume RUN")
    name, *rest = arguments
    recipe = find_recipe(name)
    if name not in RECIPES:  # a file
        name = f"{recipe.name}-{Path(name).stem}"
    usual = TrainOptions(RunConfig(_with_options_named(recipe, rest)))
    asked = read(TrainOptions, rest, f"train {name}", default=usual)
    folder = f"runs/{name}-s{asked.config.seed}"
    if asked.config.folds and not asked.config.fold:
        folder += "-folds"
    return asked, asked.out or Path(folder)


def _with_options_named(recipe: Recipe, arguments: Sequence[str]) -> Recipe:
    """The recipe with those of its network's options that it leaves alone and the arguments name.

    So every option of a network can be given, and a run has none that nobody spoke of.
    """
    parameters = inspect.signature(MODELS[recipe.model]).parameters
    named = {
        option
        for each in arguments
        for option in parameters
        if re.match(rf"--model-options\.(no-)?{option.replace('_', '[-_]')}(=|$)", each)
    }
    own = {name: parameters[name].default for name in parameters if name in named}
    return replace(recipe, model_options=own | recipe.model_options)
