"""The verb: goes through the rows, writes after each, judges at the end."""

import datetime
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from convlens.bench import growth, machine, peers, processes, results
from convlens.bench.matrix import multiply_adds
from convlens.bench.peers import QUICK, Effort
from convlens.bench.ratios import compare, flops_per_image, pairwise, spread
from convlens.bench.rows import ROWS
from convlens.data import open_dataset
from convlens.data.dataset import Dataset
from convlens.data.sources import VALIDATION_NAMES
from convlens.errors import UserError
from convlens.models import ConvNet
from convlens.training.run_folder import Trained, save_weights

FASTEST = "quick"  # the recipe that races to 71 %
EXPLORER = tuple(name for name in ROWS if name.startswith("explorer-"))
EXPLORED = 4  # images a pair


def bench(
    only: Sequence[str] = (),
    *,
    quick: bool = False,
    pairs: int | None = None,
    data: Path | None = None,
    against: Path | None = None,
    tolerance: float = 0.15,
    long: bool = False,
    peer_epochs: Sequence[int] = (10, 16, 24),
    large: bool = False,
    results_folder: Path = Path("results"),
    weights_folder: Path = Path("weights"),
    keep: Path = Path("runs/bench"),
    effort: Effort | None = None,
) -> bool:
    """Measure the rows `only` (all of them and "growth" if empty) and write bench.json, .md, .png.

    quick: fewer pairs, shorter ones. pairs: how many. against: a saved bench.json; prints how the
    ratios changed. tolerance: the share by which a ratio may be worse. long: also time the plain
    loop to 71 % with its schedule over each of `peer_epochs`, of which the fastest counts; that can
    take an hour, is kept in `keep` and goes on where it was cut; else the time in bench.json is
    used, if it is this machine's. large:
    growth up to a million images (16 GB on disk for a while). results_folder: rows measured
    earlier on the same machine stay in its bench.json. weights_folder: holds convnet.safetensors,
    if there is one. effort: instead of `quick` and `pairs`.

    Returns False when a row is worse than in `against`. Raises UserError for unknown rows, a
    result that cannot be read and a data set without train/ and validation/.
    """
    chosen = only or _possible()
    for name in chosen:
        if name not in (*ROWS, "growth"):
            raise UserError(f"there is no row {name}; there are {', '.join(ROWS)} and growth")
    if not {*EXPLORER}.isdisjoint(chosen) and (missing := _missing()):
        raise UserError(
            f'the explorer needs {missing}; install it with `pip install "convlens[explorer]"`'
        )
    if pairs is not None and pairs < 1:
        raise UserError(f"--pairs {pairs} is too small; the least is 1")
    effort = effort or (QUICK if quick else Effort())
    effort = replace(effort, pairs=pairs or effort.pairs)
    if large:
        effort = replace(effort, growth=(*effort.growth, growth.LARGE))
    before = results.load(against) if against is not None else None
    path = results_folder / "bench.json"
    here = machine.describe()
    result = results.start(path, here)
    dataset = open_dataset(data)
    _check_split(dataset)
    print(f"data set   {dataset.describe()}")
    print(f"machine    {machine.sentence(here)}", flush=True)
    weights = weights_folder / "convnet.safetensors"
    with tempfile.TemporaryDirectory(prefix="convlens-bench-") as folder:
        session = Session(
            dataset=dataset,
            folder=Path(folder),
            effort=effort,
            weights=str(weights.resolve()) if weights.exists() else None,
            earlier=result["rows"],
            peer_epochs=tuple(peer_epochs) if long else (),
            keep=keep,
        )
        done: set[str] = set()
        for name in chosen:
            start = time.perf_counter()
            if name == "growth":
                result["growth"] = {"date": _today(), "sizes": measure_growth(session)}
            elif name in done:
                continue  # measured with a row before it
            else:
                stamp = {"date": _today(), "pairs": effort.pairs}
                for row, measured in MEASURES[name](session).items():
                    done.add(row)
                    result["rows"][row] = {**measured, **stamp}
                    print(results.line(row, result["rows"][row]), flush=True)
            print(f"           {name} took {time.perf_counter() - start:.0f} s", flush=True)
            results.write(path, result)
    for written in results.write_views(result, results_folder):
        print(f"wrote      {written}")
    if before is None:
        return True
    if before["machine"] != here:
        print(f"compared   with another machine: {machine.sentence(before['machine'])}")
    measured = {name: row for name, row in result["rows"].items() if name in chosen}
    judged = compare(measured, before["rows"], tolerance)
    print(results.comparison(judged, tolerance))
    return not any(row["worse"] for row in judged)


