from convlens.data.augment import Augment
from convlens.recipes.recipe import Recipe


def lenet5() -> Recipe:
    return Recipe(
        name="lenet5",
        model="LeNet5",
        model_options={"padding": 2, "batch_norm": False, "dropout": 0.0},
        epochs=25,
        learning_rate=1e-3,
        schedule="constant",
    )


def lenet5plus() -> Recipe:
    return Recipe(
        name="lenet5plus",
        model="LeNet5",
        model_options={"padding": 2, "batch_norm": True, "dropout": 0.4},
        epochs=60,
        learning_rate=3e-3,
        weight_decay=0.1,
        label_smoothing=0.1,
        initialisation="kaiming",
        average=0.995,
        augment=Augment(
            scale=0.5, aspect=0.25, rotate=12, flip=0.5, colour=0.3, grey=0.05, erase=0.25
        ),
    )
