"""What a model sees, as arrays; `look`'s views are made of these, and `figures` draws them.

Those that are given normalized images take any `torch.nn.Module` with 2-D convolutions; those that
are given images as they are decoded take a `Classifier`, which knows how to normalize them.
"""

from convlens.look.arrays.activations import MapStatistics, activations, map_statistics
from convlens.look.arrays.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
    targets,
)
from convlens.look.arrays.deconvolution import deconvolution
from convlens.look.arrays.feature_visualization import Ascent, feature_visualization
from convlens.look.arrays.features import Neighbors, embedding, features, nearest
from convlens.look.arrays.filters import Kernels, composite_filters, first_filters, kernels
from convlens.look.arrays.growth import Growth, growth
from convlens.look.arrays.invariance import Invariance, invariance
from convlens.look.arrays.layers import Field, Layer, layer_table, receptive_field
from convlens.look.arrays.occlusion import Occlusion, occlusion
from convlens.look.arrays.stages import Stage, stages
from convlens.look.arrays.top_patches import (
    Strongest,
    TopPatches,
    crop,
    deepest_local_layer,
    top_activating_patches,
)
from convlens.models.hooks import conv_relu_layers

__all__ = [
    "Ascent",
    "Field",
    "Growth",
    "Invariance",
    "Kernels",
    "Layer",
    "MapStatistics",
    "Neighbors",
    "Occlusion",
    "Stage",
    "Strongest",
    "TopPatches",
    "activations",
    "composite_filters",
    "conv_relu_layers",
    "crop",
    "deconvolution",
    "deepest_local_layer",
    "embedding",
    "feature_visualization",
    "features",
    "first_filters",
    "grad_cam",
    "grad_cam_layer",
    "growth",
    "guided_backprop",
    "integrated_gradients",
    "invariance",
    "kernels",
    "layer_table",
    "map_statistics",
    "nearest",
    "occlusion",
    "receptive_field",
    "stages",
    "targets",
    "top_activating_patches",
]
