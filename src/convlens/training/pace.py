"""How long a run is, in epochs and steps, also where that changes on the way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from convlens.errors import UserError

_CHANGE = re.compile(r"(\d+):(\d+)x(\d+)", re.ASCII)


@dataclass(frozen=True)
class Pace:
    """So many epochs in all, of so many steps.

    A run that was planned anew has had epochs of other lengths before, and what is left of its
    schedule is spread over what is left of its steps.

    Attributes:
        epochs: In all.
        steps: Of each epoch from `since` on.
        since: The epoch, counted from 0, that the present plan begins with.
        before: Steps in the epochs before that.
        done: Share of the run, [0, 1], that was over then.
    """

    epochs: int
    steps: int
    since: int = 0
    before: int = 0
    done: float = 0.0

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.steps_until(self.epochs)

    def steps_until(self, epoch: int) -> int:
        """Steps before that epoch, counted from 0 and not before the present plan."""
        return self.before + (epoch - self.since) * self.steps

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 0, of that step, counted from 0."""
        return self.since + (step - self.before) // self.steps

    def ends_epoch(self, steps: int) -> bool:
        """Whether an epoch is over after so many steps."""
        return (steps - self.before) % self.steps == 0

    def progress(self, steps: float) -> float:
        """Share of the run, [0, 1], that is over after so many steps."""
        left = (self.epochs - self.since) * self.steps
        return self.done + (1 - self.done) * ((steps - self.before) / left)

    def changed(self, since: int, left: int, steps: int) -> "Pace":
        """The same until epoch `since`, then `left` epochs of `steps`."""
        before = self.steps_until(since)
        return Pace(since + left, steps, since, before, self.progress(before))

    def after(self, changes: Sequence[str], most: int) -> "Pace":
        """As it is after all `changes`, none of which takes more than `most` steps an epoch."""
        pace = self
        for since, left, steps in map(read_change, changes):
            pace = pace.changed(since, left, min(steps, most))
        return pace

    def __str__(self) -> str:
        """The present plan as a change: "4:6x50", after 4 epochs 6 of 50 steps each."""
        return f"{self.since}:{self.epochs - self.since}x{self.steps}"


def read_change(text: str) -> tuple[int, int, int]:
    """The three numbers in a change as `Pace` writes it. Raises UserError where it is none."""
    found = _CHANGE.fullmatch(text)
    since, left, steps = map(int, found.groups()) if found else (0, 0, 0)
    if not (left and steps):
        raise UserError(
            f"`replanned` {text} is no change of plan; 4:6x50 means that after 4 epochs there "
            "were 6 of 50 steps each",
            option="replanned",
        )
    return since, left, steps


def check_changes(changes: Sequence[str], epochs: int) -> None:
    """Raise UserError unless each change comes later than the one before and before the end."""
    begun = -1
    for change in changes:
        since, left, _ = read_change(change)
        if not begun < since < epochs:
            raise UserError(
                f"`replanned` {change} comes after the run's end or before an earlier change; "
                "give changes in their order",
                option="replanned",
            )
        begun, epochs = since, since + left
