"""Which epochs are kept, which is the best one, and which ends a run because it has diverged."""

from convlens.errors import Diverged
from convlens.training.run_folder import Row, is_finite
from convlens.training.step import TrainState


def best_epoch(history: list[Row]) -> int:
    """The epoch, counted from 1, of the highest accuracy on the hold-out; of equals the last."""
    accuracies = [row["holdout_accuracy"] for row in history]
    return max(range(len(history)), key=lambda i: (accuracies[i], i)) + 1


def diverged(what: str, epoch: int, step: int) -> Diverged:
    """What to say of a loss that is not finite in that epoch and step, both counted from 0."""
    kept = "the run folder keeps the last good epoch" if epoch else "no epoch was kept"
    return Diverged(
        f"{what} in epoch {epoch + 1}, step {step + 1}: training has diverged; lower "
        f"`learning_rate` and start again ({kept})",
        option="learning_rate",
    )


def check_finite(epoch: int, row: Row, state: TrainState) -> None:
    """Raise Diverged for an epoch of which nothing may be kept."""
    finite = all(
        bool(tensor.isfinite().all())
        for tensor in state.ema.module.state_dict().values()
        if tensor.is_floating_point()
    )
    if not finite or not is_finite(row):
        raise diverged("a weight or the loss is no number", epoch, state.pace.steps - 1)


def is_kept(epoch: int, last: int) -> bool:
    """Whether a snapshot is taken after that epoch: 1, 2, 5, 10, 20, 40, 80, … and the last.

    Features change fast at first and slowly later (Zeiler and Fergus 2014, fig. 4).
    """
    tens = epoch // 10
    doubled = epoch % 10 == 0 and tens & (tens - 1) == 0
    return doubled or epoch in (1, 2, 5, last)
