"""A run from its start to its finished folder: what `convlens train` does."""

import csv
import dataclasses
import functools
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from convlens import figures
from convlens.calibration import calibration, fit_temperature, reliability
from convlens.data import open_dataset
from convlens.data.augment import augment
from convlens.data.batches import Batches
from convlens.data.dataset import Dataset
from convlens.errors import UserError
from convlens.evaluate import Evaluation
from convlens.files import replacing
from convlens.recipes import RECIPES
from convlens.recipes.recipe import Recipe
from convlens.train.checkpoint import (
    Trained,
    build,
    load_state,
    load_trained,
    read_history,
    save_weights,
    write_history,
    write_json,
    write_yaml,
)
from convlens.train.distributed import ALONE, World
from convlens.train.loop import Config, Outcome, monitored_splits, train, train_size
from convlens.train.machine import Machine, choose

SUMMARY_FIELDS = (
    "recipe", "model", "seed", "epochs", "train_loss", "train_accuracy", "validation_loss",
    "validation_accuracy", "validation_mean_class_accuracy", "seconds", "device", "precision",
    "torch", "commit", "command",
)  # fmt: skip


# From the least to the most that an option of a recipe may be.
RANGES = {
    **dict.fromkeys(("epochs", "batch_size"), (1, math.inf)),
    **dict.fromkeys(("size", "train_size", "early_size"), (8, math.inf)),
    **dict.fromkeys(("learning_rate", "weight_decay", "l1", "l2"), (0, math.inf)),
    **dict.fromkeys(("warmup", "momentum", "average"), (0, 0.9999)),
    **dict.fromkeys(("early_share", "label_smoothing"), (0, 1)),
    **dict.fromkeys(("augment.translate", "augment.colour"), (0, 1)),
    **dict.fromkeys(("augment.flip", "augment.grey", "augment.erase"), (0, 1)),
    **dict.fromkeys(("augment.mixup", "augment.cutmix"), (0, 1)),
    "augment.scale": (0, 0.99),
    "augment.aspect": (0, math.inf),
    "augment.rotate": (0, 180),
    "temperature": (0.05, 20),
}


def start(
    recipe: Recipe,
    run: Path,
    *,
    data: Path | str | None = None,
    seed: int = 0,
    split_seed: int = 0,
    skip_bad: bool = False,
    holdout: float = 0.0,
    images: int = 0,
    device: str = "auto",
    precision: str = "auto",
    overwrite: bool = False,
    world: World = ALONE,
) -> dict[str, Any]:
    """Train `recipe` into the new run folder `run`; returns the run's metrics.

    Every process of `world` calls this; the first alone touches `run`. Workers that torchrun has
    restarted continue the run they had begun.

    Raises UserError when `run` exists already (unless `overwrite`) and for all that can be wrong
    with the data, the recipe and the machine.
    """
    check(recipe)
    if not 0 <= holdout <= 0.9:
        raise UserError(f"--holdout {holdout} is out of range; give a share from 0 to 0.9")
    for option, value in (("seed", seed), ("split-seed", split_seed), ("images", images)):
        if value < 0:
            raise UserError(f"--{option} {value} is negative; give 0 or more")
    if world.first(world.remembers, str(run)):
        return resume(run, data=data, world=world)
    world.first(_check_free, run, overwrite)
    dataset = open_dataset(data, size=recipe.size, split_seed=split_seed, skip_bad=skip_bad)
    machine = world.first(choose, device, precision)
    config = Config(
        recipe=recipe,
        data=str(dataset.root),
        seed=seed,
        split_seed=split_seed,
        skip_bad=skip_bad,
        holdout=holdout,
        images=images,
        device=str(machine.device),
        precision=machine.precision,
    )
    world.first(_begin, run, config, world)
    return _execute(config, dataset, run, machine, world)


