"""Every pass over a large memory map asks for its rows a batch before it reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data import readahead
from convlens.data.batches import batches_of
from convlens.data.dataset import Rows
from convlens.look.arrays import features, growth, top_activating_patches
from convlens.look.views.given import rows_of

COUNT, SIDE, BATCH = 150, 12, 64


@pytest.fixture
def images(tmp_path, monkeypatch) -> np.ndarray:
    """A map that counts as large."""
    values = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", values)
    monkeypatch.setattr(readahead, "LARGE", 1)
    return readahead.open_map(tmp_path / "images.npy")


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The rows that are asked for, batch after batch."""
    rows: list[int] = []
    ranges = readahead.ranges

    def counted(images, source, wanted):
        rows.extend(wanted.tolist())
        return ranges(images, source, wanted)

    monkeypatch.setattr(readahead, "ranges", counted)
    return rows


@given(count=st.integers(0, 9), batch_size=st.integers(1, 10))
def test_batches_hold_every_image_in_its_order(count, batch_size):
    values = np.random.default_rng(0).integers(0, 256, (count, 2, 3, 3), dtype=np.uint8)
    for given_as in values, Rows(values, np.arange(count)):
        batches = list(batches_of(given_as, batch_size))
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        seen = [batch.permute(0, 2, 3, 1).numpy() for batch in batches]
        np.testing.assert_array_equal(np.concatenate([values[:0], *seen]), values)


def test_a_batch_is_asked_for_while_the_one_before_is_computed_with(images, asked):
    for step, batch in enumerate(batches_of(images, BATCH), 1):
        assert len(asked) == min(BATCH * (step + 1), COUNT)
        np.testing.assert_array_equal(
            batch.permute(0, 2, 3, 1), images[(step - 1) * BATCH : step * BATCH]
        )
    assert asked == list(range(COUNT))


def test_every_pass_asks_for_every_image_once(images, asked, network, classifier_of):
    classifier = classifier_of(network(), SIDE)
    for over in (
        lambda given: classifier.logits(given),
        lambda given: features(classifier, given),
        lambda given: top_activating_patches(classifier, given, "3"),
    ):
        asked.clear()
        over(images)
        assert asked == list(range(COUNT))
        asked.clear()
        over(Rows(images, np.arange(COUNT)[::-1]))  # a hold-out
        assert asked == list(range(COUNT))[::-1]


def test_growth_also_asks_for_the_images_that_it_goes_back_to(
    images, asked, network, classifier_of
):
    classifier = classifier_of(network(), SIDE)
    seen = growth({1: classifier, 2: classifier}, images, "3", [0, 4])
    passes, gone_back = asked[: 2 * COUNT], asked[2 * COUNT :]
    assert passes == list(range(COUNT)) * 2
    assert gone_back == seen.rows.ravel().tolist()


def test_rows_that_a_view_shows_are_asked_for(images, asked):
    rows_of(images, np.array([[9, 3], [4, 4]]))
    assert asked == [9, 3, 4, 4]
