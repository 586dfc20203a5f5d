"""What a model sees: functions that return arrays; `convlens.figures` draws them."""

from convlens.look.activations import activations, conv_relu_layers
from convlens.look.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
)
from convlens.look.deconvolution import deconvolution
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table, receptive_field
from convlens.look.occlusion import Occlusion, occlusion
from convlens.look.patches import Patches, crop, strongest_patches

__all__ = [
    "Occlusion",
    "Patches",
    "activations",
    "conv_relu_layers",
    "crop",
    "deconvolution",
    "first_filters",
    "grad_cam",
    "grad_cam_layer",
    "guided_backprop",
    "integrated_gradients",
    "layer_table",
    "occlusion",
    "receptive_field",
    "strongest_patches",
]
