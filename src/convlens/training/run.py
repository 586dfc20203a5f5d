"""A run from its start to its finished folder: what `convlens train` does."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from convlens.data import Dataset
from convlens.errors import UserError
from convlens.fields import replace
from convlens.recipes import Recipe
from convlens.training.autotune import choose_algorithms
from convlens.training.callbacks import Callback, Callbacks, EpochStats
from convlens.training.config import RunConfig
from convlens.training.cost import Clock, measure
from convlens.training.device import choose
from convlens.training.distributed import ALONE, World
from convlens.training.duration import in_words, seconds_of
from convlens.training.finish import finish
from convlens.training.loggers import Log, make_loggers
from convlens.training.measuring import is_positive
from convlens.training.plan import (
    Choice,
    choices_of,
    choose_in_time,
    look_for_near_duplicates,
)
from convlens.training.pretrained import begin_with_weights
from convlens.training.result import Run
from convlens.training.run_folder import RunFolder
from convlens.training.step import TrainState
from convlens.training.threads import fastest_number, using
from convlens.training.timekeeper import Timekeeper
from convlens.training.trainer import Trainer

logger = logging.getLogger(__name__)

MEASURING = 0.05  # share of a run's time in which convolutions may be measured

OnEpoch = Callable[[EpochStats], None]


def train(
    recipe: str | Path | Recipe | RunConfig | None = None,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
    callbacks: Iterable[Callback] = (),
    world: World = ALONE,
    **options: Any,
) -> Run:
    """Train a recipe into a new run folder.

    Args:
        recipe: The name of a recipe, a file that holds one, a `Recipe`, or a whole configuration;
            with `time` it may be left out, and the one that is best in that time is taken.
        out: The run folder; runs/RECIPE-sSEED if not given, without a recipe runs/TIME-sSEED.
        overwrite: Replace the run that is in the run folder.
        on_epoch: Is shown each epoch's `EpochStats` once it is kept; what it raises ends the run.
        callbacks: Are told when the run begins, of each step and epoch, and when it ends; one that
            raises `StopTraining` ends it early and whole.
        world: The processes that train together; every one calls this.
        **options: Fields of `RunConfig` (`data`, `seed`, `holdout`, `time`, …) and of `Recipe`
            (`epochs`, `learning_rate`, `augment={"flip": 0.5}`, …).

    Returns:
        The finished run.

    Raises:
        UserError: when the run folder is in use, and for all that can be wrong with the data, the
            options and the machine.
        Diverged: when the loss is no number any more.

    Example:
        >>> import convlens as cl
        >>> run = cl.train("lenet5", data="photos", out="runs/mine", epochs=2)
        >>> run.classifier.predict("photos/validation", top=3)
    """
    began = time.perf_counter()
    choices = choices_of(recipe, options)
    return train_one_of(choices, out, overwrite, Callbacks(callbacks, on_epoch), world, began)


def train_one_of(
    choices: Sequence[Choice],
    out: Path | str | None,
    overwrite: bool,
    callbacks: Callbacks,
    world: World,
    began: float,
) -> Run:
    """Train one of several configurations, the best in their time, into a new run folder.

    Args:
        choices: As `choices_of` gives them.
        out: As `train` takes it, and so the next three.
        overwrite: Likewise.
        callbacks: Likewise.
        world: Likewise.
        began: When the time began to run, by `time.perf_counter`.
    """
    for choice in choices:
        choice.config.check()
    config = choices[0].config
    seconds = None if config.time is None else seconds_of(config.time)
    name = config.recipe.name
    if seconds is not None and len(choices) > 1:  # it is not known yet
        name = in_words(seconds)
    folder = RunFolder(out or Path("runs") / f"{name}-s{config.seed}", world)
    if folder.was_begun:  # by a worker that torchrun has restarted
        kept = folder.read_config()
        return _continue(folder, kept, config.data, _watching(kept, callbacks.all), began)
    folder.check_free(overwrite)
    with using(config.threads):
        timekeeper: list[Callback] = []
        if seconds is None:
            trainer = make_trainer(config, world)
        else:
            clock = Clock(began, seconds)
            trainer, cost, clock = choose_in_time(choices, make_trainer, world, clock)
            timekeeper = [Timekeeper(clock, cost)]
        trainer.began = began
        watching = _watching(trainer.config, [*timekeeper, *callbacks.all])
        with using(trainer.config.usual_threads), folder.held():
            folder.check_free(overwrite)  # once more: somebody may have been faster
            folder.begin(trainer.config)
            _announce(trainer)
            return _execute(trainer, trainer.start(), folder, watching)


def make_trainer(config: RunConfig, world: World) -> Trainer:
    """What trains a configuration, on its data set and the machine that is chosen for it."""
    config = world.first(begin_with_weights, config)  # they may decide the images' size
    dataset = config.open_dataset()
    machine = world.first(choose, config.device, config.precision)
    config = config.resolved(dataset, machine)
    trainer = Trainer(config, dataset, machine, world)  # refuses what cannot be trained
    recipe, classes, images = config.recipe, dataset.num_classes, len(dataset.train)
    number = None
    if config.threads is None and world.size == 1:
        number = fastest_number(recipe, classes, machine)
    seconds = math.inf if config.time is None else MEASURING * seconds_of(config.time)
    with using(number):
        plan = world.first(choose_algorithms, recipe, classes, machine, world.size, images, seconds)
    trainer.config = dataclasses.replace(config, convolutions=plan, usual_threads=number)
    return trainer


def resume(
    run: Path | str,
    *,
    epochs: int | None = None,
    data: Path | str | None = None,
    log: Sequence[Log] | None = None,
    on_epoch: OnEpoch | None = None,
    callbacks: Iterable[Callback] = (),
    world: World = ALONE,
) -> Run:
    """Continue a run from its last finished epoch, or train a finished one further.

    A longer run follows the schedule of its new length from where it stands, so its learning rate
    rises again before it falls to zero.

    Args:
        run: The run folder.
        epochs: The new number of epochs in all; more than before trains a finished run further.
        data: Where the data set lies now, if it has moved.
        log: What curves to write from now on; by default as before.
        on_epoch: As `train` takes it.
        callbacks: As `train` takes them.
        world: As `train` takes it.

    Raises:
        UserError: when the folder holds no run, a damaged one, or one of another data set.
    """
    watching, began = Callbacks(callbacks, on_epoch), time.perf_counter()
    return resume_run(RunFolder(run, world), epochs, data, log, watching, began)


def resume_run(
    folder: RunFolder,
    epochs: int | None,
    data: Path | str | None,
    log: Sequence[Log] | None,
    callbacks: Callbacks,
    began: float,
) -> Run:
    """As `resume`. began: when the rest of its time began to run, by `time.perf_counter`."""
    config = folder.read_config()
    if epochs is not None:
        state = folder.read_state()
        done = len(state["history"]) if state else 0
        if epochs < done:
            raise UserError(
                f"`epochs` {epochs} is less than the {done} that {folder} has finished",
                option="epochs",
            )
        length: dict[str, int | None] = {"epochs": epochs}
        if config.time is not None:  # who says how many epochs does not ask for that any more
            length["steps_per_epoch"] = None  # which followed from it
            config = dataclasses.replace(config, time=None, replanned=(), train_sample=None)
        config = dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, **length))
        config.check()
    if log is not None:
        config = replace(config, {"log": log})
    return _continue(folder, config, data, _watching(config, callbacks.all), began)


def train_or_continue(
    recipe: str | Path | Recipe | RunConfig,
    run: Path | str,
    *,
    world: World = ALONE,
    **options: Any,
) -> Run:
    """The run of that configuration in `run`: as it is when it has finished, else continued, else
    started.

    options: as `train` takes them. Raises UserError when `run` holds a run of other settings.
    """
    began = time.perf_counter()
    return one_of_or_continue(choices_of(recipe, options), run, world, began)


def one_of_or_continue(
    choices: Sequence[Choice], run: Path | str, world: World, began: float
) -> Run:
    """As `train_or_continue`, with choices as `train_one_of` takes them."""
    folder = RunFolder(run, world)
    found = []
    for choice in choices:
        choice.config.check()
        config = world.first(begin_with_weights, choice.config.with_full_paths())
        found.append(dataclasses.replace(choice, config=config))
    if not folder.has_state:
        return train_one_of(found, run, True, Callbacks(()), world, began)
    kept = folder.read_config()
    differences = [choice.config.differs_from(kept) for choice in found]
    if all(differences):
        names = (name.removeprefix("recipe.") for name in min(differences, key=len))
        raise UserError(
            f"{run} was trained with other settings than those asked for now "
            f"({', '.join(names)}); remove it or name another folder"
        )
    asked = found[differences.index([])].config
    if folder.is_finished:
        if asked.data is not None:  # the options do not tell another data set
            folder.first(_check_same_data, folder, kept, kept.open_dataset(asked.data))
        return Run(run)
    return _continue(folder, kept, asked.data, _watching(asked, ()), began)


def _watching(config: RunConfig, callbacks: Iterable[Callback]) -> Callbacks:
    """Who is told of the run: the loggers that it asks for, and others."""
    return Callbacks([*make_loggers(config.log), *callbacks])


def _continue(
    folder: RunFolder,
    config: RunConfig,
    data: Path | str | None,
    watching: Callbacks,
    began: float,
) -> Run:
    """From the last finished epoch; `data`: where the data set lies now, if it has moved. began:
    when that was asked for, by `time.perf_counter`."""
    dataset = config.open_dataset(data)
    folder.first(_check_same_data, folder, config, dataset)
    saved = folder.read_state()
    # A resumed run keeps its algorithms; runs of version 0.1 have them in their state.
    plan = config.convolutions or (saved or {}).get("convolutions", {})
    config = dataclasses.replace(
        config, data=str(dataset.place), digest=dataset.digest, convolutions=plan
    )
    with using(config.threads or config.usual_threads):
        machine = folder.first(choose, config.device, config.precision)
        trainer = Trainer(config, dataset, machine, folder.world)
        with folder.held():
            _announce(trainer)
            # Nothing in the folder is changed before it is known that the run can go on.
            state = trainer.start() if saved is None else _restored(trainer, saved, folder)
            trainer.began = began - _elapsed(saved)
            if config.time is not None:
                clock = Clock(trainer.began, seconds_of(config.time))
                trainer.near_duplicates = folder.first(look_for_near_duplicates, trainer, clock)
                watching = Callbacks([Timekeeper(clock, measure(trainer)), *watching.all])
            folder.write_config(config)
            return _execute(trainer, state, folder, watching)


def _elapsed(saved: dict[str, Any] | None) -> float:
    """Seconds from a run's beginning to the end of its last epoch that was kept."""
    if saved is None:
        return 0.0
    if is_positive(elapsed := saved.get("elapsed")):
        return elapsed
    return sum(row["seconds"] for row in saved["history"])  # all that earlier versions kept of it


