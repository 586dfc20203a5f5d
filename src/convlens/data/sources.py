"""Where images come from: what a person names as a data set becomes a list of files.

A data set is a folder per class, within train/, validation/ and test/ or not (`folders`); a list
(`lists`); an archive of either (`packed`); or Parquet (`parquet`). Nothing is decoded here; a
listing costs one `stat` a file.
"""

import os
import posixpath
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np

from convlens.data import parquet
from convlens.data.folders import list_folders
from convlens.data.listing import Listing, named
from convlens.data.lists import (
    LISTS,
    images_below,
    lists_in,
    metadata_in,
    open_table,
    read_list,
    read_lists,
)
from convlens.data.names import split_called, subfolders, unreadable
from convlens.data.own import tell_once
from convlens.data.packed import inner, is_archive, unpack
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode, on_disk

PATH_COLUMNS = ("path", "file", "image", "filename", "file_name")


def scan(source: Path, reading: Reading | None = None, progress: bool = True) -> Listing:
    """List the images of the data set at `source`, a folder or one of the files above.

    What is wrong inside goes to `problems`; with `skip_bad`, files that are no images go to
    `skipped` instead; what was left out is logged. progress: show a bar while an archive or Parquet
    is unpacked. Raises UserError where nothing can be listed:
    source does not exist, cannot be read, or has two folders for one split.
    """
    source, reading = Path(source), reading or Reading()
    if not source.exists():
        raise UserError(
            f"data set {source} does not exist; give a folder with `data`", option="data"
        )
    try:
        listing = _list(source, reading, progress)
    except OSError as problem:
        raise unreadable(problem, source) from None
    if reading.exclude is not None:
        listing = _without(listing, Path(on_disk(as_unicode(reading.exclude))))
    listing.tell()
    return listing


def _list(source: Path, reading: Reading, progress: bool) -> Listing:
    """The listing of a data set of any form. Raises UserError and OSError."""
    if source.is_dir():
        return _list_folder(source, reading, progress)
    if source.name.lower().endswith(LISTS):
        return read_list(source, reading)
    if source.name.lower().endswith(parquet.ENDING):
        return parquet.read_parquet(source, reading, progress)
    if is_archive(source):
        return _list_archive(source, unpack(source, progress), reading, progress)
    raise UserError(
        f"data set {source} is a file that is no data set; give a folder that holds a folder per "
        "class, a list (.csv, .tsv, .jsonl), an archive (.zip, .tar) or Parquet",
        option="data",
    )


def _list_archive(source: Path, unpacked: Path, reading: Reading, progress: bool) -> Listing:
    """The listing of what an archive was unpacked to; whatever it says names the archive."""

    def named_so(sentence: str) -> str:
        said = sentence.replace(os.fspath(unpacked), os.fspath(source))
        # what lies in an archive cannot be given
        meant = r"\(did you mean `data` (.*?)\?\)"
        return re.sub(meant, r"(you may mean \1: unpack the archive and give that folder)", said)

    folder = inner(unpacked)
    try:
        listing = _list_folder(folder, reading, progress)
        if _says_no_class(listing) and (tables := lists_in(folder)):
            if len(tables) > 1:
                names = ", ".join(visible(as_unicode(table.name)) for table in tables)
                raise UserError(
                    f"{source} holds several lists ({names}); unpack it and give one", option="data"
                )
            listing = read_list(tables[0], reading)
    except UserError as problem:
        raise UserError(named_so(str(problem)), option=problem.options) from None
    return replace(
        listing,
        source=source,
        shown=source / folder.relative_to(unpacked),
        problems=tuple(map(named_so, listing.problems)),
        remarks=tuple(map(named_so, listing.remarks)),
    )


def _list_folder(folder: Path, reading: Reading, progress: bool) -> Listing:
    """The listing of a folder: by the metadata in it, by its folders, or by its Parquet."""
    if parts := metadata_in(folder, reading):
        listing = read_lists(folder, folder, parts, reading)
        notes = [*_without_metadata(folder, set(parts)), *_unnamed(folder, set(parts), listing)]
        return replace(listing, remarks=(*listing.remarks, *notes))
    listing = list_folders(folder, reading)
    if not listing.paths and parquet.shards(folder):
        return parquet.read_parquet(folder, reading, progress)
    if _says_no_class(listing) and (tables := lists_in(folder)):
        hint = f"note       {tables[0]} lies there too; if it says the classes, give that"
        return replace(listing, remarks=(*listing.remarks, hint))
    return listing


def _says_no_class(listing: Listing) -> bool:
    """Whether the folders of a listing tell no classes apart, so that a list may say them."""
    return len(listing.classes) < 2 or all(map(split_called, listing.classes))


def _without_metadata(folder: Path, parts: set[Path]) -> list[str]:
    """A line on each folder of a split that has no metadata, beside others that have."""
    read = {path.parent for path in parts}
    return [
        f"note       {folder / name} has no metadata as the others have; its images are left out"
        for name in (subfolders(folder) if folder not in read else ())
        if split_called(name) and folder / name not in read
    ]


def _unnamed(folder: Path, parts: set[Path], listing: Listing) -> list[str]:
    """A line on the images beside metadata that do not name them, if there are some."""
    known = {*listing.paths, *listing.skipped}
    below = {
        posixpath.join(as_unicode(part.parent.relative_to(folder)), name).removeprefix("./")
        for part in parts
        for name in images_below(part.parent)
    }
    left = sorted(below - known)
    if not left or listing.problems:
        return []
    images = "1 image is" if len(left) == 1 else f"{len(left):,} images are"
    first = named([*map(visible, left)])
    return [f"note       {images} not named in the metadata and left out: {first}"]


def _without(listing: Listing, table: Path) -> Listing:
    """The listing without the images that a table names, which is told in a line."""
    names = _excluded(table, listing.root)
    alike, written = {_plain(name) for name in names}, [(p, _plain(p)) for p in listing.paths]
    keep = np.array([p not in names and plain not in alike for p, plain in written], dtype=bool)
    count = len(keep) - int(keep.sum())
    here = {form for both in written for form in both}
    wrong = sorted(visible(name) for name in names if not here & {name, _plain(name)})
    rest = f"; no image here: {named(wrong)}" if wrong else ""
    tell_once(
        listing.source,
        f"excluded   {count:,} images, by the {len(names):,} names in {table}{rest}",
    )
    if not keep.any() and len(keep):
        raise UserError(
            f"{table} names every image of {listing.source}; leave some in with `exclude`",
            option="exclude",
        )
    return listing.take(keep).without_empty_classes()


def _plain(path: str) -> str:
    """A path as other programs may have written it, in one form."""
    path = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    return posixpath.normpath(path)


def _excluded(table: Path, root: Path) -> set[str]:
    """The paths, relative to root, in a CSV with a column of paths. Raises UserError."""
    try:
        with open_table(table) as opened:
            columns = {name.casefold(): at for at, name in enumerate(opened.header)}
            column = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
            lines = [cells for _, cells in opened.lines]
    except UserError as problem:
        raise UserError(f"{problem} (of `exclude`)", option="exclude") from None
    if column is None:
        raise UserError(
            f"{table} has no column `path`; give a CSV that names the images to leave out in one "
            "with `exclude`",
            option="exclude",
        )
    names = [str(cells[column]) for cells in lines if len(cells) > column and cells[column]]
    start = f"{as_unicode(root)}/"
    return {name.removeprefix(start).removeprefix("./") for name in names}
