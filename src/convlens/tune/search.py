"""`convlens tune`: search a recipe's space on images held out of `train/`, in a folder that keeps.

    config.yaml     the recipe, the data set, the hold-out and the budget that every trial has
    study.journal   what Optuna knows: every trial, its setting and its accuracy after each epoch
    trials/007      a trial's own run folder: config.yaml, history.csv and log.txt
    trials.csv      a row a trial
    best.yaml       the best setting; `convlens train best.yaml` trains it
    tuning.png      which options mattered, and how

Any number of processes may work on one folder. A trial belongs to who holds the lock in its
folder; the system drops that lock when the process dies, and whoever comes next takes the trial up
where its last finished epoch left it.
"""

import contextlib
import csv
import dataclasses
import multiprocessing
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from convlens import figures
from convlens.data import open_dataset
from convlens.data.batches import mix_seed
from convlens.data.dataset import Dataset
from convlens.errors import Diverged, UserError
from convlens.files import replacing
from convlens.recipes import RECIPES
from convlens.recipes.options import with_options, write_recipe
from convlens.recipes.recipe import Recipe
from convlens.recipes.spaces import SPACES, Range, Space, own_setting
from convlens.training.run_folder import write_yaml
from convlens.training.trainer import Config, monitored_splits, train
from convlens.training.device import Machine, choose
from convlens.training.run import check, read_config
from convlens.training.parallel import begin_worker

try:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError:
    raise UserError("tune needs Optuna; install it with `pip install 'convlens[tune]'`") from None

HEAVY = ("state.pt", "best.safetensors", "last.safetensors")  # of a trial, once it has ended


class _Lock:
    """For Optuna's journal, a lock that does not outlive its holder, as Optuna's own do."""

    def __init__(self, path: Path):
        self.lock = FileLock(path)

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


