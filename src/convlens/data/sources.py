"""Where images come from: which folder is the data set, and which files lie in it.

A data set is a folder per class, either already split into `train/` and `validation/` (or `val/`,
`valid/`) or not. Nothing is decoded here; a listing costs one `stat` a file.
"""

import errno
import functools
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import MARKER, as_unicode

logger = logging.getLogger(__name__)

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
)
VALIDATION_NAMES = ("validation", "val", "valid")
OPTIONS = ("data", "skip_bad")  # what the problems may speak of
CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")  # left behind by other systems

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

_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, in the order train, validation; each sorted by class, name.

    classes: sorted class names, as `class_name` has them.
    paths: N files relative to root, with forward slashes; opened as `files.on_disk` has them.
    labels: int64, shape (N,), indices into classes.
    sizes, mtimes, ctimes: int64, shape (N,), bytes and nanoseconds: what the cache knows a file by.
    num_train: how many rows belong to `train/`; None when the data set is not split.
    skipped: files that are no images, left out on request. problems: one sentence each.
    own: folders that ConvLens wrote and that are no classes, relative to root.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    sizes: np.ndarray
    mtimes: np.ndarray
    ctimes: np.ndarray
    num_train: int | None
    skipped: tuple[str, ...]
    problems: tuple[str, ...]
    own: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise UserError with the first problem, if there is any."""
        if self.problems:
            more = len(self.problems) - 1
            rest = f" (and {more} more; `convlens data audit` lists them)" if more else ""
            message = self.problems[0] + rest
            raise UserError(message, option=[o for o in OPTIONS if f"`{o}`" in message])


def cache_home() -> Path:
    """Where decoded data sets and the demo set are kept: CONVLENS_CACHE, else the user's cache."""
    if chosen := os.environ.get("CONVLENS_CACHE"):
        return Path(chosen).expanduser().resolve()
    import pooch  # imports slowly, and most starts do not come here

    return Path(pooch.os_cache("convlens"))


def scan(root: Path, skip_bad: bool = False) -> Listing:
    """List the images under `root`.

    What is wrong inside goes to `problems`; with `skip_bad`, files that are no images go to
    `skipped` instead. Raises UserError where nothing can be listed: root does not exist, is a
    file, cannot be read, or has one split without the other.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"data set {root} does not exist; give a folder with `data`", option="data")
    if not root.is_dir():
        raise UserError(
            f"data set {root} is a file; give a folder that holds a folder per class",
            option="data",
        )
    try:
        listing = _scan(root, skip_bad)
    except PermissionError as problem:
        raise UserError(
            f"{problem.filename} cannot be read; give yourself the right to read it"
        ) from None
    except OSError as problem:
        raise UserError(
            f"{problem.filename or root} cannot be read ({problem.strerror or problem}); try again"
        ) from None
    tell_own(root, listing.own)
    return listing


def tell_own(root: Path, own: Sequence[str]) -> None:
    """Log that folders in `root` are left out, once however often the program looks there."""
    if own:
        _tell(root.resolve(), tuple(own))


@functools.cache
def _tell(root: Path, own: tuple[str, ...]) -> None:
    logger.info("left out   %s: written by ConvLens", ", ".join(own))


def is_own(folder: Path | str, depth: int = DEPTH) -> bool:
    """Whether ConvLens wrote the folder, so that what lies in it is nobody's data.

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
        inside = _subfolders(folder)
    except OSError:
        return False
    if not inside:  # a run that has just begun has no more than its options
        return "config.yaml" in names
    return all(is_own(folder / name, depth - 1) for name in inside)


def class_name(folder: str) -> str:
    """What the class in a folder of that name is called: text in NFC, whatever the locale.

    A Mac writes the é of "café" as two characters; it is the same class.
    """
    return unicodedata.normalize("NFC", as_unicode(folder))


