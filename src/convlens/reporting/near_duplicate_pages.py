"""The near-duplicates that `data audit` found, as a table and as pictures."""

from pathlib import Path

import numpy as np

from convlens import figures
from convlens.data.decode import decode
from convlens.data.tools.audit import Audit
from convlens.files import make_folder, on_disk, write_csv


def write_pairs(found: Audit, out: Path) -> list[Path]:
    """Write near-duplicates.csv and pages of the pairs, drawn, into the folder `out`.

    Pairs in both splits come first, then those in two classes; files with the very same pixels are
    among them. Pages of an earlier audit are replaced. Returns the files.
    """
    exact = [(group[0], other, 1.0) for group in found.duplicates for other in group[1:]]
    pairs = [(*pair, "same pixels") for pair in exact] + [
        (*pair, "near") for pair in found.near_duplicates
    ]
    pairs.sort(key=lambda p: (not found.leaking(p[:2]), not found.clashing(p[:2]), -p[2], p[:2]))
    make_folder(out)
    for old in out.glob("pairs-*.png"):
        old.unlink()
    written = [out / "near-duplicates.csv"]
    rows: list[list[object]] = [["first", "second", "similarity", "kind", "splits", "classes"]]
    for first, second, similarity, kind in pairs:
        both = (1 + test((first, second)) for test in (found.leaking, found.clashing))
        rows.append([first, second, f"{similarity:z.3f}", kind, *both])
    write_csv(written[0], rows)
    for page, start in enumerate(range(0, len(pairs), figures.PAIRS_A_PAGE), 1):
        some = pairs[start : start + figures.PAIRS_A_PAGE]
        drawn = figures.near_duplicates(
            np.stack(
                [[decode(found.root / on_disk(path), 64) for path in pair[:2]] for pair in some]
            ),
            [pair[:2] for pair in some],
            np.array([pair[2] for pair in some]),
            f"Near-duplicates {start + 1:,} to {start + len(some):,} of {len(pairs):,}",
        )
        written.append(figures.save(drawn, out / f"pairs-{page:02d}.png"))
    return written
