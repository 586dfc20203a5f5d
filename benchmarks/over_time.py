"""Accuracy against time, as several benchmarks draw it."""

import statistics
from collections.abc import Sequence
from typing import Any

from convlens.figures.style import VERMILION
from convlens.reporting.tables import standard_error

PEER_COLORS = {"fastai": VERMILION, "timm": "#009E73", "ultralytics": "#CC79A7"}


def averages(
    groups: Sequence[Sequence[dict[str, Any]]],
) -> tuple[list[float], list[float], list[float]]:
    """Of each group of records: seconds, accuracy in percent, and its standard error; 0 of one."""
    seconds = [statistics.mean(r["seconds"] for r in rows) for rows in groups]
    shares = [[100 * r["accuracy"] for r in rows] for rows in groups]
    errors = [standard_error(each) if len(each) > 1 else 0.0 for each in shares]
    return seconds, list(map(statistics.mean, shares)), errors
