"""What is known after how long: `convlens train --time` from a cold start, beside the peers.

    python benchmarks/frontier.py --data DIR [--times 30s 1m 2m 5m 10m 20m] [--seeds 5]

Each point is a process of its own: an empty cache, nothing measured before, one at a time. What it
takes is its whole life, from its start to its last page. Choices are ConvLens's own. With
`--holdout 0.15` the accuracy is that of images held out of train/, for choosing; `validation/` is
then not read. What is done stands in OUT/frontier.json and is not done again; the table is
OUT/frontier.md, the picture OUT/frontier.png, with the peers' points where OUT/datasets.json has
some of the same set. `--table` makes these two alone.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
from over_time import PEER_COLORS, draw

from convlens import logs
from convlens.bench import machine
from convlens.errors import UserError
from convlens.figures.style import BLUE, GRAY, new_figure, save, styled
from convlens.files import replacing, write_json
from convlens.reporting.tables import mean
from convlens.training.duration import in_words, seconds_of

TIMES = ("30s", "1m", "2m", "5m", "10m", "20m")
NAMES = {"ultralytics": "Ultralytics"}  # where the word in the records is another
Record = dict[str, Any]


def main() -> None:
    args = options()
    logs.to_stdout()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "frontier.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for seed in () if args.table else range(args.seeds):
        for given in args.times:
            task = {
                "set": args.data.resolve().name,
                "time": in_words(seconds_of(given)),
                "seed": seed,
                "holdout": args.holdout,
            }
            if any(all(record[k] == v for k, v in task.items()) for record in records):
                continue
            record = {**task, **run(args, given, seed)}
            records.append(record)
            write_json(path, records)
            print(
                f"{record['time']}, seed {seed}: {record['accuracy']:.2%} in "
                f"{record['seconds']:.1f} s",
                flush=True,
            )
    if not records:
        raise UserError(f"there is no record in {path}; run without `table` first")
    peers = args.out / "datasets.json"
    theirs = json.loads(peers.read_text(encoding="utf-8")) if peers.exists() else []
    with replacing(args.out / "frontier.md") as temporary:
        temporary.write_text(table(records), encoding="utf-8")
    save(picture(records, theirs), args.out / "frontier.png")
    print(table(records))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--times", nargs="+", default=TIMES)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--holdout", type=float, default=0.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/frontier"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--table", action="store_true", help="only the table of what is done")
    return parser.parse_args()


def run(args: argparse.Namespace, given: str, seed: int) -> Record:
    """Train as a person does who has so long; what the run knows, and its seconds."""
    held_out = f"-holdout-{args.holdout:g}" if args.holdout else ""
    out = args.runs / f"{in_words(seconds_of(given))}-s{seed}{held_out}"
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    words = ["--time", given, "--data", args.data, "--seed", seed, "--out", out]
    words += ["--holdout", args.holdout] if args.holdout else []
    log, load = out.with_name(f"{out.name}.log"), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache, log.open("w", encoding="utf-8") as file:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "convlens", "train", *map(str, words)],
            env={**os.environ, "CONVLENS_CACHE": cache},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"convlens train --time {given} failed; {log} says why")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    prefix = "last_holdout" if args.holdout else "validation"
    return {
        "seconds": seconds,
        "accuracy": metrics[f"{prefix}_accuracy"],
        "mean_class_accuracy": metrics[f"{prefix}_mean_class_accuracy"],
        "epochs": metrics["epochs"],
        "command": metrics["command"],
        "device": metrics["device"],
        "precision": metrics["precision"],
        "commit": metrics["commit"],
        "machine": machine.sentence(machine.describe()),
        "load": load,
        "date": datetime.date.today().isoformat(),
    }


def points(records: Sequence[Record]) -> dict[tuple[str, str, float], list[Record]]:
    """The records of each set, time and hold-out, the shortest time first."""
    found: dict[tuple[str, str, float], list[Record]] = {}
    for record in sorted(records, key=lambda r: (r["set"], r["holdout"], seconds_of(r["time"]))):
        found.setdefault((record["set"], record["time"], record["holdout"]), []).append(record)
    return found


def table(records: Sequence[Record]) -> str:
    """A line a point: what was asked, what it took, what was known then."""
    head = ["set", "time", "seeds", "took, s", "accuracy", "mean per class", "chosen"]
    lines = [head, [":--", "--:", "--:", "--:", "--:", "--:", ":--"]]
    for (name, given, holdout), rows in points(records).items():
        took = [r["seconds"] for r in rows]
        span = f"{min(took):.0f} to {max(took):.0f}" if len(rows) > 1 else f"{took[0]:.0f}"
        chosen = choices(rows)
        figures = [mean(rows, figure, "{:.1%}") for figure in ("accuracy", "mean_class_accuracy")]
        where = f"{name}, {holdout:.0%} held out" if holdout else name
        lines.append([where, given, str(len(rows)), span, *figures, chosen])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    machines = dict.fromkeys(r["machine"] for r in records)
    return f"{text}\n± is the standard error over the seeds. Machine: {'; '.join(machines)}.\n"


def choices(rows: Sequence[Record]) -> str:
    """What ConvLens chose, in a word or two each, and for how many epochs."""
    chosen: dict[str, list[Record]] = {}
    for record in rows:
        words = record["command"].split()
        narrow = ", half as wide" if "--model-options.widths" in words else ""
        fine = ", fine maps" if "--model-options.stem-stride" in words else ""
        more = ", more augmentation" if "--augment.trivial-augment" in words else ""
        chosen.setdefault(f"`{words[2]}`{narrow}{fine}{more}", []).append(record)
    return "; ".join(f"{what}, {_epochs(records)}" for what, records in chosen.items())


def _epochs(records: Sequence[Record]) -> str:
    least, most = (of(record["epochs"] for record in records) for of in (min, max))
    span = f"{least} to {most}" if least < most else f"{most}"
    part = any("--steps-per-epoch" in record["command"].split() for record in records)
    return f"{span} epoch{'s' * (most > 1)}{' of a part of the images' * part}"


@styled
def picture(records: Sequence[Record], peers: Sequence[Record]) -> Figure:
    """Accuracy against the seconds of whole processes: ours as a line, peers as theirs."""
    figure = new_figure(height=3.6)
    ax = figure.subplots()
    sets = list(dict.fromkeys(r["set"] for r in records))
    labeled: dict[str, Any] = {}
    of_set = {name: f", {name}" if len(sets) > 1 else "" for name in sets}
    for (name, holdout), color in zip(
        dict.fromkeys((r["set"], r["holdout"]) for r in records),
        (BLUE, GRAY, "#E69F00", "black"),
        strict=False,
    ):
        mine = [r for r in records if (r["set"], r["holdout"]) == (name, holdout)]
        label = f"ConvLens{of_set[name]}" + (" (held out)" if holdout else "")
        labeled[label], *_ = draw(ax, list(points(mine).values()), color)
    seconds = {seconds_of(r["time"]) for r in records}
    for peer, color in PEER_COLORS.items():
        for name in sets:
            rows = [r for r in peers if r["method"] == peer and r["set"] == name]
            rows = [r for r in rows if r["split"] != "holdout"]
            minutes = sorted({r["minutes"] for r in rows})
            if minutes:
                by_time = [[r for r in rows if r["minutes"] == each] for each in minutes]
                labeled[f"{NAMES.get(peer, peer)}{of_set[name]}"], *_ = draw(ax, by_time, color)
                seconds.update(60 * each for each in minutes)
    title = "" if len(sets) > 1 else sets[0]
    ax.set(xscale="log", ylim=(0, 100), ylabel="accuracy, %", title=title)
    ax.set_xlabel("a process from its start to its end, on two cores (hollow: one seed)")
    ax.set_xticks(sorted(seconds), list(map(in_words, sorted(seconds))))
    ax.set_xticks([], minor=True)
    ax.grid(True)
    ax.legend(labeled.values(), labeled.keys(), loc="upper left")
    return figure


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(f"frontier: {problem}") from None
