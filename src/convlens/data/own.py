"""Which folders ConvLens wrote, so that what lies in them is nobody's data."""

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from convlens.data.names import IMAGE_SUFFIXES, subfolders
from convlens.files import MARKER

logger = logging.getLogger(__name__)

# What a folder holds that ConvLens wrote and left no marker in, as runs have none and earlier
# versions had not: a run, a search, an evaluation, an audit, results and a cache.
SIGNS = (
    {"config.yaml", "history.csv"},
    {"config.yaml", "state.pt"},
    {"config.yaml", "metrics.json"},
    {"config.yaml", "study.journal"},
    {"metrics.json", "confusion.csv"},
    {"near-duplicates.csv", "pairs-01.png"},
    {"duplicates.csv", "pairs-01.png"},
    {"summary.json", "summary.md"},
    {"manifest.json", "lock"},
)
PAGE = ("api", "site.json")  # an exported page
DEPTH = 3  # of folders that hold nothing but such folders: runs/quick-s0-folds/fold-1


def is_own(folder: Path | str, depth: int = DEPTH) -> bool:
    """Whether ConvLens wrote the folder.

    It is known by the marker that `files.make_folder` leaves, by what it holds, or by holding
    nothing but such folders, as runs/ does; never by its name.
    """
    folder = Path(folder)
    try:
        names = set(os.listdir(folder))
        if MARKER in names or any(sign <= names for sign in SIGNS):
            return True
        if PAGE[0] in names and folder.joinpath(*PAGE).is_file():
            return True
        if depth == 0 or any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
            return False
        inside = subfolders(folder)
    except OSError:
        return False
    if not inside:  # a run that has just begun has no more than its options
        return "config.yaml" in names
    return all(is_own(folder / name, depth - 1) for name in inside)


def tell_own(root: Path, own: Sequence[str]) -> None:
    """Log that folders in `root` are left out, once however often the program looks there."""
    if own:
        tell_once(root.resolve(), f"left out   {', '.join(own)}: written by ConvLens")


@functools.cache
def tell_once(root: Path, line: str) -> None:
    """Log a line on what is in `root`, once however often the program looks there."""
    logger.info("%s", line)
