"""Fine-tuning: a network that is trained already, on other images."""

from convlens.data.augment import Augment
from convlens.recipes.recipe import Recipe


def finetune() -> Recipe:
    """A trained network learns other classes, in minutes and from few images.

    convlens train finetune --from weights/convnet.safetensors --data photos --seed 0
    """
    return Recipe(
        name="finetune",
        model="ResNet18",
        follows_weights=True,
        crop_pct=0.8,
        epochs=10,
        batch_size=64,
        optimizer="muon",
        learning_rate=4e-3,
        weight_decay=0.1,
        label_smoothing=0.1,
        ema_decay=0.98,
        augment=Augment(scale=0.5, aspect=0.2, rotate=10, flip=0.5, color=0.2),
    )
