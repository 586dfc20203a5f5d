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

`study` is the search as it is kept, `trials` works on it, `results` writes what came of it, and
`search` begins it and goes through it.
"""

from convlens.errors import UserError

try:
    import optuna  # noqa: F401
except ImportError:
    raise UserError("tune needs Optuna; install it with `pip install optuna`") from None

from convlens.tune.search import HOLDOUT, tune

__all__ = ["HOLDOUT", "tune"]
