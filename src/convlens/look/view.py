"""A view: what was seen of a network, as arrays, and the picture of them."""

import csv
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from convlens import figures
from convlens.files import replacing
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
        name: What its files are called, without a suffix: "filters-relu2-map3-60". Another image,
            layer, target or choice of maps has another name.
        arrays: What was computed, by name.
        draw: Makes the figure of it.
        table: Numbers that are saved beside the picture.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    draw: Callable[[], Figure] = field(repr=False)
    table: Table | None = field(default=None, repr=False)

    def plot(self) -> Figure:
        """A new matplotlib figure of the arrays, sized for an A4 page."""
        return self.draw()

    def save(self, folder: Path | str = ".") -> list[Path]:
        """Write `name`.png, and `name`.csv where there is a table; returns the files written.

        The folder is made where it is missing; files of these names are replaced.
        """
        folder = Path(folder)
        written = [figures.save(self.plot(), folder / f"{self.name}.png")]
        if self.table is not None:
            written.append(folder / f"{self.name}.csv")
            with (
                replacing(written[-1]) as temporary,
                open(temporary, "w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.writer(file)
                writer.writerow(self.table.header)
                writer.writerows(self.table.rows)
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
        summary = html.escape(f"{self.name}.csv")
        return f"{shown}<details{unfolded}><summary>{summary}</summary>{numbers}</details>"
