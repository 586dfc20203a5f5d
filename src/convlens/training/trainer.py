"""The one training loop: from batches to a run folder, an epoch at a time."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.augment import Augment, augment
from convlens.data.batches import Batches, mix_seed
from convlens.data.dataset import Dataset, Split
from convlens.data.readahead import will_need
from convlens.data.split import folds, split_per_class
from convlens.errors import Diverged, UserError
from convlens.inference.metrics import Evaluation
from convlens.recipes.recipe import Recipe
from convlens.training.autotune import Plan, apply_plan, choose_algorithms
from convlens.training.run_folder import (
    Trained,
    build,
    load_state,
    save_snapshot,
    save_state,
    save_weights,
    source_commit,
    write_history,
)
from convlens.training.distributed import ALONE, World
from convlens.training.device import Machine
from convlens.training.criterion import Objective, load_teachers, make_teacher
from convlens.training.optim import (
    Average,
    descend,
    initialize,
    make_optimizers,
    penalty,
    schedule,
    set_learning_rate,
)
from convlens.training.pretrain import pretrain
from convlens.training.progress import Progress


@dataclass(frozen=True)
class Config:
    """Everything that decides a run; `config.yaml` holds it.

    data, digest: root of the data set, and what it is known by should it move.
    split_seed: of a data set that is not split. skip_bad: leave out unreadable images.
    holdout: share of each class of `train/` held out of training and monitored in the place of
    `validation/`, which is then not read at all.
    folds, fold: of cross-validation inside `train/`: of so many parts the one, counted from 1, that
    is held out; 0 means none.
    images: train on about this many images only, the same share of each class; 0 means all.
    teacher: runs whose mean probabilities `recipe.distillation` has the network learn.
    device, precision: as resolved. snapshots: keep the weights after the epochs of `is_kept`.
    """

    recipe: Recipe
    data: str
    digest: str = ""
    seed: int = 0
    split_seed: int = 0
    skip_bad: bool = False
    holdout: float = 0.0
    folds: int = 0
    fold: int = 0
    images: int = 0
    teacher: tuple[str, ...] = ()
    device: str = "cpu"
    precision: str = "fp32"
    snapshots: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `as_dict`. Raises TypeError for fields that are unknown."""
        recipe = dict(values["recipe"])
        recipe["augment"] = Augment(**recipe["augment"])
        values = {**values, "teacher": tuple(values.get("teacher", ()))}
        return cls(**{**values, "recipe": Recipe(**recipe)})


@dataclass(frozen=True)
class Outcome:
    """A finished run: the network, and what it makes of each split (by name)."""

    trained: Trained
    evaluations: dict[str, Evaluation]
    history: list[dict[str, float]]
    seconds: float