def _check_free(run: Path, overwrite: bool) -> None:
    """Raise UserError unless a run may begin in `run`."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file; give another folder with --out")
    if run.is_dir() and any(run.iterdir()):
        if not overwrite:
            raise UserError(
                f"{run} exists; --resume {run} continues it, --out names another folder and "
                "--overwrite starts it anew"
            )
        if not (run / "config.yaml").exists():
            raise UserError(f"{run} is no run folder, so it is not overwritten; give another --out")


def _begin(run: Path, config: Config, world: World) -> None:
    """Make the run folder, which holds nothing of a run that it replaces."""
    run.mkdir(parents=True, exist_ok=True)
    # What is left of an overwritten run must not pass for this one's, should it be cut early.
    for old in ("state.pt", "history.csv", "best.safetensors", "last.safetensors"):
        (run / old).unlink(missing_ok=True)
    write_yaml(run / "config.yaml", config.as_dict())
    world.remember(str(run))


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    data: Path | str | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Continue the run in `run`, or train a finished one further when `epochs` is larger.

    data: where the data set lies now, if it has moved. A longer run follows the schedule of its new
    length from where it stands, so its learning rate rises again before it falls to zero.
    """
    config = world.first(read_config, run)
    if epochs is not None:
        state = world.first(load_state, run)
        done = len(state["history"]) if state else 0
        if epochs < done:
            raise UserError(f"--epochs {epochs} is less than the {done} that {run} has behind it")
        config = dataclasses.replace(
            config, recipe=dataclasses.replace(config.recipe, epochs=epochs)
        )
        check(config.recipe)
    dataset = open_dataset(
        data or config.data,
        size=config.recipe.size,
        split_seed=config.split_seed,
        skip_bad=config.skip_bad,
    )
    world.first(_check_resumable, run, dataset)
    config = dataclasses.replace(config, data=str(dataset.root))
    machine = world.first(choose, config.device, config.precision)
    world.first(write_yaml, run / "config.yaml", config.as_dict())
    return _execute(config, dataset, run, machine, world)


def _check_resumable(run: Path, dataset: Dataset) -> None:
    """Raise UserError when the run was on other classes than this data set's."""
    if (run / "last.safetensors").exists():
        _check_classes(load_trained(run / "last.safetensors"), run, dataset)


def read_config(run: Path) -> Config:
    """The run's config.yaml. Raises UserError when there is none or it is damaged."""
    path = run / "config.yaml"
    try:
        config = Config.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        check(config.recipe)
        return config
    except OSError:
        raise UserError(f"{run} holds no config.yaml; give the folder of a run") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as problem:
        problem = " ".join(str(problem).split())  # YAML's tells where, over several lines
        raise UserError(f"{path} is damaged ({problem}); start a new run") from None


def open_for(trained: Trained, run: Path, data: Path | str | None = None) -> Dataset:
    """The data set to use a network on, as `open_as` finds it.

    Raises UserError when its classes are not the network's.
    """
    dataset = open_as(run, data, trained.size)
    _check_classes(trained, run, dataset)
    return dataset


def open_as(run: Path, data: Path | str | None, size: int) -> Dataset:
    """`data`, else the data set that the run folder names, else as usual; split as the run had it.

    size: side of the decoded images, pixels.
    """
    split_seed, skip_bad = 0, False
    if (run / "config.yaml").exists():
        config = read_config(run)
        split_seed, skip_bad = config.split_seed, config.skip_bad
        if data is None and Path(config.data).is_dir():
            data = config.data
    return open_dataset(data, size=size, split_seed=split_seed, skip_bad=skip_bad)


def _check_classes(trained: Trained, run: Path, dataset: Dataset) -> None:
    """Raise UserError when a network and a data set do not have the same classes."""
    if dataset.classes != trained.classes:
        raise UserError(
            f"{run} knows {len(trained.classes)} classes and {dataset.root} has "
            f"{dataset.num_classes}, not the same ones; give the data set it was trained on with "
            "--data"
        )


