"""What a model sees: functions that return arrays; `convlens.figures` draws them."""

from convlens.look.activations import activations, conv_relu_layers
from convlens.look.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
)
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table
from convlens.look.occlusion import Occlusion, occlusion

__all__ = [
    "Occlusion",
    "activations",
    "conv_relu_layers",
    "first_filters",
    "grad_cam",
    "grad_cam_layer",
    "guided_backprop",
    "integrated_gradients",
    "layer_table",
    "occlusion",
]
