"""The benchmark from its options to its files: goes through the rows and judges at the end."""

import logging
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from convlens.bench import growth, machine, results
from convlens.bench.measures import MEASURES, measure_growth
from convlens.bench.peers import QUICK, Effort
from convlens.bench.ratios import compare
from convlens.bench.rows import EXPLORER, ROWS
from convlens.bench.session import Session, today
from convlens.data import open_dataset
from convlens.data.dataset import Dataset
from convlens.data.names import SPLIT_NAMES, TRAIN, VALIDATION
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.fields import Bounds, check_bounds
from convlens.files import scratch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchOptions(Reading):
    """What is measured, for how long, and what it is compared with."""

    only: tuple[str, ...] = ()
    """Rows of the table, or growth; all if none is given."""
    explore: bool = False
    """Only the rows of the explorer."""
    quick: bool = False
    """Fewer and shorter pairs."""
    pairs: Annotated[int | None, Bounds(1)] = None
    """Times that ours and the peer are measured in turn."""
    against: Path | None = None
    """A bench.json measured before; status 1 if a ratio has become worse."""
    tolerance: Annotated[float, Bounds(0)] = 0.15
    """The share by which a ratio may be worse than in that bench.json."""
    long: bool = False
    """Also time the plain ResNet-18 loop to 71 %, up to an hour; else the kept time is used."""
    peer_epochs: tuple[int, ...] = (10, 16, 24)
    """The lengths of that loop's schedule to try; the fastest counts."""
    large: bool = False
    """Growth up to a million images, 16 GB on disk for a while."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """The data set; else CONVLENS_DATA, data/caltech101-64, the demo set."""
    results: Path = Path("results")
    """The folder for bench.json, bench.md and bench.png."""
    weights: Path = Path("weights")
    """The folder that holds convnet.safetensors, if there is one."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The rows asked for; none stands for all that can be measured."""
        return (*self.only, *EXPLORER) if self.explore else self.only


def bench(
    options: BenchOptions | None = None,
    *,
    effort: Effort | None = None,
    keep: Path = Path("runs/bench"),
) -> bool:
    """Measure this machine's speed, ours and its peers in turn; write bench.json, .md and .png.

    Rows measured earlier on the same machine stay in bench.json, which is written after every row.

    Args:
        options: What is measured.
        effort: How long, instead of `options.quick`.
        keep: Where the plain loop's long runs lie, which continue where they were cut.

    Returns:
        False when a row is worse than in `options.against`.

    Raises:
        UserError: for unknown rows, a result that cannot be read and a data set without train/ and
            validation/.
    """
    options = options or BenchOptions()
    chosen = _chosen(options)
    effort = _effort(options, effort)
    before = results.load(options.against) if options.against is not None else None
    path = options.results / "bench.json"
    here = machine.describe()
    result = results.start(path, here)
    dataset = open_dataset(options.data, **asdict(options.reading))
    _check_split(dataset)
    logger.info("data set   %s", dataset.describe())
    logger.info("machine    %s", machine.sentence(here))
    weights = options.weights / "convnet.safetensors"
    with scratch("convlens-bench") as folder:
        session = Session(
            dataset=dataset,
            folder=folder,
            effort=effort,
            weights=str(weights.resolve()) if weights.exists() else None,
            earlier=result["rows"],
            peer_epochs=options.peer_epochs if options.long else (),
            keep=keep,
        )
        _measure(chosen, session, result, path)
    for written in results.write_views(result, options.results):
        logger.info("wrote      %s", written)
    if before is None:
        return True
    if before["machine"] != here:
        told = machine.sentence(before["machine"])
        logger.info("compared   with another machine: %s", told)
    measured = {name: row for name, row in result["rows"].items() if name in chosen}
    judged = compare(measured, before["rows"], options.tolerance)
    logger.info("%s", results.comparison(judged, options.tolerance))
    return not any(row["worse"] for row in judged)


def _measure(chosen: tuple[str, ...], session: Session, result: dict[str, Any], path: Path) -> None:
    """Put the chosen rows into `result`, and that into the file at `path` after each."""
    done: set[str] = set()
    for name in chosen:
        start = time.perf_counter()
        if name == "growth":
            result["growth"] = {"date": today(), "sizes": measure_growth(session)}
        elif name in done:
            continue  # measured with a row before it
        else:
            stamp = {"date": today(), "pairs": session.effort.pairs}
            for row, measured in MEASURES[name](session).items():
                done.add(row)
                result["rows"][row] = {**measured, **stamp}
                logger.info("%s", results.line(row, result["rows"][row]))
        logger.info("           %s took %.0f s", name, time.perf_counter() - start)
        results.write(path, result)


def _chosen(options: BenchOptions) -> tuple[str, ...]:
    """The rows to measure. Raises UserError for unknown ones and those that cannot be."""
    chosen = options.chosen or _possible(options.weights)
    for name in chosen:
        if name not in (*ROWS, "growth"):
            raise UserError(f"there is no row {name}; there are {', '.join(ROWS)} and growth")
    if not {*EXPLORER}.isdisjoint(chosen) and (missing := _missing()):
        raise UserError(
            f"the explorer needs {missing}; install it with `pip install starlette uvicorn`"
        )
    check_bounds(options)
    return chosen


def _effort(options: BenchOptions, effort: Effort | None) -> Effort:
    effort = effort or (QUICK if options.quick else Effort())
    effort = replace(effort, pairs=options.pairs or effort.pairs)
    if options.large:
        effort = replace(effort, growth=(*effort.growth, growth.LARGE))
    return effort


def _possible(weights: Path) -> tuple[str, ...]:
    """All rows and growth, but for those that need what is not there."""
    left_out: set[str] = set()
    if missing := _missing():
        logger.info("left out   the explorer, which needs %s", missing)
        left_out |= {*EXPLORER}
    if not (weights / "convnet.safetensors").exists() or find_spec("onnxruntime") is None:
        logger.info("left out   int8, which needs trained weights of convnet and onnxruntime")
        left_out.add("int8")
    return *(name for name in ROWS if name not in left_out), "growth"


def _missing() -> str:
    """What the explorer needs and is not installed; "" where it is whole."""
    return next((name for name in ("starlette", "uvicorn") if find_spec(name) is None), "")


def _check_split(dataset: Dataset) -> None:
    """The peers read files from train/ and validation/."""
    names = SPLIT_NAMES[VALIDATION]
    if not (dataset.root / TRAIN).is_dir() or not any((dataset.root / n).is_dir() for n in names):
        raise UserError(
            f"{dataset.root} is not split, and the peers need train/ and validation/; write a "
            "split with `convlens data split` and give that"
        )
