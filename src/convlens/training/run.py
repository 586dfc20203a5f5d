"""A run from its start to its finished folder: what `convlens train` does."""

import dataclasses
import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convlens.data import Dataset, open_dataset
from convlens.data.augment import augment
from convlens.errors import UserError
from convlens.files import replacing
from convlens.html import Picture, picture, table
from convlens.inference.calibration import fit_temperature
from convlens.inference.classifier import Classifier
from convlens.inference.metrics import Evaluation
from convlens.recipes import Recipe
from convlens.reporting.card import model_card
from convlens.reporting.run_pages import write_batch, write_curves, write_evaluation
from convlens.training.autotune import choose_algorithms
from convlens.training.config import RunConfig, absolute, make_config
from convlens.training.criterion import load_teachers
from convlens.training.device import Machine, choose
from convlens.training.distributed import ALONE, World
from convlens.training.record import find_near_duplicates, record
from convlens.training.run_folder import RunFolder
from convlens.training.step import TrainState
from convlens.training.trainer import EpochStats, Trainer, best_epoch

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochStats], None]


class Run:
    """A finished run: its figures, its pictures and its network.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._files = RunFolder(self.folder)

    @property
    def config(self) -> RunConfig:
        """Everything that decided the run."""
        return self._files.read_config()

    @property
    def metrics(self) -> dict[str, Any]:
        """Loss and accuracy on both splits, and what is known of their uncertainty."""
        return self._files.read_metrics()

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The columns of history.csv, each of shape (epochs,)."""
        return self._files.read_history()

    @property
    def classifier(self) -> Classifier:
        """The network to use, in evaluation mode."""
        return self._files.classifier()

    @property
    def figures(self) -> dict[str, Picture]:
        """The run's pictures by their names: curves, confusion, per_class, worst, …"""
        return {path.stem: Picture(path) for path in sorted(self.folder.glob("*.png"))}

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """Its figures and its curves, for a notebook."""
        metrics = self.metrics
        splits = [name.removesuffix("_loss") for name in metrics if name.endswith("_loss")]
        rows = [
            (
                split,
                f"{metrics[f'{split}_loss']:.4f}",
                f"{metrics[f'{split}_accuracy']:.2%}",
                f"{metrics[f'{split}_mean_class_accuracy']:.2%}",
            )
            for split in splits
            if not split.startswith("last")
        ]
        about = (
            f"{metrics['recipe']}: {metrics['model']}, {metrics['epochs']} epochs, seed "
            f"{metrics['seed']}, {metrics['seconds'] / 60:.1f} minutes on {metrics['device']}"
        )
        curves = picture((self.folder / "curves.png").read_bytes(), "learning curves", 640)
        figures = table(("", "loss, nats", "accuracy", "mean per class"), rows)
        return f"<p>{html.escape(about)}</p>{figures}{curves}"


def train(
    recipe: str | Path | Recipe | RunConfig,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
    world: World = ALONE,
    **options: Any,
) -> Run:
    """Train a recipe into a new run folder.

    Args:
        recipe: The name of a recipe, a file that holds one, a `Recipe`, or a whole configuration.
        out: The run folder; runs/RECIPE-sSEED if not given.
        overwrite: Replace the run that is in the run folder.
        on_epoch: Is shown each epoch's `EpochStats` once it is kept; what it raises ends the run.
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
    folder = RunFolder(out or Path("runs") / f"{config.recipe.name}-s{config.seed}", world)
    if folder.was_begun:  # by a worker that torchrun has restarted
        return _continue(folder, folder.read_config(), config.data, on_epoch)
    folder.check_free(overwrite)
    dataset = open_dataset(
        config.data,
        size=config.recipe.loaded_size,
        split_seed=config.split_seed,
        skip_bad=config.skip_bad,
    )
    teachers = absolute(config.teachers)
    load_teachers(teachers, dataset.classes)  # before anything is written
    machine = world.first(choose, config.device, config.precision)
    config = dataclasses.replace(
        config,
        data=str(dataset.root),
        digest=dataset.digest,
        teachers=teachers,
        device=str(machine.device),
        precision=machine.precision,
    )
    trainer = Trainer(config, dataset, machine, world)  # refuses what cannot be trained
    plan = world.first(
        choose_algorithms, config.recipe, dataset.num_classes, machine, world.size
    )
    trainer.config = dataclasses.replace(config, convolutions=plan)
    with folder.held():
        folder.check_free(overwrite)  # once more: somebody may have been faster
        folder.begin(trainer.config)
        return _execute(trainer, None, folder, on_epoch)


def resume(
    run: Path | str,
    *,
    epochs: int | None = None,
    data: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
    world: World = ALONE,
) -> Run:
    """Continue a run from its last finished epoch, or train a finished one further.

    A longer run follows the schedule of its new length from where it stands, so its learning rate
    rises again before it falls to zero.

    Args:
        run: The run folder.
        epochs: The new number of epochs in all; more than before trains a finished run further.
        data: Where the data set lies now, if it has moved.
        on_epoch: As `train` takes it.
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
    return _continue(folder, config, data, on_epoch)


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
    return _continue(folder, kept, asked.data, None)


