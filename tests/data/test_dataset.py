"""Splits, and parts of them that are read when they are asked for."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.dataset import Rows, Split, center_crop

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
INDICES = st.lists(st.integers(0, 11), min_size=1, max_size=20).map(np.array)


@given(rows=INDICES, start=st.integers(0, 8), stop=st.integers(0, 24), step=st.integers(1, 3))
def test_rows_read_as_the_array_of_those_rows_would(rows, start, stop, step):
    view, array = Rows(IMAGES, rows), IMAGES[rows]
    assert view.shape == array.shape and len(view) == len(array)
    np.testing.assert_array_equal(np.asarray(view), array)
    np.testing.assert_array_equal(np.stack(list(view)), array)
    some = slice(start, stop, step)
    np.testing.assert_array_equal(np.asarray(view[some]), array[some])
    order = np.argsort(rows, kind="stable")[::-1]
    np.testing.assert_array_equal(view[order], array[order])
    np.testing.assert_array_equal(np.asarray(center_crop(view, 4)), center_crop(array, 4))
    np.testing.assert_array_equal(center_crop(view[some], 4)[:0], center_crop(array, 4)[:0])


@given(rows=INDICES)
def test_a_part_of_a_split_has_its_labels_and_paths(rows):
    split = Split(IMAGES, np.arange(12) // 3, tuple(f"{i}.png" for i in range(12)))
    part = split.take(rows).take(np.arange(len(rows))[::-1])
    np.testing.assert_array_equal(np.asarray(part.images), IMAGES[rows][::-1])
    np.testing.assert_array_equal(part.labels, rows[::-1] // 3)
    assert part.paths == tuple(f"{i}.png" for i in rows[::-1])


def test_a_part_of_a_split_needs_no_memory_of_its_images(tmp_path):
    images = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(1000, 64, 64, 3))
    split = Split(images, np.zeros(1000, np.int64), ("x.png",) * 1000)
    tracemalloc.start()
    try:
        part = split.take(np.arange(900)).center_crop(60)
        part.images[:800]
        assert tracemalloc.get_traced_memory()[1] < 100_000  # of 10 MB
    finally:
        tracemalloc.stop()
