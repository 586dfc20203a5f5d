"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import dataclasses
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convlens.reporting.card import mean, model_card
from convlens.inference.ensemble import combine, log_mean
from convlens.inference.metrics import compute_logits, score
from convlens.files import replacing
from convlens.recipes import RECIPES
from convlens.training.run_folder import load_trained, save_weights, write_json
from convlens.training.run import (
    SUMMARY_FIELDS,
    complete,
    find_doubles,
    open_for,
    read_config,
    read_confusion,
)
from convlens.training.parallel import train_all

# What is kept of a run besides its record: what the notebook and the README draw on.
KEPT = (
    "metrics.json", "history.csv", "per_class.csv", "confusion.csv", "curves.png",
    "confusion.png", "per_class.png", "worst.png", "batch.png", "reliability.png",
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
    workers: int = 1,
) -> None:
    """Train `names` with seeds 0 … seeds - 1 into `runs`, then fill `results` and `weights`.

    A finished run is kept, a cut one is resumed; what an older version did not measure of a
    finished one is measured on its weights. summary.json, and summary.md with the same as a
    table, are written after every run; records of other recipes and seeds in them stay.
    workers: runs at a time.
    """
    recipes = [RECIPES[name]() for name in names]
    if epochs is not None:
        recipes = [dataclasses.replace(recipe, epochs=epochs) for recipe in recipes]
    asked = [
        {
            "recipe": recipe, "run": runs / f"{recipe.name}-s{seed}", "data": data, "seed": seed,
            "images": images, "device": device, "precision": precision,
        }
        for seed in range(seeds)
        for recipe in recipes
    ]  # fmt: skip
    for run in train_all(asked, workers):
        _collect(complete(run, data), run, results, weights)
    if epochs is None and not images:
        for name in names:
            _average(name, runs, results, data)
    print(noise(json.loads((results / "summary.json").read_text())))


def _collect(metrics: dict, run: Path, results: Path, weights: Path) -> None:
    """Add one run to `results`; of seed 0 also the tables, the pictures and the weights."""
    name, seed = metrics["recipe"], metrics["seed"]
    results.mkdir(parents=True, exist_ok=True)
    weights.mkdir(parents=True, exist_ok=True)
    path = results / "summary.json"
    records = json.loads(path.read_text()) if path.exists() else []
    records = [r for r in records if (r["recipe"], r["seed"]) != (name, seed)]
    # what an older version did not measure stays empty until its run is collected again
    records = [{field: r.get(field) for field in SUMMARY_FIELDS} for r in [*records, metrics]]
    order = list(RECIPES)
    records.sort(key=lambda r: (order.index(r["recipe"]), r["seed"]))
    write_json(path, records)
    _write_tables(results)
    mine = [r for r in records if r["recipe"] == name]
    if (run.parent / f"{name}-s0" / "metrics.json").exists():
        _write_card(mine, run.parent / f"{name}-s0", results / "cards")
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        save_weights(weights / f"{name}.safetensors", load_trained(run), half=True)


def _write_tables(results: Path) -> None:
    """summary.md: both tables, from what is in `results`."""
    text = results_table(json.loads((results / "summary.json").read_text()))
    if (results / "averaged.json").exists():
        text += "\n" + averaged_table(json.loads((results / "averaged.json").read_text()))
    with replacing(results / "summary.md") as temporary:
        temporary.write_text(text)


# Networks in an ensemble at most: what it costs grows with each, what it gains less and less.
ENSEMBLE = 5


def _average(name: str, runs: Path, results: Path, data: Path | None) -> None:
    """Measure what averaging views and seeds of the recipe gives, and put it into averaged.json.

    Equal to `combine` of the same runs, but every network sees every view once.
    """
    folders = [runs / f"{name}-s{seed}" for seed in range(ENSEMBLE)]
    folders = [folder for folder in folders if (folder / "metrics.json").exists()]
    several = f"ten views and {len(folders)} seeds" if len(folders) > 1 else "ten views"
    print(f"averaging  {name}: {several}", flush=True)
    groups = [[folder] for folder in folders]
    together = [folders] if len(folders) > 1 else []
    records = _averages(name, together, views=False, data=data)
    records += _averages(name, groups + together, views=True, data=data)
    path = results / "averaged.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    records += [record for record in kept if record["recipe"] != name]
    order = list(RECIPES)
    records.sort(key=lambda r: order.index(r["recipe"]))
    write_json(path, records)
    _write_tables(results)


