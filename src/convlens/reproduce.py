"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import dataclasses
import json
import shutil
import statistics
from pathlib import Path

from convlens.card import mean, model_card
from convlens.files import replacing
from convlens.recipes import RECIPES
from convlens.train.checkpoint import load_trained, save_weights, write_json
from convlens.train.run import (
    SUMMARY_FIELDS,
    complete,
    read_config,
    read_confusion,
    start_or_go_on,
)

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
) -> None:
    """Train `names` with seeds 0 … seeds - 1 into `runs`, then fill `results` and `weights`.

    A finished run is kept, a cut one is resumed; what an older version did not measure of a
    finished one is measured on its weights. summary.json, and summary.md with the same as a
    table, are written after every run; records of other recipes and seeds in them stay.
    """
    for seed in range(seeds):
        for name in names:
            recipe = RECIPES[name]()
            if epochs is not None:
                recipe = dataclasses.replace(recipe, epochs=epochs)
            run = runs / f"{name}-s{seed}"
            start_or_go_on(
                recipe, run, data=data, seed=seed, images=images, device=device,
                precision=precision,
            )  # fmt: skip
            _collect(complete(run, data), run, results, weights)
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
    with replacing(results / "summary.md") as temporary:
        temporary.write_text(results_table(records))
    mine = [r for r in records if r["recipe"] == name]
    if (run.parent / f"{name}-s0" / "metrics.json").exists():
        _write_card(mine, run.parent / f"{name}-s0", results / "cards")
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        save_weights(weights / f"{name}.safetensors", load_trained(run), half=True)


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
            f"{statistics.mean(record['seconds'] for record in mine) / 60:.0f}",
            f"`convlens reproduce {name}`",
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return header + "".join(rows) + "\n" + noise(records) + "\n"


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
