"""A run from its start to its finished folder: what `convlens train` does."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from convlens.data import Dataset
from convlens.errors import UserError
from convlens.fields import replace
from convlens.recipes import Recipe
from convlens.training.autotune import choose_algorithms
from convlens.training.callbacks import Callback, Callbacks, EpochStats
from convlens.training.config import RunConfig, absolute, make_config
from convlens.training.criterion import load_teachers
from convlens.training.device import choose
from convlens.training.distributed import ALONE, World
from convlens.training.finish import finish
from convlens.training.loggers import Log, make_loggers
from convlens.training.pretrained import begin_with_weights
from convlens.training.result import Run
from convlens.training.run_folder import RunFolder
from convlens.training.step import TrainState
from convlens.training.trainer import Trainer

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochStats], None]


def train(
    recipe: str | Path | Recipe | RunConfig,
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
        recipe: The name of a recipe, a file that holds one, a `Recipe`, or a whole configuration.
        out: The run folder; runs/RECIPE-sSEED if not given.
        overwrite: Replace the run that is in the run folder.
        on_epoch: Is shown each epoch's `EpochStats` once it is kept; what it raises ends the run.
        callbacks: Are told when the run begins, of each step and epoch, and when it ends; one that
            raises `StopTraining` ends it early and whole.
        world: The processes that train together; every one calls this.
        **options: Fields of `RunConfig` (`data`, `seed`, `holdout`, …) and of `Recipe` (`epochs`,
            `learning_rate`, `augment={"flip": 0.5}`, …).

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
    config = make_config(recipe, options)
    watching = _watching(config, callbacks, on_epoch)
    folder = RunFolder(out or Path("runs") / f"{config.recipe.name}-s{config.seed}", world)
    if folder.was_begun:  # by a worker that torchrun has restarted
        return _continue(folder, folder.read_config(), config.data, watching)
    folder.check_free(overwrite)
    config = world.first(begin_with_weights, config)  # they may decide the images' size
    dataset = config.open_dataset()
    load_teachers(absolute(config.teachers), dataset.classes)  # before anything is written
    machine = world.first(choose, config.device, config.precision)
    config = config.resolved(dataset, machine)
    trainer = Trainer(config, dataset, machine, world)  # refuses what cannot be trained
    plan = world.first(choose_algorithms, config.recipe, dataset.num_classes, machine, world.size)
    trainer.config = dataclasses.replace(config, convolutions=plan)
    with folder.held():
        folder.check_free(overwrite)  # once more: somebody may have been faster
        folder.begin(trainer.config)
        _announce(trainer)
        return _execute(trainer, trainer.start(), folder, watching)


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
    folder = RunFolder(run, world)
    config = folder.read_config()
    if epochs is not None:
        state = folder.read_state()
        done = len(state["history"]) if state else 0
        if epochs < done:
            raise UserError(
                f"`epochs` {epochs} is less than the {done} that {run} has finished",
                option="epochs",
            )
        config = dataclasses.replace(
            config, recipe=dataclasses.replace(config.recipe, epochs=epochs)
        )
        config.check()
    if log is not None:
        config = replace(config, {"log": log})
    return _continue(folder, config, data, _watching(config, callbacks, on_epoch))


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
    folder = RunFolder(run, world)
    asked = make_config(recipe, options)
    asked = dataclasses.replace(asked, teachers=absolute(asked.teachers))
    asked = world.first(begin_with_weights, asked)
    if not folder.has_state:
        return train(asked, out=run, overwrite=True, world=world)
    kept = folder.read_config()
    if other := asked.differs_from(kept):
        raise UserError(
            f"{run} was trained with other settings than those asked for now "
            f"({', '.join(name.removeprefix('recipe.') for name in other)}); remove it or name "
            "another folder"
        )
    if folder.is_finished:
        return Run(run)
    return _continue(folder, kept, asked.data, _watching(asked, (), None))


def _watching(
    config: RunConfig, callbacks: Iterable[Callback], on_epoch: OnEpoch | None
) -> Callbacks:
    """Who is told of the run: the loggers that it asks for, and the caller's callbacks."""
    return Callbacks([*make_loggers(config.log), *Callbacks(callbacks, on_epoch).all])


def _continue(
    folder: RunFolder, config: RunConfig, data: Path | str | None, watching: Callbacks
) -> Run:
    """From the last finished epoch; `data`: where the data set lies now, if it has moved."""
    dataset = config.open_dataset(data)
    folder.first(_check_same_data, folder, config, dataset)
    machine = folder.first(choose, config.device, config.precision)
    saved = folder.read_state()
    # A resumed run keeps its algorithms; runs of version 0.1 have them in their state.
    plan = config.convolutions or (saved or {}).get("convolutions", {})
    config = dataclasses.replace(
        config, data=str(dataset.place), digest=dataset.digest, convolutions=plan
    )
    trainer = Trainer(config, dataset, machine, folder.world)
    with folder.held():
        _announce(trainer)
        # Nothing in the folder is changed before it is known that the run can go on.
        state = trainer.start() if saved is None else _restored(trainer, saved, folder)
        folder.write_config(config)
        return _execute(trainer, state, folder, watching)


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
    folder.forget_metrics()
    try:
        trainer.fit(state, folder, callbacks=watching.all)
        if state.epoch < trainer.recipe.epochs:
            logger.info("stopped    after epoch %d of %d", state.epoch, trainer.recipe.epochs)
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