def tune(
    recipe: Recipe,
    folder: Path,
    *,
    trials: int = 30,
    epochs: int | None = None,
    images: int = 0,
    holdout: float = 0.1,
    workers: int = 1,
    seed: int = 0,
    data: Path | str | None = None,
    split_seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> dict[str, Any]:
    """Try `trials` settings of the recipe's space in all, the recipe's own first.

    Tree-structured Parzen estimator (Bergstra et al. 2011) with median pruning: from a third of
    its epochs on, a trial whose best accuracy is below the median of the others' at that epoch
    ends. epochs: of a trial, by default the recipe's own. holdout: share of each class of `train/`
    that settings are judged on; `validation/` is not read. workers: processes, which share the
    cores.

    A folder of the same search is continued. Returns the best trial: its number, `accuracy` and
    `standard_error` on the hold-out, `own`, the accuracy of the recipe's own setting (None where
    that has not ended yet), and `options`.

    Raises UserError for a recipe without a space, bad options and a folder of another search.
    """
    if recipe.name not in SPACES:
        raise UserError(f"recipe {recipe.name} has no space to search; {', '.join(SPACES)} have")
    for name, value, least in ("trials", trials, 1), ("workers", workers, 1), ("seed", seed, 0):
        if value < least:
            raise UserError(f"--{name} {value} is too small; the least is {least}")
    if images < 0:
        raise UserError(f"--images {images} is negative; give 0 or more")
    if not 0 < holdout <= 0.9:
        raise UserError(f"--holdout {holdout} is out of range; give a share up to 0.9")
    recipe = dataclasses.replace(recipe, epochs=recipe.epochs if epochs is None else epochs)
    check(recipe)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give another folder with --out")
    dataset = _open(recipe, data, split_seed)
    machine = choose(device, precision)
    config = Config(
        recipe=recipe, data=str(dataset.root), digest=dataset.digest, seed=seed,
        split_seed=split_seed, holdout=holdout, images=images, device=str(machine.device),
        precision=machine.precision,
    )  # fmt: skip
    _begin(folder, config)
    print(f"data set   {dataset.describe()}")
    print(f"recipe     {recipe.name}: {recipe.model}, {recipe.epochs} epochs a trial, seed {seed}")
    print(f"device     {machine.describe()}{f', {workers} workers' if workers > 1 else ''}")
    held_out = len(list(monitored_splits(config, dataset).values())[1])
    print(f"judged on  {held_out:,} images held out of train/", flush=True)
    if workers == 1:
        work(folder, trials)
    else:
        _work_together(folder, trials, workers)
    study = _open_study(folder, config)
    with _locked(folder):
        write_results(folder, config, study)
        figures.save(_draw(config, study), folder / "tuning.png")
    best = _finished(study)[0]
    return {
        "trial": best.number,
        "accuracy": best.value,
        "standard_error": float(np.sqrt(best.value * (1 - best.value) / held_out)),
        "own": next((t.value for t in _finished(study) if t.params == _own(recipe)), None),
        "options": _options(SPACES[recipe.name], best.params),
    }


def work(folder: Path, trials: int) -> None:
    """Take up trial after trial of the search in `folder` until there have been `trials`."""
    config = read_config(folder)
    study = _open_study(folder, config)
    machine = choose(config.device, config.precision)
    while True:
        with _locked(folder):
            _take_back(study, folder)
            states = [t.state for t in study.get_trials(deepcopy=False)]
            if sum(s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
                   for s in states) >= trials:
                return
            # a sampler of its own for every trial, so that a stop changes nothing that follows
            draw = mix_seed(config.seed, len(states)) % 2**32
            study.sampler = optuna.samplers.TPESampler(seed=draw)
            trial = study.ask()
            run = folder / "trials" / trial.user_attrs.get("folder", f"{trial.number:03d}")
            trial.set_user_attr("folder", run.name)
            run.mkdir(parents=True, exist_ok=True)
            held = FileLock(run / "lock")
            held.acquire()
        try:
            told = _try(trial, run, config, study, machine)
            with _locked(folder):
                write_results(folder, config, study)
        finally:
            held.release()
        print(f"trial {trial.number:>4}  {told}", flush=True)


def _try(
    trial: Trial,
    run: Path,
    config: Config,
    study: "optuna.Study",
    machine: Machine,
) -> str:
    """Train one setting, or the rest of it, and tell the study; returns what came of it."""
    space = SPACES[config.recipe.name]
    options = _options(space, {name: _suggest(trial, name, space[name]) for name in space})
    setting = dataclasses.replace(config, recipe=with_options(config.recipe, options))
    words = ", ".join(f"{name} {value}" for name, value in options.items())
    with contextlib.suppress(UserError):  # there is none yet, or it was cut while it was written
        if read_config(run) != setting:
            for name in (*HEAVY, "history.csv"):
                (run / name).unlink(missing_ok=True)
    write_yaml(run / "config.yaml", setting.as_dict())

    def watch(row: dict[str, float]) -> None:
        trial.report(row["validation_accuracy"], int(row["epoch"]))
        if row["epoch"] < config.recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        with open(run / "log.txt", "a") as log, contextlib.redirect_stdout(log):
            # of the size that this setting loads
            dataset = _open(setting.recipe, config.data, config.split_seed)
            outcome = train(setting, dataset, run, machine, watch=watch)
        accuracy = outcome.history[-1]["validation_accuracy"]
        study.tell(trial, accuracy)
        told = f"{accuracy:.2%}  {words}"
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        told = f"stopped early  {words}"
    except Diverged:
        study.tell(trial, state=TrialState.PRUNED)
        told = f"diverged  {words}"
    for name in HEAVY:
        (run / name).unlink(missing_ok=True)
    return told


def _work_together(folder: Path, trials: int, workers: int) -> None:
    """`work` in several processes, each with its share of the threads."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    processes = [
        context.Process(target=_worker, args=(folder, trials, threads), daemon=True)
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if lost := sum(process.exitcode != 0 for process in processes):
        raise UserError(
            f"{lost} of {workers} workers ended early; the same command goes on with their trials"
        )


def _worker(folder: Path, trials: int, threads: int) -> None:
    """A process of `_work_together`, which ends without a traceback."""
    begin_worker(threads)
    try:
        work(folder, trials)
    except (UserError, OSError) as problem:
        print(f"convlens: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _open(recipe: Recipe, data: Path | str | None, split_seed: int) -> Dataset:
    return open_dataset(data, size=recipe.loaded_size, split_seed=split_seed)


def _locked(folder: Path) -> FileLock:
    """Held by who changes what all workers share."""
    return FileLock(folder / "lock")


def _begin(folder: Path, config: Config) -> None:
    """Make the folder of a new search; of an old one, check that it is the same."""
    if (folder / "config.yaml").exists():
        before = read_config(folder)
        moved = dataclasses.replace(before, data=config.data)
        if moved != config:
            raise UserError(
                f"{folder} holds a search with other settings; repeat its command or name another "
                "folder with --out"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is in use and holds no search; name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "config.yaml", config.as_dict())
    with _locked(folder):
        study = _open_study(folder, config)
        if not study.trials:
            study.enqueue_trial(_own(config.recipe))


def _open_study(folder: Path, config: Config) -> "optuna.Study":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(path), _Lock(folder / "study.lock")))
    return optuna.create_study(
        storage=storage,
        study_name=config.recipe.name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(5, n_warmup_steps=-(-config.recipe.epochs // 3)),
        load_if_exists=True,
    )


def _take_back(study: "optuna.Study", folder: Path) -> None:
    """Queue the trials anew whose process has died; the caller holds the folder's lock."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        name = trial.user_attrs.get("folder", f"{trial.number:03d}")
        (folder / "trials" / name).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "trials" / name / "lock", timeout=0):
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params, user_attrs={"folder": name})
        except Timeout:
            continue  # alive


