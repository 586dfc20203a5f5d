"""What a model sees: functions that return arrays; `convlens.figures` draws them."""

from convlens.look.activations import activations, conv_relu_layers
from convlens.look.filters import first_filters
from convlens.look.layers import layer_table

__all__ = ["activations", "conv_relu_layers", "first_filters", "layer_table"]
