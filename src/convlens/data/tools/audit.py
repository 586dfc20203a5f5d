"""What is wrong, or worth knowing, about a data set before numbers on it are trusted."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.data.decode import open_rgb, to_square
from convlens.data.listing import SPLITS, Listing
from convlens.data.names import TRAIN
from convlens.data.progress import progress_bar
from convlens.data.reading import Reading
from convlens.data.sources import scan
from convlens.data.tools.near_duplicates import Found, Pairs, across, thumbnails, within
from convlens.data.tools.near_duplicates.leak import FEW
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.files import on_disk

TINY = 16  # pixels
_SINGLE = "{0.source} holds a single class, {0.classes[0]}; telling apart needs two"
COLUMN = 17  # characters of the findings' headings
_Pairs = tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Audit:
    """Findings on one data set; paths are relative to its root, sorted.

    counts: images per class, int64, shape (number of classes,), all splits together.
    splits: images per split, by the split's name ("" when the data set is not split).
    places: of each image its split and its class.
    problems: sentences; as long as there are any, the data set is not opened.
    skipped: files that are no images, where they were to be left out.
    unreadable: sentences that name the files that cannot be decoded.
    tiny: images with a side below 16 pixels. enlarged: how many have a side below size.
    constant: images of a single color. gray: how many hold no color.
    duplicates: groups of files that decode to the same pixels; leaks are those groups that lie in
    both splits, clashes those that lie in several classes.
    near_duplicates: pairs of files that show the same photograph otherwise: scaled, recolored,
    mirrored or cropped, with their similarity, 0.9..1; the most similar first. unsure: pairs that
    resemble each other as much, but no more than different images of this set do.
    """

    root: Path
    size: int
    classes: tuple[str, ...]
    counts: np.ndarray
    splits: dict[str, int]
    places: Mapping[str, tuple[str, str]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]
    unreadable: tuple[str, ...]
    tiny: tuple[str, ...]
    enlarged: int
    constant: tuple[str, ...]
    gray: int
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, str, float], ...]
    unsure: tuple[tuple[str, str, float], ...] = ()

    @property
    def leaks(self) -> tuple[tuple[str, ...], ...]:
        """The duplicates that lie in several splits."""
        return tuple(group for group in self.duplicates if self.leaking(group))

    @property
    def clashes(self) -> tuple[tuple[str, ...], ...]:
        """The duplicates that lie in several classes."""
        return tuple(group for group in self.duplicates if self.clashing(group))

    @property
    def overlap(self) -> tuple[str, ...]:
        """Validation and test files with a duplicate or near-duplicate in train/, sorted."""
        pairs = [pair[:2] for pair in self.near_duplicates]
        groups = [
            (group, {self.places[path][0] for path in group}) for group in (*self.leaks, *pairs)
        ]
        found = {
            path
            for group, splits in groups
            if TRAIN in splits and len(splits) > 1
            for path in group
            if self.places[path][0] != TRAIN
        }
        return tuple(sorted(found))

    def leaking(self, paths: Iterable[str]) -> bool:
        """Whether those files lie in several splits."""
        return "" not in self.splits and len({self.places[path][0] for path in paths}) > 1

    def clashing(self, paths: Iterable[str]) -> bool:
        """Whether those files lie in several classes."""
        return len({self.places[path][1] for path in paths}) > 1

    def render(self) -> str:
        """The findings as plain text, a heading a line, every file named."""
        images = ", ".join(f"{count:,} in {split}/" for split, count in self.splits.items())
        if "" in self.splits:
            images = f"{self.splits['']:,}, not split"
        lines = [
            _line("classes", len(self.classes)),
            _line("images", images),
        ]
        if self.counts.any():
            low, high = self.counts.argmin(), self.counts.argmax()
            lines.append(
                _line(
                    "per class",
                    f"{self.counts[low]:,} ({self.classes[low]}) to {self.counts[high]:,} "
                    f"({self.classes[high]}), median {np.median(self.counts):g}",
                )
            )
        lines += [
            _line("gray", f"{self.gray:,} images without color"),
            _line("enlarged", f"{self.enlarged:,} images with a side below {self.size} pixels"),
            *_section("problems", self.problems),
            *(_line("note", line.removeprefix("note").lstrip()) for line in self.notes),
            *(_section("skipped", self.skipped) if self.skipped else ()),
            *_section("unreadable", self.unreadable),
            *_section("tiny", self.tiny),
            *_section("constant", self.constant),
            *_section("duplicates", [" = ".join(group) for group in self.duplicates]),
        ]
        if self.duplicates:
            lines.append(
                _line(
                    "",
                    f"of these, {len(self.leaks)} groups lie in several splits and "
                    f"{len(self.clashes)} in several classes",
                )
            )
        return "\n".join([*lines, *self._near_lines()])

    def _near_lines(self) -> list[str]:
        """How many near-duplicates there are and where; with every file named they fill pages."""
        pairs = [pair[:2] for pair in self.near_duplicates]
        alike = {path for pair in self.unsure for path in pair[:2]}
        none = "cannot tell" if len(alike) > FEW * sum(self.splits.values()) else "none"
        shown = f"{len(pairs):,} pairs show one photograph" if pairs else none
        lines = [_line("near-duplicates", shown)]
        if pairs:
            leaks, clashes = (sum(map(test, pairs)) for test in (self.leaking, self.clashing))
            lines.append(
                _line("", f"of these, {leaks:,} lie in two splits and {clashes:,} in two classes")
            )
            between = Counter(
                tuple(sorted(self.places[path][1] for path in pair))
                for pair in pairs
                if self.clashing(pair)
            )
            lines += [_line("", f"{a} and {b}: {n:,}") for (a, b), n in between.most_common(5)]
        if self.unsure:
            lines.append(
                _line(
                    "",
                    f"{len(self.unsure):,} pairs of {len(alike):,} images resemble each other as "
                    "copies do, but no more than different images of this set: they do not count",
                )
            )
        if self.overlap:
            lines.append(
                _line(
                    "overlap",
                    f"{len(self.overlap):,} {_others(self.splits)} images are also in train/; "
                    "`convlens evaluate RUN --without-near-duplicates` leaves them out",
                )
            )
        return lines


def _others(splits: Iterable[str]) -> str:
    """The splits that are not trained on."""
    return " and ".join(split for split in splits if split != TRAIN)


def audit(
    root: Path, size: int = 64, reading: Reading | None = None, progress: bool = True
) -> Audit:
    """Look at every file of the data set under `root`; nothing is written.

    size: the side, in pixels, that images will be brought to. reading: how it is to be read; with
    `skip_bad`, files that are no images are no problem, and are in `skipped`. Raises UserError only
    where `scan` finds nothing to list; all else that is wrong is in the result.
    """
    check_least("size", size, 1)
    listing = scan(Path(root).resolve(), reading, progress)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar(progress) as bar:
        looks = list(
            bar.track(
                pool.map(lambda path: _look(listing.root / on_disk(path), size), listing.paths),
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
    training = {listing.paths[row] for row in listing.rows(TRAIN)}
    single = len(listing.classes) == 1
    known, unsure = _near(seen, sum(path in training for path, _ in seen), progress)
    return Audit(
        root=listing.root,
        size=size,
        classes=listing.classes,
        counts=np.bincount(listing.labels, minlength=len(listing.classes)),
        splits=listing.counts,
        places=_places(listing),
        problems=(*listing.problems, *([_SINGLE.format(listing)] if single else ())),
        notes=listing.notes,
        skipped=listing.skipped,
        unreadable=tuple(listing.told(str(look)) for look in looks if isinstance(look, UserError)),
        tiny=tuple(sorted(path for path, look in seen if look.side < TINY)),
        enlarged=sum(look.side < size for _, look in seen),
        constant=tuple(sorted(path for path, look in seen if look.constant)),
        gray=sum(look.gray for _, look in seen),
        duplicates=tuple(sorted(tuple(sorted(g)) for g in groups.values() if len(g) > 1)),
        near_duplicates=known,
        unsure=unsure,
    )


def _near(seen: list[tuple[str, "_Look"]], num_train: int, progress: bool) -> tuple[_Pairs, _Pairs]:
    """Pairs of paths that are near-duplicates, and that may be, less those with the same pixels.

    seen: the readable files; the first `num_train` of them are in train/.
    """
    paths, looks = zip(*seen, strict=True) if seen else ((), ())
    images = np.concatenate([look.image for look in looks]) if looks else np.empty((0, 64, 64, 3))
    train, rest = images[:num_train], images[num_train:]
    # not in one go, so that what lies in both splits is what `evaluate` finds there
    parts: list[tuple[Found, int, int]] = []
    for first, second, start, other in (
        (train, train, 0, 0),
        (rest, rest, num_train, num_train),
        (train, rest, 0, num_train),
    ):
        if len(first) and len(second):
            same = first is second
            found = within(first, progress) if same else across(first, second, progress)
            parts.append((found, start, other))

    def named(parts: list[tuple[Pairs, int, int]]) -> _Pairs:
        rows = [
            (start + int(i), other + int(j), round(float(similarity), 4))
            for pairs, start, other in parts
            for i, j, similarity in zip(pairs.first, pairs.second, pairs.similarity, strict=True)
        ]
        named = [
            (*sorted((paths[i], paths[j])), similarity)
            for i, j, similarity in rows
            if looks[i].digest != looks[j].digest
        ]
        return tuple(sorted(named, key=lambda pair: (-pair[2], pair)))

    return (
        named([(found.known, start, other) for found, start, other in parts]),
        named([(found.unsure, start, other) for found, start, other in parts]),
    )


@dataclass(frozen=True)
class _Look:
    """side: the shorter one, pixels. digest: of the shape and the pixels.

    image: uint8, (1, 64, 64, 3), as it looks once it is brought to the data set's size.
    """

    side: int
    constant: bool
    gray: bool
    digest: bytes
    image: np.ndarray


def _look(path: Path, size: int) -> _Look | UserError:
    try:
        whole = open_rgb(path, size)
    except UserError as problem:
        return problem
    pixels = np.asarray(whole)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return _Look(
        side=min(pixels.shape[:2]),
        constant=bool((pixels == pixels[0, 0]).all()),
        gray=bool((pixels == pixels[..., :1]).all()),
        digest=digest.digest(),
        image=thumbnails(to_square(whole, size)[None]),
    )


def _places(listing: Listing) -> dict[str, tuple[str, str]]:
    """Of each image its split, "" where the data set is not split, and its class."""
    return {
        path: (SPLITS[split] if listing.is_split else "", listing.classes[label])
        for path, split, label in zip(listing.paths, listing.splits, listing.labels, strict=True)
    }


def _section(heading: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return [_line(heading, len(lines) or "none"), *(_line("", line) for line in lines)]


def _line(heading: str, what: object) -> str:
    return f"{heading:<{COLUMN}}{what}"
