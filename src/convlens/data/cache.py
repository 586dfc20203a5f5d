"""Decode a data set once to uint8, keep it on disk, and read it by memory map ever after.

A cache is a folder with `manifest.json` and the array it names, rows in the order of the manifest
(train, validation, then test, so that each split is a plain slice). The manifest is replaced last
and in one step, so that a reader finds either the old pair or the new one.
"""

import hashlib
import json
import logging
import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from filelock import FileLock
from rich.markup import escape

from convlens.data.dataset import Dataset, Split
from convlens.data.decode import Fit, Unreadable, chosen_bound, decode_bytes, read_bytes
from convlens.data.listing import SPLITS, Listing, note
from convlens.data.names import ADJECTIVES, TRAIN, VALIDATION
from convlens.data.own import tell_once
from convlens.data.place import cache_home
from convlens.data.progress import progress_bar
from convlens.data.readahead import open_map
from convlens.data.reading import Reading
from convlens.data.sources import scan
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode, on_disk, replacing, sweep

logger = logging.getLogger(__name__)

T = TypeVar("T")
Manifest = dict[str, Any]
Table = dict[str, list[Any]]  # "paths", "sizes", "mtimes" and "ctimes", N each

FORMAT = 2  # of the cache alone, which is made anew when it is another
TRAIN_FRACTION = 0.9
CHUNK = 512  # files in flight at once: bounds memory, whatever the data set's size
AT_A_TIME = 8  # of these that a thread takes


