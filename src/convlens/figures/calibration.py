"""Picture of calibration: how often a network is right when it says how sure it is."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convlens.figures.style import BLUE, GRAY, VERMILION, new_figure, space, styled


@styled
def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, error: float
) -> Figure:
    """Reliability diagram: accuracy against confidence, above how many images each bin holds.

    confidence, accuracy: shape (bins,), 0..1, NaN in empty bins. count: shape (bins,), images.
    error: expected calibration error, 0..1.
    """
    bins = len(count)
    centers, width = (np.arange(bins) + 0.5) / bins, 0.92 / bins
    figure = new_figure(height=4.0, width=4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=(0, (2, 1.5)))
    above.bar(centers, accuracy, width, color=BLUE, alpha=0.85, label="share that is right")
    above.plot(
        centers,
        confidence,
        "_",
        color=VERMILION,
        markersize=9,
        markeredgewidth=2,
        label="mean probability of the answer",
    )
    above.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        ylabel="share of the images in the bin",
        title=f"Expected calibration error {100 * error:.1f} %\n"
        "bars above the line: too modest, below it: too sure",
    )
    figure.legend(loc="outside lower center", ncols=2)
    below.bar(centers, count, width, color=GRAY)
    below.set(xlabel="probability of the answer", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    space(figure, hspace=0.08)  # between the two axes' outermost labels
    return figure
