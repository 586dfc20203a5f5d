"""From what a person names, or does not, to an open data set."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from convlens.data.cache import load
from convlens.data.dataset import Dataset
from convlens.data.decode import Fit
from convlens.data.place import cache_home
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.fields import check_bounds, from_dict
from convlens.files import as_unicode, on_disk

DEMO = "the embedded demo set"


def resolve(data: Path | str | None = None) -> tuple[Path, str]:
    """Find the data set's root, and say in a word where the choice came from.

    The first of: `data`; the environment variable CONVLENS_DATA; `data/caltech101-64` in the
    working folder; the embedded demo set, which is made on the spot.
    """
    if data is not None:
        return _folder(data), "as given"
    if named := os.environ.get("CONVLENS_DATA"):
        return _folder(named), "CONVLENS_DATA"
    usual = Path("data/caltech101-64")
    if usual.is_dir():
        return usual.resolve(), str(usual)
    from convlens.data.tools import demo  # imports torch, which takes seconds

    target = cache_home() / f"demo-{demo.VERSION}"
    if not target.is_dir():
        demo.make_demo(target)
    return target, DEMO


def _folder(name: Path | str) -> Path:
    """Where that is; a name that was read from a file is text, whatever the locale."""
    if not os.fspath(name):
        raise UserError(
            "the name of the data set is empty; give a folder with `data`", option="data"
        )
    try:
        return Path(on_disk(as_unicode(name))).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, no home, a null
        raise UserError(
            f"{name} cannot be a data set ({problem}); give a folder with `data`", option="data"
        ) from None


def open_dataset(
    data: Path | str | None = None,
    *,
    size: int = 64,
    fit: Fit = "squash",
    cache_dir: Path | None = None,
    progress: bool = True,
    **reading: Any,
) -> Dataset:
    """Find the data set (see `resolve`), decode what is not yet decoded, and open it.

    Args:
        data: A folder per class, within train/, validation/ and test/ or not.
        size: Side of the square images, pixels.
        fit: What becomes of an image that is not square: "squash", "crop" or "pad".
        cache_dir: Where decoded images are kept, instead of the user's cache.
        progress: Show a bar on a terminal.
        **reading: Fields of `Reading`: `split_seed`, `skip_bad`, `nested`, `exclude`, ….

    Raises:
        UserError: for a data set that is not in order, an image that cannot be decoded and a cache
            that cannot be written.
    """
    options = from_dict(Reading, reading)
    check_bounds(options)
    if fit not in get_args(Fit):
        raise UserError(f"`fit` {fit!r} is none of {', '.join(get_args(Fit))}", option="fit")
    root, source = resolve(data)
    dataset = load(root, size, options, fit, cache_dir, progress)
    return replace(dataset, name="demo") if source == DEMO else dataset
