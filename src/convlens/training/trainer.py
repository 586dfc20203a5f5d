"""The training loop: from batches to a trained network, an epoch at a time."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens import formats
from convlens.data import Dataset
from convlens.data.augment import augment
from convlens.data.batches import Batches, mix_seed
from convlens.data.normalize import Normalize
from convlens.data.tools.near_duplicates.leak import InTrain
from convlens.errors import UserError
from convlens.inference.classifier import Classifier, Origin
from convlens.inference.metrics import Evaluation
from convlens.models.memory import channels_last
from convlens.recipes import Recipe
from convlens.training.autotune import apply_plan
from convlens.training.callbacks import Callback, Callbacks, EpochStats
from convlens.training.config import RunConfig
from convlens.training.criterion import Criterion, Teachers, load_teachers
from convlens.training.device import Machine
from convlens.training.distributed import ALONE, World
from convlens.training.ema import ModelEma
from convlens.training.epochs import best_epoch, check_finite, diverged, is_kept
from convlens.training.initialization import initialize, whiten
from convlens.training.optim import highest_rate, make_optimizers
from convlens.training.pace import Pace, read_change
from convlens.training.pretrain import pretrain
from convlens.training.pretrained import freeze, keep_frozen, read_weights
from convlens.training.progress import Progress
from convlens.training.run_folder import RunFolder, is_finite
from convlens.training.splits import Monitored, monitored_splits
from convlens.training.step import TrainState, train_step
from convlens.training.threads import Threads
from convlens.version import source_commit

logger = logging.getLogger(__name__)

# What a run that goes on reads of the epochs that have been.
_COLUMNS = ("epoch", "train_loss", "train_accuracy", "seconds")


class Trainer:
    """Trains a recipe's network on a data set.

    Every process of `world` makes one, with the same arguments; each takes its share of every
    batch. `batch_size` is that of all processes together.

    Args:
        config: What decides the run, resolved.
        dataset: Decoded to the recipe's `loaded_size`.
        machine: What to compute with.
        world: The processes that train together.

    Raises:
        UserError: for a batch too small to be shared out, and a teacher of other classes.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, machine: Machine, world: World = ALONE):
        self.config, self.dataset, self.machine, self.world = config, dataset, machine, world
        loaded = monitored_splits(config, dataset)
        self.splits = loaded.center_crop(self.recipe.size)
        # A hold-out is for choosing, and test/ is never chosen on.
        test = None if config.has_holdout else dataset.test
        self.test = test and test.center_crop(self.recipe.size)
        normalize = (
            Normalize(config.weights_mean, config.weights_std)
            if config.weights_mean  # so that the layers that it begins with mean what they meant
            else Normalize.of(loaded.train.images, self.recipe.channels)
        )
        self.normalize = normalize.to(machine.device)
        self.batches = Batches(  # of whole images, of which augmentation takes its own part
            loaded.train,
            dataset.num_classes,
            self.recipe.batch_size,
            config.seed,
            world.rank,
            world.size,
        )
        if self.batches.size < 2 * world.size:
            raise UserError(
                f"a batch of {self.batches.size} images is too small for {world.size} "
                f"process{'es' if world.size > 1 else ''}; give each at least 2 with `batch_size`"
                + (", or start fewer" if world.size > 1 else ""),
                option="batch_size",
            )
        if self.batches.size // world.size < len(config.teachers):
            raise UserError(
                f"a batch of {self.batches.size} images is too small for {len(config.teachers)} "
                f"teachers in {world.size} process{'es' if world.size > 1 else ''}; give each "
                "teacher one at least with `batch_size`",
                option=("batch_size", "teachers"),
            )
        # by split, which of its images have one in train; a plan looks for them first
        self.near_duplicates: dict[str, InTrain] = {}
        seen = self.recipe.channels, self.recipe.sizes_at_any_length
        self.teachers = load_teachers(config.teachers, dataset.classes, *seen)
        # when the run began, by time.perf_counter, as if it had never been cut
        self.began = time.perf_counter()

    @property
    def judged(self) -> list[Monitored]:
        """What the finished network is judged by: the monitored split, then test/ if it counts."""
        if self.test is None:
            return [self.splits]
        return [self.splits, Monitored(self.splits.train, self.test, "test")]

    @property
    def recipe(self) -> Recipe:
        """What is trained, and how."""
        return self.config.recipe

    def untrained(self) -> TrainState:
        """The state with random weights, whatever the run begins with."""
        return self._state(self._build())

    def start(self) -> TrainState:
        """The state before the first step; pretrained, or with the weights that the run begins
        with, if it asks for that. Raises UserError where these cannot be read any more."""
        model = self._build()
        if self.config.weights is not None:
            self._begin_with_weights(model)
            return self._state(model)
        if self.recipe.whitening:
            whiten(model, self.splits.train.images, self.normalize)
        if self.recipe.pretraining:
            pretrain(model, self.recipe, self.normalize, self.batches, self.machine, self.world)
        return self._state(model)

    def restore(self, saved: dict[str, Any]) -> TrainState:
        """The state after the last whole epoch.

        Raises AttributeError, LookupError, RuntimeError, TypeError or ValueError where `saved` is
        damaged or of another network.
        """
        state = self._state(self._build())
        history = [formats.read_epoch(row, self.splits.name) for row in saved["history"]]
        for row in history:
            if missing := {*_COLUMNS, f"{self.splits.name}_accuracy"} - row.keys():
                raise ValueError(f"an epoch without {min(missing)}")
            if not is_finite(row):
                raise ValueError("an epoch that diverged")
        state.pace = self.pace_at(len(history))
        state.load_state_dict({**saved, "history": history})
        return state

    def fit(
        self,
        state: TrainState,
        folder: RunFolder | None = None,
        on_epoch: Callable[[EpochStats], None] | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> TrainState:
        """Train from `state` to the recipe's last epoch, or to where a callback stops it; returns
        the state, changed.

        After every epoch `folder` holds the weights, the history and the full state, each replaced
        atomically. On the CPU in fp32, with the same number of threads, a run stopped and continued
        ends bit-identical to one that was not: all that is random in an epoch depends on the seed
        and the epoch alone.

        Args:
            state: From `start` or `restore`.
            folder: Where an epoch is kept; None keeps nothing.
            on_epoch: Is shown each epoch once it is kept; what it raises ends the run.
            callbacks: Are told when training begins and of each step and epoch. That all is over
                (`end`, `close`) is for the caller to tell.

        Raises:
            Diverged: when a loss or a weight is not finite; the epoch before it is kept.
        """
        batches, classifier = self.batches, self.classifier(state)
        alone_on_cpu = self.machine.device.type == "cpu" and self.world.size == 1
        threads = Threads(self.config.threads, adapts=alone_on_cpu)
        watching = Callbacks([threads, *Callbacks(callbacks, on_epoch).all])
        watching.begin(self, state, folder)
        epoch = state.epoch
        with threads, Progress(self.world, batches.size) as progress:
            while epoch < (pace := self.pace_at(epoch)).epochs:
                state.pace = progress.pace = pace
                started = time.perf_counter()
                train_seconds, data_seconds = self._train_epoch(epoch, state, progress, watching)
                self.world.average_buffers(state.model)
                self.world.average_buffers(state.ema.module)
                seen = self.world.evaluate(classifier, self.splits.monitored)
                name = self.splits.name
                row = {
                    "epoch": epoch + 1,
                    "learning_rate": highest_rate(state.optimizers),
                    "train_loss": progress.loss,
                    "train_accuracy": progress.accuracy,
                    f"{name}_loss": seen.loss,
                    f"{name}_accuracy": seen.accuracy,
                    f"{name}_mean_class_accuracy": seen.mean_class_accuracy,
                    "images_per_second": pace.steps * batches.size / train_seconds,
                    "seconds": time.perf_counter() - started,
                }
                check_finite(epoch, row, state)
                state.history.append(row)
                if folder is not None:
                    self._keep(folder, state, classifier)
                progress.end_epoch(row, name)
                watching.epoch(state, EpochStats(row, name, train_seconds, data_seconds))
                epoch += 1
                if watching.wants_to_stop(self.world):
                    break
        if folder is not None and self.config.snapshots and state.history:
            folder.save_snapshot(classifier, len(state.history))  # the last, also of a stopped run
        return state

    def pace_at(self, epoch: int) -> Pace:
        """How long the run is, as planned when that epoch, counted from 0, begins."""
        whole = len(self.batches)
        pace = Pace(self.recipe.epochs, min(self.recipe.steps_per_epoch or whole, whole))
        made = [text for text in self.config.replanned if read_change(text)[0] <= epoch]
        return pace.after(made, whole)

    def classifier(self, state: TrainState) -> Classifier:
        """The averaged network with all that is needed to use it; it follows further training."""
        recipe = self.recipe
        return Classifier(
            state.ema.module,
            self.dataset.classes,
            self.normalize,
            size=recipe.size,
            crop_pct=recipe.crop_pct,
            fit=recipe.fit,
            temperature=recipe.temperature,
            origin=Origin(
                recipe.model,
                recipe.network_options,
                recipe.name,
                source_commit(),
                self.config.weights_digest,
            ),
        )

    def evaluate(self, classifier: Classifier) -> dict[str, Evaluation]:
        """What the classifier makes of both splits, by name, train first; of train's images maybe
        some, the same ones for every seed."""
        splits, some = self.splits.named(), self.config.train_sample
        if some is not None and some < len(self.splits.train):
            drawn = np.random.default_rng(0).choice(len(self.splits.train), some, replace=False)
            splits["train"] = self.splits.train.take(np.sort(drawn))
        return {name: self.world.evaluate(classifier, split) for name, split in splits.items()}

    def _build(self) -> nn.Module:
        torch.manual_seed(mix_seed(self.config.seed))
        model = self.recipe.build(self.dataset.num_classes)
        initialize(model, self.recipe.initialization)
        model = channels_last(model.to(self.machine.device))
        apply_plan(model, self.config.convolutions)
        if self.recipe.freeze:
            freeze(model, self.recipe.size)
        return model

    def _begin_with_weights(self, model: nn.Module) -> None:
        found = self.world.first(read_weights, self.config)
        kept = found.load_into(model, self.dataset.classes)
        if self.world.rank == 0:
            logger.info(
                "weights    %s: %s, %s…; its classifier is %s",
                *(found.path, found.network, found.digest[:12], "kept" if kept else "new"),
            )

    def _state(self, model: nn.Module) -> TrainState:
        recipe, device = self.recipe, self.machine.device
        teacher = None
        if self.teachers:
            teacher = Teachers(self.teachers, self.normalize, self.machine.dtype).to(device)
        counts = np.bincount(self.batches.split.labels, minlength=self.dataset.num_classes)
        ema = ModelEma(model, recipe.ema_decay, recipe.swa_fraction)
        return TrainState(
            model=model,
            network=self.world.wrap(model),
            ema=ema,
            optimizers=make_optimizers(model, recipe),
            prepare=lambda batch, size: augment(batch, recipe.augment, self.normalize, size),
            criterion=Criterion(recipe, counts, teacher, device),
            recipe=recipe,
            machine=self.machine,
            world=self.world,
            pace=self.pace_at(0),
        )

    def _train_epoch(
        self, epoch: int, state: TrainState, progress: Progress, watching: Callbacks
    ) -> tuple[float, float]:
        """One pass over the batches; its seconds, and how many of them went to getting batches."""
        # dropout draws from the global generator, differently in every process
        torch.manual_seed(mix_seed(self.batches.seed, epoch) + self.batches.rank)
        device = self.machine.device
        started = time.perf_counter()
        state.network.train()
        if self.recipe.freeze:
            keep_frozen(state.model)
        loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        data_seconds, waiting = 0.0, time.perf_counter()
        for step, batch in enumerate(islice(self.batches.epoch(epoch), state.pace.steps)):
            data_seconds += time.perf_counter() - waiting
            stats = train_step(state, batch)
            data_seconds += stats.data_seconds
            loss_sum += stats.loss / self.world.size
            correct += stats.correct
            watching.step(state, stats)
            progress.step(step, loss_sum, correct)
            if not math.isfinite(progress.loss):
                raise diverged(f"the loss is {progress.loss}", epoch, step)
            waiting = time.perf_counter()
        return time.perf_counter() - started, data_seconds

    def _keep(self, folder: RunFolder, state: TrainState, classifier: Classifier) -> None:
        epoch = len(state.history)
        if self.config.snapshots and is_kept(epoch, state.pace.epochs):
            folder.save_snapshot(classifier, epoch)
        # `validation/` is never chosen on: without a hold-out the best weights are the last.
        best = not self.config.has_holdout or best_epoch(state.history) == epoch
        content = {
            **state.state_dict(),
            "convolutions": self.config.convolutions,
            "elapsed": time.perf_counter() - self.began,
        }
        folder.save_epoch(classifier, state.history, content, best)
