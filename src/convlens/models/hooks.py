"""The outputs of a network's inner layers, taken by forward hooks that are always removed.

Any `torch.nn.Module` with 2-D convolutions works. A layer goes by its module's name, as in
`model.named_modules()`; where one module is used several times in a forward pass (torchvision's
ResNet shares a ReLU), its second use is `name#2`, its third `name#3`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.errors import UserError

NONLINEARITIES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
)

Hook = Callable[[str, nn.Module, tuple, Any], None]


@contextmanager
def hooked(model: nn.Module, hook: Hook) -> Iterator[None]:
    """Within the block, `model` is in evaluation mode and every module call is shown to `hook`.

    hook(layer, module, inputs, output) is called after each module's forward, in the order of
    execution, with the layer's name as this file writes it. On leaving the block, also by an
    exception, the hooks are gone and each module is back in the mode it had.
    """
    calls: dict[str, int] = {}
    modes = {module: module.training for module in model.modules()}
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def forward_hook(module: nn.Module, inputs: tuple, output: object) -> None:
            calls[name] = calls.get(name, 0) + 1
            hook(name if calls[name] == 1 else f"{name}#{calls[name]}", module, inputs, output)

        handles.append(module.register_forward_hook(forward_hook))

    try:
        for name, module in model.named_modules():
            watch(name, module)
        model.eval()
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def image_channels(model: nn.Module) -> int:
    """How many channels the images have that the model reads: 3 colors, or 1 for gray.

    A model that has the attribute `in_channels` says so itself; of another the first 2-D
    convolution, in the order of definition, that reads 1 or 3 channels does.
    """
    said = getattr(model, "in_channels", None)
    read = [m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    return next((count for count in (said, *read) if count in (1, 3)), 3)


def first_convolution(model: nn.Module) -> nn.Conv2d | None:
    """The first 2-D convolution, in the order of definition, that reads as many channels as the
    model's images have."""
    channels = image_channels(model)
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return next((m for m in convolutions if m.weight.shape[1] == channels), None)


def blank_image(model: nn.Module, size: int) -> Tensor:
    """Zeros, shape (1, channels, size, size), of the model's device and dtype."""
    parameter = next(model.parameters(), torch.empty(0))
    shape = (1, image_channels(model), size, size)
    return torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)


def conv_relu_layers(model: nn.Module, size: int = 64) -> list[str]:
    """The layers "after the ReLU" of the 2-D convolutions, in the order of execution.

    A convolution's is the first nonlinearity module executed after it and before the next
    convolution that gives maps, as many as it has; norms, pools and additions may lie between.
    Convolutions without one (the projections on ResNet's shortcuts) are left out. Where no
    convolution has one, because the model's forward calls `F.relu`, the convolutions stand there
    by their own names, and their outputs still have negative values.

    size: side in pixels of the blank image that the model is run on once. UserError where the
    model runs no convolution.
    """
    convolutions: list[str] = []
    nonlinearities: list[str] = []
    channels = 0  # of the convolution whose nonlinearity is still to come; 0 for none

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal channels
        if isinstance(module, nn.Conv2d):
            convolutions.append(layer)
            channels = module.out_channels
        elif not (
            isinstance(module, NONLINEARITIES) and isinstance(output, Tensor) and output.ndim == 4
        ):
            return  # squeeze-excite's nonlinearities, between linear layers, give no maps
        elif output.shape[1] == channels:
            nonlinearities.append(layer)
            channels = 0

    image = blank_image(model, size)
    with hooked(model, hook), torch.no_grad():
        model(image)
    if not convolutions:
        raise UserError(
            f"{type(model).__name__} has no 2-D convolution; choose a convolutional model"
        )
    return nonlinearities or convolutions


class _Enough(Exception):
    """Ends a forward pass of which all that is asked for is known."""


def layer_outputs(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Copies of what the named layers output for `x`, in evaluation mode, on the model's device.

    x: normalized float, shape (N, channels, H, W); moved there. What comes after the last of
    `layers` is not computed. Where gradients are on, each copy hangs on the graph of this pass. ""
    names the model itself. UserError for a layer that the model does not have or does not run.
    """
    outputs: dict[str, Tensor] = {}
    seen: list[str] = []  # all layers, for the error's sentence

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        seen.append(layer)
        if layer in layers and isinstance(output, Tensor):
            # A copy, because an in-place ReLU after this layer would overwrite what we return.
            outputs[layer] = output.clone()
            if layer and outputs.keys() >= set(layers):
                raise _Enough

    with hooked(model, hook), suppress(_Enough):
        model(x.to(next(model.parameters(), x).device))
    for layer in layers:
        if layer not in outputs:
            known = ", ".join(get_close_matches(layer, filter(None, seen), n=10, cutoff=0))
            raise UserError(
                f"{type(model).__name__} has no layer {layer!r} whose output is a tensor; "
                f"choose another, for instance {known}"
            )
    return {layer: outputs[layer] for layer in layers}


def check_maps(layer: str, output: Tensor | np.ndarray, maps: Sequence[int] = ()) -> None:
    """UserError unless the layer's output, (N, C, h, w), is of maps and has those numbers."""
    if output.ndim != 4:
        raise UserError(f"layer {layer} gives no maps; choose a convolution or what follows it")
    check_numbers(maps, output.shape[1], f"layer {layer} has no map")


def check_numbers(numbers: Sequence[int], count: int, none: str) -> None:
    """UserError for a map (or class) that is not among `count`; `none` is "layer x has no map"."""
    for number in numbers:
        if not 0 <= number < count:
            raise UserError(f"{none} {number}; choose from 0 to {count - 1}")


def classifier_of(model: nn.Module, size: int) -> tuple[str, nn.Linear]:
    """The linear layer that decides, with its name: the last one that a forward pass runs.

    size: side in pixels of the blank image that the model is run on once. UserError where the model
    runs no linear layer.
    """
    linear: list[tuple[str, nn.Linear]] = []

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(module, nn.Linear) and isinstance(output, Tensor) and output.ndim == 2:
            linear.append((layer.partition("#")[0], module))

    with hooked(model, hook), torch.no_grad():
        model(blank_image(model, size))
    if not linear:
        raise UserError(
            f"{type(model).__name__} has no linear layer that decides; choose a classifier"
        )
    return linear[-1]
