"""Training beside another program: ours, which adapts, against the best setting that stays."""

import itertools
from typing import Any

from convlens.bench import peers, processes
from convlens.bench.machine import cores
from convlens.bench.ratios import row_of_rates
from convlens.bench.session import Rows, Session
from convlens.training.spinning import SPINCOUNT

RECIPE = "quick"
EPOCHS = 4  # in the first, which does not count, ours finds out what is fastest
SPINS = {"yes": "300000", "no": "0"}  # what GNU's OpenMP does by itself, and never


def measure_busy(session: Session) -> Rows:
    """The row `busy`: the peer is our own training with a number of threads and a way of waiting
    that stay, the best of all."""
    effort = session.effort
    images = session.epoch_images(RECIPE)

    def beside(epochs: int, images: int, spins: str | None, threads: int | None) -> dict[str, Any]:
        """spins, threads: None where the run itself is to choose."""
        chosen = {} if spins is None else {SPINCOUNT: SPINS[spins]}
        environment = {**session.environment, **chosen}
        with processes.burning(1):
            return processes.ours(
                "training_rate",
                environment,
                recipe=RECIPE,
                data=session.dataset.root,
                images=images,
                epochs=epochs,
                threads=threads,
            )

    few = max(256, round(images * effort.grid_seconds / effort.seconds))
    grid = [
        {"threads": n, "spins": s, **_rate(beside(2, few, s, n))}
        for n, s in itertools.product(sorted({1, cores()}), SPINS)
    ]
    best = max(grid, key=lambda point: point["images_per_second"])
    settings = {name: best[name] for name in ("threads", "spins")}
    ours, peer = peers.in_turn(
        lambda: beside(EPOCHS, images, None, None),
        lambda: beside(2, images, settings["spins"], settings["threads"]),
        effort.pairs,
    )
    return {"busy": row_of_rates(ours, peer, {}, {"settings": settings, "grid": grid})}


def _rate(run: dict[str, Any]) -> dict[str, Any]:
    return {"images_per_second": run["images_per_second"]}
