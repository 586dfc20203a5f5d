"""Our training, measured in the production loop itself, on its own data path."""

import statistics
from dataclasses import replace
from typing import Any

import numpy as np

from convlens.data import open_dataset
from convlens.data.dataset import Dataset
from convlens.recipes import RECIPES
from convlens.training.autotune import choose_algorithms
from convlens.training.callbacks import EpochStats
from convlens.training.config import RunConfig
from convlens.training.device import Machine, choose
from convlens.training.threads import using
from convlens.training.trainer import Trainer


def training_rate(
    recipe: str, data: str, images: int, epochs: int, threads: int | None = None
) -> dict[str, Any]:
    """Images/s of `convlens train RECIPE`: the median of all epochs after the first, the warm-up.

    images: of an epoch, so that epochs can be short. threads: as `--threads`. Also: `waiting`, the
    share of a step that the loop spends on getting its batch, gathered and augmented, and what the
    machine chose.
    """
    # `bench` has seen to it that files are left out only where that was asked for.
    size = RECIPES[recipe]().loaded_size
    dataset = open_dataset(data, size=size, skip_bad=True, progress=False)
    # The loop evaluates after every epoch; that is not measured, so a few images will do.
    count = min(8, len(dataset.validation))
    few = replace(dataset, validation=dataset.validation.take(np.arange(count)))
    with using(threads):
        machine = choose()
        measured = train_for(recipe, few, machine, epochs, images, threads)
    return {
        "images_per_second": statistics.median(rate(epoch) for epoch in measured[1:]),
        "start_seconds": measured[0].train_seconds,
        "waiting": waiting(measured),
        "device": machine.describe(),
    }


def train_for(
    recipe: str,
    dataset: Dataset,
    machine: Machine,
    epochs: int,
    images: int | None = None,
    threads: int | None = None,
) -> list[EpochStats]:
    """What a run of the production loop, kept nowhere, found in each epoch."""
    trainer = make_trainer(recipe, dataset, machine, epochs, images, threads)
    measured: list[EpochStats] = []
    trainer.fit(trainer.start(), on_epoch=measured.append)
    return measured


def make_trainer(
    recipe: str,
    dataset: Dataset,
    machine: Machine,
    epochs: int,
    images: int | None = None,
    threads: int | None = None,
) -> Trainer:
    """The production loop, as `convlens train RECIPE` has it on this machine.

    images: of an epoch, about; by default all. threads: by default as many as are fastest.
    """
    short = replace(RECIPES[recipe](), epochs=epochs)
    config = RunConfig(
        short,
        data=str(dataset.root),
        max_train_images=images,
        threads=threads,
        device=str(machine.device),
        precision=machine.precision,
        convolutions=choose_algorithms(short, dataset.num_classes, machine),
    )
    return Trainer(config, dataset, machine)


def rate(epoch: EpochStats) -> float:
    """Images a second of an epoch's steps."""
    return epoch.row["images_per_second"]


def waiting(measured: list[EpochStats]) -> float:
    """The share of all steps' time that went to getting batches ready, 0..1."""
    return sum(e.data_seconds for e in measured) / sum(e.train_seconds for e in measured)
