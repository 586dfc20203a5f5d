"""What each technique is worth alone: one recipe with one thing changed at a time, on a hold-out.

    python benchmarks/ablation.py [VARIANT …] [--recipe convnet] [--coarse] [--epochs 20]
                                  [--seeds 3] [--workers 2]

Every variant is trained on 85 % of train/ and judged on the rest, the same images for every variant
and seed; validation/ is not read. Finished runs are kept and cut ones resumed, so the table grows
as time allows. Written after every run: OUT/ablation.json and OUT/ablation.md.
"""

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.files import replacing
from convlens.recipes import RECIPES, Recipe
from convlens.train.checkpoint import write_json
from convlens.train.run import read_metrics
from convlens.train.side_by_side import train_all

HOLDOUT = 0.15


def augment(**changes: float) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, augment=dataclasses.replace(r.augment, **changes))


def model(**options: object) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, model_options={**r.model_options, **options})


def recipe(**changes: object) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, **changes)


BASE = "as it is"
VARIANTS: dict[str, Callable[[Recipe], Recipe]] = {
    BASE: lambda r: r,
    "half the epochs": lambda r: dataclasses.replace(r, epochs=r.epochs // 2),
    "twice the epochs": lambda r: dataclasses.replace(r, epochs=2 * r.epochs),
    "AdamW at 2e-3, decay 0.1": recipe(optimiser="adamw", learning_rate=2e-3, weight_decay=0.1),
    "a quarter of the learning rate": lambda r: dataclasses.replace(
        r, learning_rate=r.learning_rate / 4
    ),
    "half the weight decay": lambda r: dataclasses.replace(r, weight_decay=r.weight_decay / 2),
    "twice the weight decay": lambda r: dataclasses.replace(r, weight_decay=2 * r.weight_decay),
    "no augmentation but flips": lambda r: dataclasses.replace(
        r, zoom=1.0, augment=Augment(flip=r.augment.flip)
    ),
    "crops from 50 % of the area, zoom 1.14": lambda r: dataclasses.replace(
        augment(scale=0.5)(r), zoom=1.14
    ),
    "no TrivialAugment": augment(trivial=0.0),
    "TrivialAugment on all": augment(trivial=1.0),
    "no erasing": augment(erase=0.0),
    "no cutmix": augment(cutmix=0.0),
    "mixup for cutmix": lambda r: augment(cutmix=0.0, mixup=r.augment.cutmix)(r),
    "no label smoothing": recipe(label_smoothing=0.0),
    "last weights, no average": recipe(average=0.0),
    "SWA over the last quarter": recipe(average=0.0, swa=0.25),
    "dropout 0.2": model(dropout=0.2),
    "stochastic depth 0.1": model(stochastic_depth=0.1),
    "squeeze-excite": model(squeeze_excite=True),
    "anti-aliased stem": model(anti_aliased=True),
    "two blocks in stages 2 to 4": model(depths=(1, 2, 2, 2)),
    "zoom 1": recipe(zoom=1.0),
    "zoom 1.14": recipe(zoom=1.14),
    "48×48 for the first half": recipe(early_size=48, early_share=0.5),
    "logit adjustment 0.5": recipe(balance=0.5),
    "logit adjustment 1": recipe(balance=1.0),
    "pretrained on rotations, 10 epochs": recipe(pretraining=10),
    "distilled from the base run": recipe(distillation=0.7),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variants", nargs="*", help="all if none is given")
    parser.add_argument("--recipe", choices=RECIPES, default="convnet")
    parser.add_argument(
        "--coarse", action="store_true",
        help="ConvNet with a stem that halves the image at once: a fifth of the time",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, default=20, help="of the base and most variants")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    for name in args.variants:
        if name not in VARIANTS:
            parser.error(f"there is no variant {name!r}; there are: {', '.join(VARIANTS)}")
    base = dataclasses.replace(RECIPES[args.recipe](), epochs=args.epochs)
    label = args.recipe
    if args.coarse:
        base, label = model(stem_stride=2)(base), f"{args.recipe}-coarse"
    variants = {name: VARIANTS[name](base) for name in args.variants or VARIANTS}
    folder = args.runs / f"{label}-{args.epochs}"
    # those that learn from other runs come last
    for learns in False, True:
        asked = [
            (name, seed) for seed in range(args.seeds) for name in variants
            if bool(variants[name].distillation) == learns
        ]  # fmt: skip
        by_run = {run_folder(folder, name, seed): (name, seed) for name, seed in asked}
        runs = [
            {
                "recipe": variants[name], "run": run, "data": args.data, "seed": seed,
                "holdout": HOLDOUT, "teacher": [run_folder(folder, BASE, seed)] if learns else (),
            }
            for run, (name, seed) in by_run.items()
        ]  # fmt: skip
        for run in train_all(runs, args.workers):
            name, seed = by_run[run]
            collect(args.out, {
                "recipe": label, "epochs": args.epochs, "variant": name, "seed": seed,
                **measured(run),
            })  # fmt: skip


def run_folder(folder: Path, name: str, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in name.replace(" %", ""))
    return folder / f"{slug}-s{seed}"


def measured(run: Path) -> dict[str, float]:
    metrics = read_metrics(run)
    kept = ("accuracy", "mean_class_accuracy", "loss")
    return {f"holdout_{what}": metrics[f"holdout_{what}"] for what in kept} | {
        "train_accuracy": metrics["train_accuracy"],
        "calibrated_error": metrics["calibrated_error"],
        "seconds": metrics["seconds"],
        "commit": metrics["commit"],
    }


def collect(out: Path, record: dict) -> None:
    """Put the record among those in OUT/ablation.json and write the table anew."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "ablation.json"
    key = ("recipe", "epochs", "variant", "seed")
    records = json.loads(path.read_text()) if path.exists() else []
    records = [r for r in records if any(r[k] != record[k] for k in key)] + [record]
    order = list(VARIANTS)
    records.sort(key=lambda r: (r["recipe"], r["epochs"], order.index(r["variant"]), r["seed"]))
    write_json(path, records)
    with replacing(out / "ablation.md") as temporary:
        temporary.write_text(table(records))


def table(records: list[dict]) -> str:
    """A row a variant: means with standard errors, and the difference from the base, seed by seed.

    The seeds of a pair share their hold-out and their batches' order, so the difference is surer
    than the two means are.
    """
    text = ""
    for recipe_name, epochs in dict.fromkeys((r["recipe"], r["epochs"]) for r in records):
        mine = [r for r in records if (r["recipe"], r["epochs"]) == (recipe_name, epochs)]
        base = {r["seed"]: r["holdout_accuracy"] for r in mine if r["variant"] == BASE}
        text += (
            f"`{recipe_name}`, {epochs} epochs, judged on {HOLDOUT:.0%} of `train/`:\n\n"
            "| changed | seeds | accuracy | against the base | mean per class | training accuracy "
            "| minutes |\n| :-- | --: | --: | --: | --: | --: | --: |\n"
        )
        for name in dict.fromkeys(r["variant"] for r in mine):
            rows = [r for r in mine if r["variant"] == name]
            against = [r["holdout_accuracy"] - base[r["seed"]] for r in rows if r["seed"] in base]
            cells = [
                name,
                str(len(rows)),
                _mean([r["holdout_accuracy"] for r in rows], "{:.1f}"),
                "" if name == BASE or not against else _mean(against, "{:+.1f}"),
                _mean([r["holdout_mean_class_accuracy"] for r in rows], "{:.1f}"),
                _mean([r["train_accuracy"] for r in rows], "{:.1f}"),
                f"{statistics.mean(r['seconds'] for r in rows) / 60:.1f}",
            ]
            text += "| " + " | ".join(cells) + " |\n"
        text += "\n"
    return text + "Accuracies in per cent; ± is the standard error over the seeds.\n"


def _mean(values: list[float], form: str) -> str:
    percent = [100 * value for value in values]
    mean = form.format(statistics.mean(percent))
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(percent) / math.sqrt(len(values)):.1f}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(f"ablation: {problem}") from None
