"""A run that has so long: what is trained, and for how many epochs."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from convlens.data.tools.near_duplicates.leak import InTrain, known_in_train
from convlens.errors import UserError
from convlens.recipes import Recipe
from convlens.recipes.lengths import Length, lengths
from convlens.training.config import PLANNED, RunConfig, make_config
from convlens.training.cost import AIM, MOST_IMAGES, Clock, Cost, measure
from convlens.training.distributed import World
from convlens.training.duration import as_time, in_words
from convlens.training.finish import known_near_duplicates
from convlens.training.trainer import Trainer

logger = logging.getLogger(__name__)

LEAST_EPOCHS = 3  # that a run is planned with: after each it can be planned anew
LOOKING = 0.1  # share of the time in which images may be compared with each other
# As fast as a core compares them where many resemble each other, as digits do.
PAIRS_A_SECOND = 1e4
LEAST_STEPS = 10  # that make a run, where there are so many in an epoch
STRETCH = 2  # times the least time, which a run is given that must not fail for want of it


class TooShort(UserError):
    """There is no time for a run. least: seconds that it takes at least, on this machine now."""

    def __init__(self, message: str, least: int):
        super().__init__(message, option="time")
        self.least = least


@dataclass(frozen=True)
class Choice:
    """A configuration, from and up to how many images seen in training it is the best, and why.

    work: what one of its images takes at least, in those of the first choice.
    must_run: where its time is too short it takes longer instead of being refused.
    """

    config: RunConfig
    work: float = 1.0
    least_images: int = 0
    most_images: int = MOST_IMAGES
    why: str = "as asked"
    must_run: bool = False


def choices_of(
    recipe: str | Path | Recipe | RunConfig | None, options: Mapping[str, Any]
) -> tuple[Choice, ...]:
    """What `train` may train: the recipe with these options, or without one all that may be best.

    Raises UserError for options that do not fit, as `make_config`, and where there is neither a
    recipe nor a time.
    """
    seconds = options.get("time")
    if isinstance(seconds, Real) and not isinstance(seconds, bool):
        options = {**options, "time": as_time(seconds)}
    check_planned(options.get("time"), options)
    if recipe is not None:
        return (Choice(make_config(recipe, options)),)
    if options.get("time") is None:
        raise UserError("give a recipe, or with `time` how long it may take", option="time")
    side = make_config(lengths()[0].recipe, options).recipe.size
    return tuple(choice_of(each, make_config(each.recipe, options)) for each in lengths(side))


def choice_of(length: Length, config: RunConfig) -> Choice:
    """The choice that a length is, with that configuration of its recipe."""
    return Choice(config, length.work, length.least_images, length.most_images, length.why)


def check_planned(seconds: str | None, asked: Iterable[str]) -> None:
    """Raise UserError where a time is given and, among the options asked for, what follows from
    it."""
    if seconds is not None and (both := sorted(PLANNED.intersection(asked))):
        raise UserError(
            f"`time` and `{both[0]}` do not go together: the time decides how long a run is; give "
            "one of them",
            option=("time", both[0]),
        )


def plan(trainer: Trainer, cost: Cost, clock: Clock) -> RunConfig:
    """The run's configuration with the epochs that there is time for.

    Raises TooShort where that is none.
    """
    whole = len(trainer.batches)
    enough = min(LEAST_STEPS, whole)
    for least_epochs in LEAST_EPOCHS, 1:
        epochs, steps = cost.fit(clock.left, whole, least_epochs)
        if epochs * steps >= enough:
            break
    else:
        passed = clock.passed
        least = math.ceil((passed + cost.epoch + cost.end + enough * cost.step_from(0.0)) / AIM) + 1
        raise TooShort(
            f"`time` {trainer.config.time} is too short: {passed:.0f} s have passed, and "
            f"{trainer.recipe.name} on these images takes {least} s at least on this machine; give "
            "more",
            least,
        )
    length = {"epochs": epochs, "steps_per_epoch": steps if steps < whole else None}
    recipe = replace(trainer.recipe, **length)
    return replace(trainer.config, recipe=recipe, replanned=(), train_sample=cost.sample)


def choose_in_time(
    choices: Sequence[Choice],
    make: Callable[[RunConfig, World], Trainer],
    world: World,
    clock: Clock,
) -> tuple[Trainer, Cost, Clock]:
    """What trains the best choice that there is time for, its length planned; what it costs; and
    the clock, which is another one where the first choice must run and the time is too short.

    choices: cheaper ones first; the next is looked at where it can see as many images as it needs
    to be better, as far as the one before it tells. make: makes a trainer of a configuration.
    Raises TooShort where there is too little time for the first, and it need not run.
    """
    if world.rank == 0:
        logger.info(
            "time       %s: reads the images and times a few steps here", in_words(clock.seconds)
        )
    chosen: tuple[Trainer, Cost, Choice] | None = None
    for choice in choices:
        if chosen is not None:
            needed = choice.least_images * choice.work / chosen[2].work
            if _images(chosen[0]) < min(needed, AIM * chosen[2].most_images):
                break  # but who has shown all that it may looks on
        trainer = make(choice.config, world)
        # what the end needs and no plan can foresee is done now
        trainer.near_duplicates = (
            world.first(look_for_near_duplicates, trainer, clock)
            if chosen is None
            else chosen[0].near_duplicates
        )
        cost = measure(trainer, choice.most_images, clock.seconds)
        try:
            trainer.config = world.first(plan, trainer, cost, clock)
        except TooShort as problem:
            if chosen is not None:
                break
            if not choice.must_run:
                raise
            clock = replace(clock, seconds=STRETCH * problem.least)
            if world.rank == 0:
                logger.info(
                    "time       too short: %s takes %s at least on this machine, and is given %s",
                    *(trainer.recipe.name, in_words(problem.least), in_words(clock.seconds)),
                )
            trainer.config = world.first(plan, trainer, cost, clock)
        if _images(trainer) < choice.least_images:
            break
        chosen = trainer, cost, choice
    assert chosen is not None  # the first needs no images
    trainer, cost, choice = chosen
    trainer.config = world.first(plan, trainer, cost, clock)  # looking at others took time
    if world.rank == 0:
        _announce(trainer, cost, clock, choice.why)
    return trainer, cost, clock


def look_for_near_duplicates(trainer: Trainer, clock: Clock) -> dict[str, InTrain]:
    """Which images that a run is judged by have a near-duplicate in train, where that is known or
    there is time to find out; by split."""
    found: dict[str, InTrain] = {}
    seconds = LOOKING * clock.seconds
    for splits in trainer.judged:
        known = known_in_train(trainer.dataset.root, splits.train, splits.monitored)
        if known is None:
            needed = len(splits.train) * len(splits.monitored) / PAIRS_A_SECOND
            if needed > seconds:
                time = in_words(clock.seconds)
                known = InTrain(None, f"{time} is too short to compare all images")
            else:
                seconds -= needed
                known = known_near_duplicates(trainer, splits)
        found[splits.name] = known
    return found


def _images(trainer: Trainer) -> int:
    """Images that a run sees in training, the same one many times."""
    return trainer.pace_at(0).total * trainer.batches.size


def _announce(trainer: Trainer, cost: Cost, clock: Clock, why: str) -> None:
    pace, whole = trainer.pace_at(0), len(trainer.batches)
    logger.info(
        "time       %s: %.0f s have passed, a step takes %.3g s, the end about %.0f s",
        *(in_words(clock.seconds), clock.passed, cost.step, cost.end),
    )
    share = "" if pace.steps == whole else f" of the {whole} that all images make"
    longest = ", as long as any that has been measured" * (pace.total >= cost.most)
    logger.info(
        "plan       %s, %d epoch%s of %d steps%s%s: %s",
        *(trainer.recipe.name, pace.epochs, "s" * (pace.epochs > 1), pace.steps),
        *(share, longest, why),
    )
