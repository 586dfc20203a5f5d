"""Pictures of the inside of a network: activation maps and first-layer filters."""

import numpy as np
from matplotlib.figure import Figure

from convlens.figures.style import PAGE_WIDTH, VERMILION, bare, cells, new_figure, styled


@styled
def activations(
    image: np.ndarray,
    maps: np.ndarray,
    title: str,
    vmax: float | None = None,
    percentile: float | None = None,
) -> Figure:
    """The input beside all maps of one layer, numbered in raster order, on one common scale.

    image: uint8, shape (H, W, 3). maps: float, shape (C, h, w), as `look.activations` gives them.
    The scale runs from 0 to vmax; without one, to the given percentile (0..100) of all the maps'
    values, else to their maximum; the colour bar says which. Values below 0 are drawn as 0, which
    the colour bar says too. A map that is nowhere above 0 is marked as dead.
    """
    count = len(maps)
    columns = 8 if count <= 64 else 16
    rows = -(-count // columns)
    highest = float(maps.max())
    if vmax is not None:
        source = "given"
    elif percentile is not None:
        vmax = float(np.percentile(maps, percentile))
        source = f"percentile {percentile:g} of all maps"
    else:
        vmax, source = highest, "maximum of all maps"
    vmax = vmax if vmax > 0 else 1.0  # all maps dead: any scale shows them black

    left = 1.5  # inches for the input and the colour bar
    side = (PAGE_WIDTH - left) / columns
    height = max(rows * (side + 0.13) + 0.45, 2.6)
    figure = new_figure(height)
    figure.suptitle(title)
    beside, grid = figure.subfigures(1, 2, width_ratios=(left, PAGE_WIDTH - left))
    axes = beside.subplots(3, 1, height_ratios=(left, 0.12, height - left - 0.5))
    bare(axes[0]).imshow(image, interpolation="nearest")
    axes[0].set_title(f"input, {image.shape[1]}×{image.shape[0]}")
    axes[2].axis("off")

    dead = 0
    for i, ax in enumerate(cells(grid, count, columns)):
        picture = ax.imshow(maps[i], vmin=0, vmax=vmax, cmap="magma", interpolation="nearest")
        ax.set_title(str(i), fontsize=6.5, pad=1.5)
        if maps[i].max() <= 0:
            dead += 1
            ax.set_title(f"{i} dead", fontsize=6.5, pad=1.5, color=VERMILION)
            ax.spines[:].set(visible=True, color=VERMILION)
    grid.get_layout_engine().set(w_pad=0.01, h_pad=0.03, wspace=0.02, hspace=0.02)

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
    return figure


@styled
def filters(weights: np.ndarray) -> Figure:
    """The first layer's filters in colour, numbered in raster order.

    weights: float, shape (out, kh, kw, 3), as `look.first_filters` gives them. One scale for all,
    symmetric about 0: grey is 0, a channel is black at −m and full at m, where m is the largest
    absolute weight; the title states m.
    """
    limit = float(np.abs(weights).max())
    shown = weights / (2 * limit or 1) + 0.5
    count, kh, kw, _ = weights.shape
    columns = 8 if count <= 32 else 16
    rows = -(-count // columns)
    side = PAGE_WIDTH / columns
    figure = new_figure(height=rows * (side * kh / kw + 0.13) + 0.35)
    figure.suptitle(
        f"{count} filters of {kw}×{kh}, one scale: grey is 0, each colour from "
        f"−{limit:.2g} (none) to {limit:.2g} (full)"
    )
    for i, ax in enumerate(cells(figure, count, columns)):
        ax.imshow(shown[i].clip(0, 1), interpolation="nearest")
        ax.set_title(str(i), fontsize=6.5, pad=1.5)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    return figure
