"""The one style of all figures, and how a figure is written to disk."""

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from PIL import Image

from convlens.escape import visible
from convlens.figures import fonts
from convlens.files import replacing

# Okabe and Ito 2008 (Color Universal Design): told apart by color-blind readers too.
BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "#6B6B6B"

DOTS_AN_INCH = 150  # of a saved figure
EDGE = 0.1  # inches around what is drawn
BARE = {"Software": None}  # without the version of what wrote it, which changes the bytes
PAGE_WIDTH = 8.0  # inches: an A4 page with narrow margins, so that font sizes are true in print

styled = rc_context(
    {
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.titley": 1.0,  # else every layout looks for ticks above a frame, which none has
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "figure.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "text.parse_math": False,  # a class name may hold a dollar sign
    }
)
"""Decorates each function that draws; a script's own settings neither reach in nor change."""


class ShownFigure(Figure):
    """A figure that shows itself in a notebook, also where pyplot was never imported.

    Its names are drawn with fonts that have their characters; what no font has is a box, of which
    the log tells once.
    """

    def draw(self, renderer: RendererBase) -> None:
        for ax in self.findobj(Axes):
            for axis in (ax.xaxis, ax.yaxis):
                axis.get_ticklabels()  # which are otherwise written only while being drawn
        fonts.fit(self.findobj(Text))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return to_png(self)


def new_figure(height: float, width: float = PAGE_WIDTH) -> Figure:
    """An empty figure, sides in inches, that lays itself out."""
    return ShownFigure(figsize=(width, height), layout="constrained")


def space(figure: Figure | SubFigure, **distances: Any) -> None:
    """Set what the layout keeps between axes: w_pad, h_pad, inches; wspace, hspace, shares."""
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(**distances)


def in_color(pictures: np.ndarray) -> np.ndarray:
    """Pictures, (…, 3) or of gray (…, 1), as (…, 3), for matplotlib gives one channel a palette."""
    return np.broadcast_to(pictures, (*pictures.shape[:-1], 3))


def bare(ax: Axes) -> Axes:
    """`ax` without ticks and frame: for images."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def cells(figure: Figure | SubFigure, count: int, columns: int) -> Iterator[Axes]:
    """Bare axes for `count` pictures in raster order, `columns` to a row."""
    rows = -(-count // columns)
    for i, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        bare(ax).set_visible(i < count)
        if i < count:
            yield ax


def shorten(name: str, length: int) -> str:
    """`name` in one line of at most `length` characters, its middle left out if it is longer."""
    name = visible(name)
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return name[: length - 1 - tail] + "…" + name[len(name) - tail :]


def check_classes(size: int, classes: Sequence[str]) -> None:
    """ValueError unless there is one name for each of `size` classes."""
    if len(classes) != size:
        raise ValueError(f"{size} classes in the array but {len(classes)} class names")


def percent(share: float, digits: int = 0) -> str:
    """A share in 0..1 as "97 %"; NaN as "–"."""
    return "–" if np.isnan(share) else f"{100 * share:.{digits}f} %"


def save(figure: Figure, path: str | Path) -> Path:
    """Write `figure` as PNG of DOTS_AN_INCH; the same figure gives the same bytes.

    The folder is made where it is missing; a file of that name is replaced in one step.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        _write(figure, temporary, dots_an_inch=DOTS_AN_INCH)
    return path


def to_png(figure: Figure) -> bytes:
    """`figure` as PNG for a screen, 100 dots an inch."""
    buffer = io.BytesIO()
    _write(figure, buffer, dots_an_inch=100)
    return buffer.getvalue()


def _write(figure: Figure, target: Path | io.BytesIO, dots_an_inch: int) -> None:
    """What `figure.savefig` with bbox_inches="tight" writes, which lays out and draws all twice."""
    before = figure.canvas, figure.dpi
    try:
        figure.dpi = dots_an_inch
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))
        tight = figure.get_tightbbox(canvas.get_renderer())
    finally:
        canvas, figure.dpi = before
        figure.set_canvas(canvas)
    x0, y0, x1, y1 = dots_an_inch * tight.extents
    if min(x0, y0) < 0 or x1 > drawn.width or y1 > drawn.height:  # some of it was not drawn
        figure.savefig(target, format="png", dpi=dots_an_inch, bbox_inches="tight", metadata=BARE)
        return
    edge = dots_an_inch * EDGE
    box = (x0 - edge, drawn.height - y1 - edge, x1 + edge, drawn.height - y0 + edge)
    left, top, right, bottom = map(round, box)
    picture = Image.new("RGBA", (right - left, bottom - top), "white")
    picture.paste(drawn, (-left, -top))
    picture.save(target, format="png", dpi=(dots_an_inch, dots_an_inch))