def check(recipe: Recipe) -> None:
    """Raise UserError for a recipe whose numbers make no sense."""
    flat = _flat(recipe)
    for name, (least, most) in RANGES.items():
        if not least <= flat[name] <= most:
            to = f"to {most}" if most < math.inf else "up"
            raise UserError(f"{_option(name)} {flat[name]} is out of range; give {least} {to}")
    sizes = {train_size(recipe, epoch) for epoch in (0, recipe.epochs - 1)}
    if recipe.model == "LeNet5" and sizes != {recipe.size}:
        raise UserError(
            f"--train-size and --early-size must be {recipe.size} as --size is: LeNet5 has no "
            "global pooling, so it takes images of one size only"
        )
    try:
        build(recipe.model, recipe.model_options, 2, recipe.size)
    except (TypeError, ValueError) as problem:
        raise UserError(f"--model-options do not fit {recipe.model}: {problem}") from None
    if recipe.augment.mixup + recipe.augment.cutmix > 1:
        raise UserError("--augment.mixup and --augment.cutmix are probabilities of which only one "
                        "applies to an image; their sum must not exceed 1")


def command_of(config: Config) -> str:
    """The command that repeats this run, but for where the data lies."""
    recipe = config.recipe
    parts = ["convlens", "train", recipe.name]
    plain = _flat(RECIPES[recipe.name]()) if recipe.name in RECIPES else {}
    for option, value in _flat(recipe).items():
        if option == "name" or plain.get(option) == value:
            continue
        if isinstance(value, bool):  # a flag, called no-… where it is on by default
            group, _, flag = option.rpartition(".")
            parts.append(_option(f"{group}.{flag}" if value else f"{group}.no-{flag}"))
        else:
            parts += [_option(option), str(value)]
    if config.holdout:
        parts += ["--holdout", str(config.holdout)]
    if config.images:
        parts += ["--images", str(config.images)]
    if config.split_seed:
        parts += ["--split-seed", str(config.split_seed)]
    if config.skip_bad:
        parts.append("--skip-bad")
    return shlex.join([*parts, "--seed", str(config.seed)])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Options as the command line names them: nested ones with a dot."""
    flat = {}
    for key, value in dataclasses.asdict(recipe).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat


def _execute(
    config: Config, dataset: Dataset, run: Path, machine: Machine, world: World
) -> dict[str, Any]:
    print(f"data set   {dataset.describe()}")
    for path in dataset.skipped:
        print(f"skipped    {path}")
    recipe = config.recipe
    epochs = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    print(f"recipe     {recipe.name}: {recipe.model}, {epochs}, seed {config.seed}")
    each = f"{world.size} processes, each on " if world.size > 1 else ""
    print(f"device     {each}{machine.describe()}", flush=True)
    # it speaks of finished runs only
    world.first(functools.partial((run / "metrics.json").unlink, missing_ok=True))
    outcome = train(config, dataset, run, machine, world)
    if config.holdout:
        outcome = _calibrated(outcome)
        world.first(_keep_temperature, run, outcome.trained.temperature)
    world.first(write_tables_and_pictures, config, dataset, outcome, run)
    metrics = measure(config, outcome, machine, world)
    world.first(write_json, run / "metrics.json", metrics)  # last: its presence says all is there
    return metrics


def _calibrated(outcome: Outcome) -> Outcome:
    """The outcome with the temperature that the images held out ask for."""
    evaluation = list(outcome.evaluations.values())[-1]
    temperature = fit_temperature(evaluation.logits, evaluation.labels)
    trained = dataclasses.replace(outcome.trained, temperature=temperature)
    return dataclasses.replace(outcome, trained=trained)


def _keep_temperature(run: Path, temperature: float) -> None:
    """Write it into the weights files."""
    for name in "best.safetensors", "last.safetensors":
        trained = load_trained(run / name)
        save_weights(run / name, dataclasses.replace(trained, temperature=temperature))


def measure(config: Config, outcome: Outcome, machine: Machine, world: World) -> dict[str, Any]:
    """The run's record; the fields of `results/summary.json`, with those of each split."""
    record: dict[str, Any] = {
        "recipe": config.recipe.name,
        "model": config.recipe.model,
        "seed": config.seed,
        "epochs": len(outcome.history),
    }
    for name, evaluation in outcome.evaluations.items():
        record[f"{name}_loss"] = evaluation.loss
        record[f"{name}_accuracy"] = evaluation.accuracy
        record[f"{name}_mean_class_accuracy"] = evaluation.mean_class_accuracy
    return record | calibration(
        evaluation.logits, evaluation.labels, outcome.trained.temperature
    ) | {
        "seconds": round(outcome.seconds, 1),
        "device": f"{world.size} × {machine.name}" if world.size > 1 else machine.name,
        "precision": machine.precision,
        "torch": torch.__version__,
        "commit": outcome.trained.commit,
        "command": command_of(config),
    }


