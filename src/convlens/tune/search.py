"""A search from its options to its best setting."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from convlens import figures
from convlens.data import Dataset
from convlens.errors import UserError
from convlens.recipes import Recipe
from convlens.recipes.spaces import SPACES, Range, own_setting
from convlens.training.config import RunConfig, absolute, make_config
from convlens.training.criterion import load_teachers
from convlens.training.device import choose
from convlens.training.pretrained import begin_with_weights
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits
from convlens.tune.results import draw, write_results
from convlens.tune.study import Search, accuracy_of
from convlens.tune.trials import work, work_together

logger = logging.getLogger(__name__)

HOLDOUT = 0.1  # of `train/`, where nothing else is asked for


def tune(
    recipe: str | Path | Recipe | RunConfig,
    *,
    out: Path | str | None = None,
    trials: int = 30,
    workers: int = 1,
    **options: Any,
) -> dict[str, Any]:
    """Try settings of a recipe's space, the recipe's own first, on images held out of `train/`.

    Tree-structured Parzen estimator (Bergstra et al. 2011) with median pruning: from a third of
    its epochs on, a trial whose best accuracy is below the median of the others' at that epoch
    ends. `validation/` is not read. A folder of the same search is continued.

    Args:
        recipe: The name of a recipe, a file that holds one, a `Recipe`, or a whole configuration,
            which then says what is held out. Its name must be that of a recipe with a space, in
            convlens/recipes/spaces.py.
        out: The folder of the search; runs/tune-RECIPE if not given.
        trials: How many settings to try in all.
        workers: Processes, which share the cores.
        **options: Of every trial, as `train` takes them; `epochs` is its budget and `holdout`, the
            share of each class of `train/` that settings are judged on, is 0.1 if not given.

    Returns:
        The best trial: its number, `trial`; `accuracy` and `standard_error` on the hold-out; `own`,
        the accuracy of the recipe's own setting (None where that has not ended yet); and
        `options`, its setting.

    Raises:
        UserError: for a recipe without a space, bad options, a folder of another search, and a
            search of which no trial could be trained to its end.
    """
    for name, value in ("trials", trials), ("workers", workers):
        if value < 1:
            raise UserError(f"`{name}` {value} is too small; the least is 1", option=name)
    if not isinstance(recipe, RunConfig):
        options = {"holdout": HOLDOUT, **options}
    config = make_config(recipe, options)
    if config.recipe.name not in SPACES:
        known = ", ".join(SPACES)
        raise UserError(f"recipe {config.recipe.name} has no space to search; {known} have")
    if not config.holdout:
        raise UserError(
            f"`holdout` {config.holdout} is out of range; give a share above 0, up to 0.9",
            option="holdout",
        )
    folder = Path("runs") / f"tune-{config.recipe.name}" if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give another folder with `out`", option="out")
    _check_own(config)
    config = begin_with_weights(config)
    dataset = config.open_dataset()
    seen = config.recipe.channels, config.recipe.sizes_at_any_length
    load_teachers(absolute(config.teachers), dataset.classes, *seen)  # before anything is written
    machine = choose(config.device, config.precision)
    config = config.resolved(dataset, machine)
    held_out = len(monitored_splits(config, dataset).monitored)
    search = _begin(Search(folder, config), dataset)
    name, epochs = config.recipe.name, config.recipe.epochs
    together = f", {workers} workers" if workers > 1 else ""
    logger.info("data set   %s", dataset.describe())
    logger.info(
        "recipe     %s: %s, %d epochs a trial, seed %d",
        *(name, config.recipe.model, epochs, config.seed),
    )
    logger.info("device     %s%s", machine.describe(), together)
    logger.info("judged on  %s images held out of train/", f"{held_out:,}")
    if workers == 1:
        work(folder, trials)
    else:
        work_together(folder, trials, workers)
    return _best(search, held_out)


def _check_own(config: RunConfig) -> None:
    """Raise UserError where the setting that is tried first is none of those that are searched."""
    space = SPACES[config.recipe.name]
    for name, value in own_setting(config.recipe, space).items():
        choice = space[name]
        if isinstance(choice, Range):
            if choice.low <= value <= choice.high:
                continue
            known = f"{choice.low:g} to {choice.high:g}"
        else:
            if value in choice:
                continue
            known = ", ".join(map(str, choice))
        raise UserError(
            f"`{name}` {value} lies outside of what is searched ({known}); leave it out or give "
            "one of these",
            option=name,
        )


def _begin(search: Search, dataset: Dataset) -> Search:
    """Make the folder of a new search; of an old one, check that it is the same."""
    folder, config = search.folder, search.config
    run = RunFolder(folder)
    if (folder / "config.yaml").exists():
        before = run.read_config()
        if config.differs_from(before) or not dataset.is_known_by(before.digest):
            raise UserError(
                f"{folder} holds a search with other settings; repeat its command or name another "
                "folder with `out`",
                option="out",
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} is in use and holds no search; name another folder with `out`", option="out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        run.write_config(config)
    with search.locked():
        if any(not trial.params.keys() <= search.space.keys() for trial in search.trials()):
            raise UserError(
                f"{folder} holds a search of an earlier version, over other options; its best.yaml "
                "can still be trained, but name another folder with `out` to search",
                option="out",
            )
        run.write_config(config)
        if not search.trials():
            search.study.enqueue_trial(search.own)
    return search


def _best(search: Search, held_out: int) -> dict[str, Any]:
    """Write what came of the search; its best trial. held_out: images that it was judged on."""
    with search.locked():
        write_results(search)
        finished = search.finished()
        if not finished:
            raise UserError(
                f"no trial of {search.folder} was trained to its end: all have diverged or were "
                "stopped early; allow more `trials`",
                option="trials",
            )
        figures.save(draw(search), search.folder / "tuning.png")
    best, accuracy = finished[0], accuracy_of(finished[0])
    return {
        "trial": best.number,
        "accuracy": accuracy,
        "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / held_out)),
        "own": next((accuracy_of(t) for t in finished if t.params == search.own), None),
        "options": search.options(best.params),
    }
