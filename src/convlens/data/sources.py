"""Where images come from: what a person names as a data set becomes a list of files.

A data set is a folder per class, within train/, validation/ and test/ or not (`folders`), or a list
(`lists`). Nothing is decoded here; a listing costs one `stat` a file.
"""

import csv
import os
from pathlib import Path

import numpy as np

from convlens.data.folders import list_folders
from convlens.data.listing import Listing
from convlens.data.names import unreadable
from convlens.data.own import tell_once
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.escape import from_csv_cell
from convlens.files import as_unicode, on_disk

PATH_COLUMNS = ("path", "file", "image", "filename", "file_name")


def cache_home() -> Path:
    """Where decoded data sets and the demo set are kept: CONVLENS_CACHE, else the user's cache."""
    if chosen := os.environ.get("CONVLENS_CACHE"):
        return Path(chosen).expanduser().resolve()
    import pooch  # imports slowly, and most starts do not come here

    return Path(pooch.os_cache("convlens"))


def scan(source: Path, reading: Reading | None = None) -> Listing:
    """List the images of the data set at `source`, a folder.

    What is wrong inside goes to `problems`; with `skip_bad`, files that are no images go to
    `skipped` instead; what was left out is logged. Raises UserError where nothing can be listed:
    source does not exist, cannot be read, or has two folders for one split.
    """
    source, reading = Path(source), reading or Reading()
    if not source.exists():
        raise UserError(
            f"data set {source} does not exist; give a folder with `data`", option="data"
        )
    if not source.is_dir():
        raise UserError(
            f"data set {source} is a file; give a folder that holds a folder per class",
            option="data",
        )
    try:
        listing = list_folders(source, reading)
    except OSError as problem:
        raise unreadable(problem, source) from None
    if reading.exclude is not None:
        listing = _without(listing, Path(on_disk(as_unicode(reading.exclude))))
    listing.tell()
    return listing


def _without(listing: Listing, table: Path) -> Listing:
    """The listing without the images that a table names, which is told in a line."""
    names = _excluded(table, listing.root)
    keep = np.array([path not in names for path in listing.paths], dtype=bool)
    count = len(keep) - int(keep.sum())
    tell_once(
        listing.source,
        f"excluded   {count:,} images, by the {len(names):,} names in {table}",
    )
    return listing.take(keep)


def _excluded(table: Path, root: Path) -> set[str]:
    """The paths, relative to root, in a CSV with a column of paths. Raises UserError."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = {name.strip().casefold(): name for name in reader.fieldnames or () if name}
            column = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
            if column is None:
                raise UserError(
                    f"{table} has no column `path`; give a CSV that names the images to leave out "
                    "in one with `exclude`",
                    option="exclude",
                )
            names = [from_csv_cell(row[column]) for row in reader if row[column]]
    except OSError as problem:
        raise UserError(
            f"{table} cannot be read ({problem.strerror or problem}); give a CSV with `exclude`",
            option="exclude",
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(
            f"{table} is no CSV in UTF-8; give one with a column `path` with `exclude`",
            option="exclude",
        ) from None
    start = f"{as_unicode(root)}/"
    return {name.removeprefix(start).removeprefix("./") for name in names}
