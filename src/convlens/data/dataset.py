"""What every step after the cache sees of a data set: arrays, class names, where they are from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, overload

import numpy as np

from convlens.data.decode import DONE, Fit
from convlens.data.names import ADJECTIVES, TEST, TRAIN, VALIDATION, class_name
from convlens.errors import UserError
from convlens.files import as_unicode


class _Images(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


Images = TypeVar("Images", bound=_Images)  # an array, rows of one, or a tensor


@dataclass(frozen=True)
class Rows:
    """Some images of an array, in any order, read when they are asked for and not before.

    Behaves as `images[rows]` would: rows at indices are read, a slice is a view, and NumPy takes it
    for an array. So a hold-out of a data set that is larger than memory needs no memory either.

    images: uint8, shape (M, H, W, 3). rows: int, shape (N,), each in [0, M).
    """

    images: "np.ndarray | Rows"
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return len(self.rows), *self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, key: "slice | tuple[Any, ...]") -> "Rows": ...

    @overload
    def __getitem__(self, key: int | np.ndarray) -> np.ndarray: ...

    def __getitem__(self, key: Any) -> "np.ndarray | Rows":
        if isinstance(key, tuple):  # (…, rows of pixels, columns, colors): of every image
            return Rows(self.images[key], self.rows)
        if isinstance(key, slice):
            return Rows(self.images, self.rows[key])
        return self.images[self.rows[key]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.images[self.rows], dtype=dtype)


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    images: uint8, shape (N, size, size, 3), RGB, 0..255; usually a read-only memory map.
    labels: int64, shape (N,), indices into the data set's classes.
    paths: the N files the images were decoded from, relative to the data set's root.
    """

    images: np.ndarray | Rows
    labels: np.ndarray
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order; copies none of them."""
        rows = np.asarray(indices)
        return Split(Rows(self.images, rows), self.labels[rows], tuple(self.paths[i] for i in rows))

    def slice(self, start: int, end: int) -> "Split":
        """The images from `start` up to `end`; a view."""
        return Split(self.images[start:end], self.labels[start:end], self.paths[start:end])

    def center_crop(self, size: int) -> "Split":
        """The middle size × size pixels of every image; a view, which copies nothing."""
        return replace(self, images=center_crop(self.images, size))


def center_crop(images: Images, size: int) -> Images:
    """The middle size × size pixels of images of shape (…, side, side, 3), as a view."""
    if images.shape[-2] == size:
        return images
    first = (images.shape[-2] - size) // 2
    return images[..., first : first + size, first : first + size, :]


class Loading(NamedTuple):
    """How images are loaded: the side of the square, pixels, and what becomes of other shapes."""

    size: int
    fit: Fit = "squash"


@dataclass(frozen=True)
class Dataset:
    """A data set decoded to one size, with its splits.

    root: the folder the images came from. size: side of the square images, pixels.
    test: is reported and never trained or chosen on; None where there is none.
    flat: all images in one, of a folder that is not split; `train` and `validation` are dealt from
    it. None of another.
    skipped: unreadable files left out because the user asked for it, relative to root.
    digest: of the names and contents of all files but those of `test`, by which a copy of it
    elsewhere is known. old_digest: of their names and sizes, by which version 0.1 knew it.
    source: what a person named, where that is not root: a list of images or an archive.
    fit: what became of images that are not square.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    size: int
    train: Split
    validation: Split
    test: Split | None = None
    flat: Split | None = None
    skipped: tuple[str, ...] = ()
    digest: str = ""
    old_digest: str = ""
    source: Path | None = None
    fit: Fit = "squash"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def loading(self) -> Loading:
        """How its images were loaded."""
        return Loading(self.size, self.fit)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by their names, less `test` where there is none."""
        splits = {TRAIN: self.train, VALIDATION: self.validation}
        return splits if self.test is None else {**splits, TEST: self.test}

    @property
    def place(self) -> Path:
        """What a person names to open it: a folder, a list or an archive."""
        return self.source or self.root

    def is_known_by(self, digest: str) -> bool:
        """Whether a digest that was taken earlier, "" where none was, may be this data set's."""
        return digest in ("", self.digest, self.old_digest)

    def split(self, name: str) -> Split:
        """The split of that name, a key of `splits`, or of a data set that is not split "all";
        UserError for another."""
        if name == "all" and self.flat is not None:
            return self.flat
        if name not in self.splits:
            raise UserError(
                f"{self.place} has no split {name!r}; choose from {', '.join(self.splits)}",
                option="split",
            )
        return self.splits[name]

    def check_trainable(self) -> None:
        """Raise UserError where there is nothing to learn or nothing to measure it by."""
        if self.num_classes < 2:
            raise UserError(
                f"{self.place} holds a single class, {self.classes[0]}; telling apart needs two",
                option="data",
            )
        for split, part in (TRAIN, self.train), (VALIDATION, self.validation):
            if not len(part):
                raise UserError(
                    f"{self.place} has no images to {_PURPOSE[split]}; add {split}/ with a folder "
                    "per class",
                    option="data",
                )

    def with_classes(self, classes: Sequence[str]) -> "Dataset":
        """The same with its labels as indices into `classes`, among which its own all are.

        An accent may be written as one character or two. Raises KeyError for another class.
        """
        if tuple(classes) == self.classes:
            return self
        known = {class_name(name): number for number, name in enumerate(classes)}
        numbers = np.array([known[class_name(name)] for name in self.classes], dtype=np.int64)
        relabeled = self._each(lambda split: replace(split, labels=numbers[split.labels]))
        return replace(relabeled, classes=tuple(classes))

    def center_crop(self, size: int) -> "Dataset":
        """The middle size × size pixels of every image, as a network is given them."""
        return replace(self._each(lambda split: split.center_crop(size)), size=size)

    def _each(self, change: Callable[[Split], Split]) -> "Dataset":
        changed = {
            name: change(split)
            for name in ("train", "validation", "test", "flat")
            if (split := getattr(self, name)) is not None
        }
        return replace(self, **changed)

    def describe(self, as_one: bool = False) -> str:
        """One line for the terminal. as_one: of a folder that is not split, nothing is dealt."""
        counts = [
            f"{len(split):,} {ADJECTIVES[name]}"
            for name, split in self.splits.items()
            if len(split)
        ]
        if as_one and self.flat is not None:
            counts = [f"{len(self.flat):,}"]
        images = f"{', '.join(counts[:-1])} and {counts[-1]}" if len(counts) > 1 else counts[0]
        return (
            f"{self.name}: {self.num_classes} classes, {images} images of "
            f"{self.size}×{self.size}, {DONE[self.fit]} if not square ({as_unicode(self.place)})"
        )


_PURPOSE = {TRAIN: "train on", VALIDATION: "measure by"}


def loaded_size(size: int, crop_pct: float) -> int:
    """Side of an image, in pixels, whose middle `size` pixels are `crop_pct` of its side."""
    return round(size / crop_pct)
