"""What is wrong, or worth knowing, about a data set before numbers on it are trusted."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from convlens.data.cache import open_rgb
from convlens.data.sources import Listing, scan
from convlens.errors import UserError

TINY = 16  # pixels


@dataclass(frozen=True)
class Audit:
    """Findings on one data set; paths are relative to its root, sorted.

    counts: images per class, int64, shape (number of classes,), both splits together.
    splits: images per split, by the split's name ("" when the data set is not split).
    problems: sentences; as long as there are any, the data set is not opened.
    unreadable: sentences that name the files that cannot be decoded.
    tiny: images with a side below 16 pixels. enlarged: how many have a side below size.
    constant: images of a single colour. grey: how many hold no colour.
    duplicates: groups of files that decode to the same pixels; leaks are those groups that lie in
    both splits, clashes those that lie in several classes.
    """

    root: Path
    size: int
    classes: tuple[str, ...]
    counts: np.ndarray
    splits: dict[str, int]
    problems: tuple[str, ...]
    unreadable: tuple[str, ...]
    tiny: tuple[str, ...]
    enlarged: int
    constant: tuple[str, ...]
    grey: int
    duplicates: tuple[tuple[str, ...], ...]

    @property
    def leaks(self) -> tuple[tuple[str, ...], ...]:
        if "" in self.splits:
            return ()
        return tuple(group for group in self.duplicates if len(set(_parts(group, 0))) > 1)

    @property
    def clashes(self) -> tuple[tuple[str, ...], ...]:
        return tuple(group for group in self.duplicates if len(set(_parts(group, -2))) > 1)

    def render(self) -> str:
        """The findings as plain text, a heading a line, every file named."""
        images = ", ".join(f"{count:,} in {split}/" for split, count in self.splits.items())
        if "" in self.splits:
            images = f"{self.splits['']:,}, not split"
        lines = [
            f"classes    {len(self.classes)}",
            f"images     {images}",
        ]
        if self.counts.any():
            low, high = self.counts.argmin(), self.counts.argmax()
            lines.append(
                f"per class  {self.counts[low]:,} ({self.classes[low]}) to {self.counts[high]:,} "
                f"({self.classes[high]}), median {np.median(self.counts):g}"
            )
        lines += [
            f"grey       {self.grey:,} images without colour",
            f"enlarged   {self.enlarged:,} images with a side below {self.size} pixels",
            *_section("problems", self.problems),
            *_section("unreadable", self.unreadable),
            *_section("tiny", self.tiny),
            *_section("constant", self.constant),
            *_section("duplicates", [" = ".join(group) for group in self.duplicates]),
        ]
        if self.duplicates:
            lines.append(
                f"           of these, {len(self.leaks)} groups lie in both splits and "
                f"{len(self.clashes)} in several classes"
            )
        return "\n".join(lines)


def audit(root: Path, size: int = 64, progress: bool = True) -> Audit:
    """Look at every file of the data set under `root`; nothing is written.

    size: the side, in pixels, that images will be brought to. Raises UserError only where `scan`
    finds nothing to list; all else that is wrong is in the result.
    """
    listing = scan(Path(root).resolve())
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not (progress and console.is_terminal))
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        looks = list(
            bar.track(
                pool.map(lambda path: _look(listing.root / path), listing.paths),
                total=len(listing.paths),
                description="Looking at every image",
            )
        )
    seen = [
        (path, look)
        for path, look in zip(listing.paths, looks, strict=True)
        if not isinstance(look, UserError)
    ]
    groups = defaultdict(list)
    for path, look in seen:
        groups[look.digest].append(path)
    return Audit(
        root=listing.root,
        size=size,
        classes=listing.classes,
        counts=np.bincount(listing.labels, minlength=len(listing.classes)),
        splits=_split_sizes(listing),
        problems=listing.problems,
        unreadable=tuple(str(look) for look in looks if isinstance(look, UserError)),
        tiny=tuple(sorted(path for path, look in seen if look.side < TINY)),
        enlarged=sum(look.side < size for _, look in seen),
        constant=tuple(sorted(path for path, look in seen if look.constant)),
        grey=sum(look.grey for _, look in seen),
        duplicates=tuple(sorted(tuple(sorted(g)) for g in groups.values() if len(g) > 1)),
    )


@dataclass(frozen=True)
class _Look:
    """side: the shorter one, pixels. digest: of the shape and the pixels."""

    side: int
    constant: bool
    grey: bool
    digest: bytes


def _look(path: Path) -> _Look | UserError:
    try:
        pixels = np.asarray(open_rgb(path))
    except UserError as problem:
        return problem
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels))
    return _Look(
        side=min(pixels.shape[:2]),
        constant=bool((pixels == pixels[0, 0]).all()),
        grey=bool((pixels == pixels[..., :1]).all()),
        digest=digest.digest(),
    )


def _split_sizes(listing: Listing) -> dict[str, int]:
    if listing.num_train is None:
        return {"": len(listing.paths)}
    rest = len(listing.paths) - listing.num_train
    validation = next(iter(_parts(listing.paths[listing.num_train :], 0)), "validation")
    return {"train": listing.num_train, validation: rest}


def _parts(paths: Iterable[str], index: int) -> list[str]:
    return [path.split("/")[index] for path in paths]


def _section(heading: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return [f"{heading:<11}{len(lines) or 'none'}", *(f"           {line}" for line in lines)]
