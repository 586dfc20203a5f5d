"""Pictures of attributions on an image, and of what hiding a part of it does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from convlens.figures.style import PAGE_WIDTH, bare, new_figure, percent, shorten, space, styled

PERCENTILE = 99.5  # of the magnitudes; one bright pixel would leave the rest of a map white

# Paul Tol's "muted" scheme, told apart by color-blind readers too; then gray for all the others.
CLASS_COLORS = (
    "#332288",
    "#DDCC77",
    "#88CCEE",
    "#CC6677",
    "#117733",
    "#AA4499",
    "#44AA99",
    "#882255",
    "#999933",
)
OTHERS = "#DDDDDD"


@dataclass(frozen=True)
class Places:
    """What was recorded at each place of a gray square, in maps of one shape (rows, columns).

    activation: float, of a map. probability: float, 0..1, of the target. predicted: int, the number
    of the most probable class. square: its side, pixels. stride: from one place to the next,
    pixels. `look.arrays.occlusion` says what is where.
    """

    activation: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    square: int
    stride: int


@styled
def attribution(
    image: np.ndarray, maps: Mapping[str, np.ndarray], overlays: Sequence[str], title: str
) -> Figure:
    """The image and beside it each attribution, with its own scale under it.

    image: uint8, shape (H, W, 3). maps: by the name written above each: float, shape (H, W), or
    (3, H, W) or (1, H, W), which is summed over the colors. Those named in `overlays` are at least
    0 and are drawn over the image in gray, from 0 to their maximum; the others on a scale symmetric
    about 0 whose ends are the 99.5th percentile of the magnitudes.
    """
    columns = len(maps) + 1
    figure = new_figure(height=PAGE_WIDTH / columns + 1.8)
    figure.suptitle(title)
    space(figure, h_pad=0.08)  # else the title touches those below it
    axes = figure.subplots(2, columns, height_ratios=(1, 0.05), squeeze=False)
    bare(axes[0, 0]).imshow(image, interpolation="nearest")
    axes[0, 0].set_title(f"input, {image.shape[1]}×{image.shape[0]}\n")
    axes[1, 0].axis("off")
    for (name, values), (ax, below) in zip(maps.items(), axes[:, 1:].T, strict=True):
        values = values.sum(axis=0) if values.ndim == 3 else values
        bare(ax).set_title(name)
        if name in overlays:
            high = float(values.max())
            gray = image.mean(axis=2)
            ax.imshow(gray, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            picture = ax.imshow(
                values, cmap="inferno", vmin=0, vmax=high or 1, alpha=0.6, interpolation="nearest"
            )
            ticks, note, extend = [0, high or 1], "to its maximum", "neither"
        else:
            high = float(np.percentile(np.abs(values), PERCENTILE))
            limit = high or float(np.abs(values).max()) or 1.0
            picture = ax.imshow(
                values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
            )
            ticks, note, extend = [-limit, 0, limit], f"to percentile {PERCENTILE:g}", "both"
        bar = figure.colorbar(
            picture, cax=below, orientation="horizontal", ticks=ticks, extend=extend
        )
        if bar.solids is not None:
            bar.solids.set_alpha(1)
        bar.ax.set_xticklabels([f"{tick:.2g}" if tick else "0" for tick in ticks])
        bar.set_label(note, fontsize=7)
    figure.supxlabel(
        "Red speaks for the target, blue against it, white is 0; Grad-CAM only shows what speaks "
        "for it.\nColors are summed. Each map has the scale below it, so shapes compare, not "
        "strengths.",
        fontsize=7.5,
    )
    return figure


@styled
def occlusion(
    image: np.ndarray,
    places: Places,
    classes: Sequence[str],
    target: str,
    layer: str,
    title: str,
) -> Figure:
    """The image and three maps over the places of the gray square, laid as the image is.

    image: uint8, shape (H, W, 3); one place of the square is outlined on it. classes: the names
    that `places.predicted` numbers. target: name of the class whose probability is shown. layer:
    name of the map whose activation is. At most nine most probable classes have colors of their
    own, the commonest first.
    """
    activation, probability, predicted = places.activation, places.probability, places.predicted
    square, stride = places.square, places.stride
    counts = Counter(predicted.ravel().tolist()).most_common()
    named = [label for label, _ in counts[: len(CLASS_COLORS)]]
    legend_rows = -(-min(len(counts), len(named) + 1) // 3)
    height, width = image.shape[:2]
    figure = new_figure(height=PAGE_WIDTH / 4 + 1.75 + 0.17 * legend_rows)
    figure.suptitle(title)
    space(figure, h_pad=0.08)  # else the title touches those below it
    axes = figure.subplots(2, 4, height_ratios=(1, 0.05))

    bare(axes[0, 0]).imshow(image, interpolation="nearest")
    corner = ((width - square) / 2 - 0.5, (height - square) / 2 - 0.5)
    for color, line in ("black", 2.2), ("white", 1.0):  # seen on dark and on bright
        axes[0, 0].add_patch(
            Rectangle(corner, square, square, fill=False, edgecolor=color, linewidth=line)
        )
    axes[0, 0].set_title(f"input, {width}×{height}, and the\nsquare, {square}×{square}")
    axes[1, 0].axis("off")
    axes[1, 3].axis("off")

    low, high = float(activation.min()), float(activation.max())
    high = high if high > low else low + 1  # nothing changes it: any scale shows so
    panels = (
        (
            axes[:, 1],
            activation,
            (low, high),
            "magma",
            f"activation of {layer}\nsummed over the map",
            "from its minimum to its maximum",
        ),
        (
            axes[:, 2],
            probability,
            (0.0, 1.0),
            "viridis",
            f"probability of the target\n{shorten(target, 24)}",
            f"{percent(probability.min(), 1)} to {percent(probability.max(), 1)} here",
        ),
    )
    for (ax, below), values, ends, scale, name, note in panels:
        picture = _draw(ax, values, image, stride, vmin=ends[0], vmax=ends[1], cmap=scale)
        ax.set_title(name)
        bar = figure.colorbar(picture, cax=below, orientation="horizontal", ticks=list(ends))
        bar.ax.set_xticklabels([f"{tick:z.4g}" for tick in ends])
        bar.set_label(note, fontsize=7)

    colors = np.full((*predicted.shape, 3), to_rgb(OTHERS))
    for label, color in zip(named, CLASS_COLORS, strict=False):
        colors[predicted == label] = to_rgb(color)
    _draw(axes[0, 3], colors, image, stride)
    axes[0, 3].set_title("most probable class\n(colors below)")
    patches = [
        Patch(color=color, label=f"{shorten(classes[int(label)], 24)}, {n}")
        for (label, n), color in zip(counts, CLASS_COLORS, strict=False)
    ]
    rest = sum(n for _, n in counts[len(named) :])
    if rest:
        patches.append(Patch(color=OTHERS, label=f"{len(counts) - len(named)} others, {rest}"))
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(patches), 3),
        title=f"Most probable class, and at how many of the square's {predicted.size} places",
        title_fontsize=7.5,
    )
    return figure


def _draw(
    ax: Axes, values: np.ndarray, image: np.ndarray, stride: int, **options: Any
) -> AxesImage:
    """`values`, a cell for each place, laid over the pixels that the cells stand for."""
    height, width = image.shape[:2]
    rows, columns = values.shape[:2]
    extent = (-0.5, columns * stride - 0.5, rows * stride - 0.5, -0.5)
    picture = bare(ax).imshow(values, extent=extent, interpolation="nearest", **options)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # the last cells may reach beyond
    return picture
