"""What the size of the images costs: every recipe's network at 32 to 224 pixels.

    python benchmarks/sizes.py [RECIPE …] [--sizes 32 64 …] [--batch-size 64] [--data DIR]

Images a second of training and of inference, and the most memory that the process had, each
measured in a process of its own. Training is `convlens train`'s own loop, with the recipe's
optimizer and augmentation; inference is the classifier's own pass over uint8 images. The batch is
the same everywhere, so that memory compares: a recipe's own may be larger. Written after every
measurement: OUT, as JSON; the table is printed at the end.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convlens.bench import machine, processes
from convlens.data import open_dataset
from convlens.files import write_json
from convlens.inference import Classifier
from convlens.look.arrays.layers import layer_table
from convlens.recipes import RECIPES, Recipe
from convlens.training.autotune import choose_algorithms
from convlens.training.config import RunConfig
from convlens.training.device import choose
from convlens.training.trainer import EpochStats, Trainer

SIZES = (32, 64, 96, 128, 224)
USUAL = ("lenet5", "lenet5plus", "quick", "convnet", "resnet18", "resnet18_stride2")
EPOCHS = 3  # of which the first warms up
PASSES = 3  # over the images, likewise


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=list(USUAL), metavar="RECIPE")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--batch-size", type=int, default=64, help="of training")
    parser.add_argument("--images", type=int, default=1024, help="of an epoch at 64 pixels")
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    parser.add_argument("--out", type=Path, default=Path("results/sizes.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a measurement, as JSON
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(measure(**json.loads(args.one))))
        return
    rows: list[dict[str, Any]] = []
    about = {"machine": machine.describe(), "batch_size": args.batch_size}
    with tempfile.TemporaryDirectory(prefix="convlens-sizes-") as cache:
        # where the data set is decoded to every size; nothing of that is wanted afterwards
        environment = {"CONVLENS_CACHE": cache}
        if not args.data and not os.environ.get("CONVLENS_DATA"):
            args.data = open_dataset(progress=False).root
        for recipe in args.recipes:
            for size in args.sizes:
                asked = {
                    "recipe": recipe,
                    "size": size,
                    "batch_size": args.batch_size,
                    # as many pixels an epoch at every size, but no less than two batches
                    "images": max(args.images * 64**2 // size**2, 2 * args.batch_size),
                    "data": args.data and str(args.data),
                }
                row = described(recipe, size)
                for what in "training", "inference":
                    row |= _in_its_own_process({**asked, "what": what}, environment)
                rows.append(row)
                print(line(row), flush=True)
                write_json(args.out, {**about, "rows": rows})
    print("\n" + table(rows))


def recipe_at(name: str, size: int) -> Recipe:
    """The recipe for images of `size` pixels, as `convlens train NAME --size SIZE` has it."""
    return dataclasses.replace(RECIPES[name](), size=size)


def described(name: str, size: int) -> dict[str, Any]:
    """What the network is at that size."""
    recipe = recipe_at(name, size)
    rows = layer_table(recipe.build(101), size)
    maps = [row.shape for row in rows if row.kind.startswith("conv")]
    return {
        "recipe": name,
        "size": size,
        "model": recipe.model,
        "model_options": recipe.network_options,
        "last_map": maps[-1][1],
        "parameters": sum(row.parameters for row in rows),
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }


def measure(
    what: str, recipe: str, size: int, batch_size: int, images: int, data: str | None
) -> dict[str, float | None]:
    """Images/s and MB of "training" or of "inference" in this process.

    The memory is the most that the process ever had, the mapped part of the cache included; None
    where the system does not tell.
    """
    chosen = dataclasses.replace(recipe_at(recipe, size), batch_size=batch_size, epochs=EPOCHS)
    dataset = open_dataset(data, size=chosen.loaded_size, skip_bad=True, progress=False)
    few = dataset.validation.take(np.arange(min(8, len(dataset.validation))))
    used = choose()
    config = RunConfig(
        chosen,
        data=str(dataset.root),
        max_train_images=images,
        device=str(used.device),
        precision=used.precision,
        convolutions=choose_algorithms(chosen, dataset.num_classes, used),
    )
    trainer = Trainer(config, dataclasses.replace(dataset, validation=few), used)
    state = trainer.start()
    if what == "training":
        epochs: list[EpochStats] = []
        trainer.fit(state, on_epoch=epochs.append)
        rate = statistics.median(epoch.row["images_per_second"] for epoch in epochs[1:])
    else:
        rate = _inference(trainer.classifier(state), np.asarray(trainer.splits.train.images))
    return {
        f"{what}_images_per_second": rate,
        f"{what}_peak_mb": machine.memory_of_this_process().get("peak_mb"),
    }


def _inference(classifier: Classifier, images: np.ndarray) -> float:
    """Images/s of the classifier's own pass, the median of PASSES after one that warms up."""
    rates = []
    for _ in range(PASSES + 1):
        start = time.perf_counter()
        classifier.logits(images)
        rates.append(len(images) / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def _in_its_own_process(
    asked: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, float | None]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(asked)]
    return processes.run_json(command, environment)


def line(row: Mapping[str, Any]) -> str:
    """A row of the table."""
    megabytes = [row[f"{what}_peak_mb"] for what in ("training", "inference")]
    rates = [row[f"{what}_images_per_second"] for what in ("training", "inference")]
    cells = [
        f"`{row['recipe']}`",
        f"{row['size']}",
        f"{row['last_map']}×{row['last_map']}",
        f"{row['parameters'] / 1e6:.1f}",
        f"{row['multiply_adds'] / 1e6:,.0f}",
        *(
            text
            for rate, mb in zip(rates, megabytes, strict=True)
            for text in (f"{rate:,.0f}", "" if mb is None else f"{mb:,.0f}")
        ),
    ]
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    titles = (
        "recipe",
        "pixels",
        "last map",
        "parameters, millions",
        "multiply-adds, millions",
        "training, images/s",
        "MB",
        "inference, images/s",
        "MB",
    )
    rule = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    return "\n".join([f"| {' | '.join(titles)} |", rule, *map(line, rows)])


if __name__ == "__main__":
    main()
