"""A network as a short list of steps that a browser can compute: what `page/forward.js` runs.

The steps are read from one forward pass, so that they are those of the network as it is, whoever
wrote it. A step is {op, inputs, shape, layer, …}: value 0 is the image, value i + 1 what step i
gives, of that shape without the batch. Numbers of weights go apart, in one array.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convlens.explorer.network import Network
from convlens.models.hooks import blank_image
from convlens.models.trace import Step, place_of, trace

# What changes neither numbers nor their order, for one image.
SAME = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "slice", "expand", "alias")
SAME += ("clone", "_to_copy", "detach", "contiguous", "lift_fresh")


class Unknown(Exception):
    """The network computes something that a browser is not told how to; the words say what."""


@dataclass(frozen=True)
class Graph:
    """steps: see this file's first lines; what they call weight, bias, scale and shift is the
    number of a tensor. tensors: float32. stages: of each stage, the value that is shown of it.
    filters: of each stage, the tensor that its filters are; None where it has none."""

    steps: list[dict[str, Any]]
    tensors: list[np.ndarray]
    filters: list[int | None]


def graph_of(network: Network) -> Graph:
    """The steps of a network, for one image. Raises Unknown."""
    found = trace(network.model, blank_image(network.model, network.size))
    builder = _Builder(found.image)
    for step in found.steps:
        builder.add(step)
    last = found.layers.get("")
    if last is None or builder.values.get(id(last)) != len(builder.steps):
        raise Unknown("what it does after its logits")
    filters: list[int | None] = []
    for number, stage in enumerate(network.stages):
        shown = found.layers.get(stage.name)
        value = None if shown is None else builder.values.get(id(shown))
        if not value:
            raise Unknown(f"the layer {stage.name}")
        builder.steps[value - 1]["stage"] = number
        weight = None
        if stage.convolution is not None:
            module = network.model.get_submodule(stage.convolution.partition("#")[0])
            weight = builder.numbers.get(place_of(module.weight))  # pyright: ignore[reportArgumentType]
        filters.append(weight)
    return Graph(builder.steps, builder.tensors, filters)


class _Builder:
    """The steps so far. values: the number of what each step of the trace gives."""

    def __init__(self, image: Step):
        self.values = {id(image): 0}
        self.steps: list[dict[str, Any]] = []
        self.tensors: list[np.ndarray] = []
        self.numbers: dict[tuple, int] = {}

    def add(self, step: Step) -> None:
        if not any(id(each) in self.values for each in step.inputs):
            return  # of weights alone, as a transposed one: taken where it is read
        if step.operation in SAME:
            (given,) = step.inputs
            if step.value.numel() != given.value.numel():
                raise Unknown(f"the part of a map ({step.operation})")
            self._emit(step, {"op": "reshape"}, [given])
        elif step.operation in OPERATIONS:
            OPERATIONS[step.operation](self, step)
        else:
            raise Unknown(step.operation)

    def _emit(self, step: Step, what: dict[str, Any], inputs: list[Any]) -> None:
        numbers = []
        for each in inputs:
            if not isinstance(each, Step) or id(each) not in self.values:
                raise Unknown(f"{step.operation} with a number that is no map's")
            numbers.append(self.values[id(each)])
        told = {"shape": list(step.value.shape[1:]), "layer": step.layer}
        self.steps.append({**what, **told, "inputs": numbers})
        self.values[id(step)] = len(self.steps)

    def _tensor(self, step: Step | None) -> int | None:
        """The number of a weight; that of a transposed one is the weight's own."""
        if step is None:
            return None
        while step.operation in ("t", "transpose", "alias", "detach"):
            (step,) = step.inputs
        if step.operation != "given":
            raise Unknown("weights that are computed")
        return self._keep(place_of(step.value), step.value)

    def _keep(self, key: tuple, value: Tensor) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.tensors)
            self.tensors.append(value.detach().float().cpu().contiguous().numpy())
        return self.numbers[key]

    def convolution(self, step: Step) -> None:
        given = step.arguments
        if given.get("transposed"):
            raise Unknown("a transposed convolution")
        weight = given["weight"]
        what = {
            "op": "convolution",
            "weight": self._tensor(weight),
            "bias": self._tensor(given.get("bias")),
            "kernel": list(weight.value.shape[2:]),
            "stride": list(given["stride"]),
            "padding": list(given["padding"]),
            "dilation": list(given["dilation"]),
            "groups": given["groups"],
        }
        self._emit(step, what, [given["input"]])

    def norm(self, step: Step) -> None:
        given = step.arguments
        mean, variance, weight, bias = (
            None if given.get(name) is None else given[name].value.double()
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        if mean is None or variance is None:
            raise Unknown("a norm over the image itself")
        scale = (variance + given["eps"]).rsqrt() * (1 if weight is None else weight)
        shift = (0 if bias is None else bias) - mean * scale
        place = place_of(given["running_mean"].value)
        parts = {
            "mean": mean,
            "variance": variance,
            "weight": torch.ones_like(mean) if weight is None else weight,
            "bias": torch.zeros_like(mean) if bias is None else bias,
        }
        about = {name: self._keep((name, *place), part) for name, part in parts.items()}
        what = {
            "op": "norm",
            "scale": self._keep(("scale", *place), scale),
            "shift": self._keep(("shift", *place), shift),
            "about": {**about, "eps": float(given["eps"])},
        }
        self._emit(step, what, [given["input"]])

    def linear(self, step: Step) -> None:
        given = step.arguments
        image, weight = given["mat1" if "mat1" in given else "self"], given["mat2"]
        what = {
            "op": "linear",
            "weight": self._tensor(weight),
            "bias": self._tensor(given["self"]) if "mat1" in given else None,
        }
        transposed = weight.operation in ("t", "transpose")
        plain = given.get("alpha", 1) == 1 == given.get("beta", 1)
        if not (transposed and plain and image.value.ndim == 2):
            raise Unknown("a product of another kind than a linear layer's")
        self._emit(step, what, [image])

    def pool(self, step: Step) -> None:
        given = step.arguments
        largest = step.operation.startswith("max")
        if largest and _pair(given.get("dilation") or 1) != [1, 1]:
            raise Unknown("a pooling of pixels that lie apart")
        if given.get("divisor_override") is not None:
            raise Unknown("a mean over another number than its pixels'")
        what = {
            "op": "max" if largest else "mean",
            "kernel": _pair(given["kernel_size"]),
            "stride": _pair(given.get("stride") or given["kernel_size"]),
            "padding": _pair(given.get("padding") or 0),
            "ceil": bool(given.get("ceil_mode", False)),
            "padded": not largest and bool(given.get("count_include_pad", True)),
        }
        self._emit(step, what, [given["self"]])

    def global_mean(self, step: Step) -> None:
        image = step.arguments["self"]
        dimensions = step.arguments.get("dim") or []
        if image.value.ndim != 4 or sorted(d % 4 for d in dimensions) != [2, 3]:
            raise Unknown("a mean over something else than a map")
        self._emit(step, {"op": "global mean"}, [image])

    def value_by_value(self, step: Step) -> None:
        given = step.arguments
        op = {"mul": "multiply"}.get(step.operation, step.operation)
        inputs = [given["self"], given["other"]] if "other" in given else [given["self"]]
        if given.get("alpha", 1) != 1:
            raise Unknown("a sum with a factor")
        self._emit(step, {"op": op}, inputs)

    def joined(self, step: Step) -> None:
        if step.arguments.get("dim", 0) != 1:
            raise Unknown("maps joined otherwise than one after the other")
        self._emit(step, {"op": "join"}, list(step.arguments["tensors"]))


def _pair(value: Any) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * 2 if len(values) == 1 else values


OPERATIONS = {
    "convolution": _Builder.convolution,
    "native_batch_norm": _Builder.norm,
    "_native_batch_norm_legit_no_training": _Builder.norm,
    "cudnn_batch_norm": _Builder.norm,
    "addmm": _Builder.linear,
    "mm": _Builder.linear,
    "max_pool2d_with_indices": _Builder.pool,
    "avg_pool2d": _Builder.pool,
    "mean": _Builder.global_mean,
    "relu": _Builder.value_by_value,
    "sigmoid": _Builder.value_by_value,
    "add": _Builder.value_by_value,
    "mul": _Builder.value_by_value,
    "cat": _Builder.joined,
}
