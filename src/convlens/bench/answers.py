"""The rows of inference: what `convlens predict --fast` does, against eager fp32, in turn."""

from collections.abc import Callable, Sequence
from typing import Any

from convlens.bench import peers, processes
from convlens.bench.ratios import row_of_rates
from convlens.bench.session import Rows, Session
from convlens.errors import UserError


def _eager(session: Session, batch: int, seconds: float) -> dict[str, Any]:
    """What the peer does with batches of that size."""
    options = {"weights": session.weights, "batch": batch, "seconds": seconds}
    return processes.peer("eager_inference.py", session.environment, **options)


def _best_eager(session: Session, sizes: Sequence[int]) -> tuple[int, list[dict[str, Any]]]:
    """The size of batches at which the peer is fastest, and what it does at each."""
    seconds = session.effort.grid_seconds
    grid = [{"batch": batch, **_eager(session, batch, seconds)} for batch in sizes]
    return max(grid, key=lambda point: point["images_per_second"])["batch"], grid


def measure_int8(session: Session) -> Rows:
    """The row `int8`: the network that has been trained, in int8, against itself in eager fp32."""
    effort, environment, weights = session.effort, session.environment, session.weights
    if weights is None:
        raise UserError(
            "the row int8 needs a network that has been trained; name the folder that holds "
            "convnet.safetensors with `weights`",
            option="weights",
        )

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
    best, grid = _best_eager(session, sizes)
    tried = rounded(sizes, effort.grid_seconds)
    ours, peer = peers.in_turn(
        lambda: rounded([tried["batch"]], effort.seconds),
        lambda: _eager(session, best, effort.seconds),
        effort.pairs,
    )
    told = {name: tried[name] for name in ("before", "after", "images", "split")}
    settings = {"batch": tried["batch"], "accuracy": f"{told['after']:.2%}"}
    theirs = {"batch": best, "accuracy": f"{told['before']:.2%}"}
    row = row_of_rates(
        ours,
        peer,
        {"settings": settings, "grid": tried["grid"]},
        {"settings": theirs, "grid": grid},
    )
    return {"int8": {**row, "check": told}}


def against_eager(name: str, batches: tuple[int, ...] = ()) -> Callable[[Session], Rows]:
    """The measurement of a row: each side at the best of `batches`, by default the effort's."""

    def measure(session: Session) -> Rows:
        effort, environment, weights = session.effort, session.environment, session.weights
        sizes = batches or effort.inference_batches

        def fast(measure: str, seconds: float, **options: Any) -> dict[str, Any]:
            return processes.ours(measure, environment, weights=weights, seconds=seconds, **options)

        best, grid = _best_eager(session, sizes)
        tried = fast("inference_grid", effort.grid_seconds, batches=sizes)
        chosen = {key: tried["best"][key] for key in ("way", "batch")}
        ours, peer = peers.in_turn(
            lambda: fast("inference_rate", effort.seconds, **chosen),
            lambda: _eager(session, best, effort.seconds),
            effort.pairs,
        )
        about_ours = {
            "settings": chosen,
            "grid": tried["grid"],
            "difference": max(run["difference"] for run in ours),
        }
        about_peer = {"settings": {"batch": best}, "grid": grid}
        return {name: row_of_rates(ours, peer, about_ours, about_peer)}

    return measure
