"""Seeded batches of a split: uint8 images and one-hot labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from convlens.data.dataset import Rows, Split
from convlens.data.readahead import will_need


@dataclass(frozen=True)
class Batch:
    """images: uint8, shape (B, 3, H, W), channels-last in memory. targets: float32 one-hot, (B, C).

    seed: what everything random about this batch is drawn from.
    first, whole: these are the images first, first + 1, … of a batch of `whole` images that several
    processes share; None: this is all of it.
    """

    images: Tensor
    targets: Tensor
    seed: int
    first: int = 0
    whole: int | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))


def to_tensor(images: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 array → (N, 3, H, W) tensor, channels-last as the array already is."""
    # a memory map is read-only, which torch does not know of, so its rows are copied
    return torch.from_numpy(np.require(images, requirements=["C", "W"])).permute(0, 3, 1, 2)


def batches_of(images: np.ndarray | Rows, batch_size: int) -> Iterator[Tensor]:
    """All images in their order, up to `batch_size` at a time.

    Of a memory map no more than that is held, and of a large one the next batch is read while the
    caller computes with this one.

    Args:
        images: uint8, shape (N, H, W, 3).
        batch_size: At least 1.

    Yields:
        uint8, shape (B, 3, H, W), channels-last in memory.
    """

    def ask_for(start: int) -> None:
        will_need(images, np.arange(start, min(start + batch_size, len(images))))

    ask_for(0)
    for start in range(0, len(images), batch_size):
        ask_for(start + batch_size)
        yield to_tensor(np.asarray(images[start : start + batch_size]))


def one_hot(labels: np.ndarray, num_classes: int) -> Tensor:
    """(N,) class indices → (N, num_classes) float32, one 1 a row."""
    return torch.nn.functional.one_hot(torch.from_numpy(np.array(labels)), num_classes).float()


def mix_seed(*parts: int) -> int:
    """One 63-bit seed out of several numbers; nearby numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def shard(n: int, rank: int, ranks: int, unit: int = 2) -> slice:
    """Which of n items in a row belong to process `rank` of `ranks`.

    Shares follow each other without gap or overlap and are cut at multiples of `unit`, so that
    pairs (2i, 2i + 1) stay together; they differ by at most one unit.
    """
    units = -(-n // unit)
    start, stop = (units * r // ranks * unit for r in (rank, rank + 1))
    return slice(min(start, n), min(stop, n))


@dataclass(frozen=True)
class Batches:
    """Batches of `split`, every epoch in a new order that depends on `seed` and the epoch alone.

    So an epoch can be replayed without those before it, which is what makes a resumed run equal to
    one that was never stopped. The last, smaller batch of an epoch is left out (batch norm would
    give its images more weight); another order leaves out other images next time.

    rank, ranks: of several processes, each reads its own share of every batch.
    """

    split: Split
    num_classes: int
    batch_size: int
    seed: int
    rank: int = 0
    ranks: int = 1

    @property
    def size(self) -> int:
        """Images in a batch: all of them where there are fewer than `batch_size`."""
        return min(self.batch_size, len(self.split))

    def __len__(self) -> int:
        return len(self.split) // self.size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """This process' share of each batch of an epoch, in an order that seed and epoch decide.

        As many as `len` says; what does not fill a batch is left out, other images each time.
        """
        order = np.random.default_rng(mix_seed(self.seed, epoch)).permutation(len(self.split))
        mine = shard(self.size, self.rank, self.ranks)
        images = self.split.images
        starts = range(0, len(self) * self.size, self.size)
        parts = [order[start : start + self.size][mine] for start in starts]
        will_need(images, parts[0])
        for step, rows in enumerate(parts):
            for following in parts[step + 1 : step + 2]:
                will_need(images, following)  # is read while this batch is trained on
            yield Batch(
                to_tensor(images[rows]),
                one_hot(self.split.labels[rows], self.num_classes),
                mix_seed(self.seed, epoch, step),
                mine.start,
                self.size,
            )
