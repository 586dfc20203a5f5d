"""The search for images that show another one, or a part of it.

A coarse descriptor of every image is compared with those of 95 crops of every other one; the best
few are aligned, coarse to fine, and judged by their pixels. Time grows with the square of the
number of images.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convlens.data.progress import progress_bar

T = TypeVar("T")

SIDE = 64  # pixels: what images are scaled to before they are compared
SIMILAR = 0.9  # from this similarity on, two images may show one photograph
SMALLEST = 0.4  # the least share of a side that a crop keeps
DESCRIPTOR = 4  # cells a side of the coarse descriptor
# The least correlation with which a pair goes on to the next level, by the side of its image.
LEVELS = {8: 0.88, 16: 0.91, 32: 0.93}
NEAREST = 10  # of an image: how many others' similarities tell what is usual around it


@dataclass(frozen=True)
class Candidates:
    """P images that may show another one, or a part of it.

    part, whole: int64, (P,), rows. similarity: float32, (P,). window: float32, (P, 4), what `part`
    shows of `whole`: top, bottom, left, right, as shares of its sides. mirrored: bool, (P,),
    whether left and right are exchanged.
    """

    part: np.ndarray
    whole: np.ndarray
    similarity: np.ndarray
    window: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.part)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8, (N, H, W, 3) → uint8, (N, 64, 64, 3); images of that size are returned as they are."""
    if images.shape[1:3] == (SIDE, SIDE):
        return images
    parts = []
    for start in range(0, len(images), 256):
        planes = _planes(torch.from_numpy(np.array(images[start : start + 256])))
        scaled = F.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True)
        parts.append(scaled.round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


class Share(Protocol):
    """Apply a function to every chunk, on all threads; the answers in the chunks' order."""

    def __call__(
        self, function: Callable[..., T], chunks: Sequence, about: str = ""
    ) -> list[T]: ...


@contextmanager
def workers(progress: bool) -> Iterator[Share]:
    """A thread for each core, with a bar that tells what they do."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool, progress_bar(progress) as bar:

        def share(function: Callable[..., T], chunks: Sequence, about: str = "") -> list[T]:
            return list(bar.track(pool.map(function, chunks), len(chunks), description=about))

        # Many small products: a thread for each is faster than all threads for each in turn.
        torch.set_num_threads(1)
        try:
            yield share
        finally:
            torch.set_num_threads(threads)


class Search:
    """Compares every row of `parts` with every row of `wholes`, uint8, (N, H, W, 3).

    same: both are one array, of which no row is compared with itself. share: of `workers`.
    """

    def __init__(self, parts: np.ndarray, wholes: np.ndarray, same: bool, share: Share) -> None:
        self.parts, self.wholes, self.share = thumbnails(parts), thumbnails(wholes), share
        self.small_parts, self.small_wholes = (
            torch.cat(share(partial(_shrink, images), _chunks(len(images), 512)))
            for images in (self.parts, self.wholes)
        )
        self.windows = _windows()
        self.described = _descriptors(self.small_parts, self.windows[0])
        crops = share(partial(_descriptors, self.small_wholes), list(self.windows[:-1]))
        mirrored = _descriptors(self.small_wholes.flip(3), self.windows[0])
        self.crops = torch.stack([*crops, mirrored])  # (K, n, 48)
        self.closeness, self.closest = self._compare(same)

    def similar(self) -> Candidates:
        """The pairs with a similarity of `SIMILAR` or more."""
        part, rank = torch.nonzero(self.closeness > 0.8, as_tuple=True)
        return self._judged(self._candidates(part, self.closest[part, rank]), LEVELS, SIMILAR)

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """How similar those rows of `parts` are to the `NEAREST` most similar ones of `wholes`.

        Of the twice as many with the closest descriptors, that is. Returns float32, (len(rows),
        NEAREST), descending; NaN where there are not that many others.
        """
        whole = self.closest[torch.from_numpy(rows), : 2 * NEAREST]
        part = torch.from_numpy(rows)[:, None].expand_as(whole)
        everything = dict.fromkeys(LEVELS, -np.inf)
        pairs = self._judged(self._candidates(part.flatten(), whole.flatten()), everything, -np.inf)
        similarity = -np.sort(-pairs.similarity.reshape(whole.shape), axis=1)[:, :NEAREST]
        missing = NEAREST - similarity.shape[1]
        return np.pad(similarity, ((0, 0), (0, missing)), constant_values=np.nan)

    def _compare(self, same: bool) -> tuple[Tensor, Tensor]:
        """For each part the few wholes with the most similar descriptor of a crop.

        Returns those similarities, float32, and the rows, int64, both (len(parts), few).
        """
        # Half of the dimensions hold nearly all there is; what is found is compared in full later.
        _, basis = torch.linalg.eigh(self.described.T @ self.described)
        basis = basis[:, -(DESCRIPTOR**2) * 3 // 2 :]
        queries, keys = self.described @ basis, self.crops @ basis
        count = len(self.wholes)
        few = min(max(count // 256, 2 * NEAREST), 40, count - same)

        def closest(rows: slice) -> tuple[Tensor, Tensor]:
            query = queries[rows]
            best = torch.empty(len(query), count)
            for columns in _chunks(count, 2048):  # what is compared at a time fits into a cache
                block = query @ keys[0, columns].T
                scratch = torch.empty_like(block)
                for crop in keys[1:, columns]:
                    torch.maximum(block, torch.mm(query, crop.T, out=scratch), out=block)
                best[:, columns] = block
            if same:
                mine = torch.arange(len(query))
                best[mine, mine + rows.start] = -1
            return best.topk(few, dim=1)

        chunks = _chunks(len(queries), 256)
        found = self.share(closest, chunks, about="Comparing every two images")
        values, indices = (torch.cat(column) for column in zip(*found, strict=True))
        return values, indices

    def _candidates(self, part: Tensor, whole: Tensor) -> Candidates:
        """Those rows, with the crop of each whole that is closest to its part."""

        def window_of(rows: slice) -> Tensor:
            queries, keys = self.described[part[rows]], self.crops[:, whole[rows]]
            return torch.einsum("nd,knd->kn", queries, keys).argmax(0)

        chosen = self.share(window_of, _chunks(len(part), 1024))
        index = torch.cat(chosen) if chosen else torch.empty(0, dtype=torch.int64)
        return Candidates(
            part.numpy(),
            whole.numpy(),
            np.zeros(len(part), dtype=np.float32),
            self.windows[index].numpy(),
            (index == len(self.windows) - 1).numpy(),
        )

    def _judged(self, pairs: Candidates, levels: dict[int, float], least: float) -> Candidates:
        """The pairs that reach those levels and, by their pixels, the similarity `least`."""
        read = partial(_read, self.parts, self.wholes)
        for side, correlation in levels.items():
            pooled = partial(_pooled, self.small_parts, self.small_wholes)
            align = partial(_align, pairs, pooled if side <= 16 else read, side)
            found = self.share(align, _chunks(len(pairs), 2048), about="Aligning near-duplicates")
            pairs = _kept(pairs, found, correlation)
        judge = partial(_judge, pairs, read)
        return _kept(pairs, self.share(judge, _chunks(len(pairs), 512)), least)


def _kept(pairs: Candidates, found: list[tuple[Tensor, Tensor]], least: float) -> Candidates:
    """The pairs that reach `least`, with their new similarities and windows."""
    if not found:
        return pairs
    similarity, window = (torch.cat(column).numpy() for column in zip(*found, strict=True))
    keep = similarity >= least
    return Candidates(
        pairs.part[keep], pairs.whole[keep], similarity[keep], window[keep], pairs.mirrored[keep]
    )


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _planes(images: Tensor) -> Tensor:
    """uint8, (n, H, W, 3) → float32, (n, 3, H, W), 0..255."""
    return images.permute(0, 3, 1, 2).float().contiguous()


def _shrink(images: np.ndarray, rows: slice) -> Tensor:
    """Those rows as float32, (n, 3, 16, 16)."""
    return F.avg_pool2d(_planes(torch.from_numpy(np.array(images[rows]))), SIDE // 16)


def _unit(cells: Tensor) -> Tensor:
    """(n, 3, h, w) → (n, 3·h·w), the mean of each color 0 and of length 1.

    An image of hardly any contrast becomes shorter, so that its noise resembles nothing.
    """
    flat = (cells - cells.mean(dim=(2, 3), keepdim=True)).flatten(1)
    faint = 2 * flat.shape[1] ** 0.5  # a standard deviation of 2 of 255
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=faint)


# candidates


def _spans() -> list[tuple[float, float]]:
    """Where a crop may begin and end along one side, as shares of it."""
    spans = [(0.0, 1.0)]
    for length, places in (0.7, 4), (0.5, 7):
        spans += [(start, start + length) for start in np.linspace(0, 1 - length, places)]
    return spans


def _windows() -> Tensor:
    """(K, 4): top, bottom, left, right of the crops to compare; the last one is all, mirrored."""
    windows = [
        (*vertical, *horizontal)
        for vertical in _spans()
        for horizontal in _spans()
        if (vertical[1] - vertical[0]) * (horizontal[1] - horizontal[0]) > 0.3
    ]
    return torch.tensor([*windows, (0, 1, 0, 1)], dtype=torch.float32)


def _area_average(start: float, end: float, cells: int, pixels: int) -> Tensor:
    """(cells, pixels): the matrix that averages pixels start…end (shares) over equal cells."""
    edges = torch.linspace(start * pixels, end * pixels, cells + 1)
    pixel = torch.arange(pixels)
    shared = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    shared = shared.clamp(min=0)
    return shared / shared.sum(dim=1, keepdim=True)


def _descriptors(small: Tensor, window: Tensor) -> Tensor:
    """float32, (n, 48): 4×4 cells of that window of images (n, 3, 16, 16)."""
    top, bottom, left, right = window.tolist()
    rows = _area_average(top, bottom, DESCRIPTOR, small.shape[2])
    columns = _area_average(left, right, DESCRIPTOR, small.shape[3])
    return _unit(rows @ small @ columns.T)


# alignment

Gather = Callable[[np.ndarray, np.ndarray, int], tuple[Tensor, Tensor]]


def _pooled(
    parts: Tensor, wholes: Tensor, part: np.ndarray, whole: np.ndarray, side: int
) -> tuple[Tensor, Tensor]:
    """Those rows of images (n, 3, 16, 16) with a side of `side`, the parts of half of it."""
    return F.avg_pool2d(parts[part], 32 // side), F.avg_pool2d(wholes[whole], 16 // side)


def _read(
    parts: np.ndarray, wholes: np.ndarray, part: np.ndarray, whole: np.ndarray, side: int
) -> tuple[Tensor, Tensor]:
    """As `_pooled`, from images uint8, (N, 64, 64, 3)."""
    small = F.avg_pool2d(_planes(torch.from_numpy(parts[part])), 2 * SIDE // side)
    large = _planes(torch.from_numpy(wholes[whole]))
    return small, F.avg_pool2d(large, SIDE // side) if side < SIDE else large


def _align(pairs: Candidates, gather: Gather, side: int, rows: slice) -> tuple[Tensor, Tensor]:
    """Move the windows' four edges, one after the other, to where the correlation is highest.

    side: of the wholes, pixels; the first step is half a pixel of the parts, which have half of it.
    Returns the correlations, (n,), and the windows, (n, 4).
    """
    part, whole = gather(pairs.part[rows], pairs.whole[rows], side)
    target = _unit(part)
    window = torch.from_numpy(pairs.window[rows])
    mirrored = torch.from_numpy(pairs.mirrored[rows])

    def correlation(window: Tensor) -> Tensor:
        return (_unit(_crop(whole, window, mirrored, side // 2)) * target).sum(dim=1)

    best = correlation(window)
    for step in 0.5 / side, 0.25 / side:
        for edge in range(4):
            for move in -step, step:
                moved = window.clone()
                moved[:, edge] = (moved[:, edge] + move).clamp(0, 1)
                large = (moved[:, 1::2] - moved[:, ::2] >= SMALLEST).all(dim=1)
                value = correlation(moved)
                better = (value > best) & large
                window = torch.where(better[:, None], moved, window)
                best = torch.where(better, value, best)
    return best, window


def _crop(whole: Tensor, window: Tensor, mirrored: Tensor, side: int) -> Tensor:
    """(n, 3, side, side): the window of each of the images (n, 3, H, W), bilinear."""
    centers = (torch.arange(side) + 0.5) / side
    top, bottom, left, right = window.T[:, :, None]
    y, x = top + (bottom - top) * centers, left + (right - left) * centers
    x = torch.where(mirrored[:, None], x.flip(1), x)
    shape = (len(whole), side, side)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3) * 2 - 1
    return F.grid_sample(whole, grid, padding_mode="border", align_corners=False)


def _judge(pairs: Candidates, gather: Gather, rows: slice) -> tuple[Tensor, Tensor]:
    """Align once more at full size; returns the similarities, (n,), and the windows, (n, 4)."""
    _, window = _align(pairs, gather, SIDE, rows)
    part, whole = gather(pairs.part[rows], pairs.whole[rows], SIDE)
    crop = _crop(whole, window, torch.from_numpy(pairs.mirrored[rows]), SIDE // 2)
    return _similarity(part, crop), window


def _similarity(first: Tensor, second: Tensor, tile: int = 8, noise: float = 4.0) -> Tensor:
    """Mean over overlapping tiles of the correlation of two images' pixels, (n,), at most 1.

    The structure term of SSIM (Wang et al. 2004, equation 10), over tiles instead of a sliding
    window. Within a tile nothing is left of the common layout that many photographs share, such as
    an object on white. Tiles that hold less than noise (a standard deviation of `noise` of 255)
    in both images do not count. first, second: (n, 3, 32, 32), 0..255.
    """
    tiles = (F.unfold(x, tile, stride=tile // 2) for x in (first, second))
    a, b = (t - t.mean(dim=1, keepdim=True) for t in tiles)
    spread_a, spread_b = (t.square().mean(dim=1).sqrt() for t in (a, b))
    correlation = (a * b).mean(dim=1) / (spread_a * spread_b).clamp(min=noise**2)
    counts = torch.maximum(spread_a, spread_b) > noise
    return (correlation * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
