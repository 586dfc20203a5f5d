"""What excites the maps of a layer: their strongest patches, alone or beside deconvolutions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convlens.figures.style import (
    PAGE_WIDTH,
    VERMILION,
    bare,
    cells,
    in_color,
    new_figure,
    space,
    styled,
)

GRAY = 128  # around the patches, and beyond the image: a white patch would not end on white


@styled
def patches(patches: np.ndarray, maps: Sequence[int], values: np.ndarray, title: str) -> Figure:
    """A 3×3 block of patches for each map, strongest first, with the map's number.

    patches: uint8, shape (M, k, h, w, 3), k ≤ 9. maps: their M numbers. values: the activations,
    (M, k). A map whose strongest is not above 0 is marked as dead.
    """
    columns = 8 if len(maps) <= 64 else 12
    rows = -(-len(maps) // columns)
    side = PAGE_WIDTH / columns
    figure = new_figure(height=rows * (side * _aspect(patches) + 0.15) + 0.5)
    figure.suptitle(title)
    for i, ax in enumerate(cells(figure, len(maps), columns)):
        ax.imshow(_block(patches[i], GRAY), interpolation="nearest")
        if values[i].max() > 0:
            ax.set_title(str(maps[i]), fontsize=6.5, pad=1.5)
        else:
            ax.set_title(f"{maps[i]} dead", fontsize=6.5, pad=1.5, color=VERMILION)
    space(figure, w_pad=0.02, h_pad=0.03)
    return figure


@styled
def deconvolution(
    projections: np.ndarray,
    patches: np.ndarray,
    maps: Sequence[int],
    values: np.ndarray,
    title: str,
) -> Figure:
    """Zeiler and Fergus 2014, fig. 2: for each map its deconvolutions and the patches they explain.

    projections: float, shape (M, k, h, w, 3), or of gray (M, k, h, w, 1), k ≤ 9. patches: uint8,
    (M, k, h, w, 3). maps: their M numbers. values: the activations, (M, k), strongest first. Each
    map's block has a scale of its own, symmetric about 0: gray is 0, a color is none at −m and full
    at m, where m is the block's largest absolute value; above each block stand the map's number and
    its activations' range.
    """
    columns = 2 if len(maps) > 1 else 1
    rows = -(-len(maps) // columns)
    side = PAGE_WIDTH / 4
    figure = new_figure(rows * (side * _aspect(patches) + 0.32) + 0.6, PAGE_WIDTH * columns / 2)
    figure.suptitle(title)
    grid = figure.subfigures(rows, columns, squeeze=False).flat
    for i, (number, cell) in enumerate(zip(maps, grid, strict=False)):
        limit = float(np.abs(projections[i]).max())
        scaled = in_color(projections[i] / (2 * limit or 1) + 0.5).clip(0, 1)
        if values[i].max() > 0:
            about = f"activations {values[i].max():.3g} to {values[i].min():.3g}"
            cell.suptitle(f"map {number}, {about}, m = {limit:.2g}", fontsize=8)
        else:
            cell.suptitle(f"map {number}: dead, nowhere above 0", fontsize=8, color=VERMILION)
        left, right = (bare(ax) for ax in cell.subplots(1, 2))
        left.imshow(_block(scaled, 1.0), interpolation="nearest")
        right.imshow(_block(patches[i], GRAY), interpolation="nearest")
        space(cell, w_pad=0.03, h_pad=0.03, wspace=0.02)
    return figure


@styled
def growth(
    projections: np.ndarray,
    patches: np.ndarray,
    maps: Sequence[int],
    epochs: Sequence[int],
    values: np.ndarray,
    title: str,
) -> Figure:
    """Zeiler and Fergus 2014, fig. 4: for each map a column for each epoch.

    projections: float, (E, M, h, w, 3), or of gray (E, M, h, w, 1), above the patches they explain:
    uint8, (E, M, h, w, 3).
    maps: M numbers. epochs: E. values: (E, M), the activations, written between; 0 or less: nothing
    excites the map. Each projection has a scale of its own, symmetric about gray, 0.
    """
    blocks = 2 if len(maps) > 1 else 1
    rows = -(-len(maps) // blocks)
    side = PAGE_WIDTH / (2 * len(epochs) + 1) * _aspect(patches)
    figure = new_figure(rows * (2 * side + 0.2) + 0.9, PAGE_WIDTH * blocks / 2)
    figure.suptitle(title)
    grids = [
        block.subplots(2 * rows, len(epochs), squeeze=False)
        for block in figure.subfigures(1, blocks, squeeze=False)[0]
    ]
    for ax in (ax for grid in grids for ax in grid.flat):
        bare(ax).set_visible(False)
    for i, number in enumerate(maps):
        row = i // blocks
        pairs = grids[i % blocks][2 * row : 2 * row + 2]
        pairs[0, 0].set_ylabel(f"map {number}", fontsize=7.5)
        for column, (above, below) in enumerate(pairs.T):
            limit = float(np.abs(projections[column, i]).max())
            scaled = in_color(projections[column, i] / (2 * limit or 1) + 0.5).clip(0, 1)
            for ax, picture in (above, scaled), (below, patches[column, i]):
                ax.imshow(picture, interpolation="nearest")
                ax.set_visible(True)
            value = values[column, i]
            told = f"{value:.3g}" if value > 0 else "dead"
            above.set_title(
                f"epoch {epochs[column]}\n{told}" if row == 0 else told,
                fontsize=6.5,
                pad=2,
                color="black" if value > 0 else VERMILION,
            )
    space(figure, w_pad=0.02, h_pad=0.01, wspace=0.01, hspace=0.01)
    return figure


def _aspect(patches: np.ndarray) -> float:
    """Height over width of a patch."""
    return patches.shape[2] / patches.shape[3]


def _block(patches: np.ndarray, ground: float) -> np.ndarray:
    """Up to nine patches (k, h, w, 3) in raster order as one picture, `ground` around each."""
    _, height, width, channels = patches.shape
    gap = max(1, width // 16)
    shape = (3 * (height + gap) + gap, 3 * (width + gap) + gap, channels)
    block = np.full(shape, ground, patches.dtype)
    for i, patch in enumerate(patches):
        top, left = gap + (i // 3) * (height + gap), gap + (i % 3) * (width + gap)
        block[top : top + height, left : left + width] = patch
    return block
