"""The weights of convolutions as pictures: the first one's are in color, or gray, as they are.

A deeper convolution reads maps, not colors, so it is shown in two ways. `kernels`: the numbers
themselves, on the input maps where they are largest. `composite_filters`: what a unit would weigh
each pixel by if the network up to it were linear, which the layers before it then make one filter
in color. Zeiler and Fergus 2014 say in section 2 why the plain numbers of deeper layers tell
little; the composition is that of expanded weights (Voss et al. 2021, Visualizing Weights, section
"Expanded Weights"), which ignore what makes a network more than one filter, its nonlinearities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node

from convlens.errors import UserError
from convlens.inference.classifier import images_at_once
from convlens.look.arrays.layers import receptive_field
from convlens.look.arrays.top_patches import crop
from convlens.models.hooks import (
    blank_image,
    check_maps,
    check_numbers,
    first_convolution,
    hooked,
    layer_outputs,
)

# Nodes of autograd's graph whose gradient a composition takes to be the identity.
NONLINEAR_NODES = {
    f"{name}Backward0"
    for name in (
        "Relu",
        "Hardtanh",
        "LeakyRelu",
        "PreluKernel",
        "Elu",
        "Gelu",
        "Silu",
        "Mish",
        "Hardswish",
        "Softplus",
    )
}
MAX_POOL_NODES = {"MaxPool2DWithIndicesBackward0", "MkldnnMaxPool2DBackward0"}


def first_filters(model: nn.Module) -> np.ndarray:
    """Weights of the first convolution as float32, shape (out, kh, kw, 3), channels R, G, B.

    Of a network for gray images the shape is (out, kh, kw, 1). A weight is what it is, of either
    sign; `figures.filters` scales for display. UserError where the model has no convolution that
    reads an image.
    """
    if convolution := first_convolution(model):
        weight = convolution.weight.detach().to("cpu", torch.float32, copy=True)
        return weight.permute(0, 2, 3, 1).contiguous().numpy()
    raise UserError(
        f"{type(model).__name__} has no 2-D convolution that reads 3 channels, so its filters "
        "have no colors to show; choose a convolutional model for RGB images"
    )


@dataclass(frozen=True)
class Kernels:
    """Of M maps of a convolution the kernels on the k input maps where they are strongest.

    convolution: its name. inputs: int64, (M, k): the input maps' numbers, the one whose kernel has
    the largest Euclidean norm first. weights: float32, (M, k, kh, kw).
    """

    convolution: str
    inputs: np.ndarray
    weights: np.ndarray


def kernels(
    model: nn.Module, layer: str, maps: list[int] | tuple[int, ...], count: int = 6, size: int = 64
) -> Kernels:
    """The kernels behind `maps` of a layer, a convolution or what follows one (norm, ReLU, pool).

    Of a sum of two branches, a residual block's, it is the convolution with the fewest steps
    between, and of two the first that is added. size: side in pixels of the image that the model is
    run on once. UserError for a layer without a convolution behind it, or a map it does not have.
    """
    name = _convolution_behind(model, layer, size)
    convolution = model.get_submodule(name.partition("#")[0])
    assert isinstance(convolution, nn.Conv2d)
    check_numbers(maps, convolution.out_channels, f"layer {layer} has no map")
    weight = convolution.weight.detach()[list(maps)].to("cpu", torch.float32)  # (M, C/groups, …)
    weight = weight.numpy()
    strength = np.linalg.norm(weight.reshape(*weight.shape[:2], -1), axis=2)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :count]
    each_group = convolution.out_channels // convolution.groups
    first = np.array(maps)[:, None] // each_group * weight.shape[1]  # input of the map's group
    return Kernels(name, first + order, np.take_along_axis(weight, order[..., None, None], axis=1))


def composite_filters(
    model: nn.Module, layer: str, size: int = 64, batch_size: int | None = None
) -> np.ndarray:
    """Each map's filter on the pixels, as if the layers up to it were linear.

    Every nonlinearity is taken for the identity and every maximum for the mean of its window;
    convolutions, batch norms (a scale of each channel), average pools, sums and concatenations are
    what they are. Such a filter says what a map's weights add up to, not what excites it: for that
    see `top_activating_patches` and `deconvolution`.

    layer: any that gives maps, of which a unit in the middle is taken. size: side of the image that
    the model is run on, pixels. batch_size: maps in a pass, by default `images_at_once`. Returns
    float32, (C, h, w, channels): the receptive field, or the image where it is longer; channels R,
    G, B, or gray alone; of either sign; in the layer's units per unit of the normalized pixels. For
    the first convolution that is `first_filters` but for what follows it. UserError for a layer
    that gives no maps.
    """
    blank = blank_image(model, size)
    with torch.no_grad():
        output = layer_outputs(model, blank, [layer])[layer]
    check_maps(layer, output)
    channels, height, width = output.shape[1:]
    batch_size = batch_size or images_at_once(size, blank.device)
    down, across = height // 2, width // 2
    filters = []
    for start in range(0, channels, batch_size):
        numbers = torch.arange(start, min(start + batch_size, channels), device=blank.device)
        x = blank.repeat(len(numbers), 1, 1, 1).requires_grad_()
        with torch.enable_grad():
            output = layer_outputs(model, x, [layer])[layer]
        unit = torch.zeros_like(output)
        unit[torch.arange(len(numbers)), numbers, down, across] = 1
        _make_linear(output.grad_fn)
        (gradient,) = torch.autograd.grad(output, x, unit)
        filters.append(gradient.permute(0, 2, 3, 1).to("cpu", torch.float32).numpy())
    field = receptive_field(model, layer, size)
    box = field.box(down, across) if field else (0, 0, size, size)
    return np.stack([crop(each, np.array(box), 0) for each in np.concatenate(filters)])


def _make_linear(last: Node | None) -> None:
    """From `last` down, gradients pass nonlinearities unchanged and maxima as means.

    The hooks sit on this graph and are freed with it.
    """
    assert last is not None  # the tensor hangs on a graph
    seen, pending = {last}, [last]
    while pending:
        node = pending.pop()
        if node.name() in NONLINEAR_NODES:
            node.register_hook(lambda inputs, outputs: (outputs[0], *inputs[1:]))
        elif node.name() in MAX_POOL_NODES:
            node.register_hook(_as_mean(node))
        below = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= below
        pending += below


def _as_mean(node: Any) -> Callable[..., tuple[Tensor, ...]]:
    """A hook that replaces the gradient of a maximum pool by that of a mean over its windows."""
    kernel = node._saved_kernel_size
    window = kernel, node._saved_stride or kernel, node._saved_padding, node._saved_ceil_mode

    def hook(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        before = torch.zeros_like(inputs[0], requires_grad=True)
        with torch.enable_grad():
            return torch.autograd.grad(F.avg_pool2d(before, *window), before, outputs[0])

    return hook


def _convolution_behind(model: nn.Module, layer: str, size: int) -> str:
    """The name of the convolution with the fewest steps of autograd's graph before `layer`."""
    convolutions: dict[object, str] = {}
    found: list[Tensor] = []

    def hook(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            convolutions[output.grad_fn] = name
        if name == layer and isinstance(output, Tensor):
            found.append(output)

    image = blank_image(model, size).requires_grad_()
    with hooked(model, hook), torch.enable_grad():
        model(image)
    if not found or found[0].ndim != 4:
        raise UserError(
            f"{type(model).__name__} has no layer {layer!r} that gives maps; choose a convolution, "
            f"for instance {next(iter(convolutions.values()), 'of another model')}"
        )
    level: list[Any] = [found[0].grad_fn]
    seen: set[Any] = set()
    while level:
        for node in level:
            if node in convolutions:
                return convolutions[node]
        seen.update(level)
        below = [n for node in level for n, _ in node.next_functions if n is not None]
        level = [n for n in dict.fromkeys(below) if n not in seen]
    raise UserError(f"layer {layer} has no convolution behind it; choose one, or what follows it")
