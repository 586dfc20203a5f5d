"""One training step, and the state that it changes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convlens.data.batches import Batch
from convlens.recipes.recipe import Recipe
from convlens.training.device import Machine
from convlens.training.distributed import World
from convlens.training.ema import ModelEma
from convlens.training.optim import descend, load_optimizer, penalty
from convlens.training.pace import Pace
from convlens.training.run_folder import Row
from convlens.training.schedule import schedule, set_learning_rate

# From a batch and the side of the images, pixels, to images and targets as a network is given them.
Prepare = Callable[[Batch, int], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of logits, targets, images


@dataclass
class TrainState:
    """Everything that a step reads and changes.

    model: what is trained. network: the same, whose gradients are shared by several processes.
    prepare: augments. criterion: the loss. recipe: schedule, penalties and sizes. machine: device
    and precision. pace: how many steps an epoch has, and epochs the run. step: how many there have
    been. history: a row an epoch.
    """

    model: nn.Module
    network: nn.Module
    ema: ModelEma
    optimizers: list[torch.optim.Optimizer]
    prepare: Prepare
    criterion: Loss
    recipe: Recipe
    machine: Machine
    world: World
    pace: Pace
    step: int = 0
    history: list[Row] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Which epoch the next step belongs to, counted from 0."""
        return self.pace.epoch_of(self.step)

    def size_at(self, epoch: int) -> int:
        """Side of the training images in that epoch of the present plan, pixels."""
        return self.recipe.size_at(self.pace.progress(self.pace.steps_until(epoch)))

    def progress_at(self, part: float) -> float:
        """The share of all steps that will have been after that part of the next one, [0, 1]."""
        return self.pace.progress(self.step + part)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, beside the history."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from where `saved` left off, after its last whole epoch.

        Raises AttributeError, LookupError, RuntimeError, TypeError or ValueError where `saved` is
        not what `state_dict` gave for such a network.
        """
        self.history = list(saved["history"])
        self.step = self.pace.steps_until(len(self.history))
        self.model.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            load_optimizer(optimizer, state)


@dataclass(frozen=True)
class StepStats:
    """What a step found, on the device, for this process' share of the batch.

    loss: of the whole batch times the number of processes, so that the mean over them is the
    batch's, in nats. correct: how many images were told. data_seconds: until the batch was ready.
    """

    loss: Tensor
    correct: Tensor
    data_seconds: float


def train_step(state: TrainState, batch: Batch) -> StepStats:
    """One step: augment, forward pass, loss, backward pass, optimizers, average of the weights."""
    recipe, done = state.recipe, state.progress_at(0)
    started = time.perf_counter()
    images, targets = state.prepare(batch.to(state.machine.device), state.size_at(state.epoch))
    data_seconds = time.perf_counter() - started

    # at the step's middle: at its beginning a warm-up's first step would have the rate 0
    at = min(state.progress_at(0.5), 1 - recipe.swa_fraction)
    set_learning_rate(state.optimizers, schedule(recipe.schedule, at, recipe.warmup))
    with state.machine.autocast():
        logits = state.network(images)
    logits = logits.float()
    loss = state.criterion(logits, targets, images)
    # so that the mean over the processes is the mean over the batch, whatever their shares
    loss = loss * (len(targets) * state.world.size / (batch.whole or len(targets)))
    loss = loss + penalty(state.model, recipe.l1, recipe.l2)
    descend(loss, state.optimizers)
    state.ema.update(done)
    state.step += 1

    wanted = targets if targets.ndim == 1 else targets.argmax(dim=1)
    return StepStats(loss.detach(), (logits.argmax(dim=1) == wanted).sum(), data_seconds)
