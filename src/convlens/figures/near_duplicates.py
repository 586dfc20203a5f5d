"""Picture of near-duplicates: photographs that are in a data set twice."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convlens.figures.style import GRAY, bare, new_figure, shorten, styled

COLUMNS, ROWS = 4, 8
PAIRS_A_PAGE = COLUMNS * ROWS
GAP = 0.06  # between the two of a pair, as a share of an image's side


@styled
def near_duplicates(
    images: np.ndarray, names: Sequence[tuple[str, str]], similarity: np.ndarray, title: str
) -> Figure:
    """Up to 32 pairs side by side, under each the two files and their similarity.

    images: uint8, shape (P, 2, H, W, 3). names: the P pairs of files. similarity: (P,), 0..1.
    """
    rows = -(-len(images) // COLUMNS)
    figure = new_figure(height=1.36 * rows + 0.35)
    figure.suptitle(title)
    ax = bare(figure.subplots())
    width, height = 2 + 3.5 * GAP, 1.5
    for i, ((first, second), names_of) in enumerate(zip(images, names, strict=True)):
        x, y = (i % COLUMNS) * width, (i // COLUMNS) * height
        for image, left in (first, x), (second, x + 1 + GAP):
            ax.imshow(image, extent=(left, left + 1, y + 1, y), interpolation="bilinear")
        for line, name in enumerate(names_of):
            ax.text(x, y + 1.06 + 0.15 * line, shorten(name, 42), va="top", fontsize=5.6)
        ax.text(
            x + 2 + GAP,
            y + 1.06 + 0.15 * 2,
            f"{similarity[i]:.3f}",
            va="top",
            ha="right",
            fontsize=5.6,
            color=GRAY,
        )
    ax.set(xlim=(-GAP, COLUMNS * width), ylim=(rows * height, -GAP), aspect="equal")
    return figure
