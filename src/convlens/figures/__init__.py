"""Arrays in, matplotlib `Figure` out; nothing here computes with a model or touches pyplot.

Figures are drawn for the width of an A4 page. `save` writes one as PNG.
"""

from convlens.figures.attribution import Places, attribution, occlusion
from convlens.figures.calibration import reliability
from convlens.figures.features import embedding, feature_visualization, invariance, neighbors
from convlens.figures.label_errors import LABELS_A_PAGE, label_errors
from convlens.figures.layers import activations, filters, kernels, layers, sorted_activations
from convlens.figures.mistakes import confusion, per_class, worst
from convlens.figures.near_duplicates import PAIRS_A_PAGE, near_duplicates
from convlens.figures.patches import deconvolution, growth, patches
from convlens.figures.style import save, to_png
from convlens.figures.training import batch, compare, learning_curves
from convlens.figures.tuning import Coordinate, tuning

__all__ = [
    "LABELS_A_PAGE",
    "PAIRS_A_PAGE",
    "Coordinate",
    "Places",
    "activations",
    "attribution",
    "batch",
    "compare",
    "confusion",
    "deconvolution",
    "embedding",
    "feature_visualization",
    "filters",
    "growth",
    "invariance",
    "kernels",
    "label_errors",
    "layers",
    "learning_curves",
    "near_duplicates",
    "neighbors",
    "occlusion",
    "patches",
    "per_class",
    "reliability",
    "save",
    "sorted_activations",
    "to_png",
    "tuning",
    "worst",
]
