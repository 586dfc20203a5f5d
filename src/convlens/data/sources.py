"""Where images come from: what a person names as a data set becomes a list of files.

A data set is a folder per class, within train/, validation/ and test/ or not (`folders`); a list
(`lists`); an archive of either (`packed`); or Parquet (`parquet`). Nothing is decoded here; a
listing costs one `stat` a file.
"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from convlens.data import parquet
from convlens.data.folders import list_folders
from convlens.data.listing import Listing
from convlens.data.lists import LISTS, lists_in, metadata_in, read_list, read_lists
from convlens.data.names import unreadable
from convlens.data.own import tell_once
from convlens.data.packed import is_archive, unpack
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.escape import from_csv_cell, visible
from convlens.files import as_unicode, on_disk

PATH_COLUMNS = ("path", "file", "image", "filename", "file_name")


def scan(source: Path, reading: Reading | None = None) -> Listing:
    """List the images of the data set at `source`, a folder or one of the files above.

    What is wrong inside goes to `problems`; with `skip_bad`, files that are no images go to
    `skipped` instead; what was left out is logged. Raises UserError where nothing can be listed:
    source does not exist, cannot be read, or has two folders for one split.
    """
    source, reading = Path(source), reading or Reading()
    if not source.exists():
        raise UserError(
            f"data set {source} does not exist; give a folder with `data`", option="data"
        )
    try:
        listing = _list(source, reading)
    except OSError as problem:
        raise unreadable(problem, source) from None
    if reading.exclude is not None:
        listing = _without(listing, Path(on_disk(as_unicode(reading.exclude))))
    listing.tell()
    return listing


def _list(source: Path, reading: Reading) -> Listing:
    """The listing of a data set of any form. Raises UserError and OSError."""
    if source.is_dir():
        return _list_folder(source, reading)
    if source.name.lower().endswith(LISTS):
        return read_list(source, reading)
    if source.name.lower().endswith(parquet.ENDING):
        return parquet.read_parquet(source, reading)
    if is_archive(source):
        folder = unpack(source)
        listing = _list_folder(folder, reading)
        if len(listing.classes) < 2 and (tables := lists_in(folder)):
            if len(tables) > 1:
                names = ", ".join(visible(as_unicode(table.name)) for table in tables)
                raise UserError(
                    f"{source} holds several lists ({names}); unpack it and give one", option="data"
                )
            listing = read_list(tables[0], reading)
        return replace(listing, source=source)
    raise UserError(
        f"data set {source} is a file that is no data set; give a folder that holds a folder per "
        "class, a list (.csv, .tsv, .jsonl), an archive (.zip, .tar) or Parquet",
        option="data",
    )


def _list_folder(folder: Path, reading: Reading) -> Listing:
    """The listing of a folder: by the metadata in it, by its folders, or by its Parquet."""
    if parts := metadata_in(folder, reading):
        return read_lists(folder, folder, parts, reading)
    listing = list_folders(folder, reading)
    if not listing.paths and parquet.shards(folder):
        return parquet.read_parquet(folder, reading)
    if len(listing.classes) < 2 and (tables := lists_in(folder)):
        hint = f"note       {tables[0]} lies there too; if it says the classes, give that"
        return replace(listing, notes=(*listing.notes, hint))
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
