"""What each technique is worth alone: one recipe with one thing changed at a time, on a hold-out.

    python benchmarks/ablation.py [VARIANT …] [--recipe convnet] [--coarse] [--epochs 20]
                                  [--seeds 3] [--workers 2]

Every variant is trained on 85 % of train/ and judged on the rest, the same images for every variant
and seed; validation/ is not read. Finished runs are kept and cut ones resumed, so the table grows
as time allows. Written after every run: OUT/ablation.json and OUT/ablation.md. A run's record says
which images it had right, so that two networks are compared image by image.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.inference.metrics import evaluate
from convlens.files import replacing
from convlens.recipes import RECIPES, Recipe
from convlens.training.run_folder import load_trained, write_json
from convlens.training.trainer import monitored_splits
from convlens.training.run import open_for, read_config, read_metrics
from convlens.training.parallel import train_all

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
    "AdamW at 2e-3, decay 0.1": recipe(optimizer="adamw", learning_rate=2e-3, weight_decay=0.1),
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
    "distilled from three base runs": recipe(distillation=0.7),
}
# How many runs of the base a variant learns from: of its own seed and those that follow.
TEACHERS = {"distilled from the base run": 1, "distilled from three base runs": 3}


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
    variants = args.variants or VARIANTS
    folder = args.runs / f"{label}-{args.epochs}"
    asked = [(name, seed) for seed in range(args.seeds) for name in variants]
    taught = {
        (name, seed): [(BASE, seed + other) for other in range(TEACHERS[name])]
        for name, seed in asked if name in TEACHERS
    }  # fmt: skip
    teachers = [teacher for several in taught.values() for teacher in several]
    first = dict.fromkeys(teachers + [one for one in asked if one not in taught], ())
    for group in first, taught:
        by_run = {run_folder(folder, *one): one for one in group}
        runs = [
            {
                "recipe": VARIANTS[name](base), "run": run, "data": args.data, "seed": seed,
                "holdout": HOLDOUT,
                "teacher": [run_folder(folder, *teacher) for teacher in group[name, seed]],
            }
            for run, (name, seed) in by_run.items()
        ]  # fmt: skip
        for run in train_all(runs, args.workers):
            name, seed = by_run[run]
            collect(args.out, {
                "recipe": label, "epochs": args.epochs, "variant": name, "seed": seed,
                **measured(run, args.data),
            })  # fmt: skip


def run_folder(folder: Path, name: str, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in name.replace(" %", ""))
    return folder / f"{slug}-s{seed}"


def measured(run: Path, data: Path | None) -> dict[str, object]:
    metrics = read_metrics(run)
    kept = ("accuracy", "mean_class_accuracy", "loss")
    trained = load_trained(run / "last.safetensors")
    held_out = monitored_splits(read_config(run), open_for(trained, run, data))["holdout"]
    seen = evaluate(trained.model, held_out, trained.mean, trained.std)
    return {f"holdout_{what}": metrics[f"holdout_{what}"] for what in kept} | {
        "images": metrics["holdout_images"],
        "right": np.packbits(seen.predicted == seen.labels).tobytes().hex(),
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
    """A row a variant: means over its seeds, and the difference from the base with its error.

    The difference is that to the base's run of the same seed, image by image. Its standard error is
    that over the images, of the mean over the seeds: most of what two networks disagree on is
    chance, of training as of the images, and shows there.
    """
    text = ""
    for recipe_name, epochs in dict.fromkeys((r["recipe"], r["epochs"]) for r in records):
        mine = [r for r in records if (r["recipe"], r["epochs"]) == (recipe_name, epochs)]
        base = {r["seed"]: _right(r) for r in mine if r["variant"] == BASE}
        text += (
            f"`{recipe_name}`, {epochs} epochs, judged on {HOLDOUT:.0%} of `train/` "
            f"({mine[0]['images']:,} images):\n\n"
            "| changed | seeds | accuracy | against the base | mean per class | training accuracy "
            "| minutes |\n| :-- | --: | --: | --: | --: | --: | --: |\n"
        )
        for name in dict.fromkeys(r["variant"] for r in mine):
            rows = [r for r in mine if r["variant"] == name]
            against = [_right(r) - base[r["seed"]] for r in rows if r["seed"] in base]
            cells = [
                name,
                str(len(rows)),
                f"{100 * statistics.mean(r['holdout_accuracy'] for r in rows):.1f}",
                "" if name == BASE or not against else _difference(np.mean(against, axis=0)),
                f"{100 * statistics.mean(r['holdout_mean_class_accuracy'] for r in rows):.1f}",
                f"{100 * statistics.mean(r['train_accuracy'] for r in rows):.1f}",
                f"{statistics.mean(r['seconds'] for r in rows) / 60:.1f}",
            ]
            text += "| " + " | ".join(cells) + " |\n"
        text += "\n"
    return text + "Accuracies in per cent; ± is a standard error, over the images.\n"


def _right(record: dict) -> np.ndarray:
    """int64, shape (N,): 1 for each held-out image that the run had right."""
    bits = np.frombuffer(bytes.fromhex(record["right"]), np.uint8)
    return np.unpackbits(bits, count=record["images"]).astype(np.int64)


def _difference(by_image: np.ndarray) -> str:
    error = by_image.std(ddof=1) / np.sqrt(len(by_image))
    return f"{100 * by_image.mean():+.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(f"ablation: {problem}") from None
