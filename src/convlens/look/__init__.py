"""What a model sees: functions that return arrays; `convlens.figures` draws them."""

from convlens.look.activations import MapStatistics, activations, conv_relu_layers, map_statistics
from convlens.look.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
)
from convlens.look.deconvolution import deconvolution
from convlens.look.features import Neighbors, embedding, features, nearest
from convlens.look.filters import Kernels, composite_filters, first_filters, kernels
from convlens.look.growth import Growth, growth
from convlens.look.invariance import Invariance, invariance
from convlens.look.layers import layer_table, receptive_field
from convlens.look.occlusion import Occlusion, occlusion
from convlens.look.feature_visualization import optimized
from convlens.look.top_patches import Patches, Strongest, crop, strongest_patches
from convlens.look.stages import Stage, stages

__all__ = [
    "Growth",
    "Invariance",
    "Kernels",
    "MapStatistics",
    "Neighbors",
    "Occlusion",
    "Patches",
    "Stage",
    "Strongest",
    "activations",
    "composite_filters",
    "conv_relu_layers",
    "crop",
    "deconvolution",
    "embedding",
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
    "optimized",
    "receptive_field",
    "stages",
    "strongest_patches",
]
