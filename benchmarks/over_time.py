"""Accuracy against time, as several benchmarks draw it."""

import statistics
from collections.abc import Sequence
from typing import Any

from convlens.figures.style import VERMILION
from convlens.reporting.tables import standard_error

PEER_COLORS = {"fastai": VERMILION, "timm": "#009E73", "ultralytics": "#CC79A7"}


def draw(
    ax: Any, groups: Sequence[Sequence[dict[str, Any]]], color: str, form: str = "o-"
) -> tuple[Any, float, float]:
    """A point of each group of records: mean seconds, mean accuracy in percent and its standard
    error; hollow where it is of one seed. form: matplotlib's. The line, and the first point."""
    x = [statistics.mean(r["seconds"] for r in rows) for rows in groups]
    shares = [[100 * r["accuracy"] for r in rows] for rows in groups]
    y = list(map(statistics.mean, shares))
    errors = [standard_error(each) if len(each) > 1 else 0.0 for each in shares]
    line = ax.errorbar(x, y, errors, fmt=form, color=color, markersize=4, linewidth=1.2)
    for seconds, accuracy, rows in zip(x, y, groups, strict=True):
        if len(rows) == 1:
            ax.plot(seconds, accuracy, form[0], color=color, markersize=4, mfc="white", zorder=3)
    return line, x[0], y[0]
