"""A search as it is kept in its folder: what every trial has, and what came of each."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from convlens.recipes.spaces import SPACES, Range, Space, own_setting
from convlens.training.config import RunConfig
from convlens.training.run_folder import RunFolder


class _Lock:
    """For Optuna's journal, a lock that does not outlive its holder, as Optuna's own do.

    It has the methods of Optuna's own locks; their base class is not public.
    """

    def __init__(self, path: Path):
        self.lock = FileLock(path)

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


@dataclass(frozen=True)
class Search:
    """A search in a folder.

    config: what every trial has; its recipe's name says which space is searched.
    """

    folder: Path
    config: RunConfig

    @classmethod
    def open(cls, folder: Path) -> "Search":
        """The search that is kept in `folder`. Raises UserError where there is none."""
        return cls(folder, RunFolder(folder).read_config())

    @property
    def space(self) -> Space:
        """The options that are searched, with their ranges."""
        return SPACES[self.config.recipe.name]

    @property
    def own(self) -> dict[str, Any]:
        """The recipe's own setting, as a trial's parameters."""
        return own_setting(self.config.recipe, self.space)

    def locked(self) -> FileLock:
        """Held by who changes what all workers share."""
        return FileLock(self.folder / "lock")

    @cached_property
    def study(self) -> optuna.Study:
        """What Optuna knows of it.

        From a third of its epochs on, a trial is pruned whose best accuracy is below the median of
        the others' at that epoch.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / "study.journal"
        lock = _Lock(self.folder / "study.lock")
        return optuna.create_study(
            storage=JournalStorage(
                JournalFileBackend(str(path), lock)  # pyright: ignore[reportArgumentType]
            ),
            study_name=self.config.recipe.name,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(
                5, n_warmup_steps=-(-self.config.recipe.epochs // 3)
            ),
            load_if_exists=True,
        )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Those in one of the states, or all, in the order in which they began."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def finished(self) -> list[FrozenTrial]:
        """Trials that were trained to their end, the best first."""
        return sorted(self.trials(TrialState.COMPLETE), key=lambda t: (-accuracy_of(t), t.number))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The options that a new trial trains with."""
        parameters = {}
        for name, choice in self.space.items():
            if isinstance(choice, Range):
                parameters[name] = trial.suggest_float(
                    name, choice.low, choice.high, log=choice.log
                )
            else:
                parameters[name] = trial.suggest_categorical(name, choice)
        return self.options(parameters)

    def options(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The options that a trial trains with: its parameters, to three digits."""
        return {
            name: float(f"{value:.3g}") if isinstance(self.space[name], Range) else value
            for name, value in parameters.items()
        }


def accuracy_of(trial: FrozenTrial) -> float:
    """What a trial that was trained to its end came to, 0..1."""
    assert trial.value is not None, "only a finished trial has a value"
    return trial.value


def folder_of(trial: FrozenTrial | Trial) -> str:
    """The name of a trial's folder; one that was taken up again has that of the first attempt."""
    return trial.user_attrs.get("folder", f"{trial.number:03d}")
