"""From a folder of images to arrays of uint8 and batches of floats."""

from convlens.data.cache import load
from convlens.data.dataset import Dataset, Rows, Split, center_crop, loaded_size
from convlens.data.decode import decode
from convlens.data.opening import DEMO, open_dataset, resolve
from convlens.data.reading import Reading
from convlens.data.sources import scan
from convlens.data.split import folds, split_per_class

__all__ = [
    "DEMO",
    "Dataset",
    "Reading",
    "Rows",
    "Split",
    "center_crop",
    "decode",
    "folds",
    "load",
    "loaded_size",
    "open_dataset",
    "resolve",
    "scan",
    "split_per_class",
]
