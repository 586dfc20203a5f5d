"""What a larger data set costs: files, cache, start-up, batches, training and memory.

The images are the data set's own, repeated and perturbed so that no two files are alike.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convlens.bench import processes
from convlens.bench.machine import memory_of_this_process
from convlens.bench.training import rate, train_for
from convlens.data.batches import Batches
from convlens.data.cache import load
from convlens.data.dataset import Dataset
from convlens.errors import UserError
from convlens.files import scratch
from convlens.training.device import choose

LARGE = 1_000_000
BYTES_AN_IMAGE = 64 * 64 * 3 + 4096  # in the cache, and a block for its file


def measure_growth(dataset: Dataset, count: int, steps: int) -> dict[str, Any]:
    """One row of the table: everything measured on `count` training images.

    Files and cache are made in a temporary folder and removed. steps: of training. Raises
    UserError where they do not fit.
    """
    need, free = count * BYTES_AN_IMAGE, shutil.disk_usage(tempfile.gettempdir()).free
    if need > free:
        raise UserError(
            f"{tempfile.gettempdir()} has {free / 1e9:.1f} GB free and growth to {count:,} images "
            f"needs {need / 1e9:.1f} GB; set TMPDIR to a larger disk"
        )
    with scratch("convlens-growth") as folder:
        root, cache = folder / "data", folder / "cache"
        write_copies(dataset, count, root)
        made = processes.ours("caching", {}, root=str(root), cache=str(cache))
        seen = processes.ours("second_start", {}, root=str(root), cache=str(cache), steps=steps)
    return {"images": count, **made, **seen}


def write_copies(dataset: Dataset, count: int, root: Path) -> None:
    """`count` JPEG files below root/train, in the data set's classes, and its own validation/."""
    training, size = dataset.train, dataset.size
    folders = [root / split / name for split in ("train", "validation") for name in dataset.classes]
    for folder in folders:
        folder.mkdir(parents=True)

    def write(i: int) -> None:
        source = i % len(training)
        random = np.random.default_rng(i)
        shift = tuple(random.integers(0, size // 4, 2))
        pixels = np.roll(training.images[source], shift, axis=(0, 1)).astype(np.int16)
        pixels = (pixels + random.integers(-20, 21)).clip(0, 255).astype(np.uint8)
        name = dataset.classes[training.labels[source]]
        Image.fromarray(pixels).save(root / "train" / name / f"{i:07d}.jpg", quality=90)

    # In a stride that visits every class early, so that a thousand images have them all.
    first = np.unique(training.labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(max(count, len(training))), first)
    numbers = np.concatenate([first, rest])[:count].tolist()
    with ThreadPoolExecutor() as pool:
        for start in range(0, count, 4096):  # a bounded number in flight
            list(pool.map(write, numbers[start : start + 4096]))
    held_out = dataset.validation
    for i in np.unique(held_out.labels, return_index=True)[1]:
        name = dataset.classes[held_out.labels[i]]
        Image.fromarray(np.asarray(held_out.images[i])).save(root / "validation" / name / "0.png")


def caching(root: str, cache: str) -> dict[str, float | None]:
    """The first start: decoding every file."""
    start = time.perf_counter()
    dataset = load(Path(root), cache_dir=Path(cache), progress=False)
    seconds = time.perf_counter() - start
    images = len(dataset.train) + len(dataset.validation)
    return {
        "caching_images_per_second": images / seconds,
        "caching_seconds": seconds,
        "cache_mb": images * dataset.size**2 * 3 / 1e6,
        "caching_anonymous_mb": memory_of_this_process().get("anonymous_mb"),
    }


def second_start(root: str, cache: str, steps: int) -> dict[str, Any]:
    """Everything after the first start: opening, one pass over all batches, training, memory."""
    start = time.perf_counter()
    dataset = load(Path(root), cache_dir=Path(cache), progress=False)
    opened = time.perf_counter() - start
    batches = Batches(dataset.train, dataset.num_classes, 128, seed=0)
    start = time.perf_counter()
    for _ in batches.epoch(0):
        pass
    reading = len(batches) * batches.size / (time.perf_counter() - start)

    # A sample scattered over the whole map costs what all of it does, without taking its time.
    count = min(len(dataset.train), steps * 128)
    sample = dataset.train.take(np.random.default_rng(0).permutation(len(dataset.train))[:count])
    measured = train_for("lenet5", replace(dataset, train=sample), choose(), epochs=2)
    return {
        "start_seconds": opened,
        "reading_images_per_second": reading,
        "training_images_per_second": rate(measured[-1]),
        **memory_of_this_process(),
    }
