"""ConvLens and its peers on several sets of images, in the same time on the same two cores.

    python benchmarks/datasets.py --data DIR [DIR …] --peers build/peers/bin/python

`convlens train --time` and every peer (`datasets_peers/`, whose requirements say how their
environment is made) are given 1, 5 and 20 minutes on every set. What a process takes is its whole
life: imports, decoding, training, and the last measurement. Of ConvLens, the cache is made anew by
each run. All train on all of `train/` and are measured on `test/` where a set has one, else on
`validation/`, with their last weights.

Besides, every recipe is trained unchanged on every set, however long it takes.

One process runs at a time. What is done stands in OUT/datasets.json and is not done again; the
table is OUT/datasets.md, the picture OUT/datasets.png. `--table` makes those two alone;
`python docs/results.py` puts them into the pages.
"""

import argparse
import datetime
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
from datasets_sets import SETS, made
from over_time import PEER_COLORS, draw

from convlens import logs
from convlens.bench import machine
from convlens.errors import UserError
from convlens.figures.style import BLUE, new_figure, save, styled
from convlens.files import replacing, write_json
from convlens.recipes import RECIPES
from convlens.reporting.tables import mean, standard_error

CORES = 2
SCRIPTS = Path(__file__).parent / "datasets_peers"
PEERS = {
    "fastai": "fastai_xresnet18.py",
    "timm": "timm_resnet18.py",
    "ultralytics": "ultralytics_classify.py",
}
OWN = "convlens"  # given a time, as the peers are
TIMED = (OWN, *PEERS)
TITLES = {
    OWN: "ConvLens",
    "fastai": "fastai xresnet18",
    "timm": "timm resnet18",
    "ultralytics": "Ultralytics yolo26n-cls",
}
# The quickest first, and those unknown here last. One that continues other weights is left out:
# all begin at nothing.
ORDER = ("quick", "lenet5", "lenet5plus", "resnet18_stride2", "resnet18", "convnet")
OURS = sorted(
    (name for name, recipe in RECIPES.items() if not getattr(recipe(), "follows_weights", False)),
    key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER),
)
COLORS = {OWN: BLUE, **PEER_COLORS}
FIGURES = ("accuracy", "mean_class_accuracy")
Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One run. minutes: those that are given, None of a recipe. split: what is measured."""

    set: str
    method: str
    minutes: float | None
    seed: int
    split: str


def main() -> None:
    args = options()
    path = args.out / "datasets.json"
    args.out.mkdir(parents=True, exist_ok=True)
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if args.table:
        if not records:
            raise UserError(f"there is no record in {path}; run without `table` first")
        write_pages(args.out, records, args.minutes)
        print(table(records, args.minutes))
        return
    logs.to_stdout()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends as well
    if hasattr(os, "sched_setaffinity"):  # what is started has the same cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    roots = find_sets(args)
    splits = {name: reported_split(root) for name, root in roots.items()}
    for task in todo(tasks(splits, args.only, args.minutes, args.seeds), records):
        load = os.getloadavg()[0]
        print(f"{task}, load {load:.1f}", flush=True)
        run = run_peer if task.method in PEERS else run_ours
        record = {
            **asdict(task),
            **run(task, roots[task.set], args),
            "load": load,
            "machine": machine.sentence(machine.describe()),
            "date": datetime.date.today().isoformat(),
        }
        print(f"  {record['accuracy']:.2%} in {record['seconds']:.0f} s", flush=True)
        records.append(record)
        write_json(path, records)
        write_pages(args.out, records, args.minutes)
    print(table(records, args.minutes))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of your own")
    parser.add_argument("--sets", nargs="*", help="by name; all that there are if none is given")
    parser.add_argument("--only", nargs="*", choices=[*TIMED, *OURS], default=[*TIMED, *OURS])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--peers", type=Path, default=Path("build/peers/bin/python"))
    parser.add_argument("--runs", type=Path, default=Path("runs/datasets"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--table", action="store_true", help="only the table of what is done")
    return parser.parse_args()


def find_sets(args: argparse.Namespace) -> dict[str, Path]:
    """The sets that are asked for, each as a folder of links to train, validation and maybe test.

    Some libraries leave files beside the splits; so they are left beside the links.
    """
    if not args.peers.is_file():
        raise UserError(
            f"{args.peers} is missing; `make peers` makes the environment of the peers, or name "
            "the interpreter of another with `peers`",
            option="peers",
        )
    named = {path.resolve().name: path.resolve() for path in args.data}
    for name in args.sets or ():
        if name not in named and name not in SETS:
            known = ", ".join([*named, *SETS])
            raise UserError(f"there is no set {name!r} (there are {known})", option="sets")
    found = {}
    for name in args.sets or [*named, *SETS]:
        home = args.runs / "sets"
        source = named.get(name) or made(name, home.resolve(), args.peers).resolve()
        view = args.runs.resolve() / "views" / name
        view.mkdir(parents=True, exist_ok=True)
        for split in "train", "validation", "test":
            if (source / split).is_dir() and not (view / split).exists():
                (view / split).symlink_to(source / split)
        for split in "train", "validation":
            if not (view / split).is_dir():
                raise UserError(f"{source} has no {split}/; split it first", option="data")
        found[name] = view
    return found


def reported_split(root: Path) -> str:
    """The split whose figures are reported: test where there is one, else validation."""
    return "test" if (root / "test").is_dir() else "validation"


def tasks(
    splits: dict[str, str], methods: Sequence[str], minutes: Sequence[float], seeds: int
) -> Iterator[Task]:
    """What there is to do, in an order that makes most of the table however early it is cut.

    splits: the one that is reported, by the name of the set. Seed by seed; what is given a time
    first, the shortest first, then the recipes.
    """
    for seed in range(seeds):
        for time_given in sorted(minutes):
            for name, split in splits.items():
                for method in (name for name in TIMED if name in methods):
                    yield Task(name, method, time_given, seed, split)
        for method in (name for name in OURS if name in methods):
            for name, split in splits.items():
                yield Task(name, method, None, seed, split)


def todo(asked: Iterator[Task], records: Sequence[Record]) -> Iterator[Task]:
    """Those of the tasks that no record answers. records may grow meanwhile."""
    for task in asked:
        if not any(all(r[k] == v for k, v in asdict(task).items()) for r in records):
            yield task


def run_ours(task: Task, root: Path, args: argparse.Namespace) -> Record:
    """Train a recipe, or for some minutes, with `convlens train`; its figures and its seconds."""
    given = "" if task.minutes is None else f"-{task.minutes:g}"
    out = args.runs / task.set / f"{task.method}{given}-s{task.seed}"
    shutil.rmtree(out, ignore_errors=True)  # of a process that was cut
    what = ["--time", f"{60 * task.minutes:g}s"] if task.minutes is not None else [task.method]
    words = ["train", *what, "--data", root, "--seed", task.seed, "--out", out]
    with tempfile.TemporaryDirectory() as cache:
        seconds = run([sys.executable, "-m", "convlens", *words], out, {"CONVLENS_CACHE": cache})
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    if f"{task.split}_accuracy" not in metrics:
        raise RuntimeError(f"{out}/metrics.json has no figures of {task.split}/")
    return {
        **{name: metrics[f"{task.split}_{name}"] for name in (*FIGURES, "loss")},
        "recipe": metrics["recipe"],
        "epochs": metrics["epochs"],
        "seconds": seconds,
        "versions": {"torch": metrics["torch"], "commit": metrics["commit"]},
    }


def run_peer(task: Task, root: Path, args: argparse.Namespace) -> Record:
    """Train a peer for the minutes of the task, after its parts were timed once on this set."""
    folder = args.runs / task.set
    timing = folder / f"{task.method}-timing.json"
    out = folder / f"{task.method}-{task.minutes:g}-s{task.seed}.json"
    program = [args.peers.absolute(), SCRIPTS / PEERS[task.method], root]
    words = ["--threads", CORES, "--workers", CORES, "--seed", task.seed]
    environment = {
        "CUDA_VISIBLE_DEVICES": "",
        "YOLO_CONFIG_DIR": str((args.runs / "settings").resolve()),
    }
    (args.runs / "settings").mkdir(parents=True, exist_ok=True)

    def start(*more: object) -> float:
        return run([*program, *words, *more, "--started", time.time()], out, environment)

    if not timing.exists():
        start("--measure", "--out", timing)
    seconds = start("--minutes", task.minutes, "--timing", timing, "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    return {**found, "seconds": seconds}


def run(command: Sequence[object], out: Path, environment: dict[str, str]) -> float:
    """The seconds that a process takes; what it says goes to OUT.log beside OUT."""
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_name(f"{out.name}.log")
    began = time.time()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "OMP_NUM_THREADS": str(CORES), **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"{command[1]} failed, says {log}:\n{end}")
    return time.time() - began


def of(records: Sequence[Record], **wanted: object) -> list[Record]:
    """The records with these values."""
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def ahead(mine: Sequence[Record], others: Sequence[Sequence[Record]], figure: str) -> str:
    """How many points `mine` lies before the best of the others, with its standard error."""
    best = max(others, key=lambda rows: statistics.mean(r[figure] for r in rows))
    sides = [[100 * r[figure] for r in rows] for rows in (mine, best)]
    difference = f"{statistics.mean(sides[0]) - statistics.mean(sides[1]):+.1f}"
    if min(map(len, sides)) == 1:
        return difference
    return f"{difference} ± {math.hypot(*(standard_error(side) for side in sides)):.1f}"


def table(records: Sequence[Record], minutes: Sequence[float]) -> str:
    """Ours against the peers, set by set and time by time; then every recipe on every set."""
    # a set of which ours alone has been timed has no row yet
    shown = [r for r in records if r["method"] in (*PEERS, *OURS)]
    names = list(dict.fromkeys(r["set"] for r in shown))
    head = ["set", "minutes", "figure", *TITLES.values(), "ahead by, points"]
    lines = [head, [":--", "--:", ":--", *["--:"] * (len(head) - 3)]]
    for name in names:
        for given in minutes:
            mine = of(records, set=name, method=OWN, minutes=given)
            others = [of(records, set=name, method=peer, minutes=given) for peer in PEERS]
            if not any(others):
                continue
            for figure in FIGURES:
                theirs = [mean(rows, figure, "{:.1%}") for rows in (mine, *others)]
                lead = ahead(mine, [rows for rows in others if rows], figure) if mine else "–"
                title = "accuracy" if figure == "accuracy" else "mean per class"
                lines.append([name, f"{given:g}", title, *theirs, lead])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"

    head = ["set", "recipe", "seeds", "minutes", "accuracy", "mean per class", "loss"]
    lines = [head, [":--", ":--", *["--:"] * (len(head) - 2)]]
    for name in names:
        for recipe in OURS:
            rows = of(records, set=name, method=recipe)
            if not rows:
                continue
            longest = max(r["seconds"] for r in rows) / 60
            figures = [mean(rows, figure, "{:.1%}") for figure in FIGURES]
            loss = mean(rows, "loss", "{:.3f}")
            cells = [str(len(rows)), f"{longest:.1f}", *figures, loss]
            lines.append([name, f"`{recipe}`", *cells])
    if len(lines) > 2:
        text += "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
    measured = "; ".join(f"{name}: `{of(records, set=name)[0]['split']}/`" for name in names)
    return (
        f"{text}± is the standard error over the seeds. Minutes are those of the slowest seed. "
        f"Measured on {measured}. {machines(records, names)}.\n"
    )


def machines(records: Sequence[Record], names: Sequence[str]) -> str:
    """What each set was measured on; of older records that is not known."""
    of_set = {
        name: " and ".join(
            dict.fromkeys(r.get("machine", "not recorded") for r in of(records, set=name))
        )
        for name in names
    }
    if len(set(of_set.values())) == 1:
        return f"Machine: {of_set[names[0]]}"
    return "Machines: " + "; ".join(f"{name}: {which}" for name, which in of_set.items())


def write_pages(out: Path, records: Sequence[Record], minutes: Sequence[float]) -> None:
    """OUT/datasets.md and OUT/datasets.png."""
    with replacing(out / "datasets.md") as temporary:
        temporary.write_text(table(records, minutes), encoding="utf-8")
    if records:
        save(picture(records), out / "datasets.png")


@styled
def picture(records: Sequence[Record]) -> Figure:
    """Accuracy against minutes: a panel a set, a line a peer, a point a recipe."""
    names = [n for n in dict.fromkeys(r["set"] for r in records) if len(of(records, set=n)) > 1]
    columns = max(1, min(3, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = new_figure(height=2.6 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    labeled: dict[str, Any] = {}
    for ax, name in zip(panels, names, strict=False):
        for method in (*OURS, *TIMED):
            mine = of(records, set=name, method=method)
            if not mine:
                continue
            given = sorted({r["minutes"] or 0 for r in mine})
            groups = [of(mine, minutes=minutes or None) for minutes in given]
            color = COLORS.get(method, BLUE)
            line, *first = draw(ax, groups, color, "o-" if method in TIMED else "D")
            if method in TIMED:
                labeled.setdefault(TITLES[method], line)
            else:
                ax.annotate(method, first, (4, -8), textcoords="offset points", fontsize=6.5)
        ticks = sorted({r["minutes"] for r in of(records, set=name) if r["minutes"]})
        ax.set(title=name, xscale="log", ylim=(0, 100))
        ax.set_xlabel(f"minutes of a process, {CORES} cores (hollow: one seed)")
        ax.set_xticks([60 * minutes for minutes in ticks], [f"{minutes:g}" for minutes in ticks])
        ax.set_xticks([], minor=True)
        ax.grid(True, color="#DDDDDD")
        ax.margins(x=0.15)
    panels[0].set_ylabel("accuracy, %")
    order = [title for title in TITLES.values() if title in labeled]
    figure.legend(
        [labeled[title] for title in order],
        order,
        loc="outside lower center",
        ncols=len(order) or 1,
    )
    return figure


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(f"datasets: {problem}") from None
