"""A result on disk: bench.json, its table and its pictures."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convlens import figures, formats
from convlens.bench.machine import sentence
from convlens.bench.rows import GPU_SECONDS, ROWS, Row
from convlens.errors import UserError
from convlens.figures.speed import growth as draw_growth
from convlens.figures.speed import speed
from convlens.files import make_folder, replacing, write_json

logger = logging.getLogger(__name__)

GROWTH_COLUMNS = (  # key, heading, digits
    ("images", "images", 0),
    ("caching_images_per_second", "caching, images/s", 0),
    ("start_seconds", "second start, s", 2),
    ("reading_images_per_second", "reading all, images/s", 0),
    ("training_images_per_second", "training, images/s", 0),
    ("anonymous_mb", "own memory, MB", 0),
    ("file_mb", "mapped cache in memory, MB", 0),
    ("cache_mb", "cache on disk, MB", 0),
)


def load(path: Path) -> dict[str, Any]:
    """A saved result. Raises UserError when there is none or it is damaged."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(result["rows"], dict) and isinstance(result["machine"], dict)):
            raise TypeError("rows or machine")
        return result
    except OSError:
        raise UserError(f"{path} cannot be read; give a bench.json that bench wrote") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{path} is no result of bench ({problem})") from None


def start(path: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The result in `path`, to be added to, if it is of this machine; else an empty one."""
    if path.exists():
        result = load(path)
        if result["machine"] == machine:
            return result
        told = sentence(result["machine"])
        logger.info("replaced   %s is of another machine: %s", path, told)
    return {"format": formats.FORMAT, "machine": dict(machine), "rows": {}}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write bench.json, atomically."""
    make_folder(path.parent)
    write_json(path, {**result, "format": formats.FORMAT})


def write_views(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write bench.md and the pictures of what has been measured.

    Returns the paths written, bench.json first.
    """
    written = [folder / "bench.json", folder / "bench.md"]
    with replacing(written[1]) as temporary:
        temporary.write_text(markdown(result), encoding="utf-8")
    rows = [row for row in targets(result) if result["rows"].get(row.name, {}).get("value")]
    if rows:
        measured = [result["rows"][row.name] for row in rows]
        figure = speed(
            [row.title for row in rows],
            [m["value"] for m in measured],
            [(m["ratio"]["low"], m["ratio"]["high"]) for m in measured],
            [(row.must, row.target, row.moonshot) for row in rows],
            [row.show(m["value"]) for row, m in zip(rows, measured, strict=True)],
            sentence(result["machine"]),
        )
        written.append(figures.save(figure, folder / "bench.png"))
    if "growth" in result:
        sizes = result["growth"]["sizes"]
        columns = {key: [row.get(key) for row in sizes] for key, _, _ in GROWTH_COLUMNS}
        written.append(figures.save(draw_growth(columns), folder / "growth.png"))
    return written


def targets(result: Mapping[str, Any]) -> list[Row]:
    """The rows, with a GPU's targets where the result is a GPU's."""
    gpu = dict(zip(("must", "target", "moonshot"), GPU_SECONDS, strict=True))
    return [
        replace(row, **gpu) if row.name == "seconds-to-71" and result["machine"]["gpu"] else row
        for row in ROWS.values()
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The table of bench.md, of what has been measured, with machine and dates."""
    lines = [
        f"Machine: {sentence(result['machine'])}.",
        "",
        "| work | measured | ours | peer | date |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in targets(result):
        measured = result["rows"].get(row.name)
        if measured is None:
            continue
        sides = " | ".join(_side(measured.get(side)) for side in ("ours", "peer"))
        lines.append(f"| {row.title} | {_value(row, measured)} | {sides} | {measured['date']} |")
    lines += ["", "Medians of pairs measured in turn; lowest and highest in brackets.", ""]
    if "growth" in result:
        lines += [
            "| " + " | ".join(heading for _, heading, _ in GROWTH_COLUMNS) + " |",
            "| " + " | ".join("---:" for _ in GROWTH_COLUMNS) + " |",
        ]
        lines += [f"| {' | '.join(growth_cells(sizes))} |" for sizes in result["growth"]["sizes"]]
        lines.append("")
    return "\n".join(lines)


def goal(row: Row, value: float) -> str:
    """A target as the issue writes it: ≥ 4×, ≤ 60 s, < 1 %."""
    number = f"{100 * value:g} %" if row.unit == "%" else f"{value:g}{row.unit}".replace("s", " s")
    return f"{'≥' if row.larger_is_better else '≤'} {number}"


def line(name: str, measured: Mapping[str, Any]) -> str:
    """One row for the terminal."""
    row = ROWS[name]
    return f"measured   {row.title}: {_value(row, measured)} (target {goal(row, row.target)})"


def _value(row: Row, measured: Mapping[str, Any]) -> str:
    if measured["value"] is None:
        timed = measured.get("runs") or measured.get("peer")
        return "not reached" if timed else "the plain loop is timed only with --long"
    low, high = (row.show(measured["ratio"][end]) for end in ("low", "high"))
    text = f"{row.show(measured['value'])} ({low} to {high})"
    if runs := measured.get("runs"):
        text += f", {sum(run['seconds'] is not None for run in runs)} of {len(runs)} seeds reach it"
    return text


def _side(side: Mapping[str, Any] | None) -> str:
    """What ours or the peer reached, with its settings."""
    if not side:
        return ""
    settings = ", ".join(
        f"{key} {value}" if value is not True else key
        for key, value in side.get("settings", {}).items()
    )
    settings = f" ({settings})" if settings else ""
    if "median" in side:
        return f"{side['median']:,.0f} {side['unit']}{settings}"
    seconds = f"{side['seconds']:,.0f} s" if side["seconds"] else "not reached"
    return f"{seconds} of {side['epochs']} epochs' schedule, {side['date']}{settings}"


def growth_cells(sizes: Mapping[str, Any]) -> list[str]:
    """One size as the cells of the growth table."""
    return [
        "–" if sizes.get(key) is None else f"{sizes[key]:,.{digits}f}"
        for key, _, digits in GROWTH_COLUMNS
    ]


def growth_line(sizes: Mapping[str, Any]) -> str:
    """One size for the terminal."""
    headings = [heading for _, heading, _ in GROWTH_COLUMNS]
    cells = zip(headings, growth_cells(sizes), strict=True)
    return "growth     " + "; ".join(f"{heading} {cell}" for heading, cell in cells)


def comparison(judged: Sequence[Mapping[str, Any]], tolerance: float) -> str:
    """The table that `--against` prints."""
    lines = [f"{'row':<16} {'before':>10} {'now':>10} {'change':>8}"]
    for entry in judged:
        row = ROWS[entry["name"]]
        now = "none" if entry["new"] is None else row.show(entry["new"])
        verdict = f"  worse by more than {tolerance:.0%}" if entry["worse"] else ""
        lines.append(
            f"{entry['name']:<16} {row.show(entry['old']):>10} {now:>10} "
            f"{entry['change']:>+8.1%}{verdict}"
        )
    return "\n".join(lines) if judged else "compared   no row is in both results"
