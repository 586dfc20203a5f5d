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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from convlens import logs
from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.fields import replace
from convlens.files import replacing, write_json
from convlens.recipes import RECIPES, Recipe
from convlens.reporting.tables import standard_error
from convlens.training.config import RunConfig, make_config
from convlens.training.parallel import train_all
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits

HOLDOUT = 0.15


def changed(options: dict[str, object]) -> Callable[[Recipe], Recipe]:
    """A variant with other values of a recipe's options, by their dotted names."""
    return lambda r: replace(r, options)


def times(factor: float, *names: str) -> Callable[[Recipe], Recipe]:
    """A variant with some of a recipe's numbers multiplied."""
    return lambda r: dataclasses.replace(
        r, **{name: type(getattr(r, name))(factor * getattr(r, name)) for name in names}
    )


BASE = "as it is"
VARIANTS: dict[str, Callable[[Recipe], Recipe]] = {
    BASE: lambda r: r,
    "half the epochs": times(0.5, "epochs"),
    "twice the epochs": times(2, "epochs"),
    "AdamW at 2e-3, decay 0.1": changed(
        {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.1}
    ),
    "a quarter of the learning rate": times(0.25, "learning_rate"),
    "half the weight decay": times(0.5, "weight_decay"),
    "twice the weight decay": times(2, "weight_decay"),
    "no augmentation but flips": lambda r: dataclasses.replace(
        r, crop_pct=1.0, augment=Augment(flip=r.augment.flip)
    ),
    "crops from 50 % of the area, crop_pct 0.877": changed(
        {"augment.scale": 0.5, "crop_pct": 0.877}
    ),
    "no TrivialAugment": changed({"augment.trivial_augment": 0.0}),
    "TrivialAugment on all": changed({"augment.trivial_augment": 1.0}),
    "no erasing": changed({"augment.erase": 0.0}),
    "no cutmix": changed({"augment.cutmix": 0.0}),
    "mixup for cutmix": lambda r: replace(
        r, {"augment.cutmix": 0.0, "augment.mixup": r.augment.cutmix}
    ),
    "no label smoothing": changed({"label_smoothing": 0.0}),
    "last weights, no EMA": changed({"ema_decay": 0.0}),
    "SWA over the last quarter": changed({"ema_decay": 0.0, "swa_fraction": 0.25}),
    "dropout 0.2": changed({"model_options.dropout": 0.2}),
    "drop path 0.1": changed({"model_options.drop_path": 0.1}),
    "squeeze-excite": changed({"model_options.squeeze_excite": True}),
    "two blocks in stages 2 to 4": changed({"model_options.depths": [1, 2, 2, 2]}),
    "crop_pct 1": changed({"crop_pct": 1.0}),
    "crop_pct 0.877": changed({"crop_pct": 0.877}),
    "48×48 for the first half": changed({"early_size": 48, "early_fraction": 0.5}),
    "logit adjustment 0.5": changed({"logit_adjust_tau": 0.5}),
    "logit adjustment 1": changed({"logit_adjust_tau": 1.0}),
    "pretrained on rotations, 10 epochs": changed({"pretraining": 10}),
    "distilled from the base run": changed({"distillation": 0.7}),
    "distilled from three base runs": changed({"distillation": 0.7}),
}
# How many runs of the base a variant learns from: of its own seed and those that follow.
TEACHERS = {"distilled from the base run": 1, "distilled from three base runs": 3}
Key = tuple[str, int]  # a variant and a seed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variants", nargs="*", help="all if none is given")
    parser.add_argument("--recipe", choices=RECIPES, default="convnet")
    parser.add_argument(
        "--coarse",
        action="store_true",
        help="ConvNet with a stem that halves the image at once: a fifth of the time",
    )
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
    logs.to_stdout()
    base = dataclasses.replace(RECIPES[args.recipe](), epochs=args.epochs)
    label = args.recipe
    if args.coarse:
        base, label = changed({"model_options.stem_stride": 2})(base), f"{args.recipe}-coarse"
    folder = args.runs / f"{label}-{args.epochs}"
    asked = [(name, seed) for seed in range(args.seeds) for name in args.variants or VARIANTS]
    for group in in_order(asked):
        by_run = {run_folder(folder, *key): key for key in group}
        runs = {
            run: config_of(base, name, seed, args.data, [run_folder(folder, *t) for t in taught_by])
            for (run, (name, seed)), taught_by in zip(by_run.items(), group.values(), strict=True)
        }
        for run in train_all(runs, args.workers):
            name, seed = by_run[run]
            about = {"recipe": label, "epochs": args.epochs, "variant": name, "seed": seed}
            collect(args.out, {**about, **measured(run, args.data)})


def in_order(asked: Sequence[Key]) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    """What is trained first and what learns from that, each with its teachers."""
    taught = {
        (name, seed): [(BASE, seed + other) for other in range(TEACHERS[name])]
        for name, seed in asked
        if name in TEACHERS
    }
    teachers = [teacher for several in taught.values() for teacher in several]
    first: dict[Key, list[Key]] = {}
    for key in teachers + [key for key in asked if key not in taught]:
        first[key] = []
    return first, taught


def config_of(
    base: Recipe, name: str, seed: int, data: Path | None, teachers: Sequence[Path]
) -> RunConfig:
    options = {"holdout": HOLDOUT, "seed": seed, "data": data, "teachers": teachers}
    return make_config(VARIANTS[name](base), options)


def run_folder(folder: Path, name: str, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in name.replace(" %", ""))
    return folder / f"{slug}-s{seed}"


def measured(run: Path, data: Path | None) -> dict[str, object]:
    """The record of a run: its last epoch's figures, and which held-out images it had right.

    Of the last epoch, for the best one is chosen on the very images.
    """
    folder = RunFolder(run)
    metrics, classifier = folder.read_metrics(), folder.classifier("last")
    splits = monitored_splits(folder.read_config(), folder.open_for(classifier, data))
    seen = classifier.evaluate(splits.monitored)
    return {
        "holdout_accuracy": seen.accuracy,
        "holdout_mean_class_accuracy": seen.mean_class_accuracy,
        "holdout_loss": seen.loss,
        "images": len(seen.labels),
        "right": np.packbits(seen.predicted == seen.labels).tobytes().hex(),
        "train_accuracy": classifier.evaluate(splits.train).accuracy,
        "calibrated_error": seen.calibration()["calibrated_error"],
        "seconds": metrics["seconds"],
        "commit": metrics["commit"],
    }


def collect(out: Path, record: dict) -> None:
    """Put the record among those in OUT/ablation.json and write the table anew."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "ablation.json"
    key = ("recipe", "epochs", "variant", "seed")
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    records = [r for r in records if any(r[k] != record[k] for k in key)] + [record]
    # those of variants that are not tried any more come last
    order = {name: place for place, name in enumerate(VARIANTS)}
    records.sort(
        key=lambda r: (r["recipe"], r["epochs"], order.get(r["variant"], len(order)), r["seed"])
    )
    write_json(path, records)
    with replacing(out / "ablation.md") as temporary:
        temporary.write_text(table(records), encoding="utf-8")


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
    error = standard_error(by_image.tolist())
    return f"{100 * by_image.mean():+.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(f"ablation: {problem}") from None
