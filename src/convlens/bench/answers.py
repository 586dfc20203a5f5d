"""The rows of inference: what `convlens predict --fast` does, against eager fp32, in turn."""

from collections.abc import Callable, Sequence
from typing import Any

from convlens.bench import peers, processes
from convlens.bench.ratios import pairwise, spread
from convlens.bench.session import Rows, Session
from convlens.errors import UserError


def measure_int8(session: Session) -> Rows:
    """The row `int8`: the network that has been trained, in int8, against itself in eager fp32."""
    effort, environment, weights = session.effort, session.environment, session.weights
    if weights is None:
        raise UserError(
            "the row int8 needs a network that has been trained; name the folder that holds "
            "convnet.safetensors with `weights`",
            option="weights",
        )

    def eager(batch: int, seconds: float) -> dict[str, Any]:
        options = {"weights": weights, "batch": batch, "seconds": seconds}
        return processes.peer("eager_inference.py", environment, **options)

    def rounded(batches: Sequence[int], seconds: float) -> dict[str, Any]:
        return processes.ours(
            "int8_rates",
            environment,
            weights=weights,
            data=session.dataset.root,
            batches=batches,
            seconds=seconds,
        )

    sizes = effort.inference_batches
    grid = [{"batch": batch, **eager(batch, effort.grid_seconds)} for batch in sizes]
    best = max(grid, key=lambda point: point["images_per_second"])["batch"]
    tried = rounded(sizes, effort.grid_seconds)
    ours, peer = peers.in_turn(
        lambda: rounded([tried["batch"]], effort.seconds),
        lambda: eager(best, effort.seconds),
        effort.pairs,
    )
    a, b = ([run["images_per_second"] for run in side] for side in (ours, peer))
    ratio = pairwise(a, b)
    told = {name: tried[name] for name in ("before", "after", "images", "split")}
    settings = {"batch": tried["batch"], "accuracy": f"{told['after']:.2%}"}
    return {
        "int8": {
            "value": ratio["median"],
            "ratio": ratio,
            "check": told,
            "ours": {**spread(a), "unit": "images/s", "settings": settings, "grid": tried["grid"]},
            "peer": {
                **spread(b),
                "unit": "images/s",
                "settings": {"batch": best, "accuracy": f"{told['before']:.2%}"},
                "grid": grid,
            },
        }
    }


def against_eager(name: str, batches: tuple[int, ...] = ()) -> Callable[[Session], Rows]:
    """The measurement of a row: each side at the best of `batches`, by default the effort's."""

    def measure(session: Session) -> Rows:
        effort, environment, weights = session.effort, session.environment, session.weights
        sizes = batches or effort.inference_batches

        def eager(batch: int, seconds: float) -> dict[str, Any]:
            options = {"weights": weights, "batch": batch, "seconds": seconds}
            return processes.peer("eager_inference.py", environment, **options)

        def fast(measure: str, seconds: float, **options: Any) -> dict[str, Any]:
            return processes.ours(measure, environment, weights=weights, seconds=seconds, **options)

        grid = [{"batch": batch, **eager(batch, effort.grid_seconds)} for batch in sizes]
        best = max(grid, key=lambda point: point["images_per_second"])["batch"]
        tried = fast("inference_grid", effort.grid_seconds, batches=sizes)
        chosen = {key: tried["best"][key] for key in ("way", "batch")}
        ours, peer = peers.in_turn(
            lambda: fast("inference_rate", effort.seconds, **chosen),
            lambda: eager(best, effort.seconds),
            effort.pairs,
        )
        a, b = ([run["images_per_second"] for run in side] for side in (ours, peer))
        ratio = pairwise(a, b)
        return {
            name: {
                "value": ratio["median"],
                "ratio": ratio,
                "ours": {
                    **spread(a),
                    "unit": "images/s",
                    "settings": chosen,
                    "grid": tried["grid"],
                    "difference": max(run["difference"] for run in ours),
                },
                "peer": {
                    **spread(b),
                    "unit": "images/s",
                    "settings": {"batch": best},
                    "grid": grid,
                },
            }
        }

    return measure
