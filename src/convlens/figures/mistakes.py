"""Pictures of what a model gets wrong, readable at two classes and at a hundred."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from convlens.figures.style import (
    BLUE,
    GRAY,
    PAGE_WIDTH,
    VERMILION,
    bare,
    check_classes,
    new_figure,
    percent,
    shorten,
    styled,
)
from convlens.inference.confusion import most_confused, row_shares, similarity_order

FEW_CLASSES = 15  # up to here a confusion matrix is read number by number


@styled
def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """The confusion matrix. matrix: int, shape (C, C), rows true, columns predicted.

    Up to 15 classes: the counts in their cells. Beyond: the row shares as colors, classes ordered
    by `similarity_order`, and under it the most confused pairs and the spread of class accuracy.
    Classes without images have gray rows.
    """
    matrix = np.asarray(matrix)
    check_classes(len(matrix), classes)
    shares = row_shares(matrix)
    if len(matrix) <= FEW_CLASSES:
        return _small_confusion(matrix, shares, classes)

    order = similarity_order(matrix)
    figure = new_figure(height=11)
    top, bottom = figure.subfigures(2, 1, height_ratios=(7.2, 3.8), squeeze=False).flat
    ax = top.subplots()
    picture = _draw_shares(ax, shares[np.ix_(order, order)])
    _label_rows(ax, [classes[int(c)] for c in order], height=6.2)
    ax.set(title="Confusion matrix: rows true, columns predicted, in the same order", xticks=[])
    bar = top.colorbar(picture, ax=ax, orientation="horizontal", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("share of the true class's images (square-root scale; gray: no images)")
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0", "5 %", "20 %", "50 %", "100 %"])

    left, right = bottom.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_pairs(left, matrix, classes)
    _draw_distribution(right, np.diagonal(shares))
    return figure


@styled
def per_class(
    accuracy: np.ndarray,
    counts: np.ndarray,
    classes: Sequence[str],
    precision: np.ndarray | None = None,
) -> Figure:
    """Accuracy of each class, the best first, in up to three columns of bars.

    accuracy: float, shape (C,), 0..1, NaN for a class without images (these come last). counts:
    int, shape (C,), images of each class. precision: float, shape (C,), 0..1, a dot beside the bar;
    none where it is NaN. The dashed line is the mean per class.
    """
    accuracy, counts = np.asarray(accuracy, dtype=float), np.asarray(counts)
    check_classes(len(accuracy), classes)
    order = np.argsort(-accuracy, kind="stable")  # NaN sorts last
    columns = min(3, -(-len(order) // 25))
    rows = -(-len(order) // columns)
    measured = accuracy[~np.isnan(accuracy)]
    mean = float(measured.mean()) if len(measured) else np.nan
    figure = new_figure(height=max(rows * 0.17, 0.8) + 0.8, width=PAGE_WIDTH * max(columns, 2) / 3)
    what = "and of how many images" if precision is None else "(bars) and precision (dots)"
    figure.suptitle(f"Accuracy per class {what}; mean accuracy {percent(mean, 1)}")
    for ax, chunk in zip(
        figure.subplots(1, columns, squeeze=False).flat, np.array_split(order, columns), strict=True
    ):
        values = accuracy[chunk]
        ax.barh(range(len(chunk)), np.nan_to_num(100 * values), height=0.72, color=BLUE)
        if precision is not None:
            ax.plot(
                100 * np.asarray(precision)[chunk],
                range(len(chunk)),
                "o",
                clip_on=False,
                markersize=3.5,
                color=VERMILION,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
        for row, c in enumerate(chunk):
            text = f"{percent(float(accuracy[c]))} of {counts[c]}" if counts[c] else "no images"
            ax.text(103, row, text, va="center", fontsize=6.5, color=GRAY)
        if len(measured):
            ax.axvline(100 * mean, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
        ax.set_yticks(range(len(chunk)), [shorten(classes[int(c)], 22) for c in chunk], fontsize=7)
        ax.set(xlim=(0, 100), ylim=(rows - 0.4, -0.6), xticks=[0, 50, 100])
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("accuracy (%)")
    return figure


@styled
def worst(
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str],
) -> Figure:
    """Up to 24 mistakes, the surest first: above an image its class, below it the prediction.

    images: uint8, shape (k, H, W, 3). true, predicted: int, shape (k,). probability: float, shape
    (k,), of the predicted class, 0..1. Right predictions among them are left out.
    """
    wrong = np.flatnonzero(np.asarray(true) != np.asarray(predicted))
    shown = wrong[np.argsort(-np.asarray(probability)[wrong], kind="stable")][:24]
    if not len(shown):
        figure = new_figure(height=0.8, width=4)
        figure.suptitle("No mistakes to show")
        return figure
    columns = min(len(shown), 6)
    rows = -(-len(shown) // columns)
    figure = new_figure(height=rows * 1.75 + 0.4, width=max(columns * PAGE_WIDTH / 6, 4))
    figure.suptitle("Worst mistakes: true class above; predicted class and probability below")
    for i, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        bare(ax)
        if i >= len(shown):
            ax.set_visible(False)
            continue
        k = int(shown[i])
        ax.imshow(images[k], interpolation="nearest")
        ax.set_title(shorten(classes[int(true[k])], 18), fontsize=7, pad=2)
        name = shorten(classes[int(predicted[k])], 18)
        verdict = f"{name}\n{percent(float(probability[k]))}"
        ax.set_xlabel(verdict, fontsize=7, labelpad=2, color=VERMILION)
    return figure


def _small_confusion(matrix: np.ndarray, shares: np.ndarray, classes: Sequence[str]) -> Figure:
    side = min(0.5 * len(matrix), 5.5) + 1.7
    figure = new_figure(height=side, width=side + 0.6)
    ax = figure.subplots()
    picture = _draw_shares(ax, shares)
    for (i, j), count in np.ndenumerate(matrix):
        ax.text(
            j,
            i,
            str(count),
            ha="center",
            va="center",
            color="white" if shares[i, j] > 0.3 else "#888888" if not count else "black",
        )
    names = [shorten(name, 20) for name in classes]
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 4 else 0)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    ax.set(title="Confusion matrix (images)", xlabel="predicted", ylabel="true")
    bar = figure.colorbar(picture, ax=ax, shrink=0.8)
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0", "5 %", "20 %", "50 %", "100 %"])
    bar.set_label("share of the true class (square-root scale)")
    return figure


def _draw_shares(ax: Axes, shares: np.ndarray) -> AxesImage:
    ax.set_facecolor("#DDDDDD")  # shows where a row is NaN
    ax.spines[:].set(visible=True, color="#BBBBBB")
    return ax.imshow(shares, norm=PowerNorm(0.5, 0, 1), cmap="Blues", interpolation="nearest")


def _label_rows(ax: Axes, names: Sequence[str], height: float) -> None:
    """Name the rows of an image `height` inches tall, as many as can be read.

    Where the rows are thinner than a line of text, every second name goes to the right side; where
    they are thinner still, only each n-th row is named.
    """
    pitch = 72 * height / len(names)  # points
    size = 7 if pitch > 8 else 5.5
    every = max(1, int(np.ceil((size + 0.5) / pitch / 2)))  # with both sides in use
    rows = np.arange(0, len(names), every)
    one_side = pitch >= size + 0.5
    ax.set_yticks(rows if one_side else rows[::2])
    ax.set_yticklabels([shorten(names[int(r)], 20) for r in ax.get_yticks()], fontsize=size)
    ax.tick_params(length=2, width=0.4)
    if not one_side:
        right = ax.secondary_yaxis("right")
        right.set_yticks(
            rows[1::2], [shorten(names[int(r)], 20) for r in rows[1::2]], fontsize=size
        )
        right.tick_params(length=2, width=0.4)


def _draw_pairs(ax: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    pairs = most_confused(matrix)
    ax.barh(range(len(pairs)), [count for *_, count, _ in pairs], color=VERMILION, height=0.7)
    for row, (*_, count, share) in enumerate(pairs):
        ax.annotate(
            f"{count} ({percent(share)})",
            (count, row),
            (2, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color=GRAY,
        )
    names = [f"{shorten(classes[i], 18)} → {shorten(classes[j], 18)}" for i, j, *_ in pairs]
    ax.set_yticks(range(len(pairs)), names, fontsize=6.5)
    ax.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    ax.set_xlim(0, 1.3 * max((count for *_, count, _ in pairs), default=1))
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(title="Most confused: true → predicted", xlabel="images (share of the true class)")


def _draw_distribution(ax: Axes, accuracy: np.ndarray) -> None:
    measured = accuracy[~np.isnan(accuracy)]
    classes_in_bin, edges = np.histogram(100 * measured, bins=10, range=(0, 100))
    bars = ax.bar(edges[:-1], classes_in_bin, width=9.2, align="edge", color=BLUE)
    ax.bar_label(bars, fontsize=6.5, color=GRAY)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(title="Accuracy per class", xlabel="accuracy (%)", ylabel="classes", xlim=(0, 100))
