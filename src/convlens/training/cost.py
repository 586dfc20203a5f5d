"""What a run costs on this machine, in seconds, and how much time there is."""

import math
import sys
import time
import timeit
from dataclasses import dataclass, replace
from itertools import chain, count, islice

from convlens.training.measuring import Measurements, is_positive
from convlens.training.pace import Pace
from convlens.training.step import train_step
from convlens.training.threads import using
from convlens.training.trainer import Trainer

AIM = 0.97  # share of the time that is planned for, so that what comes in between does not end late
# No run is longer than the longest that has been measured: so many epochs, or images seen. (Where
# ConvLens chooses, `recipes.lengths` has its own number.)
MOST_EPOCHS, MOST_IMAGES = 60, 460_000

TIMED_STEPS = 3
EVALUATED = 256  # images
LOOKING_BACK = 1 / 30  # of the time, for what the network makes of images that it was trained on
KEEPING = 0.3  # seconds, where it is not known yet; PAGES likewise
PAGES = 1000  # loops in Python that the pages of a split with a hundred classes take


@dataclass(frozen=True)
class Clock:
    """How much time there is. began: by `time.perf_counter`. seconds: from then to the end."""

    began: float
    seconds: float

    @property
    def left(self) -> float:
        """Seconds to the end that is aimed at."""
        return self.began + AIM * self.seconds - time.perf_counter()

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began


@dataclass(frozen=True)
class Cost:
    """What a run takes, in seconds.

    Attributes:
        step: Of a step.
        image: Of an image that is evaluated.
        monitored: Images that are evaluated after each epoch.
        last: Images that are evaluated at the end.
        sample: How many of these are of train; None for all that are trained on.
        keeping: What an epoch leaves on the disk.
        pages: The last pages of all splits that are shown.
        most: Steps in all, at most.
        early: Share of `step` that a step takes on the smaller images of the first epochs.
        early_fraction: Share of the run that is trained on these.
    """

    step: float
    image: float
    monitored: int
    last: int
    sample: int | None = None
    keeping: float = KEEPING
    pages: float = 0.0
    most: int = sys.maxsize
    early: float = 1.0
    early_fraction: float = 0.0

    @property
    def epoch(self) -> float:
        """Of an epoch beside its steps."""
        return self.monitored * self.image + self.keeping

    @property
    def end(self) -> float:
        """After the last epoch."""
        return self.last * self.image + self.pages

    def step_from(self, over: float) -> float:
        """Of a step, the mean from when that share of the run is over to its end."""
        small = max(0.0, self.early_fraction - over) / (1 - over) if over < 1 else 0.0
        return self.step * (1 - small + small * self.early)

    def of(self, pace: Pace, steps: int) -> float:
        """From after so many steps, at the end of an epoch, to the run's end."""
        epochs, step = pace.epochs - pace.epoch_of(steps), self.step_from(pace.progress(steps))
        return (pace.total - steps) * step + epochs * self.epoch + self.end

    def fit(
        self, left: float, whole: int, epochs: int, done: int = 0, over: float = 0.0
    ) -> tuple[int, int]:
        """Epochs, and steps of each, that `left` seconds are enough for; (0, 0) where none are.

        Args:
            left: Seconds.
            whole: Steps of an epoch that sees all images.
            epochs: At least, if each has a step.
            done: Steps that there have been.
            over: Share of the run, in [0, 1), that is over.
        """
        room, most, step = left - self.end, self.most - done, self.step_from(over)
        wanted = max(epochs, math.ceil(room / (whole * step + self.epoch)))
        for number in range(min(wanted, math.ceil(most / whole)), 0, -1):
            fitting = math.floor((room / number - self.epoch) / step)
            steps = min(fitting, whole, math.ceil(most / number))
            if steps >= 1:
                if number > epochs and (number - 1) * whole > number * steps:
                    return number - 1, whole  # whole epochs, for what another one's end costs
                return number, steps
        return 0, 0


def pages_of(trainer: Trainer) -> str:
    """What the time is kept by that a run's last pages took: of so many splits and classes."""
    shown = len(trainer.judged)
    splits = f"{shown} split{'s' * (shown > 1)}"
    return f"seconds of the last pages of {splits} of {trainer.dataset.num_classes} classes"


def measure(trainer: Trainer, most_images: int = MOST_IMAGES, seconds: float = math.inf) -> Cost:
    """What a run costs now, from a few steps and answers of its own; every process calls it.

    Args:
        trainer: Of the run.
        most_images: Seen in training, for a data set of which MOST_EPOCHS are fewer.
        seconds: That the run may take, from which follows how many training images are evaluated
            at its end where the configuration does not say it.
    """
    with using(trainer.config.usual_threads):  # which are a part of what is kept by, too
        step, early, image = _time_some(trainer)
        pages = Measurements(trainer.machine.device).values.get(pages_of(trainer))
    splits = trainer.splits
    train, monitored = len(splits.train), len(splits.monitored)
    sample = trainer.config.train_sample
    if sample is None and max(LOOKING_BACK * seconds, monitored * image) < train * image:
        sample = max(monitored, int(LOOKING_BACK * seconds / image))
    # with a hold-out the best epoch is measured too, which may not be the last
    last = (min(train, sample or train) + monitored) * (1 + trainer.config.has_holdout)
    last += len(trainer.test or ())
    if not is_positive(pages):
        pages = len(trainer.judged) * _time_pages()
    epochs = max(MOST_EPOCHS, trainer.recipe.epochs)
    most = max(epochs * len(trainer.batches), math.ceil(most_images / trainer.batches.size))
    return Cost(
        *(step, image, monitored, last, sample),
        pages=pages,
        most=most,
        early=early,
        early_fraction=trainer.recipe.early_fraction,
    )


def _time_pages() -> float:
    """Seconds of a split's pages where none have been drawn yet: drawing is Python's own work."""
    loop = "for i in range(100_000): i * i"
    return PAGES * min(timeit.repeat(loop, number=1, repeat=5))


def _time_some(trainer: Trainer) -> tuple[float, float, float]:
    """Seconds of a step; the share of it that a step on the first epochs' images takes; and
    seconds of an image that is evaluated."""
    state, recipe = trainer.untrained(), trainer.recipe
    state.network.train()
    batches = chain.from_iterable(map(trainer.batches.epoch, count()))

    def timed(early_fraction: float) -> float:
        state.recipe = replace(recipe, early_fraction=early_fraction)
        train_step(state, next(batches)).loss.item()  # gets memory; waits for the device
        started = time.perf_counter()
        for batch in islice(batches, TIMED_STEPS):
            train_step(state, batch).loss.item()
        return (time.perf_counter() - started) / TIMED_STEPS

    step = timed(0.0)
    early = timed(1.0) / step if recipe.size_at(0.0) != recipe.size_at(1.0) else 1.0
    some = trainer.splits.train.images[:EVALUATED]
    classifier = trainer.classifier(state)
    started = time.perf_counter()
    classifier.logits(some)
    return step, early, (time.perf_counter() - started) / len(some) / trainer.world.size
