"""Arithmetic of repeated measurements, and the judgment by ratio."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from convlens.bench.rows import ROWS


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest, highest and the values themselves, in the order measured."""
    return {
        "median": median(values),
        "low": min(values),
        "high": max(values),
        "values": list(values),
    }


def pairwise(ours: Sequence[float], peer: Sequence[float], scale: float = 1.0) -> dict[str, Any]:
    """Spread of scale·ours/peer, pair by pair: what slows both of a pair cancels in its ratio."""
    return spread([scale * a / b for a, b in zip(ours, peer, strict=True)])


def row_of_rates(
    ours: Sequence[Mapping[str, Any]],
    peer: Sequence[Mapping[str, Any]],
    about_ours: Mapping[str, Any],
    about_peer: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of the results: the images a second of both sides' runs, and the ratio of each pair.

    about_ours, about_peer: what else is told of the sides.
    """
    a, b = ([run["images_per_second"] for run in side] for side in (ours, peer))
    ratio = pairwise(a, b)
    return {
        "value": ratio["median"],
        "ratio": ratio,
        "ours": {**spread(a), "unit": "images/s", **about_ours},
        "peer": {**spread(b), "unit": "images/s", **about_peer},
    }


def flops_per_image(multiply_adds: int) -> int:
    """Floating-point operations of training on one image.

    A multiply-add is two; forward, gradient of the inputs and gradient of the weights are one
    forward's worth each. The first layer's input gradient is counted though nobody needs it, as is
    usual; norms, activations and the optimizer are not.
    """
    return 2 * 3 * multiply_adds


def compare(
    new: Mapping[str, Mapping], old: Mapping[str, Mapping], tolerance: float
) -> list[dict[str, Any]]:
    """Rows that both results hold and that are ratios: old and new value, change, whether worse.

    new, old: the "rows" of two results. change: new/old - 1, where less is worse, as it is in every
    row that decides. worse: change below -tolerance.
    """
    judged = []
    for name, row in ROWS.items():
        if not row.decides or name not in new or name not in old:
            continue
        before, now = old[name]["value"], new[name]["value"]
        if before is None:
            continue
        # a row that was reached before and is not any more is as bad as can be
        change = -1.0 if now is None else now / before - 1
        worse = change < -tolerance
        judged.append({"name": name, "old": before, "new": now, "change": change, "worse": worse})
    return judged
