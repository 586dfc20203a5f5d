"""What came of a search: a table of the trials, the best setting as a recipe, and a picture."""

import contextlib
import warnings
from dataclasses import replace

import numpy as np
import optuna
from matplotlib.figure import Figure
from optuna.trial import TrialState

from convlens import fields, figures
from convlens.fields import flatten
from convlens.files import write_csv
from convlens.recipes import RECIPES, Recipe
from convlens.recipes.file import write_recipe
from convlens.recipes.spaces import Range
from convlens.tune.study import Search, accuracy_of

FEWEST = 4  # finished trials that an importance can be told from


def write_results(search: Search) -> None:
    """Write trials.csv and, once a trial has been trained to its end, best.yaml."""
    # those that failed were queued anew
    trials = search.trials(TrialState.COMPLETE, TrialState.PRUNED)
    rows: list[list[object]] = [["trial", "state", "epochs", "accuracy", *search.space]]
    for trial in trials:
        ended = trial.state == TrialState.COMPLETE
        reached = trial.intermediate_values
        epochs = search.config.recipe.epochs if ended else max(reached, default=0)
        accuracy = trial.value if ended else reached.get(epochs, "")
        options = search.options(trial.params)
        about = [trial.number, trial.state.name.lower(), epochs, accuracy]
        rows.append([*about, *(options.get(name, "") for name in search.space)])
    write_csv(search.folder / "trials.csv", rows)
    if finished := search.finished():
        plain = RECIPES[search.config.recipe.name]()
        options = {**_asked(search.config.recipe, plain), **search.options(finished[0].params)}
        write_recipe(search.folder / "best.yaml", fields.replace(plain, options), plain)


def _asked(recipe: Recipe, plain: Recipe) -> dict[str, object]:
    """What every trial had that is not the recipe's own: the size of the images, say.

    The length of a trial is what the search could afford, not a setting; and what follows from
    other options, or from the weights that a run begins with, follows again.
    """
    own = flatten(replace(plain, size=recipe.size).resolved()) | {"size": plain.size}
    changed = {
        name: value for name, value in flatten(recipe.resolved()).items() if own.get(name) != value
    }
    follow = {"epochs", "steps_per_epoch"}
    if plain.follows_weights:
        follow |= {name for name in changed if name.partition(".")[0] in ("model", "model_options")}
    return {name: value for name, value in changed.items() if name not in follow}


def draw(search: Search) -> Figure:
    """tuning.png: every setting that was tried, and which options mattered."""
    finished = sorted(search.finished(), key=lambda trial: trial.number)
    importance = _importance(search, len(finished))
    coordinates = []
    for name, choice in search.space.items():
        values = [search.options(trial.params)[name] for trial in finished]
        about = {"name": name, "importance": importance.get(name, np.nan)}
        if isinstance(choice, Range):
            numbers = np.array(values, float)
            coordinate = figures.Coordinate(values=numbers, log=choice.log, **about)
        else:
            numbers = np.array([choice.index(value) for value in values], float)
            names = tuple(map(str, choice))
            coordinate = figures.Coordinate(values=numbers, choices=names, **about)
        coordinates.append(coordinate)
    pruned = [
        (trial.number, trial.intermediate_values[max(trial.intermediate_values)])
        for trial in search.trials(TrialState.PRUNED)
        if trial.intermediate_values
    ]
    own = [i for i, trial in enumerate(finished) if trial.params == search.own]
    return figures.tuning(
        coordinates,
        np.array([accuracy_of(trial) for trial in finished]),
        np.array([trial.number for trial in finished]),
        np.array(pruned, dtype=float).reshape(-1, 2),
        own[0] if own else None,
    )


def _importance(search: Search, finished: int) -> dict[str, float]:
    """Each option's share of what decides the result; nothing where that cannot be told."""
    if finished < FEWEST:
        return {}
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError, ValueError):
        warnings.simplefilter("ignore")  # of the importances being experimental in older versions
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    return {}
