import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from convlens.data.batches import Batches
from convlens.data.dataset import Split
from convlens.data.normalize import Normalize
from convlens.errors import Diverged, UserError
from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.training import pretrain as pretraining
from convlens.training.device import Machine
from convlens.training.distributed import ALONE
from convlens.training.pretrain import pretrain, quarter_turns

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")
HALF = Normalize([0.5] * 3, [0.25] * 3)


def batches():
    """Images that are bright above and dark below, of one class."""
    random = np.random.default_rng(0)
    slope = np.linspace(255, 0, 16)[:, None, None] * random.uniform(0.5, 1, (96, 1, 1, 1))
    noise = random.integers(0, 40, (96, 16, 16, 3))
    images = (slope + noise).clip(0, 255).astype(np.uint8)
    return Batches(Split(images, np.zeros(96, np.int64), ("",) * 96), 5, 32, seed=0)


def recipe(**changes):
    return dataclasses.replace(
        RECIPES["lenet5plus"](), size=16, train_size=16, pretraining=4, **changes
    )


def network():
    torch.manual_seed(0)
    return LeNet5(5, size=16, padding=2, batch_norm=True)


def test_quarter_turns_are_numpys():
    images = torch.arange(6 * 3 * 4 * 4.0).view(6, 3, 4, 4)
    turned, turns = quarter_turns(images)
    assert turns.tolist() == [0, 1, 2, 3, 0, 1]
    for image, expected, k in zip(turned, images, turns.tolist(), strict=True):
        np.testing.assert_array_equal(image, np.rot90(expected.numpy(), k, (1, 2)))


def test_it_learns_which_way_is_up_and_leaves_the_classifier(told, capsys):
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    accuracy = pretrain(model, recipe(), HALF, batches(), FP32, ALONE)
    assert accuracy > 0.9
    assert capsys.readouterr().out.count("rotations told") == 4
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    for name, p in after.items():
        assert torch.equal(p, before[name]) == name.startswith("fc3"), name


def test_the_seed_decides_it():
    first, again = network(), network()
    for model in first, again:
        pretrain(model, recipe(), HALF, batches(), FP32, ALONE)
    assert torch.equal(first.conv1.weight, again.conv1.weight)


def test_a_loss_that_is_not_finite_and_a_model_without_a_classifier_are_told():
    model = network()
    with pytest.raises(Diverged, match="of pretraining"):
        pretrain(model, recipe(learning_rate=float("inf")), HALF, batches(), FP32, ALONE)
    assert model.fc3.out_features == 5
    with pytest.raises(UserError, match="Sequential has no linear layer"):
        pretrain(nn.Sequential(nn.ReLU()), recipe(), HALF, batches(), FP32, ALONE)


def test_it_takes_the_very_step_of_training(monkeypatch):
    steps = []
    step = pretraining.train_step

    def counted(state, batch):
        steps.append((state.epoch, state.size_at(state.epoch)))
        return step(state, batch)

    monkeypatch.setattr(pretraining, "train_step", counted)
    asked = recipe(early_size=16, early_fraction=0.5)  # which speaks of training's epochs
    pretrain(network(), asked, HALF, batches(), FP32, ALONE)
    assert steps == [(epoch, 16) for epoch in range(4) for _ in range(3)]


class ClassifierFirst(nn.Module):
    """Registers what decides before what is seen first, as a user's module may."""

    def __init__(self):
        super().__init__()
        self.decide = nn.Linear(6, 5)
        self.see = nn.Conv2d(3, 6, 3)

    def forward(self, x):
        return self.decide(self.see(x).relu().mean(dim=(2, 3)))


def test_it_leaves_the_layer_that_decides_wherever_it_is_registered():
    model = ClassifierFirst()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pretrain(model, recipe(), HALF, batches(), FP32, ALONE)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("decide"), name
