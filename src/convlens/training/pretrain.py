"""Self-supervised pretraining on the training images themselves: which way up is the image?

Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations": to tell
by how many quarter turns an image was rotated, a network must learn what is on it. No labels are
read.
"""

import dataclasses
import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.data.augment import augment
from convlens.data.batches import Batch, Batches, mix_seed
from convlens.data.normalize import Normalize
from convlens.errors import Diverged
from convlens.models.hooks import classifier_of
from convlens.recipes.recipe import Recipe
from convlens.training.device import Machine
from convlens.training.distributed import World
from convlens.training.ema import ModelEma
from convlens.training.optim import make_optimizers
from convlens.training.pace import Pace
from convlens.training.step import TrainState, train_step

logger = logging.getLogger(__name__)

FIRST_EPOCH = 1_000_000  # its batches are in another order than those of training


def pretrain(
    model: nn.Module,
    recipe: Recipe,
    normalize: Normalize,
    batches: Batches,
    machine: Machine,
    world: World,
) -> float:
    """Train `model` in place for `recipe.pretraining` epochs; its classifier stays as it is.

    By the same step as training, with the recipe's optimizer, schedule and augmentation, but for
    mixing images, penalties and averages. Returns the share of images whose rotation was told in
    the last epoch, on augmented batches.

    Raises:
        Diverged: when the loss is not finite.
        UserError: where the model has no linear layer.
    """
    name, classifier = classifier_of(model, recipe.size)
    recipe = dataclasses.replace(
        recipe,
        epochs=recipe.pretraining,
        early_fraction=0.0,
        l1=0.0,
        l2=0.0,
        swa_fraction=0.0,
        augment=dataclasses.replace(recipe.augment, mixup=0.0, cutmix=0.0),
    )
    torch.manual_seed(mix_seed(batches.seed, FIRST_EPOCH))
    model.set_submodule(name, nn.Linear(classifier.in_features, 4).to(machine.device))

    def prepare(batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        return quarter_turns(augment(batch, recipe.augment, normalize, size)[0])

    try:
        state = TrainState(
            model=model,
            network=world.wrap(model).train(),
            ema=ModelEma(model, 0.0),
            optimizers=make_optimizers(model, recipe),
            prepare=prepare,
            criterion=lambda logits, turns, images: F.cross_entropy(logits, turns),
            recipe=recipe,
            machine=machine,
            world=world,
            pace=Pace(recipe.epochs, len(batches)),
        )
        accuracy = 0.0
        for epoch in range(recipe.epochs):
            # on the device, which is not waited for in every step
            sums = torch.zeros(2, device=machine.device, dtype=torch.float64)
            for batch in batches.epoch(FIRST_EPOCH + epoch):
                stats = train_step(state, batch)
                sums += torch.stack([stats.loss / world.size, stats.correct.double()])
            loss_sum, correct = world.sum_(sums).tolist()
            loss, accuracy = loss_sum / len(batches), correct / (len(batches) * batches.size)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} in epoch {epoch + 1} of pretraining: it has diverged; "
                    "lower `learning_rate` and start again",
                    option="learning_rate",
                )
            if world.rank == 0:
                logger.info(
                    "pretraining %d/%d  loss %.3f rotations told %.1f%%",
                    epoch + 1,
                    recipe.epochs,
                    loss,
                    100 * accuracy,
                )
    finally:
        model.set_submodule(name, classifier)
    return accuracy


def quarter_turns(images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, H) → the same images, number i turned by i mod 4 quarters, and the turns, (B,)."""
    turned = images.clone()
    for turns in 1, 2, 3:
        turned[turns::4] = images[turns::4].rot90(turns, (2, 3))
    return turned, torch.arange(len(images), device=images.device) % 4
