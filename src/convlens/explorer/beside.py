"""The page of a run while it trains, in a process of its own, for which no training waits."""

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from convlens.explorer.serving import check_installed
from convlens.training.callbacks import Callback

if TYPE_CHECKING:
    from convlens.training.run_folder import RunFolder
    from convlens.training.step import TrainState
    from convlens.training.trainer import Trainer

NICE = 10  # behind the training itself, wherever both want a core
SECONDS = 5.0  # for the process to end by itself


class PageBeside(Callback):
    """Serves the page of runs as `convlens explore` does, from the run's beginning to its end.

    The process reads the run folder and has one thread; whether somebody looks at the page, and
    whether it fails, is nothing to the run.
    """

    process: subprocess.Popen | None = None

    def __init__(self) -> None:
        check_installed()

    def begin(self, trainer: "Trainer", state: "TrainState", folder: "RunFolder | None") -> None:
        """Start it, at a port that is free, which it prints."""
        if folder is None or trainer.world.rank:
            return
        # without the working folder among the modules: whatever lies there is not ConvLens's
        command = [sys.executable, "-P", "-m", "convlens", "explore", str(folder.path)]
        command += ["--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        with contextlib.suppress(OSError, AttributeError):  # Windows has no such thing
            os.setpriority(os.PRIO_PROCESS, self.process.pid, NICE)

    def close(self) -> None:
        """End it with the run."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