def _averages(
    name: str, groups: list[list[Path]], *, views: bool, data: Path | None
) -> list[dict[str, Any]]:
    """The record of each group of runs, averaged."""
    answers: dict[Path, Tensor] = {}
    for folder in dict.fromkeys(folder for group in groups for folder in group):
        trained = combine([load_trained(folder)], views)
        dataset = open_for(trained, folder, data)
        split = dataset.validation
        logits = compute_logits(trained.model, split.images, trained.mean, trained.std)
        answers[folder] = torch.from_numpy(logits) / trained.temperature
    doubles = find_doubles(dataset, dataset.train, split) if groups else None
    records = []
    for group in groups:
        mean_logits = log_mean([answers[folder] for folder in group]).numpy()
        seen = score(mean_logits, np.asarray(split.labels))
        rest = None if doubles is None or doubles.all() else seen.take(~doubles).accuracy
        first, *others = map(str, group)
        also = f" --also {' '.join(others)}" if others else ""
        records.append({
            "recipe": name,
            "seeds": [int(folder.name.rpartition("-s")[2]) for folder in group],
            "views": views,
            "validation_loss": seen.loss,
            "validation_accuracy": seen.accuracy,
            "validation_mean_class_accuracy": seen.mean_class_accuracy,
            "validation_accuracy_without_duplicates": rest,
            "command": f"convlens evaluate {first}{also}{' --views' if views else ''}",
        })  # fmt: skip
    return records


def _write_card(records: list[dict], run: Path, cards: Path) -> None:
    """The recipe's model card; run: that of seed 0."""
    cards.mkdir(exist_ok=True)
    card = model_card(records, load_trained(run), read_config(run), read_confusion(run))
    with replacing(cards / f"{records[0]['recipe']}.md") as temporary:
        temporary.write_text(card, encoding="utf-8")


def results_table(records: list[dict]) -> str:
    """The records as a Markdown table, a row a recipe, and what its figures are worth.

    ± is the standard error over a recipe's seeds.
    """
    header = (
        "| recipe | seeds | epochs | train loss | train accuracy | validation loss | validation "
        "accuracy | without near duplicates | mean per class | minutes | again by |\n"
        "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | :-- |\n"
    )
    rows = []
    for name in dict.fromkeys(record["recipe"] for record in records):
        mine = [record for record in records if record["recipe"] == name]
        cells = [
            f"`{name}`",
            str(len(mine)),
            str(mine[0]["epochs"]),
            mean(mine, "train_loss", "{:.3f}"),
            mean(mine, "train_accuracy", "{:.1%}"),
            mean(mine, "validation_loss", "{:.3f}"),
            mean(mine, "validation_accuracy", "{:.1%}"),
            mean(mine, "validation_accuracy_without_duplicates", "{:.1%}"),
            mean(mine, "validation_mean_class_accuracy", "{:.1%}"),
            _minutes(mine),
            f"`convlens reproduce {name}`",
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return header + "".join(rows) + "\n" + noise(records) + "\n"


def _minutes(records: list[dict]) -> str:
    """The mean of the runs' times, and on what they ran."""
    mean_minutes = statistics.mean(record["seconds"] for record in records) / 60
    devices = dict.fromkeys(record["device"] for record in records)
    return f"{mean_minutes:.0f} on {', '.join(devices)}"


def averaged_table(records: list[dict], commands: bool = True) -> str:
    """The averaged answers as a Markdown table; of single networks the mean over the seeds.

    commands: with a column of what prints each row, which needs a wide page.
    """
    titles = [
        "averaged", "networks", "validation loss", "validation accuracy",
        "without near duplicates", "mean per class", *["again by"] * commands,
    ]  # fmt: skip
    rules = [":--"] + ["--:"] * 5 + [":--"] * commands
    header = f"| {' | '.join(titles)} |\n| {' | '.join(rules)} |\n"
    rows = []
    for recipe, size, views in dict.fromkeys(
        (r["recipe"], len(r["seeds"]), r["views"]) for r in records
    ):
        mine = [
            r for r in records
            if (r["recipe"], len(r["seeds"]), r["views"]) == (recipe, size, views)
        ]  # fmt: skip
        cells = [
            f"`{recipe}`" + ", ten views" * views,
            f"{size}" + f" ({len(mine)} seeds)" * (len(mine) > 1),
            mean(mine, "validation_loss", "{:.3f}"),
            mean(mine, "validation_accuracy", "{:.1%}"),
            mean(mine, "validation_accuracy_without_duplicates", "{:.1%}"),
            mean(mine, "validation_mean_class_accuracy", "{:.1%}"),
            *[f"`{mine[0]['command']}`"] * commands,
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return header + "".join(rows)


def noise(records: list[dict]) -> str:
    """What the choice of the validation images adds to the figures, in words."""

    def span(field: str, form: str = "{:.1f}", times: float = 100) -> str:
        values = [record[field] for record in records if record[field] is not None]
        if not values:
            return "an unknown number"
        low, high = (form.format(times * value) for value in (min(values), max(values)))
        return low if low == high else f"{low} to {high}"

    return (
        f"On {span('validation_images', '{:,.0f}', 1)} images an accuracy has a standard error of "
        f"{span('validation_standard_error')} points and a mean per class one of "
        f"{span('validation_mean_class_standard_error')}; the accuracies on two random halves of "
        f"them differ by {span('validation_standard_error', times=200)} points (one standard "
        f"deviation). {span('validation_duplicates', '{:,.0f}', 1)} of them have a near duplicate "
        "in `train/`."
    )
