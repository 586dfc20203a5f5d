"""A run from its start to its finished folder: what `convlens train` does."""

import csv
import dataclasses
import functools
import json
import math
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from convlens import figures
from convlens.inference.calibration import calibration, fit_temperature, reliability
from convlens.reporting.card import model_card
from convlens.data import open_dataset
from convlens.data.augment import augment
from convlens.data.batches import Batches
from convlens.data.dataset import Dataset, Split
from convlens.data.tools.near_duplicates import leaked
from convlens.errors import UserError
from convlens.inference.metrics import Evaluation, evaluate
from convlens.files import replacing
from convlens.recipes import RECIPES
from convlens.recipes.options import flatten
from convlens.recipes.recipe import Recipe
from convlens.training.run_folder import (
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
from convlens.training.distributed import ALONE, World
from convlens.training.trainer import Config, Outcome, monitored_splits, train, train_size
from convlens.training.device import Machine, choose
from convlens.training.criterion import load_teachers

SUMMARY_FIELDS = (
    "recipe", "model", "seed", "epochs", "train_images", "train_loss", "train_accuracy",
    "validation_loss", "validation_accuracy", "validation_mean_class_accuracy",
    "validation_images", "validation_standard_error", "validation_mean_class_standard_error",
    "validation_duplicates", "validation_accuracy_without_duplicates",
    "validation_mean_class_accuracy_without_duplicates",
    "calibration_error", "calibrated_error", "temperature", "seconds", "device", "precision",
    "torch", "commit", "command",
)  # fmt: skip


# From the least to the most that an option of a recipe may be.
RANGES = {
    **dict.fromkeys(("epochs", "batch_size"), (1, math.inf)),
    **dict.fromkeys(("size", "train_size", "early_size"), (8, math.inf)),
    **dict.fromkeys(("learning_rate", "weight_decay", "l1", "l2"), (0, math.inf)),
    **dict.fromkeys(("warmup", "momentum", "average"), (0, 0.9999)),
    **dict.fromkeys(("early_share", "label_smoothing", "distillation"), (0, 1)),
    "swa": (0, 0.9),
    "balance": (0, 10),
    **dict.fromkeys(("augment.translate", "augment.color"), (0, 1)),
    **dict.fromkeys(("augment.flip", "augment.gray", "augment.erase"), (0, 1)),
    **dict.fromkeys(("augment.mixup", "augment.cutmix"), (0, 1)),
    "augment.trivial": (0, 1),
    "augment.scale": (0, 0.99),
    "augment.aspect": (0, math.inf),
    "augment.rotate": (0, 180),
    "temperature": (0.05, 20),
    "zoom": (1, 2),
    "pretraining": (0, math.inf),
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
    folds: int = 0,
    fold: int = 0,
    images: int = 0,
    teacher: Sequence[Path | str] = (),
    device: str = "auto",
    precision: str = "auto",
    snapshots: bool = False,
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
    if holdout and folds:
        raise UserError("--holdout and --folds do not go together; each holds images out")
    if not (folds >= 2 and 1 <= fold <= folds) and (folds or fold):
        raise UserError(
            f"--fold {fold} of --folds {folds} is out of range; give at least 2 folds and one of "
            "them, counted from 1"
        )
    for option, value in (("seed", seed), ("split-seed", split_seed), ("images", images)):
        if value < 0:
            raise UserError(f"--{option} {value} is negative; give 0 or more")
    if bool(recipe.distillation) != bool(teacher):
        raise UserError("--distillation and --teacher go together; give both or neither")
    if world.first(world.remembers, str(run)):
        return resume(run, data=data, world=world)
    world.first(_check_free, run, overwrite)
    dataset = open_dataset(data, size=recipe.loaded_size, split_seed=split_seed, skip_bad=skip_bad)
    teacher = absolute(teacher)
    load_teachers(teacher, dataset.classes)  # before anything is written
    machine = world.first(choose, device, precision)
    config = Config(
        recipe=recipe,
        data=str(dataset.root),
        digest=dataset.digest,
        seed=seed,
        split_seed=split_seed,
        skip_bad=skip_bad,
        holdout=holdout,
        folds=folds,
        fold=fold,
        images=images,
        teacher=teacher,
        device=str(machine.device),
        precision=machine.precision,
        snapshots=snapshots,
    )
    world.first(_begin, run, config, world)
    return _execute(config, dataset, run, machine, world)


def absolute(paths: Sequence[Path | str]) -> tuple[str, ...]:
    """The paths as a run's configuration keeps them, for it may be resumed from another folder."""
    return tuple(str(Path(path).resolve()) for path in paths)


def start_or_go_on(
    recipe: Recipe, run: Path, *, data: Path | None = None, world: World = ALONE, **options: Any
) -> dict[str, Any]:
    """The metrics of that run in `run`: read when it has finished, else continued, else started.

    options: as `start` takes them. Raises UserError when `run` holds one of other settings.
    """
    if not world.first((run / "state.pt").exists):
        return start(recipe, run, data=data, overwrite=True, world=world, **options)
    config = world.first(read_config, run)
    settings = ("seed", "split_seed", "holdout", "folds", "fold", "images", "teacher")
    asked = {name: value for name, value in options.items() if name in settings}
    if "teacher" in asked:
        asked["teacher"] = absolute(asked["teacher"])
    found = {name: getattr(config, name) for name in asked}
    if (config.recipe, found) != (recipe, asked):
        raise UserError(
            f"{run} was trained with other settings than those asked for now; remove it or name "
            "another folder"
        )
    if world.first((run / "metrics.json").exists):
        return world.first(read_metrics, run)
    return resume(run, data=data, world=world)


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
    shutil.rmtree(run / "snapshots", ignore_errors=True)
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
        size=config.recipe.loaded_size,
        split_seed=config.split_seed,
        skip_bad=config.skip_bad,
    )
    world.first(_check_resumable, run, config, dataset)
    config = dataclasses.replace(config, data=str(dataset.root), digest=dataset.digest)
    machine = world.first(choose, config.device, config.precision)
    world.first(write_yaml, run / "config.yaml", config.as_dict())
    return _execute(config, dataset, run, machine, world)


def _check_resumable(run: Path, config: Config, dataset: Dataset) -> None:
    """Raise UserError when the run was on another data set than this one."""
    if (run / "last.safetensors").exists():
        check_classes(load_trained(run / "last.safetensors"), run, dataset)
    if config.digest not in ("", dataset.digest):  # runs of version 0.1 have none
        raise UserError(
            f"{dataset.root} does not hold the files that {run} has been trained on; give that "
            "data set with --data, or start a new run"
        )


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
    """The data set, as the network is given it and `open_as` finds it.

    Raises UserError when its classes are not the network's.
    """
    dataset = open_as(run, data, trained.loaded_size)
    check_classes(trained, run, dataset)
    return dataset.center(trained.size)


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


def check_classes(trained: Trained, run: Path, dataset: Dataset) -> None:
    """Raise UserError when the data set's classes are not those of the network of `run`."""
    if dataset.classes != trained.classes:
        raise UserError(
            f"{run} knows {len(trained.classes)} classes and {dataset.root} has "
            f"{dataset.num_classes}, not the same ones; give the data set it was trained on with "
            "--data"
        )


def check(recipe: Recipe) -> None:
    """Raise UserError for a recipe whose numbers make no sense."""
    flat = flatten(recipe)
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
    plain = flatten(RECIPES[recipe.name]()) if recipe.name in RECIPES else {}
    for option, value in flatten(recipe).items():
        if option == "name" or plain.get(option) == value:
            continue
        if isinstance(value, bool):  # a flag, called no-… where it is on by default
            group, _, flag = option.rpartition(".")
            parts.append(_option(f"{group}.{flag}" if value else f"{group}.no-{flag}"))
        else:
            parts += [_option(option), str(value)]
    if config.holdout:
        parts += ["--holdout", str(config.holdout)]
    if config.fold:
        parts += ["--folds", str(config.folds), "--fold", str(config.fold)]
    if config.images:
        parts += ["--images", str(config.images)]
    if config.teacher:
        parts += ["--teacher", *config.teacher]
    if config.split_seed:
        parts += ["--split-seed", str(config.split_seed)]
    if config.skip_bad:
        parts.append("--skip-bad")
    if config.snapshots:
        parts.append("--snapshots")
    return shlex.join([*parts, "--seed", str(config.seed)])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


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
    if config.holdout or config.fold:
        outcome = _calibrated(outcome)
        world.first(_keep_temperature, run, outcome.trained.temperature)
    world.first(write_tables_and_pictures, config, dataset, outcome, run)
    doubles = world.first(find_doubles, dataset, *monitored_splits(config, dataset).values())
    metrics = measure(config, outcome, doubles, machine, world)
    world.first(write_card, run, metrics)
    world.first(write_json, run / "metrics.json", metrics)  # last: its presence says all is there
    return metrics


# Pairs of images compared for near duplicates after training. The time grows with their number:
# Caltech-101 has 7 million. Of larger data sets `evaluate --without-duplicates` tells on demand.
MOST_PAIRS = 50_000_000


def find_doubles(dataset: Dataset, training: Split, monitored: Split) -> np.ndarray | None:
    """As `leaked`; None where there are too many images to compare."""
    if len(training) * len(monitored) > MOST_PAIRS:
        return None
    return leaked(dataset.root, training, monitored)


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


def measure(
    config: Config, outcome: Outcome, doubles: np.ndarray | None, machine: Machine, world: World
) -> dict[str, Any]:
    """The run's record; the fields of `results/summary.json`, with those of each split.

    doubles: bool, (N,), which of the N monitored images have a near duplicate among those trained
    on; None where that is not known.
    """
    record: dict[str, Any] = {
        "recipe": config.recipe.name,
        "model": config.recipe.model,
        "seed": config.seed,
        "epochs": len(outcome.history),
        "train_images": len(outcome.evaluations["train"].labels),
    }
    for name, evaluation in outcome.evaluations.items():
        record[f"{name}_loss"] = evaluation.loss
        record[f"{name}_accuracy"] = evaluation.accuracy
        record[f"{name}_mean_class_accuracy"] = evaluation.mean_class_accuracy
    return record | doubts(name, evaluation, doubles, outcome.trained.temperature) | {
        "seconds": round(outcome.seconds, 1),
        "device": f"{world.size} × {machine.name}" if world.size > 1 else machine.name,
        "precision": machine.precision,
        "torch": torch.__version__,
        "commit": outcome.trained.commit,
        "command": command_of(config),
    }


def doubts(
    split: str, evaluation: Evaluation, doubles: np.ndarray | None, temperature: float
) -> dict[str, Any]:
    """How far a split's figures can be trusted: their noise, the leak and the calibration.

    doubles: as `measure` has it.
    """
    rest = None if doubles is None or doubles.all() else evaluation.take(~doubles)
    return {
        f"{split}_images": len(evaluation.labels),
        f"{split}_standard_error": evaluation.standard_error,
        f"{split}_mean_class_standard_error": evaluation.mean_class_standard_error,
        f"{split}_duplicates": None if doubles is None else int(doubles.sum()),
        f"{split}_accuracy_without_duplicates": rest and rest.accuracy,
        f"{split}_mean_class_accuracy_without_duplicates": rest and rest.mean_class_accuracy,
        **calibration(evaluation.logits, evaluation.labels, temperature),
    }


def write_card(run: Path, metrics: dict[str, Any]) -> None:
    """Write MODEL_CARD.md, atomically; everything else but metrics.json is in the run folder."""
    config, trained = read_config(run), load_trained(run)
    with replacing(run / "MODEL_CARD.md") as temporary:
        text = model_card([metrics], trained, config, read_confusion(run))
        temporary.write_text(text, encoding="utf-8")


def complete(run: Path, data: Path | str | None = None) -> dict[str, Any]:
    """The metrics of a finished run, with all fields; those that an older version did not measure
    are measured now, on the weights that the run has left.

    Raises UserError when these are not as accurate on the data set as the run had found.
    """
    metrics = read_metrics(run)
    config, trained = read_config(run), load_trained(run / "last.safetensors")
    if set(SUMMARY_FIELDS) <= metrics.keys():
        return metrics
    dataset = open_for(trained, run, data)
    train_split, monitored = monitored_splits(config, dataset).values()
    name = "holdout" if config.holdout or config.fold else "validation"
    print(f"measuring  {run} once more, for what it was not asked then", flush=True)
    seen = evaluate(trained.model, monitored, trained.mean, trained.std)
    if abs(seen.accuracy - metrics[f"{name}_accuracy"]) > 0.01:
        raise UserError(
            f"{run} found {metrics[f'{name}_accuracy']:.1%} right and its weights now find "
            f"{seen.accuracy:.1%}; give the data set it was trained on with --data"
        )
    doubles = find_doubles(dataset, train_split, monitored)
    found = {"train_images": len(train_split)}
    found |= doubts(name, seen, doubles, trained.temperature)
    metrics |= {key: value for key, value in found.items() if key not in metrics}
    write_evaluation(seen, monitored.images, dataset.classes, run, trained.temperature)
    write_card(run, metrics)
    write_json(run / "metrics.json", metrics)
    return metrics


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


def read_confusion(run: Path | str) -> np.ndarray:
    """confusion.csv, int64, shape (C, C), rows true."""
    with open(Path(run) / "confusion.csv", newline="") as file:
        return np.array([[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]])


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
    images = splits[monitored].center(trained.size).images
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
