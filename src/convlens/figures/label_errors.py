"""Picture of images whose labels are probably wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convlens.figures.style import (
    GRAY,
    PAGE_WIDTH,
    VERMILION,
    cells,
    new_figure,
    percent,
    shorten,
    styled,
)

COLUMNS, ROWS = 7, 6
LABELS_A_PAGE = COLUMNS * ROWS
LETTERS = 20  # of a class's name


@styled
def label_errors(
    images: np.ndarray,
    given: Sequence[str],
    suggested: Sequence[str],
    probability: np.ndarray,
    title: str,
) -> Figure:
    """Up to 42 images: above each the class it is labeled as, below it the one it may be.

    images: uint8, shape (k, H, W, 3). given, suggested: k classes. probability: float, shape
    (k, 2), of both, 0..1.
    """
    rows = max(1, -(-len(images) // COLUMNS))
    figure = new_figure(height=rows * (PAGE_WIDTH / COLUMNS + 0.42) + 0.35)
    figure.suptitle(title)
    for i, ax in enumerate(cells(figure, len(images), COLUMNS)):
        ax.imshow(images[i], interpolation="nearest")
        own, other = (percent(float(value)) for value in probability[i])
        ax.set_title(f"{shorten(given[i], LETTERS)}\n{own}", fontsize=6.5, pad=2, color=GRAY)
        ax.set_xlabel(
            f"{shorten(suggested[i], LETTERS)}\n{other}", fontsize=6.5, labelpad=2, color=VERMILION
        )
    return figure