@dataclass(frozen=True)
class Session:
    """What the measurements share.

    folder: temporary, for caches. weights: convnet's, if there are any. earlier: rows measured
    before, on this machine. peer_epochs: of the plain loop's timed runs; () leaves them out.
    """

    dataset: Dataset
    folder: Path
    effort: Effort
    weights: str | None
    earlier: dict[str, dict]
    peer_epochs: tuple[int, ...]
    keep: Path

    @property
    def environment(self) -> dict[str, str]:
        """Caches of their own: the user's are left alone, and nothing is warm by accident."""
        return {
            "CONVLENS_CACHE": str(self.folder / "cache"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
        }

    def train(self, recipe: str, images: int, epochs: int) -> dict[str, Any]:
        """Our training in a fresh process."""
        return processes.ours(
            "training_rate", self.environment, recipe=recipe, data=self.dataset.root,
            images=images, epochs=epochs,
        )  # fmt: skip

    def epoch_images(self, recipe: str) -> int:
        """How many images make epochs of `effort.seconds` in all, at least two batches.

        Found by a first short run, which also fills the cache.
        """
        effort = self.effort
        rate = self.train(recipe, effort.images, epochs=2)["images_per_second"]
        wanted = int(rate * effort.seconds / (effort.epochs - 1))
        return max(256, min(wanted, len(self.dataset.train)))


def _training(name: str, recipe: str, script: str):
    """The measurement of a row that compares training with a peer."""

    def measure(session: Session) -> dict[str, dict]:
        effort, root = session.effort, session.dataset.root
        settings, grid = peers.tune(script, root, recipe, session.environment, effort)
        images = session.epoch_images(recipe)
        ours, peer = peers.in_turn(
            lambda: session.train(recipe, images, effort.epochs),
            lambda: processes.peer(
                script, session.environment, root, network=recipe, warmup=effort.warmup,
                seconds=effort.seconds, **settings,
            ),
            effort.pairs,
        )  # fmt: skip
        a, b = ([run["images_per_second"] for run in side] for side in (ours, peer))
        ratio = pairwise(a, b)
        return {
            name: {
                "value": ratio["median"],
                "ratio": ratio,
                "ours": {**spread(a), "unit": "images/s", "device": ours[0]["device"],
                         "start_seconds": median(run["start_seconds"] for run in ours)},
                "peer": {**spread(b), "unit": "images/s", "settings": settings, "grid": grid,
                         "start_seconds": median(run["start_seconds"] for run in peer)},
            }
        }  # fmt: skip

    return measure


def _matrix_share(session: Session) -> dict[str, dict]:
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


def _waiting(session: Session) -> dict[str, dict]:
    images = session.epoch_images("resnet18")
    runs = [
        session.train("resnet18", images, session.effort.epochs)
        for _ in range(session.effort.pairs)
    ]
    share = spread([run["waiting"] for run in runs])
    return {"waiting": {"value": share["median"], "ratio": share}}


def _inference(session: Session) -> dict[str, dict]:
    effort, environment, weights = session.effort, session.environment, session.weights
    grid = [
        {"batch": batch, **processes.peer("eager_inference.py", environment, weights=weights,
                                          batch=batch, seconds=effort.grid_seconds)}
        for batch in effort.inference_batches
    ]  # fmt: skip
    best = max(grid, key=lambda point: point["images_per_second"])["batch"]
    tried = processes.ours(
        "inference_grid", environment, weights=weights, seconds=effort.grid_seconds,
        batches=effort.inference_batches,
    )  # fmt: skip
    chosen = {key: tried["best"][key] for key in ("way", "batch")}
    ours, peer = peers.in_turn(
        lambda: processes.ours(
            "inference_rate", environment, weights=weights, seconds=effort.seconds, **chosen
        ),
        lambda: processes.peer(
            "eager_inference.py", environment, weights=weights, batch=best, seconds=effort.seconds
        ),
        effort.pairs,
    )
    a, b = ([run["images_per_second"] for run in side] for side in (ours, peer))
    ratio = pairwise(a, b)
    return {
        "inference": {
            "value": ratio["median"],
            "ratio": ratio,
            "ours": {**spread(a), "unit": "images/s", "settings": chosen, "grid": tried["grid"],
                     "difference": max(run["difference"] for run in ours)},
            "peer": {**spread(b), "unit": "images/s", "settings": {"batch": best}, "grid": grid},
        }
    }  # fmt: skip


def _time_to_71(session: Session) -> dict[str, dict]:
    runs = []
    for seed in range(session.effort.seeds):
        with tempfile.TemporaryDirectory(prefix="convlens-cold-") as folder:
            runs.append(peers.time_ours(FASTEST, session.dataset.root, seed, Path(folder)))
    reached = [run["seconds"] for run in runs if run["seconds"] is not None]
    rows: dict[str, dict] = {"seconds-to-71": {"value": None, "runs": runs}}
    if len(reached) > len(runs) / 2:
        # a seed that does not get there counts as later than all others
        times = sorted(reached) + [float("inf")] * (len(runs) - len(reached))
        rows["seconds-to-71"] |= {"value": median(times), "ratio": spread(reached)}
    rows["time-to-71"] = {"value": None, "peer": _plain_to_71(session)}
    if (theirs := (rows["time-to-71"]["peer"] or {}).get("seconds")) and reached:
        ratio = spread([theirs / seconds for seconds in reached])
        rows["time-to-71"] |= {"value": theirs / rows["seconds-to-71"]["value"], "ratio": ratio}
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
    return {**best, "schedules": timed, "settings": settings, "date": _today()}


def measure_growth(session: Session) -> list[dict[str, Any]]:
    """A row for each size."""
    rows = []
    for count in session.effort.growth:
        rows.append(growth.measure_growth(session.dataset, count, session.effort.growth_steps))
        print(results.growth_line(rows[-1]), flush=True)
    return rows


def _explorer(session: Session) -> dict[str, dict]:
    weights = session.weights or _untrained(session)
    rounds = processes.ours(
        "explorer_seconds", session.environment, weights=weights, data=session.dataset.root,
        rounds=session.effort.pairs * EXPLORED,
    )  # fmt: skip
    forward = [row["forward"] for row in rounds]
    rows = {}
    for what in "image", "click", "page":
        seconds = [row[what] for row in rounds]
        passes = pairwise(seconds, forward)
        ms = spread([1000 * each for each in seconds])
        settings = {"forward passes": round(passes["median"], 1)}
        rows[f"explorer-{what}"] = {
            "value": median(seconds),
            "ratio": spread(seconds),
            "passes": passes,
            "ours": {**ms, "unit": "ms", "settings": settings},
            "peer": {**spread([1000 * each for each in forward]), "unit": "ms",
                     "settings": {"bare forward pass": True}},
        }  # fmt: skip
    return rows


def _untrained(session: Session) -> str:
    """A weights file of convnet, where there is no trained one: no time depends on the weights."""
    trained = Trained(
        ConvNet(session.dataset.num_classes).eval(), "ConvNet", {}, session.dataset.classes,
        session.dataset.size, torch.full((3,), 0.5), torch.full((3,), 0.25), "convnet", "",
    )  # fmt: skip
    path = session.folder / "convnet.safetensors"
    save_weights(path, trained)
    return str(path)


def _possible() -> tuple[str, ...]:
    """All rows and growth, but for those of the explorer where its extra is not installed."""
    rows = tuple(ROWS)
    if missing := _missing():
        print(f"left out   the explorer, which needs {missing}")
        rows = tuple(name for name in ROWS if name not in EXPLORER)
    return *rows, "growth"


def _missing() -> str:
    """What the explorer needs and is not installed; "" where it is whole."""
    return next((name for name in ("starlette", "uvicorn") if find_spec(name) is None), "")


def _check_split(dataset: Dataset) -> None:
    """The peers read files from train/ and validation/."""
    if not any((dataset.root / name).is_dir() for name in VALIDATION_NAMES):
        raise UserError(
            f"{dataset.root} is not split, and the peers need train/ and validation/; write a "
            "split with `convlens data split` and give that"
        )


def _today() -> str:
    return datetime.date.today().isoformat()


MEASURES = {
    "resnet18": _training("resnet18", "resnet18", "plain_loop.py"),
    "resnet18-tuned": _training("resnet18-tuned", "resnet18", "tuned_loop.py"),
    "lenet5": _training("lenet5", "lenet5", "plain_loop.py"),
    "time-to-71": _time_to_71,
    "seconds-to-71": _time_to_71,
    "matrix-rate": _matrix_share,
    "waiting": _waiting,
    "inference": _inference,
    **dict.fromkeys(EXPLORER, _explorer),
}
