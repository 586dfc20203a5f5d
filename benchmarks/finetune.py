"""What it is worth to begin with trained weights: accuracy by the number of images a class.

    python benchmarks/finetune.py measure [--data FOLDER] [--weights FILE] [--seeds 2] [--workers 2]
    python benchmarks/finetune.py choose  [--data FOLDER] [--weights FILE] [--seeds 2] [--workers 2]

`measure` trains on 5, 10, 20, … images a class and on all of them, in three ways that see as many
images: a network from random weights, by the recipe that made the weights; recipe `finetune`; and
`finetune` with all layers frozen but the classifier. With few images the epochs are more, so that
there are steps enough to learn in. Every run ends at its last epoch and is then measured on
validation/ and, where there is one, on test/, by which nothing is chosen.

`choose` compares settings of `finetune` on a hold-out of train/ alone.

Finished runs are kept and cut ones resumed, so both grow as time allows. Written after every run:
OUT/finetune.json, with `measure` also OUT/finetune.md and OUT/finetune.png.
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from convlens import logs
from convlens.data import Dataset
from convlens.figures import save
from convlens.figures.style import BLUE, GRAY, VERMILION, ShownFigure, styled
from convlens.files import replacing, write_json
from convlens.inference.classifier import Classifier
from convlens.recipes import RECIPES
from convlens.reporting.tables import standard_error
from convlens.training.config import RunConfig, make_config
from convlens.training.parallel import train_all
from convlens.training.run_folder import RunFolder

# Images a class, on average: a class keeps its share. None is all of them.
SHOTS = (5, 10, 20, 50, 100, None)
# Images that a run sees, as far as its epochs allow; the fewest epochs are those of `quick`.
SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 3000, 6, 30
WAYS = ("from random weights", "fine-tuned", "frozen")
COLORS = (GRAY, VERMILION, BLUE)
# Settings of `finetune` that are compared on a hold-out, by the options that differ.
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "half the learning rate": {"learning_rate": 0.5},
    "twice the learning rate": {"learning_rate": 2.0},
    "layers below at 0.1": {"backbone_lr_scale": 0.1},
    "layers below at 0.3": {"backbone_lr_scale": 0.3},
    "twice the batch": {"batch_size": 64},
    "AdamW at 3e-3": {"optimizer": "adamw", "learning_rate": 3e-3},
    "weaker augmentation": {"augment.scale": 0.25, "augment.rotate": 0, "augment.color": 0.1},
    "cutmix on half": {"augment.cutmix": 0.5},
    "no label smoothing": {"label_smoothing": 0.0},
    "twice the epochs": {"epochs": 2.0},
}
_FACTORS = ("half the learning rate", "twice the learning rate", "twice the epochs")
CHOOSE_ON = (20, 100)  # images a class
HOLDOUT = 0.15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("measure", "choose"))
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    parser.add_argument("--weights", type=Path, default=Path("weights/quick.safetensors"))
    parser.add_argument("--images", type=int, nargs="*", help="a class; else 5 to 100 and all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    logs.to_stdout()
    begun = Classifier.load(args.weights)
    if begun.origin.recipe not in RECIPES:
        parser.error(f"{args.weights} was made by no recipe of ConvLens")
    shots = args.images or (SHOTS if args.what == "measure" else CHOOSE_ON)
    asked = {}
    for seed in range(args.seeds):
        for images in shots:
            for way in WAYS if args.what == "measure" else SETTINGS:
                name = "-".join([way.replace(" ", "-"), str(images or "all"), f"s{seed}"])
                about = {"way": way, "images": images, "seed": seed}
                asked[args.runs / args.what / name] = about
    options = {"data": args.data, "weights": args.weights}
    dataset = RunConfig(RECIPES["quick"](), args.data).open_dataset()
    classes, train_images = dataset.num_classes, len(dataset.train)
    configs = {
        run: config_of(about, begun.origin.recipe, options, classes, train_images)
        for run, about in asked.items()
    }
    for run in train_all(configs, args.workers):
        record = {**asked[run], **measured(run, args.data)}
        collect(args.out, args.what, record)


def config_of(
    about: dict[str, Any], recipe: str, options: dict[str, Any], classes: int, train_images: int
) -> RunConfig:
    """What decides one run. recipe: what made the weights. classes, train_images: of the data."""
    way, images = about["way"], about["images"]
    most = train_images if images is None else min(images * classes, train_images)
    shared = {"data": options["data"], "seed": about["seed"], "device": "cpu"}
    if images is not None:
        shared["max_train_images"] = most
    finetune = RECIPES["finetune"]()
    epochs = min(max(FEWEST_EPOCHS, round(SEEN / most)), MOST_EPOCHS)
    if way == "from random weights":  # in smaller batches where a batch would be all there is
        batch_size = min(RECIPES[recipe]().batch_size, finetune.batch_size)
        return make_config(recipe, {**shared, "epochs": epochs, "batch_size": batch_size})
    shared["weights"] = options["weights"]
    if way in WAYS:
        return make_config("finetune", {**shared, "epochs": epochs, "freeze": way == "frozen"})
    changed = dict(SETTINGS[way])
    if way in _FACTORS:
        [(name, factor)] = changed.items()
        value = epochs if name == "epochs" else getattr(finetune, name)
        changed[name] = type(value)(factor * value)
    return make_config("finetune", {**shared, "holdout": HOLDOUT, "epochs": epochs, **changed})


def measured(run: Path, data: Path | None) -> dict[str, Any]:
    """What a finished run is worth: on the hold-out at its last epoch, or on what is not train/."""
    folder = RunFolder(run)
    metrics = folder.read_metrics()
    found = {name: metrics[name] for name in ("train_images", "epochs", "seconds")}
    root = f"{Path.cwd()}{os.sep}"  # where these commands are to be given too
    found["command"] = metrics["command"].replace(root, "")
    if "last_holdout_accuracy" in metrics:
        names = ("last_holdout_accuracy", "last_holdout_mean_class_accuracy")
        return {**found, **{name.removeprefix("last_"): metrics[name] for name in names}}
    classifier = folder.classifier("last")
    dataset: Dataset = folder.open_for(classifier, data)
    for name in ("validation", "test"):
        if name in dataset.splits:
            seen = classifier.evaluate(dataset, name)
            found[f"{name}_accuracy"] = seen.accuracy
            found[f"{name}_mean_class_accuracy"] = seen.mean_class_accuracy
            found[f"{name}_images"] = len(seen.labels)
    return found


def collect(out: Path, what: str, record: dict[str, Any]) -> None:
    """Add a run's record to OUT/finetune.json, and draw anew what follows from it."""
    path = out / "finetune.json"
    out.mkdir(parents=True, exist_ok=True)
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = ("way", "images", "seed")
    others = [r for r in content.get(what, []) if [r[k] for k in key] != [record[k] for k in key]]
    content[what] = [*others, record]
    write_json(path, content)
    if what == "measure":
        text = table(content[what])
        with replacing(out / "finetune.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        save(draw(content[what]), out / "finetune.png")


def groups(records: Sequence[dict[str, Any]]) -> dict[tuple[int | None, str], list[dict[str, Any]]]:
    """The records by images a class, fewest first and all last, and way."""
    found: dict[tuple[int | None, str], list[dict[str, Any]]] = {}
    for r in sorted(records, key=lambda r: (r["images"] or 10**9, WAYS.index(r["way"]), r["seed"])):
        found.setdefault((r["images"], r["way"]), []).append(r)
    return found


def table(records: Sequence[dict[str, Any]]) -> str:
    """Accuracy of each way by images a class, as Markdown; ± is the standard error of the seeds."""
    splits = [s for s in ("validation", "test") if any(f"{s}_accuracy" in r for r in records)]
    lines = [
        "| images a class | " + " | ".join(f"{way}, {s}" for way in WAYS for s in splits) + " |",
        "| --: |" + " --: |" * (len(WAYS) * len(splits)),
    ]
    found = groups(records)
    for images in dict.fromkeys(images for images, _ in found):
        cells = []
        for way in WAYS:
            for split in splits:
                runs = found.get((images, way), [])
                values = [r[f"{split}_accuracy"] for r in runs if f"{split}_accuracy" in r]
                cells.append(_mean(values))
        lines.append(f"| {images or 'all'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    noise = f" ± {standard_error(values):.1%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1%}{noise}"


@styled
def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy on what was not trained on, by training images, one line a way."""
    figure = ShownFigure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    split = "test" if all("test_accuracy" in r for r in records) else "validation"
    found = groups(records)
    for way in WAYS:
        points = sorted(
            (runs[0]["train_images"], statistics.mean(100 * r[f"{split}_accuracy"] for r in runs))
            for (_, name), runs in found.items()
            if name == way
        )
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker="o", label=way, color=COLORS[WAYS.index(way)])
    sizes = sorted({runs[0]["train_images"] for runs in found.values()})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.grid(True)
    axes.set_xlabel("training images, of all classes together")
    axes.set_ylabel(f"accuracy on {split}/, %")
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
