"""Reading a memory map in an order that the system cannot guess.

Where a map's page is not in memory, the system reads on around it, 128 kB on most disks and up to
megabytes on some, in the hope that the neighbors are wanted next. Of rows in a random order they
never are; and when the map is larger than memory they drive out what is. So a large map is opened
with that hope switched off, and who reads rows says a little before which ones they will be: these
are then read all at once and while something else is computed.

A map that is not large is left alone: it soon lies in memory whole, and gets there fastest so.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from convlens.data.dataset import Rows

LARGE = 2**30  # bytes of a map


def open_map(path: Path) -> np.ndarray:
    """The array in the .npy file at `path`, as a read-only memory map."""
    images = np.load(path, mmap_mode="r")
    if (source := _source(images)) is not None and hasattr(mmap, "MADV_RANDOM"):  # not on Windows
        source.madvise(mmap.MADV_RANDOM)
    return images


def will_need(images: np.ndarray | Rows, rows: np.ndarray) -> None:
    """Have the system begin to read these rows of a large map; for other arrays does nothing.

    images: (N, H, W, 3), also with a part of each image cut out. rows: indices in [0, N).
    """
    while isinstance(images, Rows):
        images, rows = images.images, images.rows[rows]
    source = _source(images)
    if source is not None and hasattr(mmap, "MADV_WILLNEED"):
        for start, length in ranges(images, source, rows):
            source.madvise(mmap.MADV_WILLNEED, start, length)


def ranges(images: np.ndarray, source: mmap.mmap, rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, length) in bytes of the map of what each row takes, from the start of a page."""
    first = images.ctypes.data - np.frombuffer(source, np.uint8).ctypes.data
    inner = zip(images.shape[1:], images.strides[1:], strict=True)
    extent = sum((count - 1) * stride for count, stride in inner) + images.itemsize
    for row in rows.tolist():
        begin = first + row * images.strides[0]
        start = begin - begin % mmap.PAGESIZE
        yield start, begin + extent - start


def _source(images: np.ndarray) -> mmap.mmap | None:
    """The large map that an array is a view of, if it is one."""
    base = images
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) and len(base) >= LARGE else None
