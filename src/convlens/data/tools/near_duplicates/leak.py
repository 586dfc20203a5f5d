"""Which images that a network is judged by it was also trained on."""

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.data.dataset import Split
from convlens.data.decode import decode
from convlens.data.listing import known_by
from convlens.data.place import cache_home
from convlens.data.tools.near_duplicates import across
from convlens.data.tools.near_duplicates.search import SIDE
from convlens.files import on_disk, replacing

VERSION = 2  # of the search; raise it whenever its answers change
FEW = 0.1  # the share of images that may be unsure where none known still means that there is none
NONE, KNOWN, UNSURE = 0, 1, 2  # what is kept of an image


@dataclass(frozen=True)
class InTrain:
    """Which of N images have a near-duplicate in train.

    images: bool, (N,); None where that is not known at all. unknown: what is not known or why, a
    clause; "" where all is.
    """

    images: np.ndarray | None
    unknown: str = ""

    @property
    def count(self) -> int | None:
        """How many have; None where that is not known."""
        return None if self.images is None else int(self.images.sum())

    @property
    def others(self) -> np.ndarray | None:
        """The rows that have none, (N - count,); None where that is not known or there is none."""
        if self.images is None or self.images.all():
            return None
        return np.flatnonzero(~self.images)


def known_in_train(root: Path, train: Split, validation: Split) -> InTrain | None:
    """What `near_duplicates_in_train` has found of these files before; None where it has not."""
    with contextlib.suppress(OSError):  # files that are there no more
        return _read(_kept_at(root, train, validation), validation)
    return None


def _read(kept: Path, validation: Split) -> InTrain | None:
    with contextlib.suppress(OSError, ValueError):  # never kept, or damaged
        states = np.load(kept)
        if states.shape == (len(validation),):
            return _told(states)
    return None


def _kept_at(root: Path, train: Split, validation: Split) -> Path:
    """A file that is named by the names, sizes and dates of all others."""
    key = hashlib.sha256(str(VERSION).encode())
    for split in train, validation:
        for path in split.paths:
            file = os.stat(os.path.join(root, on_disk(path)))
            key.update(f"{path}\0{known_by(file)}\n".encode("utf-8", "replace"))
        key.update(b"\n")
    return cache_home() / f"near-duplicates-{key.hexdigest()[:16]}.npy"


def near_duplicates_in_train(
    root: Path, train: Split, validation: Split, progress: bool = True
) -> InTrain:
    """Find the images of `validation` that have a near-duplicate in `train`.

    root: of the data set, whose files are read, so that the answer does not depend on the size they
    were loaded at. It takes seconds, so what is found is kept in `cache_home()` for as long as the
    files do not change.
    """
    kept = _kept_at(root, train, validation)
    if (known := _read(kept, validation)) is not None:
        return known
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first, second = (
            np.stack(list(pool.map(lambda path: decode(root / on_disk(path), SIDE), split.paths)))
            for split in (train, validation)
        )
    found = across(first, second, progress)
    states = np.full(len(validation), NONE, dtype=np.uint8)
    states[found.unsure.second] = UNSURE
    states[found.known.second] = KNOWN
    seen = {image.tobytes() for image in first}
    states[[image.tobytes() in seen for image in second]] = KNOWN  # without contrast, too
    with contextlib.suppress(OSError), replacing(kept) as temporary:
        np.save(temporary, states)
    return _told(states)


def _told(states: np.ndarray) -> InTrain:
    known, unsure = (states == state for state in (KNOWN, UNSURE))
    if unsure.mean() <= FEW:
        return InTrain(known)
    return InTrain(
        known if known.any() else None,
        f"{unsure.sum():,} of {len(states):,} images resemble a training image as a copy would, "
        "but no more than different images of this set resemble each other",
    )
