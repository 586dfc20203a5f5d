"""Decode a data set once to uint8, keep it on disk, and read it by memory map ever after.

A cache is a folder with `manifest.json` and the array it names, rows in the order of the manifest
(train, then validation, so that each split is a plain slice). The manifest is replaced last and
in one step, so that a reader finds either the old pair or the new one.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from convlens.data.dataset import Dataset, Split
from convlens.data.decode import decode
from convlens.data.readahead import open_map
from convlens.data.sources import Listing, cache_home, scan
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.files import replacing

FORMAT = 1
TRAIN_FRACTION = 0.9
CHUNK = 512  # files in flight at once: bounds memory, whatever the data set's size


def load(
    root: Path,
    size: int = 64,
    split_seed: int = 0,
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Dataset:
    """The data set under `root`, decoded to `size`; only new or changed files are decoded.

    split_seed: draws the split of a data set that has none. skip_bad: leave out files that cannot
    be decoded, and list them in `skipped`. cache_dir: instead of `cache_home()`. workers: decoding
    threads, by default one a core. The images are read-only memory maps.

    Raises UserError for a data set that is not in order, an image that cannot be decoded, and a
    cache folder that cannot be written.
    """
    if size < 1:
        raise UserError(f"--size {size} is too small; give the side of the images in pixels")
    root = Path(root).resolve()
    listing = scan(root, skip_bad)
    listing.check()
    num_train, order = _split_rows(listing, split_seed)
    table = {
        "paths": [listing.paths[i] for i in order],
        "sizes": listing.sizes[order].tolist(),
        "mtimes": listing.mtimes[order].tolist(),
    }
    folder = _folder(root, size, Path(cache_dir) if cache_dir else cache_home())
    manifest, images = _read(folder)
    if not _is_current(manifest, table, skip_bad):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Of several processes starting at once, one decodes and the others wait for it.
            with FileLock(folder / "lock"):
                manifest, images = _read(folder)
                if not _is_current(manifest, table, skip_bad):
                    manifest, images = _rebuild(
                        folder, root, size, table, manifest, images, skip_bad, progress, workers
                    )
        except OSError as problem:
            need = len(order) * size * size * 3 / 1e6
            raise UserError(
                f"the cache {folder} cannot be written ({problem.strerror or problem}); set "
                f"CONVLENS_CACHE to a folder with {need:,.0f} MB free"
            ) from None
    bad = manifest["bad"] if skip_bad else {}
    keep = np.array([path not in bad for path in table["paths"]], dtype=bool)
    labels = listing.labels[order][keep]
    paths = tuple(manifest["rows"]["paths"])
    num_train = int(keep[:num_train].sum())
    for name, part in ("train", labels[:num_train]), ("validation", labels[num_train:]):
        gone = np.setdiff1d(np.arange(len(listing.classes)), part)
        if len(gone):
            raise UserError(
                f"class {listing.classes[gone[0]]} in {root} has no readable image left for "
                f"{name}; replace its bad files or remove the class"
            )
    return Dataset(
        name=root.name,
        root=root,
        classes=listing.classes,
        size=size,
        train=Split(images[:num_train], labels[:num_train], paths[:num_train]),
        validation=Split(images[num_train:], labels[num_train:], paths[num_train:]),
        skipped=tuple(sorted([*listing.skipped, *bad])),
        digest=_digest(manifest["rows"]),
    )


def _digest(rows: dict) -> str:
    """Not of the times, which differ between copies."""
    names = "\n".join(f"{p}\0{n}" for p, n in zip(rows["paths"], rows["sizes"], strict=True))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _split_rows(listing: Listing, seed: int) -> tuple[int, np.ndarray]:
    """How many rows train, and the order that puts them first."""
    if listing.num_train is not None:
        return listing.num_train, np.arange(len(listing.paths))
    train, validation = split_per_class(listing.labels, TRAIN_FRACTION, seed)
    return len(train), np.concatenate([train, validation])


def _folder(root: Path, size: int, home: Path) -> Path:
    """A readable name, and a short hash that tells apart data sets of one name."""
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    readable = re.sub(r"[^\w.-]+", "_", root.name, flags=re.ASCII)[:40]
    return home / f"{readable}-{size}-{digest}"


def _read(folder: Path) -> tuple[dict | None, np.ndarray | None]:
    """The manifest and its images; (None, None) where there is no cache or only its remains."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            return None, None
        images = open_map(folder / manifest["array"])
        if len(images) != len(manifest["rows"]["paths"]):
            return None, None
        return manifest, images
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _is_current(manifest: dict | None, table: dict, skip_bad: bool) -> bool:
    """Whether the cache holds every file as it is now, but for those that are known to be bad."""
    if manifest is None or (manifest["bad"] and not skip_bad):
        return False
    return manifest["rows"] == _without(table, _known_bad(manifest, table))


