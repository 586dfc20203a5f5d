"""The work of a search: trial after trial, alone or in several processes."""

import contextlib
import dataclasses
import logging
import math
import multiprocessing
import sys
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.trial import Trial, TrialState

from convlens import fields, logs
from convlens.data import Dataset
from convlens.data.batches import mix_seed
from convlens.errors import Diverged, UserError
from convlens.files import sweep
from convlens.training.autotune import choose_algorithms
from convlens.training.callbacks import Callbacks, EpochStats
from convlens.training.config import RunConfig
from convlens.training.device import Machine, choose
from convlens.training.loggers import make_loggers
from convlens.training.parallel import begin_worker, share_of_threads
from convlens.training.run_folder import RunFolder
from convlens.training.trainer import Trainer
from convlens.tune.results import write_results
from convlens.tune.study import Search, folder_of

logger = logging.getLogger(__name__)

HEAVY = ("state.pt", "best.safetensors", "last.safetensors")  # of a trial, once it has ended
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def work(folder: Path, trials: int) -> None:
    """Take up trial after trial of the search in `folder` until there have been `trials`."""
    search = Search.open(folder)
    study = search.study
    machine = choose(search.config.device, search.config.precision)
    while True:
        with search.locked():
            _take_back(search)
            begun = sum(trial.state in COUNTED for trial in search.trials())
            if begun >= trials:
                return
            # a sampler of its own for every trial, so that a stop changes nothing that follows
            seed = mix_seed(search.config.seed, begun) % 2**32
            study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = study.ask()
            run = folder / "trials" / folder_of(trial)
            trial.set_user_attr("folder", run.name)
            run.mkdir(parents=True, exist_ok=True)
            held = FileLock(run / "lock")
            held.acquire()
        try:
            told = _try(search, trial, RunFolder(run), machine)
            with search.locked():
                write_results(search)
        finally:
            held.release()
        logger.info("trial %4d  %s", trial.number, told)


def work_together(folder: Path, trials: int, workers: int) -> None:
    """`work` in several processes, each with its share of the threads."""
    context = multiprocessing.get_context("spawn")
    arguments = (folder, trials, share_of_threads(workers))
    processes = [
        context.Process(target=_worker, args=arguments, daemon=True) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if lost := sum(process.exitcode != 0 for process in processes):
        raise UserError(
            f"{lost} of {workers} workers ended early; the same command continues their trials"
        )


def _worker(folder: Path, trials: int, threads: int) -> None:
    """A process of `work_together`, which ends without a traceback."""
    begin_worker(threads)
    try:
        work(folder, trials)
    except (UserError, OSError) as problem:
        sys.exit(f"convlens: {problem}")  # on stderr, with status 1
    except KeyboardInterrupt:
        sys.exit(130)


def _take_back(search: Search) -> None:
    """Queue the trials anew whose process has died; the caller holds the search's lock."""
    for trial in search.trials(TrialState.RUNNING):
        run = search.folder / "trials" / folder_of(trial)
        run.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(run / "lock", timeout=0):
                search.study.tell(trial.number, state=TrialState.FAIL)
                # what it was to be, unless not even that was settled: it is drawn again then
                settled = trial.params.keys() == search.space.keys()
                params = trial.params if settled else trial.system_attrs.get("fixed_params", {})
                search.study.enqueue_trial(params, user_attrs={"folder": run.name})
        except Timeout:
            continue  # alive


def _try(search: Search, trial: Trial, run: RunFolder, machine: Machine) -> str:
    """Train one setting, or the rest of it, and tell the study; returns what came of it."""
    options = search.suggest(trial)
    recipe = fields.replace(search.config.recipe, options)
    setting = dataclasses.replace(search.config, recipe=recipe)
    words = ", ".join(f"{name} {value}" for name, value in options.items())
    try:
        with logs.to_file(run.path / "log.txt"):
            accuracy = _train(setting, run, machine, trial)
        search.study.tell(trial, accuracy)
        told = f"{accuracy:.2%}  {words}"
    except optuna.TrialPruned:
        search.study.tell(trial, state=TrialState.PRUNED)
        told = f"stopped early  {words}"
    except Diverged:
        search.study.tell(trial, state=TrialState.PRUNED)
        told = f"diverged  {words}"
    _remove(run, *HEAVY)
    return told


def _train(setting: RunConfig, run: RunFolder, machine: Machine, trial: Trial) -> float:
    """Train a setting from where it was cut, or from the start; its accuracy on the hold-out.

    Raises TrialPruned and Diverged.
    """
    dataset = setting.open_dataset()
    setting, saved = _begin(setting, run, dataset, machine)
    trainer = Trainer(setting, dataset, machine)
    epochs = setting.recipe.epochs

    def watch(stats: EpochStats) -> None:
        trial.report(_number(stats.accuracy), stats.epoch)
        if stats.epoch < epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        state = trainer.start() if saved is None else trainer.restore(saved)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        if saved is None:
            raise
        raise run.damaged("state.pt", problem) from None
    loggers = make_loggers(setting.log)
    try:
        trainer.fit(state, run, watch, loggers)
    finally:
        Callbacks(loggers).close()
    return _number(state.history[-1][f"{setting.monitored}_accuracy"])


def _begin(
    setting: RunConfig, run: RunFolder, dataset: Dataset, machine: Machine
) -> tuple[RunConfig, dict | None]:
    """The setting with its convolutions' algorithms, and the state to continue from, if any."""
    sweep(run.path)
    with contextlib.suppress(UserError):  # there is none yet, or it was cut while it was written
        kept = run.read_config()
        if not setting.differs_from(kept) and (saved := run.read_state()) is not None:
            # runs of version 0.1 have the algorithms in their state
            plan = kept.convolutions or saved.get("convolutions", {})
            return dataclasses.replace(setting, convolutions=plan), saved
    _remove(run, *HEAVY, "history.csv")
    plan = choose_algorithms(
        setting.recipe, dataset.num_classes, machine, images=len(dataset.train)
    )
    setting = dataclasses.replace(setting, convolutions=plan)
    run.write_config(setting)
    return setting, None


def _number(accuracy: float) -> float:
    """The accuracy. Raises Diverged where it is none, which no trial is to be judged by."""
    if not math.isfinite(accuracy):
        raise Diverged(f"the accuracy is {accuracy}")
    return accuracy


def _remove(run: RunFolder, *names: str) -> None:
    for name in names:
        (run.path / name).unlink(missing_ok=True)
