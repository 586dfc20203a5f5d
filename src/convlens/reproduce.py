"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import dataclasses
import json
import math
import shutil
import statistics
from pathlib import Path

from convlens.errors import UserError
from convlens.files import replacing
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

    A finished run is kept, a cut one is resumed. summary.json, and summary.md with the same as a
    table, are written after every run; records of other recipes and seeds in them stay.
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
    with replacing(results / "summary.md") as temporary:
        temporary.write_text(results_table(records))
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        save_weights(weights / f"{name}.safetensors", load_trained(run), half=True)


def results_table(records: list[dict]) -> str:
    """The records as a Markdown table, a row a recipe; ± is the standard error over its seeds."""
    header = (
        "| recipe | seeds | epochs | train loss | train accuracy | validation loss | validation "
        "accuracy | mean per class | minutes | again by |\n"
        "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | :-- |\n"
    )
    rows = []
    for name in dict.fromkeys(record["recipe"] for record in records):
        mine = [record for record in records if record["recipe"] == name]
        cells = [
            f"`{name}`",
            str(len(mine)),
            str(mine[0]["epochs"]),
            _mean(mine, "train_loss", "{:.3f}"),
            _mean(mine, "train_accuracy", "{:.1%}"),
            _mean(mine, "validation_loss", "{:.3f}"),
            _mean(mine, "validation_accuracy", "{:.1%}"),
            _mean(mine, "validation_mean_class_accuracy", "{:.1%}"),
            f"{statistics.mean(record['seconds'] for record in mine) / 60:.0f}",
            f"`convlens reproduce {name}`",
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return header + "".join(rows)


def _mean(records: list[dict], field: str, form: str) -> str:
    values = [record[field] for record in records]
    mean = form.format(statistics.mean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ± {form.format(statistics.stdev(values) / math.sqrt(len(values)))}"
