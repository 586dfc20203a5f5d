"""Cross-validation inside `train/`: k runs, each of which holds out another part."""

import math
import statistics
from pathlib import Path
from typing import Any

from convlens.errors import UserError
from convlens.recipes.recipe import Recipe
from convlens.training.run_folder import write_json
from convlens.training.distributed import ALONE, World
from convlens.training.run import check, start_or_go_on

MEASURES = (
    "holdout_loss", "holdout_accuracy", "holdout_mean_class_accuracy",
    "holdout_accuracy_without_duplicates", "temperature",
)  # fmt: skip


def cross_validate(
    recipe: Recipe, folder: Path, folds: int, *, world: World = ALONE, **options: Any
) -> dict[str, Any]:
    """Train `recipe` once for each fold, into `folder`/fold-1 …, and write cross-validation.json.

    The parts are stratified, disjoint, cover `train/`, and are the same for every seed and recipe;
    `validation/` is not read. Finished folds are kept and a cut one continues. options: as
    `run.start` takes them.

    Returns the mean over the folds of each of MEASURES and its standard error, and the folds'
    records. The standard error is s/√k; the folds share training images, so it is a little too
    small (Bengio and Grandvalet 2004, "No Unbiased Estimator of the Variance of K-Fold
    Cross-Validation").

    Raises UserError as `start` does, and where `folder` holds folds of other settings.
    """
    if folds < 2:
        raise UserError(f"--folds {folds} is too small; the least is 2")
    check(recipe)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give another folder with --out")
    records = []
    for fold in range(1, folds + 1):
        if world.rank == 0:
            print(f"fold       {fold} of {folds}", flush=True)
        records.append(
            start_or_go_on(
                recipe, folder / f"fold-{fold}", folds=folds, fold=fold, world=world, **options
            )
        )
    result: dict[str, Any] = {"recipe": recipe.name, "folds": folds}
    for name in MEASURES:
        values = [record[name] for record in records if record[name] is not None]
        if len(values) == folds:
            result[name] = statistics.mean(values)
            result[f"{name}_standard_error"] = statistics.stdev(values) / math.sqrt(folds)
    result["records"] = records
    world.first(write_json, folder / "cross-validation.json", result)
    return result