def _scan(root: Path, skip_bad: bool) -> Listing:
    splits = _split_folders(root)
    own: list[str] = []
    folders: dict[str, dict[str, str]] = {}  # of a split, from the class's name to its folder
    problems: list[str] = []
    for split in splits:
        folders[split] = {}
        for each in _subfolders(root / split):
            folder, name = f"{split}/{each}".lstrip("/"), class_name(each)
            if is_own(root / folder):
                own.append(as_unicode(folder))
                continue
            other = folders[split].setdefault(name, folder)
            problems += _unfit(root, folder, other, name)
    classes = tuple(sorted(set().union(*folders.values())))
    problems += _case_collisions(root, classes)
    skipped: list[str] = []
    rows: list[tuple[Any, ...]] = []  # path, label, size, mtime, ctime
    rows_of_split = []
    for split in splits:
        before = len(rows)
        for name, folder in sorted(folders[split].items()):
            found = _list_class(root, folder)
            label = classes.index(name)
            rows += [(path, label, size, *times) for path, size, *times in found.images]
            own += found.own
            problems += [_nested(root, path, not found.images) for path in found.nested[:1]]
            if skip_bad:
                skipped += [path for path, _ in found.foreign]
            else:
                problems += [
                    f"{root / path} {complaint} or use `skip_bad`"
                    for path, complaint in found.foreign
                ]
            if not found.images and not found.nested:
                problems.append(
                    f"class folder {root / as_unicode(folder)} holds no image; fill or remove it"
                )
            elif split == "" and len(found.images) == 1:
                problems.append(
                    f"class folder {root / as_unicode(folder)} holds a single image; a split needs "
                    "two or more"
                )
        rows_of_split.append(len(rows) - before)
    for name in classes:
        problems += [
            f"class {name} is missing from {root / split}; add it there or remove it elsewhere"
            for split in splits
            if name not in folders[split]
        ]
    if not rows and not any("inside a class folder" in problem for problem in problems):
        problems = [f"no images in {root}; it must hold a folder per class{_loose(root)}"]
    elif len(classes) == 1:
        problems.append(f"{root} holds a single class, {classes[0]}; telling apart needs two")
    paths, labels, *known_by = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    sizes, mtimes, ctimes = (np.array(column, dtype=np.int64) for column in known_by)
    return Listing(
        root=root,
        classes=classes,
        paths=paths,
        labels=np.array(labels, dtype=np.int64),
        sizes=sizes,
        mtimes=mtimes,
        ctimes=ctimes,
        num_train=rows_of_split[0] if len(splits) == 2 else None,
        skipped=tuple(skipped),
        problems=tuple(problems),
        own=tuple(own),
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER


def _holds(test: Callable[[], bool]) -> bool:
    """What a directory's entry says of itself; no for a link that leads to itself."""
    try:
        return test()
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            return False
        raise


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if not _hidden(entry.name) and _holds(entry.is_dir)
        )


def _split_folders(root: Path) -> tuple[str, ...]:
    """("train", "validation") as they are called here, or ("",) when root is not split."""
    names = _subfolders(root)
    validation = [name for name in VALIDATION_NAMES if name in names]
    if len(validation) > 1:
        raise UserError(f"{root} has both {' and '.join(validation)}; keep one of them")
    if "train" in names and validation:
        return "train", validation[0]
    # A class may well be called "train"; half a split is one that holds folders itself.
    if "train" in names and _subfolders(root / "train"):
        raise UserError(f"{root} has train/ but no validation/, val/ or valid/; add it")
    if validation and _subfolders(root / validation[0]):
        raise UserError(f"{root} has {validation[0]}/ but no train/; add it")
    return ("",)


@dataclass
class _Found:
    """What lies in a class folder; paths are relative to the data set's root, sorted.

    images: with size, mtime and ctime. foreign: files that are none, and what is wrong with them.
    nested: folders. own: those that ConvLens wrote.
    """

    images: list[tuple[str, int, int, int]]
    foreign: list[tuple[str, str]]
    nested: list[str]
    own: list[str]


def _list_class(root: Path, folder: str) -> _Found:
    found = _Found([], [], [], [])
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            path = as_unicode(f"{folder}/{entry.name}")
            if _holds(entry.is_dir):
                (found.own if is_own(entry.path) else found.nested).append(path)
            elif not (_holds(entry.is_file) and entry.name.lower().endswith(IMAGE_SUFFIXES)):
                found.foreign.append((path, "is not an image; remove it"))
            elif _NOT_UTF8.search(as_unicode(entry.name)):
                found.foreign.append((path, "has a name that is not UTF-8; rename it"))
            else:
                stat = entry.stat()
                found.images.append((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    for each in (found.images, found.foreign, found.nested, found.own):
        each.sort()
    return found


def _unfit(root: Path, folder: str, other: str, name: str) -> list[str]:
    """What is wrong with the name of a class folder. other: the first one that has it."""
    path = visible(root / as_unicode(folder))
    if _NOT_UTF8.search(name):
        return [f"class folder {path} has a name that is not UTF-8; rename it"]
    if _CONTROL.search(name):
        return [f"class folder {path} has a control character in its name; rename it"]
    if other != folder:
        return [
            f"{path} is there twice, its name written in one and in several characters a letter; "
            "put the images into one of both folders"
        ]
    return []


def _case_collisions(root: Path, classes: tuple[str, ...]) -> list[str]:
    seen: dict[str, str] = {}
    problems = []
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            problems.append(f"classes {other} and {name} in {root} differ only in case; rename one")
    return problems


def _nested(root: Path, path: str, whole: bool) -> str:
    sentence = f"{root / path} is a folder inside a class folder; images must lie directly in it"
    return sentence + (f" (did you mean `data` {(root / path).parent}?)" if whole else "")


def _loose(root: Path) -> str:
    with os.scandir(root) as entries:
        loose = any(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in entries)
    return ", and the images that lie loose in it belong into such folders" if loose else ""
