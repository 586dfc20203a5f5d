"""What `convlens train` and `tune` are asked for, read with torch, which other verbs do without.

No option of a run or of a recipe is declared here: they are those of `RunConfig`.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from convlens.cli.options import Folder, read
from convlens.errors import UserError
from convlens.models import MODELS
from convlens.recipes import RECIPES, Recipe, find_recipe
from convlens.recipes.lengths import lengths
from convlens.training.config import RunConfig
from convlens.training.duration import in_words, seconds_of
from convlens.training.plan import Choice, check_planned, choice_of


@dataclass(frozen=True)
class TrainOptions:
    """Train a recipe; every field of it is an option, shown with the recipe's own value."""

    config: Annotated[RunConfig, arg(name="")]
    out: Folder = None
    """The run folder; runs/RECIPE-sSEED if not given."""
    overwrite: bool = False
    """Replace the run that is in the run folder."""
    watch: bool = False
    """Show the run in the browser while it trains: curves, filters and maps, an epoch at a time."""


@dataclass(frozen=True)
class ResumeOptions:
    """Continue a run from its last finished epoch, or train a finished one further."""

    resume: Annotated[Path, arg(metavar="RUN")]
    """The run folder."""
    epochs: int | None = None
    """The new number of epochs in all; more than before trains a finished run further."""
    data: Folder = None
    """The data set, where it has moved since."""
    log: tuple[Literal["tensorboard", "csv"], ...] | None = None
    """Curves to write from now on, by default as before; TensorBoard gets the past epochs too."""
    watch: bool = False
    """Show the run in the browser while it trains: curves, filters and maps, an epoch at a time."""


@dataclass(frozen=True)
class TuneOptions:
    """Search the options of a recipe that matter most, on images held out of train/.

    What is no option of the search itself holds for every trial. The same command continues a
    search that was cut, and started a second time helps it.
    """

    config: Annotated[RunConfig, arg(name="")]
    trials: int = 30
    """Settings to try in all; the recipe's own is the first."""
    workers: int = 1
    """Processes; they share the cores."""
    out: Folder = None
    """The folder of the search; runs/tune-RECIPE if not given."""


def parse_train(arguments: Sequence[str]) -> tuple[TrainOptions, Path] | ResumeOptions:
    """What the arguments after `convlens train` ask for: a new run and its folder, or an old one.

    Without a recipe, but with a time, it is that of the first of `lengths`; see `parse_choices`.
    Raises UserError where there is neither. Bad options and --help end the program.
    """
    if any(each == "--resume" or each.startswith("--resume=") for each in arguments):
        return read(ResumeOptions, arguments, "train")
    if arguments and not arguments[0].startswith("-"):
        name, recipe, rest = _recipe(arguments)
        asked = _read_train(f"train {name}", recipe, rest)
    elif "time" in _named(arguments):
        asked = _read_train("train", lengths()[0].recipe, arguments)
        name = in_words(seconds_of(asked.config.time or ""))
    else:
        raise UserError("train needs a recipe, --time TIME to choose one in, or --resume RUN")
    check_planned(asked.config.time, _named(arguments))
    folder = f"runs/{name}-s{asked.config.seed}"
    if asked.config.folds and not asked.config.fold:
        folder += "-folds"
    return asked, asked.out or Path(folder)


def parse_choices(arguments: Sequence[str], asked: TrainOptions) -> tuple[Choice, ...]:
    """What may be trained: `asked`, as `parse_train` has read it, or without a recipe all that may
    be the best in their time, with the same options."""
    if not arguments[0].startswith("-"):
        return (Choice(asked.config),)
    return tuple(
        choice_of(each, _read_train("train", each.recipe, arguments).config)
        for each in lengths(asked.config.recipe.size)
    )


def _read_train(verb: str, recipe: Recipe, arguments: Sequence[str]) -> TrainOptions:
    usual = TrainOptions(RunConfig(_with_options_named(recipe, arguments)))
    return read(TrainOptions, arguments, verb, default=usual)


def _named(arguments: Sequence[str]) -> set[str]:
    """The options that are given, as Python names them."""
    return {
        each.removeprefix("--").partition("=")[0].replace("-", "_")
        for each in arguments
        if each.startswith("--")
    }


def parse_tune(arguments: Sequence[str], holdout: float) -> tuple[TuneOptions, Path]:
    """What the arguments after `convlens tune` ask for, and the folder of the search.

    holdout: by default. Errors are those of `parse_train`.
    """
    if not arguments or arguments[0].startswith("-"):
        raise UserError("tune needs a recipe")
    name, recipe, rest = _recipe(arguments)
    usual = TuneOptions(RunConfig(_with_options_named(recipe, rest), holdout=holdout))
    asked = read(TuneOptions, rest, f"tune {name}", default=usual)
    if asked.config.time is not None:
        raise UserError(
            "`time` is how long a training may take, and a search is many; give `trials`",
            option=("time", "trials"),
        )
    return asked, asked.out or Path(f"runs/tune-{name}")


def _recipe(arguments: Sequence[str]) -> tuple[str, Recipe, Sequence[str]]:
    """What runs of the recipe are called after, the recipe, and the arguments that follow it."""
    name, *rest = arguments
    recipe = find_recipe(name)
    if name not in RECIPES:  # a file
        name = f"{recipe.name}-{Path(name).stem}"
    return name, recipe, rest


def _with_options_named(recipe: Recipe, arguments: Sequence[str]) -> Recipe:
    """The recipe with those of its network's options that it leaves alone and the arguments name.

    So every option of a network can be given, and a run has none that nobody spoke of.
    """
    own: dict[str, Any] = {}
    for name, parameter in inspect.signature(MODELS[recipe.model]).parameters.items():
        dashed = name.replace("_", "[-_]")
        for each in arguments:
            if found := re.match(rf"--model-options\.(no-)?{dashed}(=|$)", each):
                # a flag is offered as what its value is not: `no-…` where it is on
                value = parameter.default
                own[name] = bool(found[1]) if isinstance(value, bool) else value
    return replace(recipe, model_options=own | recipe.model_options)
