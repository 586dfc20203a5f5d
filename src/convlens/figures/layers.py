"""Pictures of the inside of a network: activation maps and filters."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from convlens.figures.style import (
    BLUE,
    GRAY,
    PAGE_WIDTH,
    VERMILION,
    bare,
    cells,
    in_color,
    new_figure,
    shorten,
    space,
    styled,
)


@styled
def activations(
    image: np.ndarray,
    maps: np.ndarray,
    title: str,
    percentile: float | None = None,
) -> Figure:
    """The input beside all maps of one layer, numbered in raster order, on one common scale.

    image: uint8, shape (H, W, 3). maps: float, shape (C, h, w), as `look.arrays.activations` gives
    them. The scale runs from 0 to the given percentile (0..100) of all the maps' values, else to
    their maximum; the color bar says which. Values below 0 are drawn as 0,
    which the color bar says too. A map that is nowhere above 0 is marked as dead.
    """
    figure = new_figure(_maps_height(len(maps)))
    figure.suptitle(title)
    _draw_maps(figure, image, maps, range(len(maps)), percentile)
    return figure


@styled
def sorted_activations(
    image: np.ndarray,
    maps: np.ndarray,
    numbers: Sequence[int],
    mean: np.ndarray,
    maximum: np.ndarray,
    active: np.ndarray,
    title: str,
) -> Figure:
    """The input beside maps of one layer in the order given, above what each of them does.

    image: uint8, shape (H, W, 3). maps: float, shape (M, h, w); (M, 1, 1) of a linear layer.
    numbers: of the maps, written above them. mean, maximum, active: (M,), as
    `look.arrays.map_statistics` gives them. The scale is that of `activations`, up to percentile
    99.5.
    """
    height = _maps_height(len(maps))
    figure = new_figure(height + 1.7)
    figure.suptitle(title)
    above, below = figure.subfigures(2, 1, height_ratios=(height, 1.7), squeeze=False).flat
    _draw_maps(above, image, maps, numbers, 99.5)
    left, right = below.subplots(1, 2)
    places = np.arange(len(maps))
    left.bar(places, mean, width=1.0, color=BLUE, label="mean")
    left.plot(places, maximum, ".", markersize=2.5, color=VERMILION, label="maximum")
    left.set(ylabel="activation")
    left.legend(loc="upper right")
    right.bar(places, 100 * active, width=1.0, color=GRAY)
    right.set(ylabel="units above 0, %", ylim=(0, 100))
    for ax in left, right:
        ax.set(xlabel="maps, in the order above", xlim=(-0.5, len(maps) - 0.5), xticks=[])
    return figure


def _columns(count: int) -> int:
    return 8 if count <= 64 else 16 if count <= 256 else 32


MARGIN = 1.5  # inches, left of the maps, for the input and the color bar


def _maps_height(count: int) -> float:
    """Inches that the maps take."""
    columns = _columns(count)
    rows = -(-count // columns)
    return max(rows * ((PAGE_WIDTH - MARGIN) / columns + 0.13) + 0.45, 2.6)


def _draw_maps(
    figure: Figure | SubFigure,
    image: np.ndarray,
    maps: np.ndarray,
    numbers: Sequence[int],
    percentile: float | None,
) -> None:
    """The input, the color bar and what there is to say beside the numbered maps."""
    count = len(maps)
    highest = float(maps.max())
    if percentile is not None:
        vmax = float(np.percentile(maps, percentile))
        source = f"percentile {percentile:g} of all maps"
    else:
        vmax, source = highest, "maximum of all maps"
    vmax = vmax if vmax > 0 else 1.0  # all maps dead: any scale shows them black

    widths = (MARGIN, PAGE_WIDTH - MARGIN)
    beside, grid = figure.subfigures(1, 2, width_ratios=widths, squeeze=False).flat
    rest = _maps_height(count) - MARGIN - 0.5
    axes = beside.subplots(3, 1, height_ratios=(MARGIN, 0.12, rest))
    bare(axes[0]).imshow(image, interpolation="nearest")
    axes[0].set_title(f"input, {image.shape[1]}×{image.shape[0]}")
    axes[2].axis("off")

    dead, picture = 0, None
    columns = _columns(count)
    says = " dead" if columns < 32 else ""  # in narrow cells the color says it alone
    for number, one, ax in zip(numbers, maps, cells(grid, count, columns), strict=True):
        picture = ax.imshow(one, vmin=0, vmax=vmax, cmap="magma", interpolation="nearest")
        ax.set_title(str(number), fontsize=6.5, pad=1.5)
        if one.max() <= 0:
            dead += 1
            ax.set_title(f"{number}{says}", fontsize=6.5, pad=1.5, color=VERMILION)
            ax.spines[:].set(visible=True, color=VERMILION)
    space(grid, w_pad=0.01, h_pad=0.03, wspace=0.02, hspace=0.02)

    assert picture is not None  # a layer has a map
    bar = figure.colorbar(
        picture,
        cax=axes[1],
        orientation="horizontal",
        ticks=[0, vmax],
        extend="max" if highest > vmax else "neither",
    )
    bar.ax.set_xticklabels(["0", f"{vmax:.3g}"])
    notes = [f"{count} maps of {maps.shape[2]}×{maps.shape[1]}", "one scale for all:", source]
    if maps.min() < 0:
        notes.append("below 0 drawn as 0")
    if dead:
        notes.append(f"{dead} dead (nowhere above 0)")
    bar.set_label("\n".join(notes), fontsize=7)


@styled
def layers(
    names: Sequence[str], parameters: np.ndarray, multiply_adds: np.ndarray, title: str
) -> Figure:
    """What each layer costs, in the order of execution: a bar for its parameters, one for its work.

    names: L. parameters, multiply_adds: int, (L,), the latter for one image.
    """
    figure = new_figure(height=0.17 * len(names) + 1.0)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_yticks(range(len(names)), [shorten(name, 30) for name in names])
    left.set_ylim(len(names) - 0.4, -0.6)
    for ax, values, color, label in (
        (left, parameters, BLUE, "parameters, thousands"),
        (right, multiply_adds, VERMILION, "multiply-adds, thousands"),
    ):
        ax.barh(range(len(names)), values / 1e3, height=0.7, color=color)
        ax.set_xlabel(label)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter("{x:,.0f}" if values.max() >= 5e3 else "{x:g}")
    return figure


@styled
def filters(weights: np.ndarray, numbers: Sequence[int] | None = None, title: str = "") -> Figure:
    """Filters in color, with their numbers; without `numbers` those of the raster order.

    weights: float, shape (out, kh, kw, 3), or (out, kh, kw, 1) of gray, as
    `look.arrays.first_filters` and `look.arrays.composite_filters` give them. title: stands above
    what the scale is. One scale for all, symmetric about 0: gray is 0, a channel is black at −m and
    full at m, where m is the largest absolute weight; the title states m.
    """
    limit = float(np.abs(weights).max())
    shown = in_color(weights / (2 * limit or 1) + 0.5)
    count, kh, kw, channels = weights.shape
    columns = 8 if count <= 32 else 16
    rows = -(-count // columns)
    side = PAGE_WIDTH / columns
    figure = new_figure(height=rows * (side * kh / kw + 0.13) + 0.35 + 0.3 * bool(title))
    low = f"−{limit:.2g}" if limit else "0"
    scale = f"each color from {low} (none) to {limit:.2g} (full)"
    if channels == 1:
        scale = f"black {low}, white {limit:.2g}"
    figure.suptitle(f"{title}\n{count} filters of {kw}×{kh}, one scale: gray is 0, {scale}".strip())
    for i, ax in enumerate(cells(figure, count, columns)):
        ax.imshow(shown[i].clip(0, 1), interpolation="nearest")
        ax.set_title(str(i if numbers is None else numbers[i]), fontsize=6.5, pad=1.5)
    space(figure, w_pad=0.02, h_pad=0.02)
    return figure


@styled
def kernels(
    composites: np.ndarray,
    weights: np.ndarray,
    inputs: np.ndarray,
    maps: Sequence[int],
    title: str,
) -> Figure:
    """For each map its filter in color and the kernels that it is put together from.

    composites: float, (M, h, w, 3), as `look.arrays.composite_filters` gives them. weights: float,
    (M, k, kh, kw), and inputs: (M, k), as `look.arrays.kernels` does. maps: their M numbers. Every
    composite has a scale of its own, symmetric about gray, 0; a map's kernels share one, symmetric
    about white, 0, red above it. The ends of both are the largest absolute value.
    """
    columns = 2 if len(maps) > 1 else 1
    rows, shown = -(-len(maps) // columns), weights.shape[1]
    side = PAGE_WIDTH / (2 * (shown + 1.6))
    figure = new_figure(rows * (1.5 * side + 0.15) + 0.75, PAGE_WIDTH * columns / 2)
    figure.suptitle(title)
    grid = figure.subfigures(rows, columns, squeeze=False).flat
    for i, (number, cell) in enumerate(zip(maps, grid, strict=False)):
        axes = cell.subplots(1, shown + 1, width_ratios=(1.5, *[1] * shown))
        limit = float(np.abs(composites[i]).max())
        scaled = in_color(composites[i] / (2 * limit or 1) + 0.5).clip(0, 1)
        bare(axes[0]).imshow(scaled, interpolation="nearest")
        axes[0].set_title(f"map {number}", fontsize=7.5, pad=2)
        limit = float(np.abs(weights[i]).max()) or 1.0
        for ax, kernel, source in zip(axes[1:], weights[i], inputs[i], strict=True):
            bare(ax).imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            ax.spines[:].set(visible=True, color=GRAY, linewidth=0.5)
            ax.set_title(f"of {source}", fontsize=6.5, pad=2)
    space(figure, w_pad=0.02, h_pad=0.03, wspace=0.02)
    return figure
