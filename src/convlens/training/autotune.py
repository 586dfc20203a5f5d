"""Which algorithm computes each convolution fastest on this machine: measured, kept and printed."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from convlens.errors import UserError
from convlens.models.hooks import blank_image
from convlens.models.layers.convolution import ALGORITHMS, Conv2d
from convlens.models.memory import channels_last
from convlens.recipes.recipe import Recipe
from convlens.training.config import ConvolutionPlan
from convlens.training.device import Machine
from convlens.training.measuring import Measurements, least_seconds

# Another algorithm than the library's must gain this much, so that noise does not choose.
WORTHWHILE = 1.15
ROUNDS = 9
ENOUGH = 0.2  # seconds for a convolution, so that a first start is not much later for it


def choose_algorithms(
    recipe: Recipe,
    num_classes: int,
    machine: Machine,
    processes: int = 1,
    images: int = sys.maxsize,
    seconds: float = math.inf,
) -> ConvolutionPlan:
    """Measure a forward and backward pass of every convolution by each algorithm it has.

    The layers are those of the recipe's network at the sizes of its training images, in the share
    of a batch that each of `processes` takes. Layers for which the library's own is best do not
    appear in the plan.

    Args:
        recipe: Whose network, sizes and batch.
        num_classes: Of the network.
        machine: Where it is measured.
        processes: That train together.
        images: Of the training set; a batch holds no more.
        seconds: After which no other layer is measured; the rest keep the library's own.
    """
    measurements = Measurements(machine.device)
    plan: ConvolutionPlan = {}
    began = time.perf_counter()
    with torch.random.fork_rng([]):  # the weights do not matter, and nobody's draws are disturbed
        model = channels_last(recipe.build(num_classes).to(machine.device))
        batch_size = max(1, min(recipe.batch_size, images) // processes)
        inputs = [
            shapes
            for size in sorted(recipe.training_sizes)
            for shapes in _input_shapes(model, size)
        ]
        for name, layer, shape in inputs:
            channels, height, width = shape
            what = (
                f"convolution {channels}→{layer.out_channels} {layer.kernel_size[0]}×"
                f"{layer.kernel_size[1]}/{layer.stride[0]} padding {layer.padding[0]} on "
                f"{height}×{width}, batch {batch_size}, {machine.precision}"
            )
            choices = layer.choices(height, width)
            late = what not in measurements and time.perf_counter() - began > seconds
            if late or not choices:
                continue
            best = measurements.get(
                what,
                lambda: _fastest(layer, choices, (batch_size, *shape), machine),  # noqa: B023
            )
            if best in choices:
                plan.setdefault(name, {})[f"{height}x{width}"] = best
    measurements.save()
    return plan


def apply_plan(model: nn.Module, plan: ConvolutionPlan) -> None:
    """Have the layers that `plan` names use its algorithms, and all others the library's.

    Raises UserError for a plan that speaks of an algorithm or a map that there is not.
    """
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            module.algorithms = dict(map(_entry, plan.get(name, {}).items()))


def _entry(item: tuple[str, str]) -> tuple[tuple[int, int], str]:
    size, algorithm = item
    height, _, width = size.partition("x")
    if algorithm not in ALGORITHMS or not (height.isdecimal() and width.isdecimal()):
        raise UserError(
            f"the run's `convolutions` name {algorithm} on {size}, which this ConvLens does not "
            "have; start a new run"
        )
    return (int(height), int(width)), algorithm


def _input_shapes(model: nn.Module, size: int) -> list[tuple[str, Conv2d, tuple[int, int, int]]]:
    """Each convolution, by name, and the shape (C, H, W) of its input for images of `size`."""
    shapes: list[tuple[str, Conv2d, tuple[int, int, int]]] = []

    def watched(name: str, layer: Conv2d) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            channels, height, width = inputs[0].shape[1:]
            shapes.append((name, layer, (channels, height, width)))

        return hook

    hooks = [
        module.register_forward_pre_hook(watched(name, module))
        for name, module in model.named_modules()
        if isinstance(module, Conv2d)
    ]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(blank_image(model, size))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return shapes


def _fastest(
    layer: Conv2d, choices: list[str], shape: tuple[int, int, int, int], machine: Machine
) -> str:
    """The fastest of `choices` in a forward and backward pass of `layer`, or "library"."""
    kept = layer.algorithms
    try:
        runs = {name: _pass(layer, name, shape, machine) for name in ["library", *choices]}
        seconds = least_seconds(runs, ROUNDS, ENOUGH)
    finally:
        layer.algorithms = kept
    best = min(choices, key=seconds.__getitem__)
    return best if seconds["library"] > WORTHWHILE * seconds[best] else "library"


def _pass(
    layer: Conv2d, algorithm: str, shape: tuple[int, int, int, int], machine: Machine
) -> Callable[[], None]:
    """A forward and backward pass by an algorithm, in which the layer is left."""
    x = torch.randn(shape, device=machine.device).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(shape[1] > 3)  # the images themselves need no gradient

    def run() -> None:
        layer.algorithms = {} if algorithm == "library" else {shape[2:]: algorithm}
        with machine.autocast():
            y = layer(x)
        # A number's gradient: of a map's, which one has to name, torch looks up the shape with
        # sympy, whose import takes half a second.
        wanted = [t for t in (x, layer.weight) if t.requires_grad]
        torch.autograd.grad(y.square().sum(), wanted)
        if machine.device.type == "cuda":
            torch.cuda.synchronize()

    return run
