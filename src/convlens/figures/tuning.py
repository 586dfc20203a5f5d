"""Picture of a search: every setting that was tried, and which options mattered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convlens.figures.style import BLUE, GRAY, VERMILION, new_figure, styled


@dataclass(frozen=True)
class Coordinate:
    """One option of the search. values: float, (T,), of the trials, for a choice its index.

    choices: the names of the choices; empty for a number. log: spread by the logarithm.
    importance: its share of what decides the result, 0..1, or NaN where that is unknown.
    """

    name: str
    values: np.ndarray
    choices: tuple[str, ...] = ()
    log: bool = False
    importance: float = np.nan


@styled
def tuning(
    coordinates: Sequence[Coordinate],
    accuracy: np.ndarray,
    numbers: np.ndarray,
    stopped: np.ndarray,
    own: int | None,
) -> Figure:
    """Parallel coordinates of the finished trials; under them the importances and the course.

    accuracy: float, (T,), 0..1, of the trials trained to their end; numbers: int, (T,), when each
    began. stopped: (S, 2), of the others the number and the last accuracy, 0..1. own: the row of
    the recipe's own setting.
    """
    figure = new_figure(height=6.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.6, 3), squeeze=False).flat
    best = int(np.argmax(accuracy))
    _draw_parallel(top.subplots(), coordinates, accuracy, best, own)
    left, right = bottom.subplots(1, 2, width_ratios=(1, 1.2))
    _draw_importance(left, coordinates)
    _draw_course(right, accuracy, numbers, stopped)
    return figure


def _draw_parallel(
    ax: Axes,
    coordinates: Sequence[Coordinate],
    accuracy: np.ndarray,
    best: int,
    own: int | None,
) -> None:
    columns = [*coordinates, Coordinate("accuracy (%)", 100 * accuracy)]
    heights = []
    for x, column in enumerate(columns):
        low, high = float(column.values.min()), float(column.values.max())
        if column.choices:
            low, high = 0.0, len(column.choices) - 1.0
        scale = np.log if column.log else np.asarray
        a, b, v = scale(low), scale(high), scale(column.values)
        heights.append((v - a) / (b - a) if b > a else np.full(len(v), 0.5))
        ax.axvline(x, color="#BBBBBB", linewidth=0.8, zorder=1)
        ends = column.choices or (f"{low:.3g}", f"{high:.3g}")
        for i, text in enumerate(ends if high > low else ends[:1]):
            ax.annotate(
                text,
                (x, i / max(len(ends) - 1, 1)),
                (3, 0),
                textcoords="offset points",
                fontsize=6.5,
                color=GRAY,
                va="center",
                zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
            )
    lines = np.array(heights)  # (P + 1, T)
    shade = Normalize(accuracy.min(), accuracy.max() + 1e-9)
    blues = colormaps["Blues"]
    for row in np.argsort(accuracy, kind="stable"):
        ax.plot(lines[:, row], color=blues(0.25 + 0.7 * shade(accuracy[row])), linewidth=0.9)
    if own is not None:
        ax.plot(
            lines[:, own],
            color="black",
            linewidth=1.4,
            linestyle=(0, (3, 2)),
            label="the recipe's own setting",
        )
    ax.plot(lines[:, best], color=VERMILION, linewidth=2, label="the best")
    ax.set_xticks(
        range(len(columns)),
        [c.name.replace(".", ".\n").replace("_", "_\n") for c in columns],
        fontsize=6.8,
    )
    ax.set(yticks=[], xlim=(-0.1, len(columns) - 0.6), ylim=(-0.05, 1.05))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(f"{len(accuracy)} settings trained to their end, the darker the more accurate")
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _draw_importance(ax: Axes, coordinates: Sequence[Coordinate]) -> None:
    known = sorted(
        (c for c in coordinates if np.isfinite(c.importance)), key=lambda c: -c.importance
    )
    ax.set_title("What decided the result")
    if not known:
        ax.axis("off")
        ax.text(0.5, 0.5, "too few trials to tell", ha="center", transform=ax.transAxes)
        return
    ax.barh(range(len(known)), [100 * c.importance for c in known], color=BLUE, height=0.7)
    ax.set_yticks(range(len(known)), [c.name for c in known])
    ax.set_ylim(len(known) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("importance (%), PED-ANOVA")


def _draw_course(ax: Axes, accuracy: np.ndarray, numbers: np.ndarray, stopped: np.ndarray) -> None:
    order = np.argsort(numbers)
    so_far = np.maximum.accumulate(100 * accuracy[order])
    ax.plot(numbers, 100 * accuracy, "o", color=BLUE, markersize=3.5, label="trained to its end")
    if len(stopped):
        ax.plot(
            stopped[:, 0],
            100 * stopped[:, 1],
            "x",
            color=GRAY,
            markersize=4,
            label="stopped early, where it stood",
        )
    ax.step(numbers[order], so_far, where="post", color=VERMILION, label="best so far")
    ax.set(title="Trials", xlabel="trial", ylabel="accuracy on the hold-out (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(True)
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=3)
