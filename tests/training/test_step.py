"""One step equals what anybody would write with torch alone, and everything trains by it."""

import copy
import dataclasses
import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.data.augment import Augment, augment
from convlens.data.batches import Batches
from convlens.data.dataset import Split
from convlens.data.normalize import Normalize
from convlens.models import LeNet5
from convlens.recipes import Recipe
from convlens.training.criterion import Criterion
from convlens.training.device import Machine
from convlens.training.distributed import ALONE
from convlens.training.ema import ModelEma
from convlens.training.optim import make_optimizers
from convlens.training.pace import Pace
from convlens.training.step import TrainState, train_step

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")
NORMALIZE = Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
SPLIT = Split(
    np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8),
    np.arange(24) % 4,
    ("",) * 24,
)


def batches():
    return Batches(SPLIT, 4, 8, seed=0)


def network():
    torch.manual_seed(0)
    return LeNet5(4, size=16)


def state_of(model, recipe, teacher=None) -> TrainState:
    counts = np.bincount(SPLIT.labels)
    return TrainState(
        model=model,
        network=model,
        ema=ModelEma(model, recipe.ema_decay, recipe.swa_fraction),
        optimizers=make_optimizers(model, recipe),
        prepare=lambda batch, size: augment(batch, recipe.augment, NORMALIZE, size),
        criterion=Criterion(recipe, counts, teacher),
        recipe=recipe,
        machine=FP32,
        world=ALONE,
        pace=Pace(recipe.epochs, len(batches())),
    )


def by_hand(model, recipe, batch, step, teacher=None, optimizer=None):
    """The step number `step` of plain torch, on the same augmented batch; its loss."""
    images, targets = augment(batch, recipe.augment, NORMALIZE, 16)
    progress = (step + 0.5) / (recipe.epochs * 3)
    share = {
        "constant": 1.0,
        "cosine": progress / recipe.warmup
        if progress < recipe.warmup
        else (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup))) / 2,
    }[recipe.schedule]
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * share
    optimizer.zero_grad()
    logits = model(images)
    loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    if teacher is not None:
        with torch.no_grad():
            soft = (teacher(images) / 2).softmax(dim=1)
        taught = 4 * F.cross_entropy(logits / 2, soft)
        loss = (1 - recipe.distillation) * loss + recipe.distillation * taught
    for p in model.parameters():
        if p.ndim > 1:
            loss = loss + recipe.l1 * p.abs().sum() + recipe.l2 / 2 * p.square().sum()
    loss.backward()
    optimizer.step()
    return loss.detach()


def plain_optimizer(model, recipe):
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    decay, rate = recipe.weight_decay, recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, recipe.momentum, weight_decay=decay, nesterov=True)
    return torch.optim.AdamW(groups, rate, (recipe.momentum, 0.999), weight_decay=decay)


recipes = st.builds(
    Recipe,
    name=st.just("mine"),
    model=st.just("LeNet5"),
    size=st.just(16),
    train_size=st.just(16),
    early_size=st.just(16),
    epochs=st.integers(2, 5),
    optimizer=st.sampled_from(["sgd", "adamw"]),
    learning_rate=st.floats(1e-4, 1e-2),
    schedule=st.sampled_from(["constant", "cosine"]),
    warmup=st.floats(0.01, 0.5),
    momentum=st.floats(0.1, 0.95),
    weight_decay=st.floats(0, 0.3),
    label_smoothing=st.floats(0, 0.5),
    l1=st.floats(0, 1e-4),
    l2=st.floats(0, 1e-3),
    ema_decay=st.sampled_from([0.0, 0.9]),
    distillation=st.sampled_from([0.0, 0.3, 1.0]),
    augment=st.builds(
        Augment,
        flip=st.just(0.5),
        rotate=st.floats(0, 20),
        color=st.floats(0, 0.3),
        mixup=st.floats(0, 0.5),
        cutmix=st.floats(0, 0.5),
    ),
)