def _known_bad(manifest: dict, table: dict) -> dict[str, list]:
    """Files that could not be decoded last time and have not changed since."""
    if not manifest["bad"]:
        return {}
    now = _versions(table)
    return {path: version for path, version in manifest["bad"].items() if now.get(path) == version}


def _versions(table: dict) -> dict[str, list]:
    """From path to what its file is known by: [bytes, nanoseconds]."""
    columns = table["paths"], table["sizes"], table["mtimes"]
    return {path: [size, mtime] for path, size, mtime in zip(*columns, strict=True)}


def _without(table: dict, bad: dict) -> dict:
    if not bad:
        return table
    keep = [i for i, path in enumerate(table["paths"]) if path not in bad]
    return {column: [values[i] for i in keep] for column, values in table.items()}


def _rebuild(
    folder: Path,
    root: Path,
    size: int,
    table: dict,
    old: dict | None,
    old_images: np.ndarray | None,
    skip_bad: bool,
    progress: bool,
    workers: int | None,
) -> tuple[dict, np.ndarray]:
    """Write a new array and manifest; rows of unchanged files are copied from the old array.

    The caller holds the lock, so whatever else lies in the folder is a dead process's remains.
    """
    versions = _versions(table)
    bad = _known_bad(old, table) if old is not None and skip_bad else {}
    before = _versions(old["rows"]) if old is not None else {}
    unchanged = {
        path: row for row, path in enumerate(before) if versions.get(path) == before[path]
    }

    def pixels_of(path: str) -> np.ndarray | UserError:
        if path in unchanged:
            return old_images[unchanged[path]]
        try:
            return decode(root / path, size)
        except UserError as problem:
            return problem

    array = folder / f"images-{uuid.uuid4().hex[:12]}.npy"
    # Plain writes rather than a writable map: a full disk is then an error, not a SIGBUS.
    with (
        replacing(array) as temporary,
        open(temporary, "wb") as file,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        _progress_bar(progress) as bar,
    ):
        todo = _without(table, bad)["paths"]
        task = bar.add_task(f"Decoding {root.name}", total=len(todo))
        _write_header(file, len(todo), size)
        for path, pixels in _in_chunks(pool, pixels_of, todo):
            if not isinstance(pixels, UserError):
                file.write(pixels.tobytes())
            elif skip_bad:
                bad[path] = versions[path]
            else:
                raise UserError(f"{pixels} or use --skip-bad")
            bar.advance(task)
        rows = _without(table, bad)
        file.seek(0)
        _write_header(file, len(rows["paths"]), size)
    manifest = {"format": FORMAT, "root": str(root), "size": size, "array": array.name,
                "rows": rows, "bad": bad}
    with replacing(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest))
    for other in folder.glob("*.npy"):
        if other != array:  # a process that still maps it keeps it until it ends
            other.unlink()
    return manifest, open_map(array)


def _write_header(file, rows: int, size: int) -> None:
    """numpy pads the header so that it can be rewritten in place when the first axis changes."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _in_chunks(pool: ThreadPoolExecutor, work, paths: list[str]) -> Iterator[tuple]:
    """(path, work(path)) in order, a bounded number in flight."""
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        yield from zip(chunk, pool.map(work, chunk), strict=True)


def _progress_bar(wanted: bool) -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (wanted and console.is_terminal))
