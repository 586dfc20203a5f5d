"""Pictures of the speed benchmark: targets reached, growth with the data set, where a step goes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from convlens.figures.style import BLUE, GRAY, VERMILION, new_figure, shorten, styled

GOALS = (("must", "|"), ("target", "d"), ("moonshot", "*"))  # name, marker


@styled
def speed(
    titles: Sequence[str],
    values: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    goals: Sequence[tuple[float, float, float]],
    labels: Sequence[str],
    machine: str,
) -> Figure:
    """Each row as a bar of how far it is from its target (1), with must and moonshot marked.

    values, ranges (low, high), goals (must, target, moonshot): in the row's own unit, all above 0;
    where the moonshot is less than the must, less is better and the row is turned round, so that
    further right is always better. labels: the values as text. machine: for the title.
    """
    figure = new_figure(height=0.42 * len(titles) + 1.25)
    ax = figure.subplots()
    figure.suptitle(f"Measured on {machine}", fontsize=8, color=GRAY)
    for y, (value, span, goal) in enumerate(zip(values, ranges, goals, strict=True)):
        turned = goal[2] < goal[0]
        now, low, high, *marks = (
            goal[1] / x if turned else x / goal[1] for x in (value, *span, *goal)
        )
        color = BLUE if now >= marks[0] else VERMILION
        ax.barh(y, now, 0.55, color=color, alpha=0.85)
        ax.plot(sorted((low, high)), (y, y), color="black", linewidth=1)
        for place, (name, marker) in zip(marks, GOALS, strict=True):
            ax.plot(
                place,
                y,
                marker,
                color="black",
                markersize=9 if marker == "|" else 5,
                label=name if y == 0 else None,
                linestyle="none",
                zorder=3,
            )
        edge = max(now, low, high, marks[2])
        ax.annotate(
            labels[y],
            (edge, y),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight="bold",
        )
    ax.set_xscale("log")
    lowest, highest = ax.get_xlim()
    ax.set_xlim(min(lowest, 0.2), highest * 1.6)  # room for the labels
    ax.xaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("measured ÷ target (further right is better); the line spans lowest to highest")
    ax.set_yticks(range(len(titles)), titles)
    ax.set_ylim(len(titles) - 0.5, -0.5)
    ax.grid(True, axis="x")
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def growth(columns: Mapping[str, Sequence[float | None]]) -> Figure:
    """Rates, start-up and memory against the number of images, all on logarithmic axes.

    columns, each of shape (sizes,): images; caching_images_per_second, reading_images_per_second,
    training_images_per_second; start_seconds; anonymous_mb, file_mb, cache_mb (None where the
    system does not tell).
    """
    panels = (  # title, axis, lines
        (
            "Rates",
            "images/s",
            (
                ("reading", "reading_images_per_second", BLUE),
                ("caching", "caching_images_per_second", VERMILION),
                ("training LeNet5", "training_images_per_second", GRAY),
            ),
        ),
        ("Second start", "seconds", (("opening the cache", "start_seconds", BLUE),)),
        (
            "Memory of the training process",
            "MB",
            (
                ("its own", "anonymous_mb", BLUE),
                ("cache, mapped", "file_mb", VERMILION),
                ("cache, on disk", "cache_mb", GRAY),
            ),
        ),
    )
    images = np.asarray(columns["images"], dtype=float)
    figure = new_figure(height=2.9)
    for ax, (title, label, lines) in zip(figure.subplots(1, 3), panels, strict=True):
        for name, column, color in lines:
            values = np.array(columns[column], dtype=float)  # None becomes NaN and is not drawn
            ax.plot(images, values, "o-", color=color, markersize=3.5, label=name)
        ax.set(
            title=title, ylabel=label, xlabel="images in the data set", xscale="log", yscale="log"
        )
        low, high = ax.get_ylim()
        ax.set_ylim(low / 2, high * 6)  # room for the legend
        ax.grid(True)
        ax.legend(loc="upper left", fontsize=7)
    return figure


@styled
def profile(names: Sequence[str], seconds: Sequence[float], step: float, title: str) -> Figure:
    """The operators of a training step as bars, longest first, with their share of the step.

    names, seconds: of each operator, its own time. step: seconds of the whole step.
    """
    figure = new_figure(height=0.24 * len(names) + 0.9)
    ax = figure.subplots()
    ax.barh(range(len(names)), 1e3 * np.asarray(seconds), 0.65, color=BLUE)
    for y, s in enumerate(seconds):
        ax.annotate(
            f"{1e3 * s:.1f} ms, {s / step:.0%}",
            (1e3 * s, y),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    ax.set_yticks(range(len(names)), [shorten(name, 44) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.25e3 * max(seconds))
    ax.set_xlabel("milliseconds a step")
    ax.set_title(title)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return figure
