"""`convlens data`: check a data set, split one, download one, draw one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from convlens.cli.options import Data, Device, Folder, read, spell
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.logs import say


@dataclass(frozen=True)
class AuditOptions(Reading):
    """Options of `convlens data audit`."""

    data: Data = None
    size: int = 64
    """Side of the decoded images, pixels."""
    out: Folder = None
    """A folder for near-duplicates.csv and label-errors.csv, with pictures of both."""
    run: Annotated[Path | None, arg(metavar="RUN")] = None
    """Have the labels judged by this run, folder of folds or weights file."""
    folds: int = 0
    """Have the labels judged by so many networks, each trained on the others' parts of train/."""
    recipe: str = "quick"
    """What those networks are: a recipe's name or file."""
    device: Device = "auto"


def audit(arguments: Sequence[str]) -> None:
    """Name everything that is wrong with a data set, or worth knowing before trusting a number."""
    options = _judged_by(read(AuditOptions, arguments, "data audit", audit.__doc__))
    from convlens.data import resolve
    from convlens.data.listing import OPTIONS
    from convlens.data.tools.audit import COLUMN
    from convlens.data.tools.audit import audit as look_at

    root, source = resolve(options.data)
    say(f"{'data set':<{COLUMN}}{root} ({source})")
    found = look_at(root, options.size, options)
    say(spell(found.render(), OPTIONS))
    if options.out is not None:
        from convlens.reporting.audit_pages import write_pairs

        for path in write_pairs(found, options.out):
            say(f"{'wrote':<{COLUMN}}{path}")
    if found.problems or (found.unreadable and not options.skip_bad):
        raise UserError(f"{root} is not in order; fix what is listed above")
    if options.run is not None or options.folds:
        _audit_labels(options)


def _judged_by(options: AuditOptions) -> AuditOptions:
    """The options with the data set of the run that judges it; UserError where two would judge."""
    if options.run is not None and options.folds:
        raise UserError(
            "`run` and `folds` do not go together; the labels are judged by a run that there is "
            "or by new ones",
            option=("run", "folds"),
        )
    if options.folds:
        check_least("folds", options.folds, 2)
    if options.run is None:
        return options
    from convlens.training.label_audit import own_data

    data, reading = own_data(options.run, options.data, options.reading)
    return replace(options, data=None if data is None else Path(data), **asdict(reading))


def _audit_labels(options: AuditOptions) -> None:
    """Tell which labels are probably wrong, and write them where that is asked for."""
    from convlens.data.tools.audit import COLUMN
    from convlens.reporting.audit_pages import write_label_errors
    from convlens.training.folds import cross_validate
    from convlens.training.label_audit import audit_labels

    run = options.run
    if run is None:
        usual = Path("runs") / f"audit-{Path(options.recipe).stem}-folds"
        run = usual if options.out is None else options.out / "folds"
        reading = asdict(options.reading)
        asked = {"data": options.data, "device": options.device, **reading}
        cross_validate(options.recipe, options.folds, out=run, **asked)
    found = audit_labels(run, options.data, reading=options.reading, device=options.device)
    say(found.render())
    if options.out is None:
        say(f"{'':<{COLUMN}}--out FOLDER draws them and writes label-errors.csv")
        return
    written = write_label_errors(found, options.out)
    for path in written:
        say(f"{'wrote':<{COLUMN}}{path}")
    if len(written) > 1:
        say(
            f"{'':<{COLUMN}}look at the pictures, delete the rows whose labels are right, then "
            f"`convlens train … --exclude {written[0]}`"
        )


@dataclass(frozen=True)
class SplitOptions(Reading):
    """Options of `convlens data split`."""

    source: Annotated[Positional[Path], arg(metavar="DIR")]
    """A data set that is not split."""
    out: Path
    """The new folder."""
    fraction: float = 0.9
    """Share of each class's images that trains, rounded down."""
    seed: int = 0
    """Of the draw."""


def split(arguments: Sequence[str]) -> None:
    """Copy a folder-per-class data set into train/ and validation/, per class and seeded."""
    options = read(SplitOptions, arguments, "data split", split.__doc__)
    from convlens.data.tools.split import write_split

    written = write_split(options.source, options.out, options.fraction, options.seed, options)
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
