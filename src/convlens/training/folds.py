"""Cross-validation inside `train/`: k runs, each of which holds out another part."""

import dataclasses
import html
import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlens import formats
from convlens.errors import UserError
from convlens.files import write_json
from convlens.html import table
from convlens.recipes import Recipe
from convlens.reporting.tables import standard_error
from convlens.training.config import RunConfig
from convlens.training.distributed import ALONE, World
from convlens.training.duration import seconds_of
from convlens.training.plan import Choice, choices_of
from convlens.training.run import one_of_or_continue

logger = logging.getLogger(__name__)

# Of the last epoch: a mean over the best ones would be flattered by the choice.
MEASURES = {
    "holdout_loss": "last_holdout_loss",
    "holdout_accuracy": "last_holdout_accuracy",
    "holdout_mean_class_accuracy": "last_holdout_mean_class_accuracy",
    "holdout_accuracy_without_near_duplicates": "last_holdout_accuracy_without_near_duplicates",
    "temperature": "temperature",
}


class CrossValidation(dict[str, Any]):
    """The means over the folds with their standard errors, and the folds' records."""

    def _repr_html_(self) -> str:
        """A row a measure, for a notebook."""
        rows = [
            (name, f"{self[name]:.4f}", f"{self[f'{name}_standard_error']:.4f}")
            for name in MEASURES
            if name in self
        ]
        about = f"{self['recipe']}, {self['folds']} folds"
        return f"<p>{html.escape(about)}</p>{table(('', 'mean', 'standard error'), rows)}"


def cross_validate(
    recipe: str | Path | Recipe | RunConfig | None,
    folds: int,
    *,
    out: Path | str,
    world: World = ALONE,
    **options: Any,
) -> CrossValidation:
    """Train a recipe once for each fold, into `out`/fold-1 …, and write cross-validation.json.

    The parts are stratified, disjoint, cover `train/`, and are the same for every seed and recipe;
    `validation/` is not read. Finished folds are kept and a cut one continues.

    Args:
        recipe: As `train` takes it.
        folds: How many, at least 2.
        out: The folder of the folds.
        world: As `train` takes it.
        **options: As `train` takes them; a `time` is for all folds together.

    Returns:
        The mean over the folds of each of MEASURES, of the last epoch, and its standard error, and
        the folds' records. The standard error is s/√k; the folds share training images, so it is a
        little too small (Bengio and Grandvalet 2004, "No Unbiased Estimator of the Variance of
        K-Fold Cross-Validation").

    Raises:
        UserError: as `train` does, and where `out` holds folds of other settings.
    """
    choices = choices_of(recipe, options)
    return cross_validate_one_of(choices, folds, Path(out), world, time.perf_counter())


def cross_validate_one_of(
    choices: Sequence[Choice], folds: int, folder: Path, world: World, began: float
) -> CrossValidation:
    """As `cross_validate`, with choices as `train_one_of` takes them; the first fold chooses."""
    if folds < 2:
        raise UserError(f"`folds` {folds} is too small; the least is 2", option="folds")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give another folder with `out`", option="out")
    records = []
    for fold in range(1, folds + 1):
        if world.rank == 0:
            logger.info("fold       %d of %d", fold, folds)
        now = time.perf_counter() if records else began
        asked = [
            dataclasses.replace(choice, config=_fold(choice.config, folds, fold, now - began))
            for choice in choices
        ]
        run = one_of_or_continue(asked, folder / f"fold-{fold}", world, now)
        records.append(world.first(lambda run=run: run.metrics))
        if len(choices) > 1:  # it has been chosen now
            kept = world.first(lambda run=run: run.config)
            taken = next(
                (
                    c
                    for c, each in zip(choices, asked, strict=True)
                    if not each.config.differs_from(kept)
                ),
                choices[0],
            )
            config = dataclasses.replace(taken.config, recipe=kept.recipe)
            choices = [dataclasses.replace(taken, config=config, least_images=0)]
    name = choices[0].config.recipe.name
    result = CrossValidation(format=formats.FORMAT, recipe=name, folds=folds)
    for name, source in MEASURES.items():
        values = [record[source] for record in records if record[source] is not None]
        if len(values) < folds:  # near-duplicates are not known in every data set
            continue
        result[name] = statistics.mean(values)
        result[f"{name}_standard_error"] = standard_error(values)
    result["records"] = records
    world.first(write_json, folder / "cross-validation.json", dict(result))
    return result


def _fold(config: RunConfig, folds: int, fold: int, passed: float) -> RunConfig:
    """The configuration of one fold, with its share of the time that is left after `passed`."""
    if config.time is not None:
        left = max(0.0, seconds_of(config.time) - passed)
        config = dataclasses.replace(config, time=f"{left / (folds - fold + 1):.0f}s")
    return dataclasses.replace(config, folds=folds, fold=fold)
