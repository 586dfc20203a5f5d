"""One forward pass, operation by operation, with every result: where each number comes from.

What is recorded is what torch computes, below modules and functions alike, so that sums,
concatenations and functions written in a model's `forward` are there like any layer.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from convlens.models.hooks import Hook, hooked

GIVEN = "given"  # in the place of an operation's name


@dataclass(eq=False)
class Step:
    """One operation of a forward pass, or a tensor that none made: the image, a parameter.

    operation: torch's name of it, "convolution", "relu", also where it works in place; GIVEN for a
    tensor that no operation made. function: the operator itself. arguments: by their names in
    torch; tensors among them are steps. value: the result, as it was then; an operation that has
    several is a step for each. layer: the innermost module whose output it is, or "".
    """

    operation: str
    value: Tensor
    function: Any = None
    arguments: dict[str, Any] = field(default_factory=dict)
    layer: str = ""

    @property
    def inputs(self) -> list["Step"]:
        """The steps among its arguments, in their order."""
        flat = [a if isinstance(a, list | tuple) else [a] for a in self.arguments.values()]
        return [each for some in flat for each in some if isinstance(each, Step)]


@dataclass(frozen=True)
class Trace:
    """image: what was given. steps: in the order of execution. layers: the step that each module's
    output is, by the layer's name as in `hooks`."""

    image: Step
    steps: list[Step]
    layers: dict[str, Step]


def trace(model: nn.Module, x: Tensor, watch: Hook | None = None) -> Trace:
    """Run `model` in evaluation mode on normalized images, float (N, channels, H, W).

    watch: called after each module as a hook of `hooks.hooked`.
    """
    recorder = _Recorder()
    image = recorder.step_of(x)
    layers: dict[str, Step] = {}

    def hook(layer: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(output, Tensor):
            step = layers[layer] = recorder.step_of(output)
            step.layer = step.layer or layer
        if watch:
            watch(layer, module, inputs, output)

    # Not in inference mode, in which layers are not taken apart into what they compute.
    with hooked(model, hook), torch.no_grad(), recorder:
        model(x)
    return Trace(image, recorder.steps, layers)


class _Recorder(TorchDispatchMode):
    """Keeps each operation that is run while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.made: dict[tuple, Step] = {}  # by where the tensor lies; steps keep it alive

    def step_of(self, tensor: Tensor) -> Step:
        """What made a tensor."""
        place = place_of(tensor)
        if place not in self.made:
            self.made[place] = Step(GIVEN, tensor.detach())
        return self.made[place]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        names = [argument.name for argument in func._schema.arguments]
        arguments = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        arguments = {
            name: tree_map(lambda a: self.step_of(a) if isinstance(a, Tensor) else a, argument)
            for name, argument in arguments.items()
        }
        for argument in func._schema.arguments:
            changed = arguments.get(argument.name)
            if argument.is_write and isinstance(changed, Step):
                changed.value = changed.value.clone()
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.rstrip("_")
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                step = self.made[place_of(value)] = Step(name, value, func, arguments)
                self.steps.append(step)
        return result


def place_of(tensor: Tensor) -> tuple:
    """Where a tensor lies in memory, the same for every Python object that stands for it."""
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
