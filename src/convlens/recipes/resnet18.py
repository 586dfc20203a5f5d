"""ResNet-18, in both readings of the assignment's stride."""

from dataclasses import replace

from convlens.data.augment import Augment
from convlens.recipes.recipe import Recipe


def resnet18() -> Recipe:
    """ResNet-18 as in the paper; four times ConvNet's parameters, so more augmentation and decay.

    convlens train resnet18 --seed 0

    25 minutes on one core, half of that on two; 86.2 % on Caltech-101's validation images (1 seed),
    99.7 % on the training images.
    """
    return Recipe(
        name="resnet18",
        model="ResNet18",
        model_options={"conv2_stride": 1},
        crop_pct=0.833,
        epochs=60,
        batch_size=256,
        optimizer="muon",
        learning_rate=1.2e-2,
        weight_decay=0.4,
        label_smoothing=0.1,
        initialization="kaiming",
        ema_decay=0.99,
        augment=Augment(
            scale=0.65,
            aspect=0.25,
            rotate=12,
            flip=0.5,
            color=0.3,
            grayscale=0.05,
            trivial_augment=0.5,
            erase=0.25,
            cutmix=0.5,
        ),
        temperature=0.75,
    )


def resnet18_stride2() -> Recipe:
    """ResNet-18 with the assignment's stride of 2 in conv_2 read literally.

    convlens train resnet18_stride2 --seed 0

    20 minutes on one core, half of that on two; 80.5 % on Caltech-101's validation images (1 seed),
    98.9 % on the training images.
    """
    return replace(resnet18(), name="resnet18_stride2", model_options={"conv2_stride": 2})
