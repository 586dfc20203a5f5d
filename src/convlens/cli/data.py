"""`convlens data`: check a data set, split one, download one, draw one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from convlens.cli.options import Data, Folder, SkipBad, read, spell
from convlens.errors import UserError
from convlens.logs import say


@dataclass(frozen=True)
class AuditOptions:
    """Options of `convlens data audit`."""

    data: Data = None
    size: int = 64
    """Side of the decoded images, pixels."""
    skip_bad: SkipBad = False
    out: Folder = None
    """A folder for duplicates.csv and pictures of the pairs."""


def audit(arguments: Sequence[str]) -> None:
    """Name everything that is wrong with a data set, or worth knowing before trusting a number."""
    options = read(AuditOptions, arguments, "data audit", audit.__doc__)
    from convlens.data import resolve
    from convlens.data.sources import OPTIONS
    from convlens.data.tools.audit import COLUMN
    from convlens.data.tools.audit import audit as look_at

    root, source = resolve(options.data)
    say(f"{'data set':<{COLUMN}}{root} ({source})")
    found = look_at(root, options.size, options.skip_bad)
    say(spell(found.render(), OPTIONS))
    if options.out is not None:
        from convlens.reporting.near_duplicate_pages import write_pairs

        for path in write_pairs(found, options.out):
            say(f"{'wrote':<{COLUMN}}{path}")
    if found.problems or (found.unreadable and not options.skip_bad):
        raise UserError(f"{root} is not in order; fix what is listed above")


@dataclass(frozen=True)
class SplitOptions:
    """Options of `convlens data split`."""

    source: Annotated[Positional[Path], arg(metavar="DIR")]
    """A data set that is not split."""
    out: Path
    """The new folder."""
    fraction: float = 0.9
    """Share of each class's images that trains, rounded down."""
    seed: int = 0
    """Of the draw."""
    skip_bad: SkipBad = False


def split(arguments: Sequence[str]) -> None:
    """Copy a folder-per-class data set into train/ and validation/, per class and seeded."""
    options = read(SplitOptions, arguments, "data split", split.__doc__)
    from convlens.data.tools.split import write_split

    written = write_split(
        options.source, options.out, options.fraction, options.seed, options.skip_bad
    )
    say(f"wrote      {written}")


@dataclass(frozen=True)
class FetchOptions:
    """Options of `convlens data fetch`."""

    name: Positional[Literal["caltech101"]]
    """Which data set."""
    out: Path = Path("data/caltech101-64")
    """The new folder."""
    size: int = 64
    """Side of the images, pixels."""


def fetch(arguments: Sequence[str]) -> None:
    """Download a public data set (137 MB), check it, scale it and split it 90/10."""
    options = read(FetchOptions, arguments, "data fetch", fetch.__doc__)
    from convlens.data.tools.fetch import fetch_caltech101

    say(f"wrote      {fetch_caltech101(options.out, size=options.size)}")


@dataclass(frozen=True)
class DemoOptions:
    """Options of `convlens data demo`."""

    out: Path = Path("data/demo")
    """The new folder."""
    seed: int = 0
    """Of everything random in it."""


def demo(arguments: Sequence[str]) -> None:
    """Make the embedded demo set: 101 classes of warped glyphs on cluttered backgrounds."""
    options = read(DemoOptions, arguments, "data demo", demo.__doc__)
    from convlens.data.tools.demo import make_demo

    say(f"wrote      {make_demo(options.out, options.seed)}")
