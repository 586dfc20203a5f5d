"""A network as a reader would draw it: its layers in true order of the data, each at its result.

A stage is what a convolution or a linear layer gives after its norm and nonlinearity, or what a
pooling gives. What stands between one stage and the next (norms, the projection on a shortcut) is
counted with the next, so that parameters and multiply-adds add up to the whole network's.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from convlens.look.arrays.layers import ADAPTIVE_POOLS, POOLS, Field, layer_table, receptive_fields
from convlens.models.hooks import NONLINEARITIES, blank_image, conv_relu_layers, hooked


@dataclass(frozen=True)
class Stage:
    """A layer at its result.

    name: the layer whose output is shown, as in `look.arrays.activations`. kind: "conv 3×3/2,
    ReLU", "max pool 2×2/2", "linear". shape: (C, h, w) or (features,). field: None where a unit
    reads the whole image. parameters, multiply_adds: since the stage before. convolution: the layer
    whose filters made the maps; None for a pooling or a linear layer.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    field: Field | None
    parameters: int
    multiply_adds: int
    convolution: str | None


def stages(model: nn.Module, size: int = 64) -> list[Stage]:
    """The stages of `model`, run once on a blank image of `size` pixels.

    Where several convolutions end in one nonlinearity (a residual block's main path and its
    projection), the one with the most multiply-adds is named. UserError where the model runs no
    convolution.
    """
    rows = {row.name: row for row in layer_table(model, size)}
    after_convolution = set(conv_relu_layers(model, size))
    found: list[Stage] = []
    counted: set[nn.Parameter] = set()
    executed: list[str] = []  # layers with a row, since the last stage
    parameters = 0  # since the last stage
    linear: tuple[str, Tensor] | None = None  # one whose nonlinearity may still come

    def close(layer: str, output: Tensor, nonlinearity: nn.Module | None = None) -> None:
        nonlocal parameters, linear
        made = [rows[name] for name in executed]
        main = rows[layer] if layer in rows else max(made, key=lambda row: row.multiply_adds)
        kind = main.kind
        if nonlinearity is not None:
            kind += f", {type(nonlinearity).__name__}"
        multiply_adds = sum(row.multiply_adds for row in made)
        filters = main.name if main.kind.startswith("conv") else None
        shape = tuple(output.shape[1:])
        found.append(Stage(layer, kind, shape, None, parameters, multiply_adds, filters))
        executed.clear()
        parameters, linear = 0, None

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal parameters, linear
        if linear and layer in rows:
            close(*linear)
        own = set(module.parameters(recurse=False)) - counted
        counted.update(own)
        parameters += sum(p.numel() for p in own)
        if layer in rows:
            executed.append(layer)
        if not isinstance(output, Tensor) or output.dim() not in (2, 4):
            return
        if layer in after_convolution:
            close(layer, output, module if isinstance(module, NONLINEARITIES) else None)
        elif isinstance(module, (*POOLS, *ADAPTIVE_POOLS)):
            close(layer, output)
        elif isinstance(module, nn.Linear):
            linear = layer, output
        elif linear and isinstance(module, NONLINEARITIES):
            close(layer, output, module)

    with hooked(model, hook), torch.no_grad():
        model(blank_image(model, size))
    if linear:
        close(*linear)
    fields = receptive_fields(model, [stage.name for stage in found], size)
    return [replace(stage, field=fields[stage.name]) for stage in found]
