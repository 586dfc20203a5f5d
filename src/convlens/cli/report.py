"""`convlens report` and `reproduce`: everything that is quoted, measured again and handed over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from convlens.cli.options import Data, read
from convlens.data.reading import Reading
from convlens.logs import say


@dataclass(frozen=True)
class ReportOptions(Reading):
    """Options of `convlens report`."""

    results: Path = Path("results")
    """The folder that `reproduce` filled."""
    weights: Path = Path("weights")
    """The folder of the trained networks."""
    data: Data = None
    out: Path = Path("notebooks")
    """The folder for assignment2.ipynb, .html and .pdf."""


def report(arguments: Sequence[str]) -> None:
    """Execute the assignment's notebook and export it to HTML and PDF."""
    options = read(ReportOptions, arguments, "report", report.__doc__)
    from convlens.reporting.notebook import report as make

    made = make(
        options.results, options.weights, options.data, options.out, reading=options.reading
    )
    for path in made:
        say(f"wrote      {path}")


def reproduce(arguments: Sequence[str]) -> None:
    """Train every recipe that the README quotes and collect what was measured.

    Finished runs are not repeated and cut ones are resumed.
    """
    from convlens.reproduce import ReproduceOptions
    from convlens.reproduce import reproduce as collect

    @dataclass(frozen=True)
    class Asked:
        """Options of `convlens reproduce`."""

        options: Annotated[ReproduceOptions, arg(name="")]
        names: Annotated[Positional[tuple[str, ...]], arg(metavar="RECIPE …")] = ()
        """Recipes; all if none is given."""

    asked = read(Asked, arguments, "reproduce", reproduce.__doc__)
    collect(asked.names, asked.options)
    say(f"wrote      {asked.options.results} and {asked.options.weights}")
