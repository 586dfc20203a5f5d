"""Has a run end in time, whatever else the machine has to do meanwhile."""

import logging
import math
import time
from dataclasses import replace

from convlens.training.callbacks import Callback, EpochStats
from convlens.training.cost import Clock, Cost, pages_of
from convlens.training.measuring import BUSY, Measurements, Watch
from convlens.training.pace import read_change
from convlens.training.result import Run
from convlens.training.run_folder import RunFolder
from convlens.training.step import TrainState
from convlens.training.trainer import Trainer

logger = logging.getLogger(__name__)

SLACK = 0.03  # share of the time that the end may be off before a run is planned anew
ANNEALING = 0.05  # share of the steps so far in which a run that is late comes to rest all the same


class Timekeeper(Callback):
    """Has a run end in time: after each epoch it plans the rest anew, should that be needed.

    The rest of the schedule is then spread over the steps that there is time for, so that the
    learning rate comes to its end with the run's. What changed stands in the run's configuration.
    """

    def __init__(self, clock: Clock, cost: Cost):
        self.clock, self.cost = clock, cost

    def begin(self, trainer: Trainer, state: TrainState, folder: RunFolder | None) -> None:
        """A run that is resumed may be late already."""
        self.trainer, self.folder = trainer, folder
        self._look_at_the_clock()
        if len(state.history) < state.pace.epochs:
            self._keep_time(state)

    def epoch(self, state: TrainState, stats: EpochStats) -> None:
        """Look at the clock."""
        now, seconds = time.perf_counter(), stats.row["seconds"]
        size = state.size_at(state.pace.epoch_of(state.step - 1))
        early = self.cost.early if size != state.recipe.size_at(1.0) else 1.0
        self.cost = replace(
            self.cost,
            step=stats.train_seconds / state.pace.steps / early,
            image=(seconds - stats.train_seconds) / self.cost.monitored,
            keeping=max(0.0, now - self.since - seconds),
        )
        self._look_at_the_clock()
        if len(state.history) < state.pace.epochs:
            self._keep_time(state)

    def end(self, run: Run) -> None:
        """Keep how long the last pages took, for runs to come, if nothing else was going on."""
        if self.trainer.config.has_holdout:  # where it is not known what was evaluated
            return
        if self.watch.others() >= BUSY:
            return
        # a process that was stopped and continued has used no processor meanwhile
        took = min(time.perf_counter() - self.since, time.process_time() - self.used)
        pages = took - self.cost.last * self.cost.image
        measurements = Measurements(self.trainer.machine.device)
        measurements.new[pages_of(self.trainer)] = round(max(1.0, pages), 1)
        measurements.save()

    def _look_at_the_clock(self) -> None:
        self.since, self.used, self.watch = time.perf_counter(), time.process_time(), Watch()

    def _keep_time(self, state: TrainState) -> None:
        change = self.trainer.world.first(self._change, state)
        if change is None:
            return
        config, done = self.trainer.config, len(state.history)
        before = [text for text in config.replanned if read_change(text)[0] < done]
        self.trainer.config = replace(config, replanned=(*before, change))
        if self.folder is not None:
            self.folder.write_config(self.trainer.config)

    def _change(self, state: TrainState) -> str | None:
        """The change of plan that is needed after the epochs so far; None where none is."""
        done, pace, cost = len(state.history), state.pace, self.cost
        late = cost.of(pace, state.step) - self.clock.left
        as_long_as_can_be = late < 0 and pace.total >= cost.most
        if abs(late) <= SLACK * self.clock.seconds or as_long_as_can_be:
            return None
        whole = len(self.trainer.batches)
        epochs, steps = cost.fit(self.clock.left, whole, 1, state.step, pace.progress(state.step))
        least = max(1, math.ceil(ANNEALING * state.step))
        if epochs * steps < least:
            epochs, steps = 1, min(least, whole)
        changed = pace.changed(done, epochs, steps)
        logger.info(
            "planned    anew: %d more epoch%s of %d steps, for a step takes %.3g s",
            *(epochs, "s" * (epochs > 1), steps, cost.step),
        )
        return str(changed)