def _continue(
    folder: RunFolder, config: RunConfig, data: Path | str | None, on_epoch: OnEpoch | None
) -> Run:
    """From the last finished epoch; `data`: where the data set lies now, if it has moved."""
    dataset = open_dataset(
        data or config.data,
        size=config.recipe.loaded_size,
        split_seed=config.split_seed,
        skip_bad=config.skip_bad,
    )
    folder.first(_check_same_data, folder, config, dataset)
    machine = folder.first(choose, config.device, config.precision)
    state = folder.read_state()
    # A resumed run keeps its algorithms; runs of version 0.1 have them in their state.
    plan = config.convolutions or (state or {}).get("convolutions", {})
    config = dataclasses.replace(
        config, data=str(dataset.root), digest=dataset.digest, convolutions=plan
    )
    trainer = Trainer(config, dataset, machine, folder.world)
    with folder.held():
        folder.write_config(config)
        return _execute(trainer, state, folder, on_epoch)


def _check_same_data(folder: RunFolder, config: RunConfig, dataset: Dataset) -> None:
    """Raise UserError when the run was on another data set than this one."""
    if (folder.path / "last.safetensors").exists():
        folder.classifier("last").check_classes(dataset, str(folder))
    if config.digest not in ("", dataset.digest):  # runs of version 0.1 have none
        raise UserError(
            f"{dataset.root} does not hold the files that {folder} has been trained on; give that "
            "data set with `data`, or start a new run",
            option="data",
        )


def _execute(
    trainer: Trainer, saved: dict[str, Any] | None, folder: RunFolder, on_epoch: OnEpoch | None
) -> Run:
    """Train from the saved state, or from the start, and write all that a finished run has."""
    _announce(trainer)
    folder.forget_metrics()
    try:
        state = trainer.start() if saved is None else trainer.restore(saved)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        if saved is None:
            raise
        raise folder.damaged("state.pt", problem) from None
    trainer.fit(state, folder, on_epoch or (lambda stats: None))
    _finish(trainer, state, folder)
    return Run(folder.path)


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


def _finish(trainer: Trainer, state: TrainState, folder: RunFolder) -> None:
    """Measure the network that is to be used, and write the run's record and pages."""
    config = trainer.config
    classifier = trainer.classifier(state)
    found: dict[str, Any] = {}
    if config.has_holdout:
        evaluations = _calibrated(trainer, classifier, folder, "last")
        last = evaluations[config.monitored]
        found = {
            "last_holdout_loss": last.loss,
            "last_holdout_accuracy": last.accuracy,
            "last_holdout_mean_class_accuracy": last.mean_class_accuracy,
            "best_epoch": best_epoch(state.history),
        }
        if found["best_epoch"] < len(state.history):
            classifier = folder.classifier("best").to(trainer.machine.device)
            evaluations = _calibrated(trainer, classifier, folder, "best")
        else:
            folder.first(classifier.save, folder.path / "best.safetensors")
    else:
        evaluations = trainer.evaluate(classifier)
    near_duplicates = _near_duplicates(trainer, folder)
    metrics = record(
        config, classifier, evaluations, near_duplicates, trainer.machine, trainer.world
    )
    seconds = sum(row["seconds"] for row in state.history)
    metrics = {**metrics, **found, "seconds": round(seconds, 1)}
    evaluation = evaluations[config.monitored]
    folder.first(_write_pages, trainer, state, evaluation, folder)
    folder.first(write_card, folder, metrics)
    folder.write_metrics(metrics)


def _near_duplicates(trainer: Trainer, folder: RunFolder) -> np.ndarray | None:
    """As `find_near_duplicates`; None also where the files are not there any more: what a run has
    decoded is enough to end it."""
    try:
        return folder.first(find_near_duplicates, trainer.dataset.root, trainer.splits)
    except (UserError, OSError) as problem:
        logger.info("not known  which images have near-duplicates: %s", problem)
        return None


def _calibrated(
    trainer: Trainer, classifier: Classifier, folder: RunFolder, name: str
) -> dict[str, Evaluation]:
    """What the network makes of both splits, at the temperature that its hold-out asks for, which
    its weights file is given too."""
    evaluations = trainer.evaluate(classifier)
    held_out = evaluations[trainer.config.monitored]
    classifier.temperature = fit_temperature(
        held_out.logits, held_out.labels, trainer.recipe.temperature
    )
    folder.first(classifier.save, folder.path / f"{name}.safetensors")
    return {split: seen.at(classifier.temperature) for split, seen in evaluations.items()}


def _write_pages(
    trainer: Trainer, state: TrainState, evaluation: Evaluation, folder: RunFolder
) -> None:
    """Everything in a run folder that is drawn or tabulated from the finished network."""
    folder.write_history(state.history)  # again, should the file have been damaged meanwhile
    write_curves(folder.read_history(), folder.path)
    write_evaluation(evaluation, trainer.splits.monitored.images, folder.path)
    normalize = trainer.normalize.to("cpu")
    first = next(trainer.batches.epoch(0))
    recipe = trainer.recipe
    images, targets = augment(first, recipe.augment, normalize, recipe.size_at(0))
    write_batch(images, targets, normalize, trainer.dataset.classes, folder.path)


def write_card(folder: RunFolder, metrics: dict[str, Any]) -> None:
    """Write MODEL_CARD.md, atomically; everything else but metrics.json is in the run folder."""
    card = model_card(
        [metrics], folder.classifier(), folder.read_config(), folder.read_confusion()
    )
    with replacing(folder.path / "MODEL_CARD.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
