"""What an export shows while it works: a bar on a terminal, else a line every few seconds."""

import logging
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress

from convlens.explorer.inside import Explorer

logger = logging.getLogger(__name__)


class ExportProgress:
    """How far the export is; a context manager."""

    PAUSE = 5.0  # seconds between two lines

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self.is_bar = console.is_terminal
        self.told = time.monotonic()

    def __enter__(self) -> "ExportProgress":
        self.bar.__enter__()
        self.task = self.bar.add_task("Reading the data set", total=None)
        return self

    def __exit__(self, *problem: Any) -> None:
        self.bar.__exit__(*problem)

    def surveyed(self, explorer: Explorer) -> None:
        tasks = [task for survey in explorer.surveys for task in survey.tasks.values()]
        done, total = (sum(getattr(each, what) for each in tasks) for what in ("done", "total"))
        self.at("reading the data set", done, total)

    def at(self, what: str, done: int, total: int) -> None:
        """Of what there is to do, so much is done."""
        words = what[0].upper() + what[1:]
        self.bar.update(self.task, description=words, completed=done, total=total)
        if time.monotonic() - self.told > self.PAUSE:
            self.say(f"{what}: {done:,} of {total:,}")

    def say(self, words: str) -> None:
        """A line where there is no bar."""
        self.told = time.monotonic()
        if not self.is_bar:
            logger.info("page       %s", words)
