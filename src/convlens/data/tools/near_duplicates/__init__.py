"""Photographs that are in a data set twice: as they are, mirrored, recolored a little or cropped.

`search` finds the images that are similar, `chance` tells which of them are more so than different
images of the same set. What is found is one of three things: pairs that are known to be one
photograph, no pair, or pairs of which it cannot be told.
"""

from dataclasses import dataclass

import numpy as np

from convlens.data.tools.near_duplicates.chance import beyond_chance
from convlens.data.tools.near_duplicates.search import (
    SIMILAR,
    Search,
    thumbnails,
    workers,
)

__all__ = ["SIMILAR", "Found", "Pairs", "across", "thumbnails", "within"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of similar images, each once, in the order of their rows; P of them.

    first, second: int64, (P,), rows. similarity: float32, (P,), 0.9..1, of the pixels' structure.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: np.ndarray) -> "Pairs":
        """Some of them: bool, (P,), or indices."""
        return Pairs(self.first[which], self.second[which], self.similarity[which])


@dataclass(frozen=True)
class Found:
    """known: pairs that show one photograph.

    unsure: pairs as similar as copies are, but no more so than different images of their set.
    """

    known: Pairs
    unsure: Pairs


def within(images: np.ndarray, progress: bool = True) -> Found:
    """Find near-duplicates among `images`, uint8, (N, H, W, 3); `first` is the lower row."""
    with workers(progress) as share:
        search = Search(images, images, True, share)
        found = search.similar()
        first, second = np.sort([found.part, found.whole], axis=0)
        pairs = _once(first, second, found.similarity)
        rows = np.unique([pairs.first, pairs.second])
        first, second = (np.searchsorted(rows, of) for of in (pairs.first, pairs.second))
        return _told(pairs, first, second, search.nearest(rows))


def across(first: np.ndarray, second: np.ndarray, progress: bool = True) -> Found:
    """Find near-duplicates, one in `first` and one in `second`, uint8, (N, H, W, 3)."""
    with workers(progress) as share:
        there, back = Search(first, second, False, share), Search(second, first, False, share)
        parts, wholes = there.similar(), back.similar()
        pairs = _once(
            np.concatenate([parts.part, wholes.whole]),
            np.concatenate([parts.whole, wholes.part]),
            np.concatenate([parts.similarity, wholes.similarity]),
        )
        rows, of_first = np.unique(pairs.first, return_inverse=True)
        others, of_second = np.unique(pairs.second, return_inverse=True)
        nearest = np.concatenate([there.nearest(rows), back.nearest(others)])
        return _told(pairs, of_first, len(rows) + of_second, nearest)


def _told(pairs: Pairs, first: np.ndarray, second: np.ndarray, nearest: np.ndarray) -> Found:
    """Those beyond chance and the others; arguments of `beyond_chance`."""
    known = beyond_chance(pairs.similarity, first, second, nearest)
    return Found(pairs.take(known), pairs.take(~known))


def _once(first: np.ndarray, second: np.ndarray, similarity: np.ndarray) -> Pairs:
    """Of the pairs with the same two rows the most similar one."""
    order = np.lexsort([-similarity, second, first])
    _, new = np.unique(np.stack([first, second])[:, order], axis=1, return_index=True)
    return Pairs(first, second, similarity).take(order[new])