def _restored(trainer: Trainer, saved: dict[str, Any], folder: RunFolder) -> TrainState:
    """The state of a run that was cut. Raises UserError when it is damaged."""
    try:
        return trainer.restore(saved)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise folder.damaged("state.pt", e) from None


def _check_same_data(folder: RunFolder, config: RunConfig, dataset: Dataset) -> None:
    """Raise UserError when the run was on another data set than this one."""
    if (folder.path / "last.safetensors").exists():
        folder.classifier("last").check_classes(dataset, str(folder))
    if not dataset.is_known_by(config.digest):
        raise UserError(
            f"{dataset.place} does not hold the files that {folder} has been trained on; give that "
            "data set with `data`, or start a new run",
            option="data",
        )


def _execute(trainer: Trainer, state: TrainState, folder: RunFolder, watching: Callbacks) -> Run:
    """Train from that state to the end, and write all that a finished run has."""
    folder.forget_end()
    try:
        trainer.fit(state, folder, callbacks=watching.all)
        if len(state.history) < state.pace.epochs:
            logger.info("stopped    after epoch %d of %d", len(state.history), state.pace.epochs)
        finish(trainer, state, folder)
        run = Run(folder.path)
        watching.end(run)
    finally:
        watching.close()
    return run


def _announce(trainer: Trainer) -> None:
    config, recipe = trainer.config, trainer.recipe
    logger.info("data set   %s", trainer.dataset.describe())
    for path in trainer.dataset.skipped:
        logger.info("skipped    %s", path)
    epochs = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    logger.info("recipe     %s: %s, %s, seed %d", recipe.name, recipe.model, epochs, config.seed)
    size = trainer.world.size
    each = f"{size} processes, each on " if size > 1 else ""
    logger.info("device     %s%s", each, trainer.machine.describe())
