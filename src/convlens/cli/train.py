"""`convlens train` and `tune`: a recipe becomes a run, or many short ones."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convlens.cli.metrics import print_folds, print_run
from convlens.errors import UserError
from convlens.logs import say

if TYPE_CHECKING:
    from convlens.cli.train_options import ResumeOptions, TrainOptions
    from convlens.training.distributed import World


def train(arguments: Sequence[str]) -> None:
    """Train a recipe into a run folder, or --resume one."""
    from convlens.cli.train_options import ResumeOptions, parse_train
    from convlens.training.distributed import joined

    with joined() as world:
        if not arguments or arguments[0] in ("-h", "--help"):
            usage = "convlens train RECIPE [OPTIONS]  or  convlens train --resume RUN"
            _print_recipes(usage, "train")
            if arguments:
                return
        asked = parse_train(arguments)
        if isinstance(asked, ResumeOptions):
            _resume(asked, world)
        elif asked[0].config.folds and not asked[0].config.fold:
            _cross_validate(*asked, world)
        else:
            _train(*asked, world)


def _print_recipes(usage: str, verb: str) -> None:
    """What a verb says that is told no recipe."""
    from convlens.recipes import RECIPES

    say(f"usage: {usage}\n")
    for name, recipe in RECIPES.items():
        about = (recipe.__doc__ or "").partition("\n")[0]  # none under `python -OO`
        say(f"  {name:<17} {about}")
    say(f"\nconvlens {verb} RECIPE --help shows the options and the recipe's own values.")
    say("A file that `convlens tune` wrote, best.yaml, is a recipe too.")


def _train(asked: "TrainOptions", folder: Path, world: "World") -> None:
    from convlens.training import run as runs

    run = runs.train(asked.config, out=folder, overwrite=asked.overwrite, world=world)
    print_run(world.first(lambda: run.metrics))
    say(f"wrote      {folder}")


def _resume(asked: "ResumeOptions", world: "World") -> None:
    from convlens.training import run as runs

    run = runs.resume(
        asked.resume, epochs=asked.epochs, data=asked.data, log=asked.log, world=world
    )
    print_run(world.first(lambda: run.metrics))
    say(f"wrote      {asked.resume}")


def _cross_validate(asked: "TrainOptions", folder: Path, world: "World") -> None:
    from convlens.training.folds import cross_validate

    if asked.overwrite:
        raise UserError(f"--overwrite and --folds do not go together; remove {folder} instead")
    config = dataclasses.replace(asked.config, folds=0)  # which says that a run is one of them
    print_folds(cross_validate(config, asked.config.folds, out=folder, world=world))
    say(f"wrote      {folder}")


def tune(arguments: Sequence[str]) -> None:
    """Search the options of a recipe that matter most, on images held out of train/."""
    from convlens.cli.train_options import parse_tune
    from convlens.tune import HOLDOUT
    from convlens.tune import tune as search

    if not arguments or arguments[0] in ("-h", "--help"):
        _print_recipes("convlens tune RECIPE [OPTIONS]", "tune")
        if arguments:
            return
    asked, folder = parse_tune(arguments, HOLDOUT)
    best = search(asked.config, out=folder, trials=asked.trials, workers=asked.workers)
    own = "" if best["own"] is None else f"; the recipe's own setting {best['own']:.2%}"
    say(
        f"best       {best['accuracy']:.2%} (trial {best['trial']}; standard error "
        f"{100 * best['standard_error']:.1f} points){own}"
    )
    say("           the best of many is flattered by chance: compare several seeds or --folds")
    for name, value in best["options"].items():
        say(f"           {name} {value}")
    say(f"wrote      {folder}; train it with `convlens train {folder / 'best.yaml'}`")
