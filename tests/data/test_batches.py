import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.batches import Batches, mix_seed, one_hot, to_tensor
from convlens.data.dataset import Split


def numbered(n, classes=3):
    """A split whose image i is filled with i."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 4, 4, 3))
    return Split(images.copy(), np.arange(n) % classes, tuple(map(str, range(n))))


def seen(batches, epoch):
    return [b.images[:, 0, 0, 0].tolist() for b in batches.epoch(epoch)]


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), epoch=st.integers(0, 5))
def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_batch(n, batch_size, epoch):
    batches = Batches(numbered(n), 3, batch_size, seed=1)
    rows = [row for batch in seen(batches, epoch) for row in batch]
    assert len(set(rows)) == len(rows) == len(batches) * batches.size
    assert n - len(rows) < batches.size


def test_an_epoch_depends_on_seed_and_epoch_alone():
    a, b = Batches(numbered(20), 3, 5, seed=1), Batches(numbered(20), 3, 5, seed=1)
    seen(a, 0)
    assert seen(a, 3) == seen(b, 3)
    assert seen(a, 3) != seen(a, 4)
    assert seen(a, 3) != seen(Batches(numbered(20), 3, 5, seed=2), 3)


def test_images_and_one_hot_labels_belong_together():
    for batch in Batches(numbered(20), 3, 5, seed=0).epoch(0):
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        rows = batch.images[:, 0, 0, 0].long()
        expected = torch.eye(3)[rows % 3]
        assert torch.equal(batch.targets, expected)


def test_batches_have_seeds_of_their_own():
    seeds = [b.seed for e in range(3) for b in Batches(numbered(20), 3, 5, seed=0).epoch(e)]
    assert len(set(seeds)) == len(seeds)
    assert mix_seed(1, 2) != mix_seed(2, 1)


def test_one_hot_against_the_identity_matrix():
    assert torch.equal(one_hot(np.array([2, 0]), 3), torch.eye(3)[[2, 0]])


@pytest.mark.parametrize("writeable", [True, False])
def test_to_tensor_reorders_axes_and_leaves_a_memory_map_alone(writeable):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    images.flags.writeable = writeable
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 5, 4)
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), images)