def train(
    config: Config,
    dataset: Dataset,
    run: Path,
    machine: Machine,
    world: World = ALONE,
    watch: Callable[[dict[str, float]], None] = lambda row: None,
) -> Outcome:
    """Train `config.recipe` on `dataset`, from the state in `run` if there is one.

    After every epoch `run` holds the weights, the history and the full state, each replaced
    atomically. On the CPU in fp32 a run stopped and continued ends bit-identical to one that was
    not: all that is random in an epoch depends on the seed and the epoch alone.

    Every process of `world` calls this with the same arguments and gets the same outcome; the first
    alone touches `run`. `batch_size` is that of all processes together.

    watch: is shown each epoch's row of history.csv once it is saved; what it raises ends the run.

    Raises Diverged, a UserError, when the loss is not finite; the state of the epoch before is
    kept.
    """
    recipe, seed = config.recipe, config.seed
    splits = monitored_splits(config, dataset)
    (_, training), (monitored_name, _) = splits.items()
    splits = {name: split.center(recipe.size) for name, split in splits.items()}
    monitored = splits[monitored_name]
    mean, std = channel_statistics(training.images)

    torch.manual_seed(mix_seed(seed))
    model = build(recipe.model, recipe.model_options, dataset.num_classes, recipe.size)
    initialize(model, recipe.initialization)
    model.to(machine.device, memory_format=torch.channels_last)
    state = world.first(load_state, run)
    # A resumed run keeps its plan: another algorithm rounds otherwise.
    share = recipe.batch_size // world.size
    sizes = {train_size(recipe, epoch) for epoch in range(recipe.epochs)}
    plan = state["plan"] if state else world.first(choose_algorithms, model, share, sizes, machine)
    apply_plan(model, plan)
    batches = Batches(
        training, dataset.num_classes, recipe.batch_size, seed, world.rank, world.size
    )
    if batches.size < 2 * world.size:
        raise UserError(
            f"a batch of {batches.size} images is too small for {world.size} processes; give each "
            "at least 2 with --batch-size, or start fewer"
        )
    if recipe.pretraining and not state:
        pretrain(model, recipe, batches, machine, mean, std, world)
    average = Average(model, recipe.average, recipe.swa)
    teachers = load_teachers(config.teacher, dataset.classes)
    teacher = make_teacher(teachers, mean, std, machine.dtype)
    counts = np.bincount(training.labels, minlength=dataset.num_classes)
    objective = Objective(
        recipe, counts, teacher and teacher.to(machine.device), machine.device
    )
    optimizers = make_optimizers(model, recipe)
    trained = Trained(
        model=average.model,
        network=recipe.model,
        options=recipe.model_options,
        classes=dataset.classes,
        size=recipe.size,
        mean=mean,
        std=std,
        recipe=recipe.name,
        commit=source_commit(),
        temperature=recipe.temperature,
        zoom=recipe.zoom,
    )
    history: list[dict[str, float]] = []
    if state:
        history = state["history"]
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    network = world.wrap(model)
    progress = Progress(recipe.epochs, len(batches), batches.size, world)
    with progress:
        for epoch in range(len(history), recipe.epochs):
            start = time.perf_counter()
            train_loss, train_accuracy = _train_epoch(
                epoch, network, average, optimizers, batches, recipe, objective, machine, mean, std,
                progress,
            )  # fmt: skip
            trained_for = time.perf_counter() - start
            world.average_buffers(model)
            world.average_buffers(average.model)
            seen = world.evaluate(
                average.model, monitored, dataset.num_classes, mean, std, device=machine.device
            )
            history.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": optimizers[0].param_groups[0]["lr"],
                    "train_loss": train_loss,
                    "train_accuracy": train_accuracy,
                    "validation_loss": seen.loss,
                    "validation_accuracy": seen.accuracy,
                    "validation_mean_class_accuracy": seen.mean_class_accuracy,
                    "images_per_second": len(batches) * batches.size / trained_for,
                    "seconds": time.perf_counter() - start,
                }
            )
            if config.snapshots and is_kept(epoch + 1, recipe.epochs):
                world.first(save_snapshot, run, trained, epoch + 1)
            world.first(
                _save, run, trained, history, model, average, optimizers, plan, bool(config.holdout)
            )
            progress.end_epoch(history[-1], monitored_name)
            watch(history[-1])
    evaluations = {
        name: world.evaluate(
            average.model, split, dataset.num_classes, mean, std, device=machine.device
        )
        for name, split in splits.items()
    }
    return Outcome(trained, evaluations, history, sum(row["seconds"] for row in history))


def is_kept(epoch: int, last: int) -> bool:
    """Whether a snapshot is taken after that epoch: 1, 2, 5, 10, 20, 40, 80, … and the last.

    Features change fast at first and slowly later (Zeiler and Fergus 2014, fig. 4).
    """
    tens = epoch // 10
    doubled = epoch % 10 == 0 and tens & (tens - 1) == 0
    return doubled or epoch in (1, 2, 5, last)


def monitored_splits(config: Config, dataset: Dataset) -> dict[str, Split]:
    """What is trained on and what is watched: train and validation, or train and hold-out."""
    training, name, monitored = dataset.train, "validation", dataset.validation
    if config.holdout:
        # The same for every seed and recipe, so that runs can be compared on it.
        kept, held_out = split_per_class(training.labels, 1 - config.holdout, seed=0)
        name, monitored = "holdout", training.take(held_out)
        training = training.take(kept)
    if config.fold:
        kept, held_out = folds(training.labels, config.folds, seed=0)[config.fold - 1]
        name, monitored = "holdout", training.take(held_out)
        training = training.take(kept)
    if config.images and config.images < len(training):
        some, _ = split_per_class(training.labels, config.images / len(training), seed=0)
        training = training.take(some)
    return {"train": training, name: monitored}


