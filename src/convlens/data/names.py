"""What files and folders are called: which are images, which are passed over, which is a class."""

import errno
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from convlens.data.kinds import HEIC_ENDINGS, reads_heic
from convlens.errors import UserError
from convlens.files import as_unicode

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".avif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".tga",
    *(HEIC_ENDINGS if reads_heic() else ()),
)
CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")  # left behind by other systems

NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# The parts of a data set in their order, and what people call them, in any case.
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "val", "valid", "dev"),
    TEST: ("test", "testing"),
}
ADJECTIVES = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}  # of their images


def split_called(name: str) -> str | None:
    """Which split a folder or a word in a list names; None where it names none."""
    word = name.strip().casefold()
    return next((split for split, names in SPLIT_NAMES.items() if word in names), None)


def class_name(folder: str) -> str:
    """What the class in a folder of that name is called: text in NFC, whatever the locale; of names
    that are written alike, whatever wrote them, the same.

    A Mac writes the é of "café" as two characters; it is the same class.
    """
    return unicodedata.normalize("NFC", as_unicode(folder))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is passed over: hidden, or another system's clutter."""
    return name.startswith(".") or name.lower() in CLUTTER


def holds(test: Callable[[], bool]) -> bool:
    """What a directory's entry says of itself; no for a link that leads to itself."""
    try:
        return test()
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            return False
        raise


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, less those that are passed over."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if not is_hidden(entry.name) and holds(entry.is_dir)
        )


def unreadable(problem: OSError, folder: Path | str) -> UserError:
    """What to say of a folder that cannot be read."""
    where = problem.filename or folder
    if isinstance(problem, PermissionError):
        return UserError(f"{where} cannot be read; give yourself the right to read it")
    return UserError(f"{where} cannot be read ({problem.strerror or problem}); try again")
