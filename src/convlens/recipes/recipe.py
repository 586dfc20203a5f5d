"""What a recipe is: a model and everything needed to train it to one stated result."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import nn

from convlens.data.augment import Augment
from convlens.data.dataset import loaded_size
from convlens.data.decode import Fit
from convlens.errors import UserError
from convlens.fields import Bounds, check_bounds
from convlens.models import adapted, build
from convlens.models.lenet5 import TooSmall

Fraction = Annotated[float, Bounds(0, 1)]
Side = Annotated[int, Bounds(8, 1024)]


@dataclass(frozen=True)
class Recipe:
    """A model plus everything needed to train it; a variant is `dataclasses.replace`."""

    name: Annotated[str, tyro.conf.Suppress]
    """The recipe's name, as `convlens train NAME` takes it."""
    model: Annotated[Literal["LeNet5", "ConvNet", "ResNet18"], tyro.conf.Suppress]
    """The network's class in convlens.models."""
    model_options: Annotated[dict[str, Any], tyro.conf.UsePythonSyntaxForLiteralCollections] = (
        field(default_factory=dict)
    )
    """Keyword arguments of the network's constructor, for instance dropout and batch norm."""
    size: Side = 64
    """Side of the images the network is made for, pixels, up to 224; work and memory grow with
    their number of pixels. Above 112, ConvNet halves them once more than below."""
    crop_pct: Annotated[float, Bounds(0.5, 1)] = 1.0
    """Share of a loaded image's side that the network is given, of its middle; images are loaded
    so much larger than `size`. A network trained on crops, which magnify, should be evaluated at
    their magnification (Touvron et al. 2019, "Fixing the train-test resolution discrepancy")."""
    fit: Fit = "squash"
    """What becomes of an image that is not square: squashed, cut to its middle square, or padded
    with gray to a square."""
    channels: Literal[1, 3] = 3
    """Of the images that the network is given: 3 colors, or 1 for gray."""
    train_size: Side | None = None
    """Side of the augmented images it is trained on, pixels; by default as `size`. Smaller is
    faster."""
    early_size: Side | None = None
    """Side of the augmented images in the first epochs (see early_fraction), pixels; by default as
    `size`."""
    early_fraction: Fraction = 0.0
    """Share of the epochs, from the first, that train at early_size."""
    epochs: Annotated[int, Bounds(1)] = 30
    """Passes over the training set."""
    steps_per_epoch: Annotated[int | None, Bounds(1)] = None
    """Batches of an epoch at most, of other images each time; by default all that there are."""
    pretraining: Annotated[int, Bounds(0)] = 0
    """Epochs before those, in which the network learns, without labels, to tell by how many quarter
    turns an image is rotated."""
    batch_size: Annotated[int, Bounds(2)] = 128
    """Images in a step."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW; SGD with Nesterov momentum; or Muon for the hidden layers and AdamW for the rest."""
    learning_rate: Annotated[float, Bounds(0)] = 1e-3
    """The schedule's highest learning rate; with Muon AdamW, beside it, has a fifth of that."""
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    """Constant; linear warm-up and cosine to zero; or one-cycle (30 % up, 70 % down to zero)."""
    warmup: Annotated[float, Bounds(0, 0.9999)] = 0.05
    """Share of all steps that the linear warm-up of the cosine schedule takes."""
    momentum: Annotated[float, Bounds(0, 0.9999)] = 0.9
    """Momentum of SGD and Muon; the first beta of AdamW."""
    weight_decay: Annotated[float, Bounds(0)] = 0.0
    """Decoupled weight decay of AdamW and Muon (times the learning rate), on weights but not on
    biases; with SGD it is torch's, which adds to the gradient."""
    l1: Annotated[float, Bounds(0)] = 0.0
    """Coefficient of the L1 penalty, the sum of absolute weights, added to the loss."""
    l2: Annotated[float, Bounds(0)] = 0.0
    """Coefficient of the L2 penalty, half the sum of squared weights, added to the loss."""
    label_smoothing: Fraction = 0.0
    """Share of the target's probability that is spread evenly over the classes."""
    initialization: Literal["default", "kaiming", "xavier"] = "default"
    """PyTorch's own; Kaiming normal (He et al. 2015); or Xavier uniform (Glorot, Bengio 2010)."""
    whitening: bool = False
    """Begin with a first convolution that whitens the patches of the training images (Jordan 2024,
    "94% on CIFAR-10 in 3.29 Seconds"), unless the run begins with `weights`."""
    ema_decay: Annotated[float, Bounds(0, 0.9999)] = 0.0
    """Decay of the exponential moving average of the weights, a step; 0 keeps the last weights."""
    swa_fraction: Annotated[float, Bounds(0, 0.9)] = 0.0
    """Share of the steps, the last ones, whose weights are averaged evenly instead (SWA); the
    learning rate stays where it is when they begin."""
    logit_adjust_tau: Annotated[float, Bounds(0, 10), tyro.conf.arg(aliases=("--balance",))] = 0.0
    """How much rare classes count (class imbalance): while training, logits are raised by this
    times the log of their class's share of the images (logit adjustment); 0 aims at accuracy, 1 at
    the mean per class, which is the balanced accuracy."""
    freeze: bool = False
    """Leave all layers but the classifier as they came with `weights`."""
    follows_weights: Annotated[bool, tyro.conf.Suppress] = False
    """The `weights` that a run begins with decide its network, and `size`, `crop_pct`, `fit` and
    `channels` where these are still the recipe's own."""
    backbone_lr_scale: Fraction = 1.0
    """Share of the learning rate at which the layers that came with `weights` train on; the new
    classifier has all of it."""
    distillation: Fraction = 0.0
    """Share of the loss that is learning the probabilities of the `teachers`."""
    augment: Augment = field(default_factory=Augment)
    """How the training images are changed."""
    temperature: Annotated[float, Bounds(0.05, 20)] = 1.0
    """What the logits are divided by before they are read as probabilities; with a hold-out it is
    fitted to the images held out, and what it was fitted to can be written here."""

    @property
    def loaded_size(self) -> int:
        """Side of the images as they are loaded, pixels."""
        return loaded_size(self.size, self.crop_pct)

    def size_at(self, done: float) -> int:
        """Side of the training images, pixels, in an epoch that begins when that share of the run
        is over."""
        early = done < self.early_fraction
        return (self.early_size if early else self.train_size) or self.size

    @property
    def training_sizes(self) -> set[int]:
        """The sides that training images have in some epoch."""
        return {self.size_at(epoch / self.epochs) for epoch in (0, self.epochs - 1)}

    @property
    def sizes_at_any_length(self) -> set[int]:
        """The same, however long the run is planned to be."""
        return {self.size_at(done) for done in (0.0, 1.0)}

    @property
    def network_options(self) -> dict[str, Any]:
        """`model_options`, and with them what the size of the images calls for."""
        return adapted(self.model, self.model_options, self.size)

    def resolved(self) -> "Recipe":
        """The same recipe with nothing left to follow from its size."""
        return replace(
            self,
            model_options=self.network_options,
            train_size=self.train_size or self.size,
            early_size=self.early_size or self.size,
        )

    def build(self, num_classes: int) -> nn.Module:
        """The recipe's network with new weights, drawn from torch's global generator."""
        options = self.network_options
        return build(self.model, options, num_classes, self.size, self.channels)

    def check(self) -> None:
        """Raise UserError for numbers that make no sense; nothing random is drawn."""
        check_bounds(self)
        for name in self._clashes():
            raise UserError(
                f"`train_size` and `early_size` must be {self.size} as `size` is: {name} has no "
                "global pooling, so it takes images of one size only",
                option=("train_size", "early_size", "size"),
            )
        try:
            with torch.device("meta"):  # the constructor's own checks, without its work
                self.build(2)
        except TooSmall as problem:
            raise UserError(f"`size` {self.size} is too small: {problem}", option="size") from None
        except (TypeError, ValueError) as problem:
            raise UserError(
                f"`model_options` do not fit {self.model}: {problem}", option="model_options"
            ) from None
        if self.augment.mixup + self.augment.cutmix > 1:
            raise UserError(
                "`augment.mixup` and `augment.cutmix` are probabilities of which only one applies "
                "to an image; their sum must not exceed 1",
                option=("augment.mixup", "augment.cutmix"),
            )

    def _clashes(self) -> Iterator[str]:
        if self.model == "LeNet5" and self.training_sizes != {self.size}:
            yield self.model
