"""A view: what was seen of a network, as arrays, and the picture of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from convlens import figures
from convlens.escape import html_text
from convlens.files import on_disk, safe_name, write_csv
from convlens.html import picture, table

ROWS_SHOWN = 40  # of a table in a notebook; a longer one is folded away


@dataclass(frozen=True)
class Table:
    """Numbers beside a picture. header: the columns' names. rows: cells as they are written."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """What was seen of a network, which draws, saves and shows itself.

    Args:
        name: What its files are called, without a suffix: "filters-relu2-map3-60". Another layer,
            target or choice of maps has another name, and so has an image of another class folder
            and name. What a file system does not take in it is replaced, as `safe_name` does.
        arrays: What was computed, by name.
        draw: Makes the figure of it.
        table: Numbers that are saved beside the picture.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    draw: Callable[[], Figure] = field(repr=False)
    table: Table | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_name(self.name))

    def plot(self) -> Figure:
        """A new matplotlib figure of the arrays, sized for an A4 page."""
        return self.draw()

    def save(self, folder: Path | str = ".") -> list[Path]:
        """Write `name`.png, and `name`.csv where there is a table; returns the files written.

        The folder is made where it is missing; files of these names are replaced.
        """
        folder, name = Path(folder), on_disk(self.name)
        written = [figures.save(self.plot(), folder / f"{name}.png")]
        if self.table is not None:
            written.append(folder / f"{name}.csv")
            write_csv(written[-1], [self.table.header, *self.table.rows])
        return written

    def __repr__(self) -> str:
        arrays = (
            f"{name}: {array.dtype}{list(array.shape)}" for name, array in self.arrays.items()
        )
        return f"View({self.name!r}, {', '.join(arrays)})"

    def _repr_png_(self) -> bytes:
        return figures.to_png(self.plot())

    def _repr_html_(self) -> str:
        """The picture, and the table below it, for a notebook."""
        shown = picture(self._repr_png_(), self.name)
        if self.table is None:
            return shown
        unfolded = " open" if len(self.table.rows) <= ROWS_SHOWN else ""
        numbers = table(self.table.header, self.table.rows)
        summary = html_text(f"{self.name}.csv")
        return f"{shown}<details{unfolded}><summary>{summary}</summary>{numbers}</details>"
