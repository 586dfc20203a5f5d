"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import dataclasses
import json
import shutil
from pathlib import Path

from convlens.recipes import RECIPES
from convlens.train import run as runs_module
from convlens.train.checkpoint import load_trained, save_weights, write_json

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
            if (run / "metrics.json").exists():
                metrics = runs_module.read_metrics(run)
            elif (run / "state.pt").exists():
                metrics = runs_module.resume(run, data=data)
            else:
                metrics = runs_module.start(
                    recipe, run, data=data, seed=seed, device=device, precision=precision,
                    overwrite=True,
                )  # fmt: skip
            _collect(metrics, run, results, weights)


def _collect(metrics: dict, run: Path, results: Path, weights: Path) -> None:
    """Add one run to `results`; of seed 0 also the tables, the pictures and the weights."""
    name, seed = metrics["recipe"], metrics["seed"]
    results.mkdir(parents=True, exist_ok=True)
    weights.mkdir(parents=True, exist_ok=True)
    path = results / "summary.json"
    records = json.loads(path.read_text()) if path.exists() else []
    records = [r for r in records if (r["recipe"], r["seed"]) != (name, seed)]
    records.append({field: metrics[field] for field in runs_module.SUMMARY_FIELDS})
    order = list(RECIPES)
    records.sort(key=lambda r: (order.index(r["recipe"]), r["seed"]))
    write_json(path, records)
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        save_weights(weights / f"{name}.safetensors", load_trained(run), half=True)
