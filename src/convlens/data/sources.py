"""Where images come from: which folder is the data set, and which files lie in it.

A data set is a folder per class, either already split into `train/` and `validation/` (or `val/`,
`valid/`) or not. Nothing is decoded here; a listing costs one `stat` a file.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.errors import UserError

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


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, in the order train, validation; each sorted by class, name.

    classes: sorted class names. paths: N files relative to root, with forward slashes.
    labels: int64, shape (N,), indices into classes.
    sizes, mtimes: int64, shape (N,), bytes and nanoseconds: what the cache knows a file by.
    num_train: how many rows belong to `train/`; None when the data set is not split.
    skipped: files that are no images, left out on request. problems: one sentence each.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    sizes: np.ndarray
    mtimes: np.ndarray
    num_train: int | None
    skipped: tuple[str, ...]
    problems: tuple[str, ...]

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
        return _scan(root, skip_bad)
    except PermissionError as problem:
        raise UserError(
            f"{problem.filename} cannot be read; give yourself the right to read it"
        ) from None


def _scan(root: Path, skip_bad: bool) -> Listing:
    splits = _split_folders(root)
    folders = [(split, name) for split in splits for name in _subfolders(root / split)]
    classes = tuple(sorted({name for _, name in folders}))
    index = {name: label for label, name in enumerate(classes)}
    problems = _case_collisions(root, classes)
    skipped: list[str] = []
    rows: list[tuple[str, int, int, int]] = []  # path, label, size, mtime
    rows_of_split = []
    for split in splits:
        before = len(rows)
        for name in (name for where, name in folders if where == split):
            folder = f"{split}/{name}" if split else name
            images, foreign, nested = _list_class(root, folder)
            rows += [(path, index[name], size, mtime) for path, size, mtime in images]
            problems += [_nested(root, path, whole=not images) for path in nested[:1]]
            if skip_bad:
                skipped += foreign
            else:
                problems += [
                    f"{root / path} is not an image; remove it or use `skip_bad`"
                    for path in foreign
                ]
            if not images and not nested:
                problems.append(f"class folder {root / folder} holds no image; fill or remove it")
            elif split == "" and len(images) == 1:
                problems.append(
                    f"class folder {root / folder} holds a single image; a split needs two or more"
                )
        rows_of_split.append(len(rows) - before)
    for name in classes:
        problems += [
            f"class {name} is missing from {root / split}; add it there or remove it elsewhere"
            for split in splits
            if (split, name) not in folders
        ]
    if not rows and not any("inside a class folder" in problem for problem in problems):
        problems = [f"no images in {root}; it must hold a folder per class{_loose(root)}"]
    elif len(classes) == 1:
        problems.append(f"{root} holds a single class, {classes[0]}; telling apart needs two")
    paths, labels, sizes, mtimes = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Listing(
        root=root,
        classes=classes,
        paths=paths,
        labels=np.array(labels, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
        mtimes=np.array(mtimes, dtype=np.int64),
        num_train=rows_of_split[0] if len(splits) == 2 else None,
        skipped=tuple(skipped),
        problems=tuple(problems),
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


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


def _list_class(root: Path, folder: str) -> tuple[list[tuple[str, int, int]], list[str], list[str]]:
    """Images (path, size, mtime), files that are none, and folders, each sorted by path."""
    images, foreign, nested = [], [], []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name, path = entry.name, f"{folder}/{entry.name}"
            if _hidden(name):
                continue
            if entry.is_dir():
                nested.append(path)
            elif entry.is_file() and name.lower().endswith(IMAGE_SUFFIXES):
                stat = entry.stat()
                images.append((path, stat.st_size, stat.st_mtime_ns))
            else:
                foreign.append(path)
    return sorted(images), sorted(foreign), sorted(nested)


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
