"""From a folder of images to arrays of uint8 and batches of floats."""

from dataclasses import replace
from pathlib import Path

from convlens.data.cache import decode, load
from convlens.data.dataset import Dataset, Split
from convlens.data.sources import DEMO, resolve, scan
from convlens.data.split import folds, split_per_class

__all__ = [
    "Dataset", "Split", "decode", "folds", "load", "open_dataset", "resolve", "scan",
    "split_per_class",
]


def open_dataset(
    data: Path | str | None = None,
    *,
    size: int = 64,
    split_seed: int = 0,
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Find the data set (see `resolve`), decode what is not yet decoded, and open it.

    size: side of the square images, pixels. split_seed: for a data set that is not split.
    Raises UserError as `scan` and `load` do.
    """
    root, source = resolve(data)
    dataset = load(root, size, split_seed, skip_bad, cache_dir, progress)
    return replace(dataset, name="demo") if source == DEMO else dataset
