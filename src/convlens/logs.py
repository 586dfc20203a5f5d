"""What the library logs, told plainly on standard output: for programs, not for importers."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from convlens.escape import terminal


def say(line: object, file: TextIO | None = None) -> None:
    """Print a line, by default on standard output; no name in it commands the terminal."""
    print(terminal(line), file=file or sys.stdout, flush=True)


class _Stdout(logging.Handler):
    """Writes each message to what is standard output at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def to_stdout() -> None:
    """Have everything that ConvLens logs from INFO on printed, once and without decoration."""
    logger = logging.getLogger("convlens")
    if not any(isinstance(handler, _Stdout) for handler in logger.handlers):
        logger.addHandler(_Stdout())
        logger.setLevel(logging.INFO)
        logger.propagate = False


def to_nowhere() -> None:
    """The inverse of `to_stdout`."""
    logger = logging.getLogger("convlens")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Stdout)]:
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """While the block runs, what ConvLens logs goes to the end of a file and nowhere else.

    So does what is printed, progress bars among it.
    """
    logger = logging.getLogger("convlens")
    before = logger.handlers, logger.level, logger.propagate
    with open(path, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        logger.handlers, logger.propagate = [_Stdout()], False
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.handlers, level, logger.propagate = before
            logger.setLevel(level)


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Without warnings, and without the notes that libraries write to their own developers.

    names: of the loggers that say nothing less than an error.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
