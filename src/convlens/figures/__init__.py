"""Arrays in, matplotlib `Figure` out; nothing here computes with a model or touches pyplot.

Figures are drawn for the width of an A4 page. `save` writes one as PNG.
"""

from convlens.figures.attribution import attribution, occlusion
from convlens.figures.calibration import reliability
from convlens.figures.duplicates import PAIRS_A_PAGE, duplicates
from convlens.figures.features import embedding, invariance, neighbors, optimized
from convlens.figures.layers import activations, filters, kernels, sorted_activations
from convlens.figures.mistakes import confusion, per_class, worst
from convlens.figures.patches import deconvolution, growth, patches
from convlens.figures.style import save
from convlens.figures.training import batch, compare, learning_curves
from convlens.figures.tuning import Coordinate, tuning

__all__ = [
    "PAIRS_A_PAGE",
    "Coordinate",
    "activations",
    "attribution",
    "batch",
    "compare",
    "confusion",
    "deconvolution",
    "duplicates",
    "embedding",
    "filters",
    "growth",
    "invariance",
    "kernels",
    "learning_curves",
    "neighbors",
    "occlusion",
    "optimized",
    "patches",
    "per_class",
    "reliability",
    "save",
    "sorted_activations",
    "tuning",
    "worst",
]
