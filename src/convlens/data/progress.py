"""The bar that slow work on a data set shows."""

from rich.console import Console
from rich.progress import Progress


def progress_bar(wanted: bool = True) -> Progress:
    """A bar on stderr where that is a terminal, gone when it is done; elsewhere nothing."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (wanted and console.is_terminal))
