"""Which images a data set has: their files, their classes and the splits they belong to."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convlens.data.names import ADJECTIVES, TEST, TRAIN, VALIDATION
from convlens.data.own import tell_once, tell_own
from convlens.errors import UserError

SPLITS = (TRAIN, VALIDATION, TEST)
OPTIONS = ("data", "skip_bad", "nested", "exclude", "file_column", "label_column", "split_column")
NAMED = 5  # classes that a note names


class File(NamedTuple):
    """An image file. path: relative to the data set's root, with forward slashes, opened as
    `files.on_disk` has it. size, mtime, ctime: bytes and nanoseconds, by which the cache knows it.
    """

    path: str
    class_name: str
    split: str
    size: int
    mtime: int
    ctime: int


def regular_file(path: str) -> os.stat_result | None:
    """What is known of a regular file; None of anything else, and of what is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def known_by(file: os.stat_result) -> tuple[int, int, int]:
    """A file's size, mtime and ctime, as `File` has them."""
    return file.st_size, file.st_mtime_ns, file.st_ctime_ns


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, in the order of SPLITS; each sorted by class, name.

    root: the folder that paths are relative to. source: what lists them, root or a file in it.
    classes: sorted class names; those without any image are not among them.
    paths: N files relative to root, with forward slashes; opened as `files.on_disk` has them.
    labels: int64, shape (N,), indices into classes.
    splits: int8, shape (N,), indices into SPLITS; of a data set that is not split all 0.
    sizes, mtimes, ctimes: int64, shape (N,), bytes and nanoseconds: what the cache knows a file by.
    is_split: whether anything says which images train.
    skipped: files that are no images, left out on request. problems: one sentence each.
    own: folders that ConvLens wrote and that are no classes, relative to root.
    remarks: what is worth knowing of how it was read, and no reason to stop, a line each.
    shown: how root is called in what is said, where it is a folder of the cache.
    """

    root: Path
    source: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    mtimes: np.ndarray
    ctimes: np.ndarray
    is_split: bool
    skipped: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    shown: Path | None = None

    @property
    def called(self) -> Path:
        """What root is called in what is said."""
        return self.shown or self.root

    def told(self, sentence: str) -> str:
        """The sentence with root called as a person knows it."""
        return sentence.replace(os.fspath(self.root), os.fspath(self.called))

    def rows(self, split: str) -> np.ndarray:
        """The indices of a split's images."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    @property
    def counts(self) -> dict[str, int]:
        """How many images each split has that has some; {"": N} where nothing is split."""
        if not self.is_split:
            return {"": len(self.paths)}
        found = {split: len(self.rows(split)) for split in SPLITS}
        return {split: count for split, count in found.items() if count}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing and no reason to stop, a line each."""
        return (*_lacking(self), *self.remarks)

    def take(self, keep: np.ndarray) -> "Listing":
        """Some of the images; keep: bool, (N,). The classes stay as they are."""
        return replace(
            self,
            paths=tuple(path for path, kept in zip(self.paths, keep, strict=True) if kept),
            **{
                column: getattr(self, column)[keep]
                for column in ("labels", "splits", "sizes", "mtimes", "ctimes")
            },
        )

    def without_empty_classes(self) -> "Listing":
        """The same images, with the classes alone that have some, which is noted."""
        left = np.unique(self.labels).tolist()
        if len(left) == len(self.classes):
            return self
        numbers = np.full(len(self.classes), -1)
        numbers[left] = np.arange(len(left))
        lost = [name for number, name in enumerate(self.classes) if number not in set(left)]
        return replace(
            self,
            classes=tuple(self.classes[number] for number in left),
            labels=numbers[self.labels],
            remarks=(*self.remarks, note(lost, "no image left")),
        )

    def check(self) -> None:
        """Raise UserError with the first problem, if there is any."""
        if self.problems:
            more = len(self.problems) - 1
            rest = f" (and {more} more; `convlens data audit` lists them)" if more else ""
            message = self.problems[0] + rest
            raise UserError(message, option=[o for o in OPTIONS if f"`{o}`" in message])

    def tell(self) -> None:
        """Log what has been left out and what is worth knowing, once for a data set."""
        tell_own(self.root, self.own)
        for note in self.notes:
            tell_once(self.source, note)


def make_listing(
    source: Path,
    root: Path,
    files: Iterable[File],
    *,
    is_split: bool,
    classes: Sequence[str] | None = None,
    problems: Sequence[str] = (),
) -> Listing:
    """The listing of such files. classes: in their order; by default sorted as text."""
    files = list(files)
    names = {file.class_name for file in files}
    ordered = tuple(sorted(names)) if classes is None else tuple(c for c in classes if c in names)
    label = {name: number for number, name in enumerate(ordered)}
    rows = sorted((SPLITS.index(f.split), label[f.class_name], f.path, f) for f in files)
    problems = [*problems, *_case_collisions(source, ordered)]
    return Listing(
        root=root,
        source=source,
        classes=ordered,
        paths=tuple(path for _, _, path, _ in rows),
        labels=np.array([number for _, number, _, _ in rows], dtype=np.int64),
        splits=np.array([split for split, _, _, _ in rows], dtype=np.int8),
        sizes=np.array([file.size for *_, file in rows], dtype=np.int64),
        mtimes=np.array([file.mtime for *_, file in rows], dtype=np.int64),
        ctimes=np.array([file.ctime for *_, file in rows], dtype=np.int64),
        is_split=is_split,
        problems=tuple(problems),
    )


def _case_collisions(source: Path, classes: tuple[str, ...]) -> list[str]:
    seen: dict[str, str] = {}
    problems = []
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            problems.append(
                f"classes {other} and {name} in {source} differ only in case; rename one"
            )
    return problems


def _lacking(listing: Listing) -> tuple[str, ...]:
    """A line on the classes that a split lacks; on those of one image where there is no split."""
    if not listing.is_split:
        count = np.bincount(listing.labels, minlength=len(listing.classes))
        single = [name for name, n in zip(listing.classes, count, strict=True) if n == 1]
        return (note(single, "a single image, which no hold-out takes"),) if single else ()
    notes = []
    for split in listing.counts:
        here = set(listing.labels[listing.rows(split)].tolist())
        lacking = [name for number, name in enumerate(listing.classes) if number not in here]
        them = "it" if len(lacking) == 1 else "them"
        so = f", so nothing can be learned of {them}" if split == TRAIN else ""
        if lacking:
            notes.append(note(lacking, f"no {ADJECTIVES[split]} image{so}"))
    return tuple(notes)


def note(names: Sequence[str], what: str) -> str:
    """The line that says that these classes have something."""
    has = "1 class has" if len(names) == 1 else f"{len(names):,} classes have"
    return f"note       {has} {what}: {named(names)}"


def named(names: Sequence[str]) -> str:
    """The first of them by name."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
