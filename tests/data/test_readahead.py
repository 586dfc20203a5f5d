"""What is asked of the system before rows of a large map are read."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data import readahead
from convlens.data.batches import Batches
from convlens.data.dataset import Rows, Split, center_crop
from convlens.data.readahead import open_map, ranges, will_need

SIDE = 20


def saved(folder: Path) -> Path:
    """A file of 50 images, no two of them the same."""
    values = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(folder / "images.npy", values)
    return folder / "images.npy"


@pytest.fixture
def images(tmp_path, monkeypatch) -> np.ndarray:
    """A map that counts as large."""
    monkeypatch.setattr(readahead, "LARGE", 1)
    return open_map(saved(tmp_path))


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The rows that are asked for, batch after batch."""
    rows: list[int] = []

    def counted(images, source, asked):
        rows.extend(asked.tolist())
        return ranges(images, source, asked)

    monkeypatch.setattr(readahead, "ranges", counted)
    return rows


@given(size=st.integers(1, SIDE), rows=st.lists(st.integers(0, 49), max_size=5))
def test_the_ranges_hold_the_rows_and_start_at_pages(tmp_path_factory, size, rows):
    whole = np.load(saved(tmp_path_factory.mktemp("map")), mmap_mode="r")
    part = center_crop(whole, size)
    source = part.base
    while not isinstance(source, mmap.mmap):
        source = source.base
    first = (SIDE - size) // 2
    for row, (start, length) in zip(rows, ranges(part, source, np.array(rows, int)), strict=True):
        assert start % mmap.PAGESIZE == 0
        assert start + length <= len(source)
        header = len(source) - whole.nbytes
        begin = header + row * SIDE * SIDE * 3 + (first * SIDE + first) * 3
        end = header + row * SIDE * SIDE * 3 + ((first + size - 1) * SIDE + first + size) * 3
        assert begin - mmap.PAGESIZE < start <= begin and start + length == end


def test_rows_of_rows_are_asked_for_where_they_lie(images, asked):
    will_need(Rows(Rows(images, np.arange(49, -1, -1)), np.array([3, 5, 7])), np.array([2, 0]))
    assert asked == [42, 46]


def test_only_a_large_map_is_spoken_of(images, asked, monkeypatch):
    will_need(np.array(images), np.arange(3))
    monkeypatch.setattr(readahead, "LARGE", images.nbytes * 2)
    will_need(images, np.arange(3))
    assert asked == []


def test_an_epoch_asks_for_every_row_once_and_a_batch_ahead(images, asked):
    split = Split(images, np.zeros(50, int), ("",) * 50)
    batches = Batches(split, 1, 16, seed=3)
    order = []
    for step, batch in enumerate(batches.epoch(0), 1):
        assert len(asked) == 16 * min(step + 1, 3)
        pixels = batch.images.permute(0, 2, 3, 1).numpy()
        order += [int((images == one).all(axis=(1, 2, 3)).argmax()) for one in pixels]
    assert asked == order
