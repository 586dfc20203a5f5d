"""The rows of the benchmark: how each is measured, ours and its peer in turn."""

import logging
from collections.abc import Callable
from statistics import median
from typing import Any

from convlens.bench import growth, peers, processes, results
from convlens.bench.answers import against_eager, measure_int8
from convlens.bench.busy import measure_busy
from convlens.bench.matrix import multiply_adds
from convlens.bench.ratios import flops_per_image, pairwise, row_of_rates, spread
from convlens.bench.rows import EXPLORER
from convlens.bench.session import Rows, Session, today
from convlens.files import scratch
from convlens.inference.classifier import Classifier
from convlens.models import ConvNet

logger = logging.getLogger(__name__)

FASTEST = "quick"  # the recipe that races to 71 %
EXPLORED = 4  # images a pair


def _training(name: str, recipe: str, script: str) -> Callable[[Session], Rows]:
    """The measurement of a row that compares training with a peer."""

    def measure(session: Session) -> Rows:
        effort, root = session.effort, session.dataset.root
        settings, grid = peers.tune(script, root, recipe, session.environment, effort)
        images = session.epoch_images(recipe)
        options = {"network": recipe, "warmup": effort.warmup, "seconds": effort.seconds}
        ours, peer = peers.in_turn(
            lambda: session.train(recipe, images, effort.epochs),
            lambda: processes.peer(script, session.environment, root, **options, **settings),
            effort.pairs,
        )
        starts = [median(run["start_seconds"] for run in side) for side in (ours, peer)]
        about_ours = {"device": ours[0]["device"], "start_seconds": starts[0]}
        about_peer = {"settings": settings, "grid": grid, "start_seconds": starts[1]}
        return {name: row_of_rates(ours, peer, about_ours, about_peer)}

    return measure


def _matrix_share(session: Session) -> Rows:
    effort = session.effort
    images = session.epoch_images("resnet18")
    ours, matrix = peers.in_turn(
        lambda: session.train("resnet18", images, effort.epochs),
        lambda: processes.ours("matrix_rate", session.environment, seconds=effort.grid_seconds),
        effort.pairs,
    )
    a = [run["images_per_second"] for run in ours]
    b = [run["flops_per_second"] for run in matrix]
    flops = flops_per_image(multiply_adds("resnet18", session.dataset.num_classes))
    share = pairwise(a, b, scale=flops)
    return {
        "matrix-rate": {
            "value": share["median"],
            "ratio": share,
            "flops_per_image": flops,
            "ours": {**spread(a), "unit": "images/s"},
            "peer": {**spread([f / 1e9 for f in b]), "unit": "GFLOP/s"},
        }
    }


def _waiting(session: Session) -> Rows:
    images = session.epoch_images("resnet18")
    runs = [
        session.train("resnet18", images, session.effort.epochs)
        for _ in range(session.effort.pairs)
    ]
    share = spread([run["waiting"] for run in runs])
    return {"waiting": {"value": share["median"], "ratio": share}}


def _time_to_71(session: Session) -> Rows:
    runs = []
    for seed in range(session.effort.seeds):
        with scratch("convlens-cold") as folder:
            runs.append(peers.time_ours(FASTEST, session.dataset.root, seed, folder))
    reached = [run["seconds"] for run in runs if run["seconds"] is not None]
    rows: Rows = {"seconds-to-71": {"value": None, "runs": runs}}
    if len(reached) > len(runs) / 2:
        # a seed that does not get there counts as later than all others
        times = sorted(reached) + [float("inf")] * (len(runs) - len(reached))
        rows["seconds-to-71"] |= {"value": median(times), "ratio": spread(reached)}
    rows["time-to-71"] = {"value": None, "peer": _plain_to_71(session)}
    ours, peer = rows["seconds-to-71"]["value"], rows["time-to-71"]["peer"] or {}
    if ours is not None and (theirs := peer.get("seconds")):
        ratio = spread([theirs / seconds for seconds in reached])
        rows["time-to-71"] |= {"value": theirs / ours, "ratio": ratio}
    return rows


def _plain_to_71(session: Session) -> dict[str, Any] | None:
    """The plain loop's time with its date: measured now, or kept from before, or None.

    Of several schedules the one that is first at 71 %; all are in `schedules`.
    """
    if not session.peer_epochs:
        return session.earlier.get("time-to-71", {}).get("peer")
    settings = session.earlier.get("resnet18", {}).get("peer", {}).get("settings")
    root, effort = session.dataset.root, session.effort
    if settings is None:
        settings, _ = peers.tune("plain_loop.py", root, "resnet18", session.environment, effort)
    timed = []
    for epochs in session.peer_epochs:
        # its own folder for each schedule: a state goes on only where it fits
        folder = session.keep / f"plain-loop-resnet18-{epochs}-epochs"
        timed.append(peers.time_peer(root, epochs, settings, folder))
    best = min(timed, key=lambda run: run["seconds"] or float("inf"))
    return {**best, "schedules": timed, "settings": settings, "date": today()}


def measure_growth(session: Session) -> list[dict[str, Any]]:
    """A row for each size."""
    rows = []
    for count in session.effort.growth:
        rows.append(growth.measure_growth(session.dataset, count, session.effort.growth_steps))
        logger.info("%s", results.growth_line(rows[-1]))
    return rows


def _explorer(session: Session) -> Rows:
    weights = session.weights or _untrained(session)
    rounds: Any = processes.ours(
        "explorer_seconds",
        session.environment,
        weights=weights,
        data=session.dataset.root,
        rounds=session.effort.pairs * EXPLORED,
    )
    forward = [row["forward"] for row in rounds]
    rows = {}
    for what in "image", "click", "touch", "page":
        seconds = [row[what] for row in rounds]
        passes = pairwise(seconds, forward)
        ms = spread([1000 * each for each in seconds])
        settings = {"forward passes": round(passes["median"], 1)}
        rows[f"explorer-{what}"] = {
            "value": median(seconds),
            "ratio": spread(seconds),
            "passes": passes,
            "ours": {**ms, "unit": "ms", "settings": settings},
            "peer": {
                **spread([1000 * each for each in forward]),
                "unit": "ms",
                "settings": {"bare forward pass": True},
            },
        }
    return rows


def _untrained(session: Session) -> str:
    """A weights file of convnet, where there is no trained one: no time depends on the weights."""
    dataset = session.dataset
    model = ConvNet(dataset.num_classes).eval()
    classifier = Classifier(model, dataset.classes, size=dataset.size)
    return str(classifier.save(session.folder / "convnet.safetensors"))


# What measures each row, and others with it.
MEASURES: dict[str, Callable[[Session], Rows]] = {
    "resnet18": _training("resnet18", "resnet18", "plain_loop.py"),
    "resnet18-tuned": _training("resnet18-tuned", "resnet18", "tuned_loop.py"),
    "lenet5": _training("lenet5", "lenet5", "plain_loop.py"),
    "time-to-71": _time_to_71,
    "seconds-to-71": _time_to_71,
    "matrix-rate": _matrix_share,
    "waiting": _waiting,
    "inference": against_eager("inference"),
    "latency": against_eager("latency", (1,)),
    "int8": measure_int8,
    "busy": measure_busy,
    **dict.fromkeys(EXPLORER, _explorer),
}
