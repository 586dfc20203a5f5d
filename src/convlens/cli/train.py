"""`convlens train` and `tune`: a recipe becomes a run, or many short ones."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convlens.cli.metrics import print_folds, print_run
from convlens.errors import UserError
from convlens.logs import say
from convlens.training.duration import process_began

if TYPE_CHECKING:
    from convlens.cli.train_options import ResumeOptions, TrainOptions
    from convlens.training.callbacks import Callback
    from convlens.training.distributed import World
    from convlens.training.plan import Choice


def train(arguments: Sequence[str]) -> None:
    """Train a recipe into a run folder, or --resume one."""
    from convlens.cli.train_options import ResumeOptions, parse_choices, parse_train
    from convlens.training.distributed import joined

    with joined() as world:
        if not arguments or arguments[0] in ("-h", "--help"):
            usage = (
                "convlens train RECIPE [OPTIONS]  or  convlens train --time TIME [OPTIONS]  or  "
                "convlens train --resume RUN"
            )
            _print_recipes(usage, "train")
            if arguments:
                return
        asked = parse_train(arguments)
        if isinstance(asked, ResumeOptions):
            _resume(asked, world)
            return
        options, folder = asked
        choices = parse_choices(arguments, options)
        if options.config.folds and not options.config.fold:
            _cross_validate(options, choices, folder, world)
        else:
            _train(options, choices, folder, world)


def _print_recipes(usage: str, verb: str) -> None:
    """What a verb says that is told no recipe."""
    from convlens.recipes import RECIPES

    say(f"usage: {usage}\n")
    for name, recipe in RECIPES.items():
        about = (recipe.__doc__ or "").partition("\n")[0]  # none under `python -OO`
        say(f"  {name:<17} {about}")
    say(f"\nconvlens {verb} RECIPE --help shows the options and the recipe's own values.")
    say("A file that `convlens tune` wrote, best.yaml, is a recipe too.")


def _train(
    asked: "TrainOptions", choices: "tuple[Choice, ...]", folder: Path, world: "World"
) -> None:
    from convlens.training import run as runs
    from convlens.training.callbacks import Callbacks

    began = process_began()  # who waits counts from there
    watching = Callbacks(_page_beside(asked.watch))
    run = runs.train_one_of(choices, folder, asked.overwrite, watching, world, began)
    print_run(world.first(lambda: run.metrics))
    say(f"wrote      {folder}")


def _page_beside(watch: bool) -> "list[Callback]":
    """What shows a run while it trains, where that is asked for."""
    if not watch:
        return []
    from convlens.explorer.beside import PageBeside

    return [PageBeside()]


def _resume(asked: "ResumeOptions", world: "World") -> None:
    from convlens.training import run as runs
    from convlens.training.callbacks import Callbacks
    from convlens.training.run_folder import RunFolder

    watching = Callbacks(_page_beside(asked.watch))
    folder, began = RunFolder(asked.resume, world), process_began()
    run = runs.resume_run(folder, asked.epochs, asked.data, asked.log, watching, began)
    print_run(world.first(lambda: run.metrics))
    say(f"wrote      {asked.resume}")


def _cross_validate(
    asked: "TrainOptions", choices: "tuple[Choice, ...]", folder: Path, world: "World"
) -> None:
    from convlens.training.folds import cross_validate_one_of

    if asked.overwrite:
        raise UserError(f"--overwrite and --folds do not go together; remove {folder} instead")
    if asked.watch:
        raise UserError(f"--watch shows one run; `convlens explore {folder}` shows the folds")
    began = process_began()
    print_folds(cross_validate_one_of(choices, asked.config.folds, folder, world, began))
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
    weights = asked.config.weights
    begun = "" if weights is None else f" --from {shlex.quote(str(weights))}"
    recipe = shlex.quote(str(folder / "best.yaml"))
    say(f"wrote      {folder}; train it with `convlens train {recipe}{begun}`")
