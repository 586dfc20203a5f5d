"""What a recipe is: a model and everything needed to train it to one stated result."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from convlens.data.augment import Augment


@dataclass(frozen=True)
class Recipe:
    """A model plus everything needed to train it; a variant is `dataclasses.replace`."""

    name: Annotated[str, tyro.conf.Suppress]
    """The recipe's name, as `convlens train NAME` takes it."""
    model: Annotated[Literal["LeNet5", "ConvNet", "ResNet18"], tyro.conf.Suppress]
    """The network's class in convlens.models."""
    model_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the network's constructor, for instance dropout and batch norm."""
    size: int = 64
    """Side of the images the network is made for, pixels."""
    zoom: float = 1.0
    """How much larger than `size` images are made on loading; a network is trained on crops of them
    and evaluated on the middle. Crops magnify what is on an image, and evaluation should as much
    (Touvron et al. 2019, "Fixing the train-test resolution discrepancy")."""
    train_size: int = 64
    """Side of the augmented images it is trained on, pixels; smaller is faster."""
    early_size: int = 64
    """Side of the augmented images in the first epochs (see early_share), pixels."""
    early_share: float = 0.0
    """Share of the epochs, from the first, that train at early_size."""
    epochs: int = 30
    """Passes over the training set."""
    pretraining: int = 0
    """Epochs before those, in which the network learns, without labels, to tell by how many quarter
    turns an image is rotated."""
    batch_size: int = 128
    """Images in a step."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW; SGD with Nesterov momentum; or Muon for the hidden layers and AdamW for the rest."""
    learning_rate: float = 1e-3
    """The schedule's highest learning rate."""
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    """Constant; linear warm-up and cosine to zero; or one-cycle (30 % up, 70 % down to zero)."""
    warmup: float = 0.05
    """Share of all steps that the linear warm-up of the cosine schedule takes."""
    momentum: float = 0.9
    """Momentum of SGD and Muon; the first beta of AdamW."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW (times the learning rate), on weights but not on biases."""
    l1: float = 0.0
    """Coefficient of the L1 penalty, the sum of absolute weights, added to the loss."""
    l2: float = 0.0
    """Coefficient of the L2 penalty, half the sum of squared weights, added to the loss."""
    label_smoothing: float = 0.0
    """Share of the target's probability that is spread evenly over the classes."""
    initialization: Literal["default", "kaiming", "xavier"] = "default"
    """PyTorch's own; Kaiming normal (He et al. 2015); or Xavier uniform (Glorot, Bengio 2010)."""
    average: float = 0.0
    """Decay of the exponential moving average of the weights, a step; 0 keeps the last weights."""
    swa: float = 0.0
    """Share of the steps, the last ones, whose weights are averaged evenly instead (SWA); the
    learning rate stays where it is when they begin."""
    balance: float = 0.0
    """How much rare classes count: while training, logits are raised by this times the log of their
    class's share of the images (logit adjustment); 0 aims at accuracy, 1 at the mean per class."""
    distillation: float = 0.0
    """Share of the loss that is learning the probabilities of the --teacher runs."""
    augment: Augment = field(default_factory=Augment)
    """How the training images are changed."""
    temperature: float = 1.0
    """What the logits are divided by before they are read as probabilities; with --holdout it is
    fitted to the images held out, and what it was fitted to can be written here."""

    @property
    def loaded_size(self) -> int:
        """Side of the images as they are loaded, pixels."""
        return magnified(self.size, self.zoom)


def magnified(size: int, zoom: float) -> int:
    """Side of an image, in pixels, whose middle `size` pixels show it `zoom` times as large."""
    return round(size * zoom)