def load(
    root: Path,
    size: int = 64,
    reading: Reading | None = None,
    fit: Fit = "squash",
    cache_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Dataset:
    """Open the data set under `root`, decoded to `size`; only new or changed files are decoded.

    Args:
        root: A folder per class, within a folder per split or not, or a list of images.
        size: Side of the square images, pixels.
        reading: How it is to be read; with `skip_bad`, files that cannot be decoded are left out
            and listed in `skipped`.
        fit: What becomes of an image that is not square.
        cache_dir: Where the cache is, instead of in `cache_home()`.
        progress: Show a bar on a terminal.
        workers: Decoding threads, by default one a core.

    Returns:
        The data set; its images are read-only memory maps.

    Raises:
        UserError: for a data set that is not in order, an image that cannot be decoded, and a cache
            folder that cannot be written.
    """
    if size < 1:
        raise UserError(
            f"`size` {size} is too small; give the side of the images in pixels", option="size"
        )
    reading = reading or Reading()
    chosen_bound()  # one that is no number is not the fault of each image
    place = Path(root).resolve()
    listing = scan(place, reading, progress)
    listing.check()
    order, splits = _deal(listing, reading.split_seed)
    table = {
        "paths": [listing.paths[i] for i in order],
        "sizes": listing.sizes[order].tolist(),
        "mtimes": listing.mtimes[order].tolist(),
        "ctimes": listing.ctimes[order].tolist(),
    }
    source = _Source(listing.root, listing.called, size, fit, table, reading.skip_bad)
    folder = _folder(place, size, fit, Path(cache_dir) if cache_dir else cache_home())
    kept = _read(folder)
    if kept is None or not source.is_current(kept[0]):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Of several processes starting at once, one decodes and the others wait for it.
            with FileLock(folder / "lock"):
                kept = _read(folder)
                if kept is None or not source.is_current(kept[0]):
                    kept = _rebuild(folder, source, kept, progress, workers)
        except OSError as problem:
            need = len(order) * size * size * 3 / 1e6
            raise UserError(
                f"the cache {folder} cannot be written ({problem.strerror or problem}); set "
                f"CONVLENS_CACHE to a folder with {need:,.0f} MB free"
            ) from None
    manifest, images = kept
    paths = tuple(manifest["rows"]["paths"])
    gone = set(table["paths"]).difference(paths)
    keep = np.array([path not in gone for path in table["paths"]], dtype=bool)
    before, dealt = listing.labels[order], splits
    labels, splits = before[keep], dealt[keep]
    if lost := np.setdiff1d(before, labels).tolist():
        tell_once(place, note([listing.classes[label] for label in lost], "no readable image"))
    for number, split in enumerate(SPLITS) if gone else ():
        lost = np.setdiff1d(before[dealt == number], labels[splits == number])
        if names := [listing.classes[label] for label in np.intersect1d(lost, labels).tolist()]:
            tell_once(place, note(names, f"no readable {ADJECTIVES[split]} image"))
    if not len(labels):
        raise UserError(f"no image in {place} can be read; replace its files", option="data")
    whole = Split(images, labels, paths)
    ends = np.searchsorted(splits, range(len(SPLITS) + 1)).tolist()
    parts = [whole.slice(start, end) for start, end in pairwise(ends)]
    known = slice(0, ends[2])  # the test images are not what a run is trained or chosen on
    facts = manifest["hashes"][known], manifest["rows"]["sizes"][known]
    return Dataset(
        name=visible(as_unicode(place.name)),
        root=listing.root,
        classes=listing.classes,
        size=size,
        train=parts[0],
        validation=parts[1],
        test=parts[2] if len(parts[2]) else None,
        flat=None if listing.is_split else whole,
        skipped=tuple(sorted([*listing.skipped, *gone])),
        digest=_digest([unicodedata.normalize("NFC", path) for path in paths[known]], facts[0]),
        old_digest=_digest(paths[known], facts[1]),
        source=None if listing.source == listing.root else listing.source,
        fit=fit,
    )


def _digest(paths: Sequence[str], facts: Sequence[object]) -> str:
    """Of the paths and a fact of each file; never of times, which differ between copies."""
    names = "\n".join(f"{path}\0{fact}" for path, fact in zip(paths, facts, strict=True))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _deal(listing: Listing, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The order that puts a split's rows together, and the split of each, indices into SPLITS.

    Where nothing is called validation, a seeded part of train is.
    """
    splits = listing.splits.copy()
    training = listing.rows(TRAIN)
    if len(training) and not len(listing.rows(VALIDATION)):
        _, held_out = split_per_class(listing.labels[training], TRAIN_FRACTION, seed)
        splits[training[held_out]] = SPLITS.index(VALIDATION)
        if listing.is_split:
            share = f"{1 - TRAIN_FRACTION:.0%}"
            tell_once(
                listing.source, f"note       validation is {share} of train/, drawn by seed {seed}"
            )
    order = np.argsort(splits, kind="stable")
    return order, splits[order]


def _folder(place: Path, size: int, fit: Fit, home: Path) -> Path:
    """A readable name, and a short hash that tells apart data sets of one name."""
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
    readable = re.sub(r"[^\w.-]+", "_", place.name, flags=re.ASCII)[:40]
    way = "" if fit == "squash" else f"-{fit}"
    return home / f"{readable}-{size}{way}-{digest}"


def _read(folder: Path) -> tuple[Manifest, np.ndarray] | None:
    """The manifest and its images; None where there is no cache or only its remains."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return None
        images = open_map(folder / manifest["array"])
        if not len(images) == len(manifest["rows"]["paths"]) == len(manifest["hashes"]):
            return None
        return manifest, images
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class _Source:
    """The files that a cache is to hold, as they are now.

    called: what root is called in what is said.
    table: their paths, sizes, mtimes and ctimes, a column each, in the order of the rows. A ctime
    cannot be set: it changes also when a file takes the place of one of equal size and time.
    """

    root: Path
    called: Path
    size: int
    fit: Fit
    table: Table
    skip_bad: bool

    def is_current(self, manifest: Manifest) -> bool:
        """Whether the cache holds every file as it is now, but for those known to be bad."""
        if manifest["bad"] and not self.skip_bad:
            return False
        return manifest["rows"] == _without(self.table, self.known_bad(manifest))

    def known_bad(self, manifest: Manifest | None) -> dict[str, list[int]]:
        """Files that could not be decoded last time and have not changed since."""
        if manifest is None or not self.skip_bad or not manifest["bad"]:
            return {}
        now = _versions(self.table)
        bad = manifest["bad"].items()
        return {path: version for path, version in bad if now.get(path) == version}

    def decode(self, path: str) -> "_Decoded | UserError":
        """One file's pixels and what its bytes are known by, or why there are none."""
        file = self.root / on_disk(path)
        try:
            content = read_bytes(file)
            pixels = decode_bytes(content, self.called / on_disk(path), self.size, self.fit)
        except UserError as problem:
            return problem
        return _Decoded(pixels, hashlib.sha256(content).hexdigest()[:32])


class _Decoded(NamedTuple):
    """pixels: uint8, (size, size, 3). digest: of the file's bytes."""

    pixels: np.ndarray
    digest: str


def _versions(table: Table) -> dict[str, list[int]]:
    """From path to what its file is known by: [bytes, nanoseconds, nanoseconds]."""
    columns = table["paths"], table["sizes"], table["mtimes"], table["ctimes"]
    return {path: known_by for path, *known_by in zip(*columns, strict=True)}


def _without(table: Table, bad: Container[str]) -> Table:
    if not bad:
        return table
    keep = [i for i, path in enumerate(table["paths"]) if path not in bad]
    return {column: [values[i] for i in keep] for column, values in table.items()}


def _rebuild(
    folder: Path,
    source: _Source,
    old: tuple[Manifest, np.ndarray] | None,
    progress: bool,
    workers: int | None,
) -> tuple[Manifest, np.ndarray]:
    """Write a new array and manifest; rows of unchanged files are copied from the old array.

    The caller holds the lock, so whatever else lies in the folder is a dead process's remains.
    """
    sweep(folder)
    if old is not None and _lacks_unreadable_alone(source, old[0]):
        return old
    manifest, images = old or (None, np.empty(0, np.uint8))
    versions = _versions(source.table)
    bad = source.known_bad(manifest)
    before = _versions(manifest["rows"]) if manifest is not None else {}
    hashes = manifest["hashes"] if manifest is not None else []
    unchanged = {path: row for row, path in enumerate(before) if versions.get(path) == before[path]}

    def find(path: str) -> _Decoded | UserError:
        if path in unchanged:
            return _Decoded(images[unchanged[path]], hashes[unchanged[path]])
        return source.decode(path)

    array = folder / f"images-{uuid.uuid4().hex[:12]}.npy"
    # Plain writes rather than a writable map: a full disk is then an error, not a SIGBUS.
    with (
        replacing(array) as temporary,
        open(temporary, "wb") as file,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        progress_bar(progress) as bar,
    ):
        todo = _without(source.table, bad)["paths"]
        task = bar.add_task(escape(f"Decoding {visible(source.called.name)}"), total=len(todo))
        _write_header(file, len(todo), source.size)
        done: dict[str, str] = {}  # from path to the digest of its bytes
        for path, found in _in_chunks(pool, find, todo):
            if not isinstance(found, UserError):
                file.write(found.pixels.tobytes())
                done[path] = found.digest
            elif not source.skip_bad:
                raise UserError(f"{found} or use `skip_bad`", option="skip_bad")
            elif isinstance(found, Unreadable):  # which is not to be remembered: it may pass
                logger.info("left out   %s", found)
            else:
                bad[path] = versions[path]
            bar.advance(task)
        file.seek(0)
        _write_header(file, len(done), source.size)
    manifest = {
        "format": FORMAT,
        "root": str(source.root),
        "size": source.size,
        "array": array.name,
        "rows": _without(source.table, set(todo).difference(done) | bad.keys()),
        "hashes": list(done.values()),
        "bad": bad,
    }
    with replacing(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest), encoding="utf-8")
    for other in folder.glob("*.npy"):
        if other != array:  # a process that still maps it keeps it until it ends
            other.unlink()
    return manifest, open_map(array)


def _lacks_unreadable_alone(source: _Source, manifest: Manifest) -> bool:
    """Whether the cache has all but files that could not be read last time, and still cannot."""
    held = _versions(manifest["rows"])
    missing = set(source.table["paths"]).difference(held, manifest["bad"])
    if not source.skip_bad or not missing:
        return False
    if manifest["rows"] != _without(source.table, missing.union(source.known_bad(manifest))):
        return False
    for path in sorted(missing):
        found = source.decode(path)
        if not isinstance(found, Unreadable):
            return False
        logger.info("left out   %s", found)
    return True


def _write_header(file: IO[bytes], rows: int, size: int) -> None:
    """numpy pads the header so that it can be rewritten in place when the first axis changes."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _in_chunks(
    pool: ThreadPoolExecutor, work: Callable[[str], T], paths: list[str]
) -> Iterator[tuple[str, T]]:
    """(path, work(path)) in order, a bounded number in flight.

    A thread takes several at a time, for handing each small image over took a fifth of the work.
    """

    def work_on(some: list[str]) -> list[T]:
        return [work(path) for path in some]

    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        parts = [chunk[i : i + AT_A_TIME] for i in range(0, len(chunk), AT_A_TIME)]
        for part, found in zip(parts, pool.map(work_on, parts), strict=True):
            yield from zip(part, found, strict=True)