def channel_statistics(images: np.ndarray, at_most: int = 20_000) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each color, in 0..1, two float32 tensors of shape (3,).

    images: uint8, (N, H, W, 3). Beyond `at_most` images an even sample of them is read.
    """
    step = math.ceil(len(images) / at_most)
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for start in range(0, len(images), 1024 * step):
        will_need(images, np.arange(start, min(start + 1024 * step, len(images)), step))
        chunk = np.asarray(images[start : start + 1024 * step : step]).reshape(-1, 3)
        # a histogram of the 256 values is exact, and faster than arithmetic on every pixel
        for channel in range(3):
            bins = np.bincount(chunk[:, channel], minlength=256)
            total[channel] += bins @ np.arange(256)
            squares[channel] += bins @ np.arange(256) ** 2
        count += len(chunk)
    mean = total / count / 255
    variance = squares / count / 255**2 - mean**2
    # A data set of one color has no spread; 1/255 keeps the division defined.
    std = np.sqrt(np.maximum(variance, 1 / 255**2))
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def _train_epoch(
    epoch: int,
    model: nn.Module,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    batches: Batches,
    recipe: Recipe,
    objective: Objective,
    machine: Machine,
    mean: Tensor,
    std: Tensor,
    progress: Progress,
) -> tuple[float, float]:
    """One pass over the batches; mean loss (nats, as minimized) and accuracy on them."""
    # dropout draws from the global generator, differently in every process
    torch.manual_seed(mix_seed(batches.seed, epoch) + batches.rank)
    device = machine.device
    mean, std = mean.to(device), std.to(device)
    model.train()
    size = train_size(recipe, epoch)
    loss_sum = torch.zeros((), device=device, dtype=torch.float64)
    correct = torch.zeros((), device=device, dtype=torch.int64)
    for step, batch in enumerate(batches.epoch(epoch)):
        done = (epoch * len(batches) + step) / (recipe.epochs * len(batches))
        at = min(done, 1 - recipe.swa)
        set_learning_rate(optimizers, schedule(recipe.schedule, at, recipe.warmup))
        images, targets = augment(batch.to(device), recipe.augment, mean, std, size)
        with machine.autocast():
            logits = model(images)
        logits = logits.float()
        loss = objective(logits, targets, images)
        # so that the mean over the processes is the mean over the batch, whatever their shares
        loss = loss * (len(targets) * batches.ranks / batches.size)
        loss = loss + penalty(model, recipe.l1, recipe.l2)
        descend(loss, optimizers)
        average.update(done)
        loss_sum += loss.detach() / batches.ranks
        correct += (logits.argmax(dim=1) == targets.argmax(dim=1)).sum()
        progress.step(step, loss_sum, correct)
        if not math.isfinite(progress.loss):
            raise Diverged(
                f"the loss is {progress.loss} in epoch {epoch + 1}, step {step + 1}: training has "
                "diverged; lower --learning-rate and start again (the run folder keeps the last "
                "good epoch)"
            )
    return progress.loss, progress.accuracy


def train_size(recipe: Recipe, epoch: int) -> int:
    """Side of the training images in that epoch, pixels."""
    early = epoch < recipe.early_share * recipe.epochs
    return recipe.early_size if early else recipe.train_size


def _save(
    run: Path,
    trained: Trained,
    history: list[dict[str, float]],
    model: nn.Module,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    plan: Plan,
    choose_best: bool,
) -> None:
    """Write what an epoch leaves; the state last, because resuming trusts it alone."""
    save_weights(run / "last.safetensors", trained)
    # `validation/` is never chosen on: without a hold-out the best weights are the last.
    best = max(row["validation_accuracy"] for row in history)
    if not choose_best or history[-1]["validation_accuracy"] == best:
        save_weights(run / "best.safetensors", trained)
    write_history(run, history)
    save_state(
        run,
        {
            "history": history,
            "model": model.state_dict(),
            "average": average.state_dict(),
            "plan": plan,
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        },
    )
