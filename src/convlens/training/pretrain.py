"""Self-supervised pretraining on the training images themselves: which way up is the image?

Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations": to tell
by how many quarter turns an image was rotated, a network must learn what is on it. No labels are
read.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.data.augment import augment
from convlens.data.batches import Batches, mix_seed
from convlens.errors import Diverged, UserError
from convlens.recipes.recipe import Recipe
from convlens.training.distributed import World
from convlens.training.device import Machine
from convlens.training.optim import descend, make_optimizers, schedule, set_learning_rate

FIRST_EPOCH = 1_000_000  # its batches are in another order than those of training


def pretrain(
    model: nn.Module,
    recipe: Recipe,
    batches: Batches,
    machine: Machine,
    mean: Tensor,
    std: Tensor,
    world: World,
) -> float:
    """Train `model` in place for `recipe.pretraining` epochs; its classifier stays as it is.

    With the recipe's optimizer, schedule and augmentation, but for mixing images. Returns the share
    of images whose rotation was told in the last epoch, on augmented batches. Raises Diverged when
    the loss is not finite, UserError where the model has no linear layer.
    """
    name, classifier = _classifier(model)
    policy = dataclasses.replace(recipe.augment, mixup=0.0, cutmix=0.0)
    mean, std = mean.to(machine.device), std.to(machine.device)
    torch.manual_seed(mix_seed(batches.seed, FIRST_EPOCH))
    model.set_submodule(name, nn.Linear(classifier.in_features, 4).to(machine.device))
    try:
        network = world.wrap(model).train()
        optimizers = make_optimizers(model, recipe)
        steps = recipe.pretraining * len(batches)
        for epoch in range(recipe.pretraining):
            # on the device, which is not waited for in every step
            loss_sum, correct = torch.zeros(2, device=machine.device, dtype=torch.float64)
            for step, batch in enumerate(batches.epoch(FIRST_EPOCH + epoch)):
                done = (epoch * len(batches) + step) / steps
                set_learning_rate(optimizers, schedule(recipe.schedule, done, recipe.warmup))
                images, _ = augment(batch.to(machine.device), policy, mean, std, recipe.train_size)
                images, turns = quarter_turns(images)
                with machine.autocast():
                    logits = network(images)
                loss = F.cross_entropy(logits.float(), turns)
                # so that the mean over the processes is the mean over the batch
                loss = loss * (len(turns) * batches.ranks / batches.size)
                descend(loss, optimizers)
                loss_sum += loss.detach()
                correct += (logits.argmax(dim=1) == turns).float().mean()
            loss, accuracy = float(loss_sum) / len(batches), float(correct) / len(batches)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} in epoch {epoch + 1} of pretraining: it has diverged; "
                    "lower --learning-rate and start again"
                )
            if world.rank == 0:
                print(
                    f"pretraining {epoch + 1}/{recipe.pretraining}  loss {loss:.3f} rotations "
                    f"told {accuracy:.1%}",
                    flush=True,
                )
    finally:
        model.set_submodule(name, classifier)
    return accuracy


def quarter_turns(images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, H) → the same images, number i turned by i mod 4 quarters, and the turns, (B,)."""
    turned = images.clone()
    for turns in 1, 2, 3:
        turned[turns::4] = images[turns::4].rot90(turns, (2, 3))
    return turned, torch.arange(len(images), device=images.device) % 4


def _classifier(model: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer, with its name."""
    linear = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise UserError(f"{type(model).__name__} has no linear layer to pretrain before")
    return linear[-1]