@settings(deadline=None, max_examples=12)
@given(recipe=recipes)
def test_steps_are_those_of_plain_torch(recipe):
    torch.manual_seed(1)
    teacher = LeNet5(4, size=16).eval() if recipe.distillation else None
    mine, theirs = network(), network()
    state, optimizer = state_of(mine, recipe, teacher), plain_optimizer(theirs, recipe)
    average = copy.deepcopy(theirs)
    for step, batch in enumerate(batches().epoch(0)):
        stats = train_step(state, batch)
        loss = by_hand(theirs, recipe, batch, step, teacher, optimizer)
        torch.testing.assert_close(stats.loss, loss, rtol=1e-5, atol=1e-6)
        decay = min(recipe.ema_decay, (2 + step) / (11 + step))
        for kept, p in zip(average.parameters(), theirs.parameters(), strict=True):
            kept.data.copy_(decay * kept + (1 - decay) * p)
    assert state.step == 3 and state.epoch == 1
    for ours, plain in (mine, theirs), (state.ema.module, average):
        for p, q in zip(ours.parameters(), plain.parameters(), strict=True):
            # where a gradient is all but zero, AdamW makes a step of its rounding
            atol = max(2e-6, 2e-3 * recipe.learning_rate)
            torch.testing.assert_close(p, q, rtol=1e-4, atol=atol)


def test_a_plain_step_is_plain_torchs_to_the_last_bit():
    recipe = Recipe("mine", "LeNet5", size=16, train_size=16, early_size=16, schedule="constant")
    mine, theirs = network(), network()
    state, optimizer = state_of(mine, recipe), make_optimizers(theirs, recipe)[0]
    for batch in batches().epoch(0):
        train_step(state, batch)
        images, targets = augment(batch, recipe.augment, NORMALIZE, 16)
        optimizer.zero_grad()
        F.cross_entropy(theirs(images), targets).backward()
        optimizer.step()
    assert all(map(torch.equal, mine.parameters(), theirs.parameters()))


def test_the_figures_of_a_step_are_those_before_it():
    recipe = Recipe("mine", "LeNet5", size=16, train_size=16, early_size=16)
    model = network()
    state, batch = state_of(model, recipe), next(batches().epoch(0))
    images, targets = augment(batch, recipe.augment, NORMALIZE, 16)
    with torch.no_grad():
        logits = model(images)
    stats = train_step(state, batch)
    assert float(stats.loss) == pytest.approx(float(F.cross_entropy(logits, targets)))
    assert int(stats.correct) == int((logits.argmax(1) == targets.argmax(1)).sum())
    assert not stats.loss.requires_grad
    assert stats.data_seconds > 0


def test_the_first_step_of_a_warmup_moves():
    recipe = Recipe("mine", "LeNet5", size=16, train_size=16, early_size=16, warmup=0.5)
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    train_step(state_of(model, recipe), next(batches().epoch(0)))
    assert not all(map(torch.equal, before, model.parameters()))


def test_what_an_early_epoch_sees_is_smaller():
    recipe = Recipe("mine", "ConvNet", size=16, early_size=8, train_size=16, early_fraction=0.5)
    recipe = dataclasses.replace(recipe, epochs=2, learning_rate=0.0, schedule="constant")
    sizes = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 4)

        def forward(self, x):
            sizes.append(x.shape[2])
            return self.head(x.mean(dim=(2, 3)))

    state = state_of(Watching(), recipe)
    sizes.clear()
    for epoch in range(2):
        for batch in batches().epoch(epoch):
            train_step(state, batch)
    assert sizes == [8] * 3 + [16] * 3


def test_there_is_one_step_only():
    """Whoever descends a gradient in the package does it here."""
    from convlens.training import criterion, pretrain, trainer

    for module in criterion, pretrain, trainer:
        source = inspect.getsource(module)
        assert ".backward(" not in source and "descend(" not in source
    assert "train_step(" in inspect.getsource(pretrain)
    assert "train_step(" in inspect.getsource(trainer)
