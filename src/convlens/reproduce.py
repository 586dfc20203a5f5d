"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import dataclasses
import json
import shutil
from pathlib import Path

from convlens.errors import UserError
from convlens.recipes import RECIPES, Recipe
from convlens.train.checkpoint import load_trained, save_weights, write_json
from convlens.train.run import SUMMARY_FIELDS, read_config, read_metrics, resume, start

# What is kept of a run besides its record: what the notebook and the README draw on.
KEPT = (
    "metrics.json", "history.csv", "per_class.csv", "confusion.csv", "curves.png",
    "confusion.png", "per_class.png", "worst.png", "batch.png",
)  # fmt: skip


def reproduce(
    names: tuple[str, ...],
    *,
    seeds: int,
    epochs: int | None,
    images: int,
    data: Path | None,
    runs: Path,
    results: Path,
    weights: Path,
    device: str = "auto",
    precision: str = "auto",
) -> None:
    """Train `names` with seeds 0 … seeds - 1 into `runs`, then fill `results` and `weights`.

    A finished run is kept, a cut one is resumed. summary.json is written after every run; records
    of other recipes and seeds in it stay.
    """
    for seed in range(seeds):
        for name in names:
            recipe = RECIPES[name]()
            if epochs is not None:
                recipe = dataclasses.replace(recipe, epochs=epochs)
            run = runs / f"{name}-s{seed}"
            if (run / "state.pt").exists():
                _check_same(run, recipe, images)
            if (run / "metrics.json").exists():
                metrics = read_metrics(run)
            elif (run / "state.pt").exists():
                metrics = resume(run, data=data)
            else:
                metrics = start(
                    recipe, run, data=data, seed=seed, images=images, device=device,
                    precision=precision, overwrite=True,
                )  # fmt: skip
            _collect(metrics, run, results, weights)


def _check_same(run: Path, recipe: Recipe, images: int) -> None:
    """Raise UserError when the run in `run` is not the one asked for."""
    config = read_config(run)
    if (config.recipe, config.images) != (recipe, images):
        raise UserError(
            f"{run} was trained with other settings than those asked for now; remove it, or give "
            "another folder with --runs"
        )


def _collect(metrics: dict, run: Path, results: Path, weights: Path) -> None:
    """Add one run to `results`; of seed 0 also the tables, the pictures and the weights."""
    name, seed = metrics["recipe"], metrics["seed"]
    results.mkdir(parents=True, exist_ok=True)
    weights.mkdir(parents=True, exist_ok=True)
    path = results / "summary.json"
    records = json.loads(path.read_text()) if path.exists() else []
    records = [r for r in records if (r["recipe"], r["seed"]) != (name, seed)]
    records.append({field: metrics[field] for field in SUMMARY_FIELDS})
    order = list(RECIPES)
    records.sort(key=lambda r: (order.index(r["recipe"]), r["seed"]))
    write_json(path, records)
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        save_weights(weights / f"{name}.safetensors", load_trained(run), half=True)