def read_metrics(run: Path | str) -> dict[str, Any]:
    """metrics.json of a finished run. Raises UserError when the run has not finished."""
    path = Path(run) / "metrics.json"
    if not path.exists():
        raise UserError(f"{run} holds no metrics.json; `convlens train --resume {run}` finishes it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(
            f"{path} is damaged; `convlens train --resume {run}` writes it anew"
        ) from None


def write_tables_and_pictures(
    config: Config, dataset: Dataset, outcome: Outcome, run: Path
) -> None:
    """Everything in a run folder that is drawn or tabulated from the finished network."""
    splits = monitored_splits(config, dataset)
    monitored, evaluation = list(outcome.evaluations.items())[-1]
    classes = dataset.classes
    write_history(run, outcome.history)  # again, should the file have been damaged meanwhile
    curves = figures.learning_curves(read_history(run), monitored=monitored)
    figures.save(curves, run / "curves.png")
    trained = outcome.trained
    images = splits[monitored].images
    write_evaluation(evaluation, images, classes, run, trained.temperature)
    batches = Batches(splits["train"], len(classes), config.recipe.batch_size, config.seed)
    images, targets = augment(
        next(batches.epoch(0)),
        config.recipe.augment,
        trained.mean,
        trained.std,
        train_size(config.recipe, 0),
    )
    picture = figures.batch(
        images[:32].numpy(),
        targets[:32].numpy(),
        trained.mean.numpy(),
        trained.std.numpy(),
        classes,
    )
    figures.save(picture, run / "batch.png")


def write_evaluation(
    evaluation: Evaluation,
    images: np.ndarray,
    classes: tuple[str, ...],
    folder: Path,
    temperature: float = 1.0,
) -> None:
    """confusion.csv and .png, per_class.csv, reliability.png and worst.png of an evaluated split.

    temperature: of the probabilities in the last two.
    """
    with replacing(folder / "confusion.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *classes])
        for name, row in zip(classes, evaluation.confusion, strict=True):
            writer.writerow([name, *row])
    counts = evaluation.confusion.sum(axis=1)
    with replacing(folder / "per_class.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "images", "accuracy"])
        writer.writerows(zip(classes, counts, evaluation.class_accuracy, strict=True))
    figures.save(figures.confusion(evaluation.confusion, classes), folder / "confusion.png")
    figures.save(
        figures.per_class(evaluation.class_accuracy, counts, classes), folder / "per_class.png"
    )
    seen = reliability(evaluation.logits, evaluation.labels, temperature)
    drawn = figures.reliability(seen.confidence, seen.accuracy, seen.count, seen.error)
    figures.save(drawn, folder / "reliability.png")
    wrong = np.flatnonzero(evaluation.predicted != evaluation.labels)
    order = wrong[np.argsort(-evaluation.losses[wrong], kind="stable")][:24]
    figures.save(
        figures.worst(
            np.asarray(images[order]),
            evaluation.labels[order],
            evaluation.predicted[order],
            evaluation.probabilities(temperature)[order, evaluation.predicted[order]],
            classes,
        ),
        folder / "worst.png",
    )