def _own(recipe: Recipe) -> dict[str, Any]:
    return own_setting(recipe, SPACES[recipe.name])


def _suggest(trial: Trial, name: str, choice: Range | tuple) -> Any:
    if isinstance(choice, Range):
        return trial.suggest_float(name, choice.low, choice.high, log=choice.log)
    return trial.suggest_categorical(name, choice)


def _options(space: Space, parameters: dict[str, Any]) -> dict[str, Any]:
    """The options that a trial trains with: its parameters, to three digits."""
    return {
        name: float(f"{value:.3g}") if isinstance(space[name], Range) else value
        for name, value in parameters.items()
    }


def _finished(study: "optuna.Study") -> list[FrozenTrial]:
    """Trials that were trained to their end, the best first."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(finished, key=lambda trial: (-trial.value, trial.number))


def write_results(folder: Path, config: Config, study: "optuna.Study") -> None:
    """Write trials.csv and, once a trial has been trained to its end, best.yaml."""
    space = SPACES[config.recipe.name]
    # those that failed were queued anew
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    with replacing(folder / "trials.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "epochs", "accuracy", *space])
        for trial in trials:
            ended = trial.state == TrialState.COMPLETE
            reached = trial.intermediate_values
            epochs = config.recipe.epochs if ended else max(reached, default=0)
            accuracy = trial.value if ended else reached.get(epochs, "")
            options = _options(space, trial.params)
            writer.writerow(
                [trial.number, trial.state.name.lower(), epochs, accuracy,
                 *(options.get(name, "") for name in space)]
            )  # fmt: skip
    finished = _finished(study)
    if not finished:
        return
    plain = RECIPES[config.recipe.name]()
    best = with_options(plain, _options(space, finished[0].params))
    write_recipe(folder / "best.yaml", best, plain)


def _draw(config: Config, study: "optuna.Study") -> Figure:
    finished = sorted(_finished(study), key=lambda trial: trial.number)
    importance: dict[str, float] = {}
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError, ValueError):
        warnings.simplefilter("ignore")  # of the importances being experimental in older versions
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        if len(finished) >= 4:
            importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    coordinates = []
    for name, choice in SPACES[config.recipe.name].items():
        values = [_options(SPACES[config.recipe.name], t.params)[name] for t in finished]
        number = isinstance(choice, Range)
        coordinates.append(
            figures.Coordinate(
                name=name,
                values=np.array(values if number else [choice.index(v) for v in values], float),
                choices=() if number else tuple(map(str, choice)),
                log=number and choice.log,
                importance=importance.get(name, np.nan),
            )
        )
    pruned = [
        (t.number, t.intermediate_values[max(t.intermediate_values)])
        for t in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        if t.intermediate_values
    ]
    own = [i for i, trial in enumerate(finished) if trial.params == _own(config.recipe)]
    return figures.tuning(
        coordinates,
        np.array([trial.value for trial in finished]),
        np.array([trial.number for trial in finished]),
        np.array(pruned, dtype=float).reshape(-1, 2),
        own[0] if own else None,
    )
