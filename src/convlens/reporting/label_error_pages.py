"""The labels that `data audit` suspects, as a table for `train --exclude` and as pictures."""

from pathlib import Path

import numpy as np

from convlens import figures
from convlens.files import make_folder, write_csv
from convlens.inference.label_audit import LabelAudit

HEADER = (
    *("path", "split", "given", "suggested", "doubt"),
    *("given_probability", "suggested_probability", "in_sample"),
)
MOST_PAGES = 20  # of pictures; the table has every image


def write_label_errors(audit: LabelAudit, out: Path) -> list[Path]:
    """Write label-errors.csv and pages of the suspected images into the folder `out`.

    The most doubtful come first. Pages of an earlier audit are replaced. Returns the files.
    """
    suspects = audit.suspects()
    make_folder(out)
    for old in out.glob("labels-*.png"):
        old.unlink()
    written = [out / "label-errors.csv"]
    rows: list[list[object]] = [list(HEADER)]
    for suspect in suspects:
        classes = (audit.classes[suspect.given], audit.classes[suspect.suggested])
        numbers = (suspect.doubt, suspect.given_probability, suspect.suggested_probability)
        shown = (f"{number:z.3f}" for number in numbers)
        rows.append([suspect.path, suspect.split, *classes, *shown, int(suspect.in_sample)])
    write_csv(written[0], rows)
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
