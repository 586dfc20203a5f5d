"""What a run trains on and what it watches."""

from dataclasses import dataclass

from convlens.data import Dataset, Split, folds, split_per_class
from convlens.errors import UserError
from convlens.training.config import RunConfig


@dataclass(frozen=True)
class Monitored:
    """train: what is trained on. monitored: what is measured after every epoch, and its name."""

    train: Split
    monitored: Split
    name: str

    def center_crop(self, size: int) -> "Monitored":
        """The middle size × size pixels of every image."""
        return Monitored(self.train.center_crop(size), self.monitored.center_crop(size), self.name)

    def named(self) -> dict[str, Split]:
        """Both by their names, train first."""
        return {"train": self.train, self.name: self.monitored}


def monitored_splits(config: RunConfig, dataset: Dataset) -> Monitored:
    """Train and validation; with a hold-out or folds a part of train in the place of validation.

    The part is the same for every seed and recipe, so that runs can be compared on it. Raises
    UserError where nothing is held out, and for a data set that cannot be trained on.
    """
    dataset.check_trainable()
    training, monitored = dataset.train, dataset.validation
    if config.folds > len(training):
        raise UserError(
            f"`folds` {config.folds} is more than there are training images, {len(training)}; give "
            "fewer",
            option="folds",
        )
    if config.holdout:
        kept, held_out = split_per_class(training.labels, 1 - config.holdout, seed=0)
        training, monitored = training.take(kept), training.take(held_out)
    if config.fold:
        kept, held_out = folds(training.labels, config.folds, seed=0)[config.fold - 1]
        training, monitored = training.take(kept), training.take(held_out)
    if not len(monitored) or not len(training):
        raise UserError(
            f"`holdout` {config.holdout} of {len(dataset.train)} training images leaves none on "
            "one side; give another share",
            option="holdout",
        )
    most = config.max_train_images
    if most is not None and most < len(training):
        some, _ = split_per_class(training.labels, most / len(training), seed=0)
        training = training.take(some)
    return Monitored(training, monitored, config.monitored)
