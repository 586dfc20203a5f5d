"""The peers: fairly tuned over a small grid, then measured in turn with ours."""

import csv
import itertools
import logging
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlens.bench import processes
from convlens.bench.machine import cores
from convlens.errors import UserError

logger = logging.getLogger(__name__)

GOAL = 0.71  # validation accuracy, the assignment's highest tier


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    pairs: ours and peer in turn, so many times. seeds: cold starts to 71 %. seconds, warmup: of the
    measured part of a process, and steps before it. grid_seconds: the same for each point of the
    peers' grid. workers, batches: the grid, with threads 1 and as many as there are cores. images,
    epochs: of our first run, which shows how long an epoch must be. growth: numbers of images.
    growth_steps: of training on them.
    """

    pairs: int = 5
    seeds: int = 10
    seconds: float = 12.0
    warmup: int = 5
    grid_seconds: float = 5.0
    workers: tuple[int, ...] = (0, 1, 2)
    batches: tuple[int, ...] = (64, 128)
    inference_batches: tuple[int, ...] = (1, 16, 64, 128, 256)
    images: int = 1280
    epochs: int = 3
    growth: tuple[int, ...] = (1_000, 10_000, 100_000)
    growth_steps: int = 50


QUICK = Effort(
    pairs=2,
    seeds=2,
    seconds=5.0,
    grid_seconds=2.0,
    batches=(128,),
    inference_batches=(64,),
    images=640,
    epochs=2,
    growth=(1_000, 10_000),
    growth_steps=20,
)


def tune(
    script: str, data: Path, network: str, environment: Mapping[str, str], effort: Effort
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The peer's best settings, and the grid: settings with the images/s each reached.

    The tuned loop is compiled at its best point of the grid; what is faster stays.
    """
    grid = []

    def point(**settings: Any) -> None:
        times = {"warmup": effort.warmup, "seconds": effort.grid_seconds}
        seen = processes.peer(script, environment, data, network=network, **times, **settings)
        grid.append({**settings, **seen})

    threads = sorted({1, cores()})
    for workers, batch, n in itertools.product(effort.workers, effort.batches, threads):
        point(workers=workers, batch=batch, threads=n)
    if script == "tuned_loop.py":
        try:
            point(**_settings(_best(grid)), compile=True)
        except RuntimeError as problem:  # most likely there is no C++ compiler
            logger.info("the tuned loop is measured without torch.compile: %s", problem)
    return _settings(_best(grid)), grid


def _best(grid: list[dict[str, Any]]) -> dict[str, Any]:
    return max(grid, key=lambda point: point["images_per_second"])


def _settings(point: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in point.items() if not k.endswith("_second") and k != "start_seconds"}


def in_turn(
    ours: Callable[[], dict], peer: Callable[[], dict], pairs: int
) -> tuple[list[dict], list[dict]]:
    """What ours and the peer return, measured ours, peer, ours, peer, …"""
    both = [(ours(), peer()) for _ in range(pairs)]
    return [a for a, _ in both], [b for _, b in both]


def time_ours(recipe: str, data: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Seconds from the start of `convlens train RECIPE` to GOAL, nothing decoded or kept before.

    folder: an empty one, for the cache and the run. `seconds` ends when the epoch that reached GOAL
    is on disk, None if none did; `finished_seconds` when the process has written everything.
    """
    run = folder / "run"
    options = {"data": data, "out": run, "seed": seed}
    command = [sys.executable, "-m", "convlens", "train", recipe, *processes.as_options(options)]
    environment = {"CONVLENS_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with processes.started(command, environment) as process:
        reached = None
        while process.poll() is None:
            if reached is None and any(accuracy >= GOAL for _, accuracy in read_history(run)):
                reached = time.perf_counter() - start
            time.sleep(0.05)
        finished = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; run it alone to see why")
    history = read_history(run)
    if reached is None and any(accuracy >= GOAL for _, accuracy in history):
        reached = finished
    return {
        "seed": seed,
        "seconds": reached,
        "finished_seconds": finished,
        "accuracy": history[-1][1],
    }


def time_peer(data: Path, epochs: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds the plain loop takes to GOAL with its schedule over `epochs`; None if it does not.

    Can take an hour. It goes on in `folder` where it was cut, and it is stopped once it has reached
    GOAL. Every epoch after the first counts as long as their median: in so long a time something
    else may want the machine, and what that costs is not the loop's fault.
    """
    if _first(folder) is None:
        options = {**settings, "epochs": epochs, "out": folder, "started": time.time()}
        command = [sys.executable, str(processes.peers_folder() / "plain_loop.py"), str(data)]
        command += processes.as_options(options)
        with processes.started(command, {}) as process:
            while process.poll() is None and _first(folder) is None:
                time.sleep(0.5)
            if process.poll() is None:
                process.terminate()
        if process.returncode > 0:
            raise RuntimeError(f"{' '.join(command)} failed; run it alone to see why")
    history = read_history(folder)
    reached = next((i for i, (_, accuracy) in enumerate(history) if accuracy >= GOAL), None)
    seconds = None if reached is None else steady(history)[reached]
    return {"seconds": seconds, "epochs": epochs, "accuracy": history[-1][1]}


def steady(history: list[tuple[float, float]]) -> list[float]:
    """The seconds at which each epoch would have ended, had all after the first been alike."""
    ends = [seconds for seconds, _ in history]
    each = statistics.median(b - a for a, b in itertools.pairwise(ends)) if len(ends) > 1 else 0.0
    return [ends[0] + i * each for i in range(len(ends))]


def _first(folder: Path) -> float | None:
    """The seconds at which the history first shows GOAL."""
    return next((seconds for seconds, accuracy in read_history(folder) if accuracy >= GOAL), None)


def read_history(folder: Path) -> list[tuple[float, float]]:
    """(seconds, validation_accuracy) of each epoch in folder/history.csv; [] before the first."""
    try:
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            return [
                (float(r["seconds"]), float(r["validation_accuracy"])) for r in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    except (KeyError, ValueError) as problem:
        raise UserError(f"{folder / 'history.csv'} is damaged ({problem}); remove it") from None
