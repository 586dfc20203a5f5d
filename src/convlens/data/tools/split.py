"""A data set that is not split, copied into train/ and validation/."""

import shutil
from pathlib import Path

from convlens.data.sources import scan
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.files import on_disk, whole_folder


def write_split(
    source: Path, out: Path, fraction: float = 0.9, seed: int = 0, skip_bad: bool = False
) -> Path:
    """Copy the unsplit data set `source` to the new folder `out` as train/ and validation/.

    The split is that of `split_per_class`, which is also how an unsplit data set is opened.

    Args:
        source: A folder per class.
        out: The new folder.
        fraction: Share of each class's images that trains, between 0 and 1; rounded down.
        seed: Of the draw, from 0 up.
        skip_bad: Leave out files that are no images.

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
    listing = scan(source, skip_bad)
    listing.check()
    if listing.num_train is not None:
        raise UserError(f"{source} is split already; use it as it is")
    if out.is_relative_to(source):
        raise UserError(
            f"{out} lies inside the data set it is made from; give another folder with `out`",
            option="out",
        )
    parts = split_per_class(listing.labels, fraction, seed)
    with whole_folder(out) as folder:
        for split, rows in zip(("train", "validation"), parts, strict=True):
            for path in (listing.paths[row] for row in rows):
                copy = folder / split / on_disk(path)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / on_disk(path), copy)
    return out
