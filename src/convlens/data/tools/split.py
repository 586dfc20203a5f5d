"""A data set that is not split, copied into train/ and validation/."""

import shutil
from pathlib import Path

from convlens.data.listing import Listing
from convlens.data.names import class_name, is_hidden, unreadable
from convlens.data.reading import Reading
from convlens.data.sources import scan
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.files import is_elsewhere, mark, marked, on_disk, safe_name, whole_folder


def write_split(
    source: Path,
    out: Path,
    fraction: float = 0.9,
    seed: int = 0,
    reading: Reading | None = None,
) -> Path:
    """Copy the unsplit data set `source` to the new folder `out` as train/ and validation/.

    The split is that of `split_per_class`, which is also how an unsplit data set is opened.

    Args:
        source: A folder per class.
        out: The new folder.
        fraction: Share of each class's images that trains, between 0 and 1; rounded down.
        seed: Of the draw, from 0 up.
        reading: How `source` is to be read.

    Returns:
        The new folder's full path.

    Raises:
        UserError: when `source` is not in order or already split, `out` lies inside it or is in
            use, or a number is out of range.
    """
    check_least("seed", seed, 0)
    source, out = Path(source).resolve(), Path(out).resolve()
    if not 0 < fraction < 1:
        raise UserError(f"`fraction` {fraction} must lie between 0 and 1", option="fraction")
    listing = scan(source, reading)
    listing.check()
    if listing.is_split:
        raise UserError(f"{source} is split already; use it as it is")
    if out.is_relative_to(source):
        raise UserError(
            f"{out} lies inside the data set it is made from; give another folder with `out`",
            option="out",
        )
    parts = split_per_class(listing.labels, fraction, seed)
    with whole_folder(out) as folder:
        mark(folder)  # in an unsplit data set it is no class
        for split, rows in zip(("train", "validation"), parts, strict=True):
            for row in rows:
                copy = folder / split / on_disk(_place(listing, row))
                copy.parent.mkdir(parents=True, exist_ok=True)
                image = listing.root / on_disk(listing.paths[row])
                try:
                    shutil.copy2(image, copy)
                except OSError as problem:
                    if is_elsewhere(problem, folder):
                        raise unreadable(problem, image) from None
                    raise
    return out


def _place(listing: Listing, row: int) -> str:
    """Where an image goes within its split: as it lies in its class's folder, or, where a list
    gives its class, into a folder of that name under a name that tells its own folders."""
    path, name = listing.paths[row], listing.classes[listing.labels[row]]
    lies_so = listing.source == listing.root or path.count("/") == 1
    if class_name(path.partition("/")[0]) == name and lies_so and not is_hidden(name):
        return path
    stem, dot, suffix = path.rpartition(".")
    flat = path if "/" not in path else marked(stem.replace("/", "-"), path) + dot + suffix
    folder = safe_name(name)
    return f"{'_' if is_hidden(folder) else ''}{folder}/{flat}"
