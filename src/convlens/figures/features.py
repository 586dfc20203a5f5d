"""Pictures of features: what invariance they have, which images are alike, what excites them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from convlens.figures.style import (
    BLUE,
    GRAY,
    PAGE_WIDTH,
    VERMILION,
    bare,
    cells,
    new_figure,
    percent,
    shorten,
    space,
    styled,
)

LINES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito 2008


@styled
def invariance(
    values: Mapping[str, np.ndarray],
    curves: Mapping[str, Mapping[str, np.ndarray]],
    names: Sequence[str],
    title: str,
) -> Figure:
    """Zeiler and Fergus 2014, fig. 5: a column for each change, a row for each quantity.

    values: by change (its axis' label), float, (V,). curves: by quantity (the row's label), then by
    change, float, (M, V). names: of the M images. A row has one scale.
    """
    figure = new_figure(height=1.7 * len(curves) + 0.9)
    figure.suptitle(title)
    axes = figure.subplots(len(curves), len(values), sharex="col", sharey="row", squeeze=False)
    for row, (quantity, by_change) in zip(axes, curves.items(), strict=True):
        row[0].set_ylabel(quantity)
        for ax, (change, steps) in zip(row, values.items(), strict=True):
            ax.grid(True)
            for i, line in enumerate(by_change[change]):
                ax.plot(steps, line, color=LINES[i % len(LINES)], linewidth=1.3)
    for ax, change in zip(axes[-1], values, strict=True):
        ax.set_xlabel(change)
    for ax in axes[:, 0]:
        ax.set_ylim(bottom=0)
    handles = axes[0, 0].get_lines()[: len(names)]
    figure.legend(handles, [shorten(n, 44) for n in names], loc="outside lower center", ncols=2)
    return figure


@styled
def neighbors(
    images: np.ndarray,
    names: Sequence[str],
    found: np.ndarray,
    found_names: Sequence[Sequence[str]],
    similarity: np.ndarray,
    title: str,
) -> Figure:
    """Each image, framed in blue, beside the training images most like it, most alike first.

    images: uint8, (M, H, W, 3), with a line of text each. found: uint8, (M, k, H, W, 3), with their
    classes. similarity: (M, k), -1..1.
    """
    count, k = found.shape[:2]
    side = PAGE_WIDTH / (k + 1)
    figure = new_figure(height=count * (side + 0.42) + 0.5)
    figure.suptitle(title)
    axes = figure.subplots(count, k + 1, squeeze=False)
    for i, row in enumerate(axes):
        bare(row[0]).imshow(images[i], interpolation="nearest")
        row[0].set_title(names[i], fontsize=6.5, pad=2, color=BLUE)
        row[0].spines[:].set(visible=True, color=BLUE, linewidth=1.6)
        for j, ax in enumerate(row[1:]):
            bare(ax).imshow(found[i, j], interpolation="nearest")
            name = shorten(found_names[i][j], 13)
            ax.set_title(f"{name}\n{similarity[i, j]:z.2f}", fontsize=6.5, pad=2)
    space(figure, w_pad=0.02, h_pad=0.03)
    return figure


@styled
def feature_visualization(
    images: np.ndarray, names: Sequence[str], values: np.ndarray, title: str
) -> Figure:
    """Images made by optimization, with what each is for and how strongly it excites that.

    images: float, (M, H, W, 3), 0..1. names: M. values: (M,).
    """
    columns = 8 if len(images) > 18 else 6
    rows = -(-len(images) // columns)
    side = PAGE_WIDTH / columns
    figure = new_figure(height=rows * (side + 0.32) + 0.5)
    figure.suptitle(title)
    for i, ax in enumerate(cells(figure, len(images), columns)):
        ax.imshow(images[i].clip(0, 1), interpolation="nearest")
        ax.set_title(f"{shorten(names[i], 16)}\n{values[i]:.3g}", fontsize=6.5, pad=2)
    space(figure, w_pad=0.03, h_pad=0.03)
    return figure


@styled
def embedding(
    places: np.ndarray,
    right: np.ndarray,
    shown: np.ndarray,
    images: np.ndarray,
    share: float,
    title: str,
) -> Figure:
    """Thumbnails at the two principal components of their features; mistakes are framed.

    places: float, (N, 2). right: bool, (N,). shown: int, (K,), the rows of those that have a
    thumbnail, and images: uint8, (K, H, W, 3), theirs; a thumbnail that would hide another is left
    out. All N have a dot. share: of the variance, 0..1, that the two components hold.
    """
    across, down = np.ptp(places, axis=0)
    figure = new_figure(height=PAGE_WIDTH * min(max(down / (across or 1), 0.4), 1.2) + 0.6)
    ax = figure.subplots()
    figure.suptitle(title)
    ax.scatter(*places.T, s=3, color=GRAY, alpha=0.5, linewidths=0)
    span = max(across, down) or 1.0
    taken: list[np.ndarray] = []
    for i, image in zip(shown, images, strict=True):
        if taken and np.abs(np.array(taken) - places[i]).max(axis=1).min() < 0.045 * span:
            continue
        taken.append(places[i])
        color, width = (GRAY, 0.4) if right[i] else (VERMILION, 1.6)
        box = AnnotationBbox(
            OffsetImage(image, zoom=18 / images.shape[1], resample=True),
            (float(places[i, 0]), float(places[i, 1])),
            frameon=True,
            pad=0.08,
            bboxprops={"edgecolor": color, "linewidth": width},
        )
        ax.add_artist(box)
    ax.set(xlabel="first principal component of the features", ylabel="second", aspect="equal")
    ax.margins(0.06)
    ax.set_title(
        f"the two hold {percent(share)} of the variance; framed in orange: mistaken", fontsize=8
    )
    return figure
