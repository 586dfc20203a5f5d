"""What every step after the cache sees of a data set: arrays, class names, where they are from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np

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

    def center_crop(self, size: int) -> "Split":
        """The middle size × size pixels of every image; a view, which copies nothing."""
        return replace(self, images=center_crop(self.images, size))


def center_crop(images: Images, size: int) -> Images:
    """The middle size × size pixels of images of shape (…, side, side, 3), as a view."""
    if images.shape[-2] == size:
        return images
    first = (images.shape[-2] - size) // 2
    return images[..., first : first + size, first : first + size, :]


@dataclass(frozen=True)
class Dataset:
    """A data set decoded to one size, with its two splits.

    root: the folder the images came from. size: side of the square images, pixels.
    skipped: unreadable files left out because the user asked for it, relative to root.
    digest: of the names and contents of all files, by which a copy of it elsewhere is known.
    old_digest: of their names and sizes, by which version 0.1 knew it.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    size: int
    train: Split
    validation: Split
    skipped: tuple[str, ...] = ()
    digest: str = ""
    old_digest: str = ""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def is_known_by(self, digest: str) -> bool:
        """Whether a digest that was taken earlier, "" where none was, may be this data set's."""
        return digest in ("", self.digest, self.old_digest)

    def split(self, name: str) -> Split:
        """The split of that name, "train" or "validation"; UserError for another."""
        if name not in ("train", "validation"):
            raise UserError(
                f"there is no split {name!r}; choose train or validation", option="split"
            )
        return self.train if name == "train" else self.validation

    def center_crop(self, size: int) -> "Dataset":
        """The middle size × size pixels of every image, as a network is given them."""
        return replace(
            self,
            size=size,
            train=self.train.center_crop(size),
            validation=self.validation.center_crop(size),
        )

    def describe(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.name}: {self.num_classes} classes, {len(self.train):,} training and "
            f"{len(self.validation):,} validation images of {self.size}×{self.size} "
            f"({as_unicode(self.root)})"
        )


def loaded_size(size: int, crop_pct: float) -> int:
    """Side of an image, in pixels, whose middle `size` pixels are `crop_pct` of its side."""
    return round(size / crop_pct)
