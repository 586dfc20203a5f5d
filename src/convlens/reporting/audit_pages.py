"""What `data audit` found, as tables and as pictures: near-duplicates, and labels to doubt."""

import re
from itertools import count
from pathlib import Path

import numpy as np

from convlens import figures
from convlens.data.decode import decode
from convlens.data.tools.audit import Audit
from convlens.files import make_folder, on_disk, scratch, write_csv
from convlens.inference.label_audit import LabelAudit

HEADER = (
    *("path", "split", "given", "suggested", "doubt"),
    *("given_probability", "suggested_probability", "in_sample"),
)
MOST_PAGES = 20  # of pictures of a kind; the tables have everything


def write_pairs(found: Audit, out: Path) -> list[Path]:
    """Write near-duplicates.csv and pages of the pairs, drawn, into the folder `out`.

    Pairs in both splits come first, then those in two classes; files with the very same pixels are
    among them. Table and pages of an earlier audit are replaced. Returns the files.
    """
    exact = [(group[0], other, 1.0) for group in found.duplicates for other in group[1:]]
    pairs = [(*pair, "same pixels") for pair in exact] + [
        (*pair, "near") for pair in found.near_duplicates
    ]
    pairs.sort(key=lambda p: (not found.leaking(p[:2]), not found.clashing(p[:2]), -p[2], p[:2]))
    make_folder(out)
    _remove_pages(out, "pairs")
    written = [out / "near-duplicates.csv"]
    rows: list[list[object]] = [["first", "second", "similarity", "kind", "splits", "classes"]]
    for first, second, similarity, kind in pairs:
        both = (1 + test((first, second)) for test in (found.leaking, found.clashing))
        rows.append([first, second, f"{similarity:z.3f}", kind, *both])
    write_csv(written[0], rows)
    page_size = figures.PAIRS_A_PAGE
    drawn = pairs[: MOST_PAGES * page_size]
    for page, start in enumerate(range(0, len(drawn), page_size), 1):
        some = drawn[start : start + page_size]
        figure = figures.near_duplicates(
            np.stack(
                [[decode(found.root / on_disk(path), 64) for path in pair[:2]] for pair in some]
            ),
            [pair[:2] for pair in some],
            np.array([pair[2] for pair in some]),
            f"Near-duplicates {start + 1:,} to {start + len(some):,} of {len(pairs):,}",
        )
        written.append(figures.save(figure, out / f"pairs-{page:02d}.png"))
    return written


def write_label_errors(audit: LabelAudit, out: Path) -> list[Path]:
    """Write label-errors.csv and pages of the suspected images into the folder `out`.

    The most doubtful come first. Pages of an earlier audit are replaced. Its table is not where it
    differs, for a person may have worked on it: the new one is label-errors-2.csv then, or the next
    that is free. Returns the files, the table first.
    """
    suspects = audit.suspects()
    make_folder(out)
    _remove_pages(out, "labels")
    rows = [list(HEADER)]
    for suspect in suspects:
        classes = (audit.classes[suspect.given], audit.classes[suspect.suggested])
        numbers = (suspect.doubt, suspect.given_probability, suspect.suggested_probability)
        shown = (f"{number:z.3f}" for number in numbers)
        rows.append([suspect.path, suspect.split, *classes, *shown, str(int(suspect.in_sample))])
    written = [_table(out, rows)]
    page_size = figures.LABELS_A_PAGE
    drawn = suspects[: MOST_PAGES * page_size]
    for page, start in enumerate(range(0, len(drawn), page_size), 1):
        some = drawn[start : start + page_size]
        figure = figures.label_errors(
            np.stack([audit.image(suspect) for suspect in some]),
            [audit.classes[suspect.given] for suspect in some],
            [audit.classes[suspect.suggested] for suspect in some],
            np.array([(s.given_probability, s.suggested_probability) for s in some]),
            f"Suspected labels {start + 1:,} to {start + len(some):,} of {len(suspects):,}: given "
            "class above, suggested one below, with their probabilities",
        )
        written.append(figures.save(figure, out / f"labels-{page:02d}.png"))
    return written


def _table(out: Path, rows: list[list[str]]) -> Path:
    """Write the table of labels under the first name that nothing else has."""
    with scratch("label-errors", out) as folder:
        new = folder / "label-errors.csv"
        write_csv(new, rows)
        names = (f"label-errors{f'-{n}' if n > 1 else ''}.csv" for n in count(1))
        free = (out / name for name in names)
        path = next(p for p in free if not p.exists() or p.read_bytes() == new.read_bytes())
        return new.replace(path)


def _remove_pages(out: Path, kind: str) -> None:
    """What an earlier audit drew, and nothing else that lies there."""
    for path in out.iterdir():
        if re.fullmatch(rf"{kind}-\d\d+\.png", path.name):
            path.unlink()
