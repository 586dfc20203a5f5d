"""The sum behind a unit: from the numbers that it reads to the number in its map, step by step.

A unit's number is a small tree of terms. Its root is what the map shows; its leaves are numbers of
the stages before (or pixels), and between them stands all that the network computes: the products
of a window and a kernel, the norm, what a shortcut adds, the nonlinearity.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from convlens.models.trace import GIVEN, Step

SHOWN = 9  # input maps of a convolution whose windows are told, those that add most
FEATURES = 10  # of a linear layer's inputs, those that add most

Index = tuple[int, ...]

# Operations that compute nothing: each number of the result is one of the input's, or a constant.
SHAPES = ("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "expand")
ORDERS = ("permute", "transpose", "t", "flip", "roll", "pixel_shuffle", "upsample_nearest2d")
PLACES = ("slice", "select", "cat", "stack", "clone", "alias", "detach", "contiguous")
PADS = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d")
MOVES = frozenset((*SHAPES, *ORDERS, *PLACES, *PADS))
FUNCTIONS = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "_prelu_kernel": "PReLU",
    "hardtanh": "ReLU6",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "mish": "Mish",
}
JOINS = {"add": "sum", "mul": "product"}
MARK = 2**40  # above all constants, and exact in float64 with every tensor's places added


@dataclass(frozen=True)
class Term:
    """One step of the way to a unit's number.

    kind: what made it, see `explain`. value: the number, as the network computed it. about: what
    there is to say of it, by name. parts: the terms that it is computed from.
    """

    kind: str
    value: float
    about: dict[str, Any] = field(default_factory=dict)
    parts: tuple["Term", ...] = ()


def explain(step: Step, unit: Sequence[int], known: Mapping[Step, str]) -> Term:
    """The number at `unit` of a step's result of one image, back to the numbers that it reads.

    The kinds, with what `about` says of each:

    - "value": a number of one of the steps `known`; `stage`, the name, and `unit`.
    - "convolution": `layer`; `bias`; `sums` of products, float64, (channels,); and of the channels
      that add most `inputs`: `window` and `kernel`, float32, (kh, kw), 0 beyond the border, `sum`,
      `channel`, and `stage` and `map` where it is one of a known step. `at`: row and column in the
      input of the window's first number; `step`: rows and columns from one number to the next.
    - "linear": `layer`, `bias`, and of the inputs that add most `inputs`: `value`, `weight`,
      `product`, `feature`, and `stage` and `unit`; `others`, how many, and `rest`, what they add.
    - "maximum", "average": `window`, float32, (kh, kw), NaN beyond the border; `at`, and `stage`
      and `map`; of an average `count`, what the sum is divided by.
    - "norm": (part − `mean`) / √(`variance` + `eps`) · `weight` + `bias`.
    - "sum", "product": of its parts. "function": `name` of its part. "constant".
    - "unknown": `operation`, one that is not told apart.

    Args:
        step: Of a trace of one image.
        unit: (map, row, column), or (feature,).
        known: Where the way back ends, with their names; `step` itself may be among them.
    """
    return _Way(known).term(step, (0, *unit), first=True)


class _Way:
    def __init__(self, known: Mapping[Step, str]):
        self.known = known

    def _moves(self, step: Step) -> bool:
        if step.operation == "as_strided":
            return step.inputs[0].value.shape == step.value.shape
        return step.operation in MOVES

    def term(self, step: Step, index: Index, first: bool = False) -> Term:
        value = float(step.value[index])
        if step in self.known and not first:
            return Term("value", value, {"stage": self.known[step], "unit": index[1:]})
        if step.operation == GIVEN:
            return Term("constant", value)
        if self._moves(step):
            source = moved(step, index)
            return self.term(*source) if source else Term("constant", value)
        tell = TELL.get(step.operation)
        if "batch_norm" in step.operation:
            tell = _Way._norm
        elif step.operation in JOINS:
            tell = _Way._join
        found = tell(self, step, index) if tell else None
        if found is None:
            found = self._function(step, index)
        return Term(found[0], value, found[1], tuple(found[2]))

    def origin(self, step: Step, index: Index) -> dict[str, Any]:
        """The known stage whose number this is, and its unit; nothing where it is none's."""
        while step not in self.known:
            source = moved(step, index) if self._moves(step) else None
            if source is None:
                return {}
            step, index = source
        return {"stage": self.known[step], "unit": index[1:]}

    def _map_of(self, step: Step, channel: int) -> dict[str, Any]:
        """As `origin`, of a channel of a step."""
        found = self.origin(step, (0, channel, 0, 0))
        return {"stage": found["stage"], "map": found["unit"][0]} if found else {}

    def _function(self, step: Step, index: Index) -> "_Told":
        """Of one number of the same place, if it is that."""
        read = [each for each in step.inputs if not self._is_fixed(each)]
        if len(read) == 1 and read[0].value.shape == step.value.shape:
            name = FUNCTIONS.get(step.operation, step.operation.strip("_"))
            return "function", {"name": name}, [self.term(read[0], index)]
        return "unknown", {"operation": step.operation.strip("_")}, []

    def _is_fixed(self, step: Step) -> bool:
        """Whether it is a parameter, or made of nothing else."""
        return step not in self.known and all(map(self._is_fixed, step.inputs))

    def _join(self, step: Step, index: Index) -> "_Told | None":
        if step.arguments.get("alpha", 1) != 1:
            return None
        parts = []
        for name in "self", "other":
            each = step.arguments[name]
            if not isinstance(each, Step):
                parts.append(Term("constant", float(each)))
                continue
            sides = each.value.shape  # of a side of 1 the one number counts for all places
            own = index[len(index) - len(sides) :]
            spread = tuple(i if n > 1 else 0 for i, n in zip(own, sides, strict=True))
            parts.append(self.term(each, spread))
        return JOINS[step.operation], {}, parts

    def _norm(self, step: Step, index: Index) -> "_Told":
        told = {"layer": step.layer, "eps": float(step.arguments["eps"])}
        for name, word, idle in (
            ("running_mean", "mean", 0.0),
            ("running_var", "variance", 1.0),
            ("weight", "weight", 1.0),
            ("bias", "bias", 0.0),
        ):
            each = step.arguments.get(name)
            told[word] = float(each.value[index[1]]) if isinstance(each, Step) else idle
        return "norm", told, [self.term(step.arguments["input"], index)]

    def _convolution(self, step: Step, index: Index) -> "_Told | None":
        given = step.arguments
        if given["transposed"] or step.value.dim() != 4:
            return None
        _, chosen, *place = index
        kernel = given["weight"].value[chosen].detach().cpu().double().numpy()  # (C, kh, kw)
        source, channels = given["input"], len(kernel)
        stride, padding, dilation = (_pair(given[n]) for n in ("stride", "padding", "dilation"))
        at = [p * s - b for p, s, b in zip(place, stride, padding, strict=True)]
        begin = chosen // (len(given["weight"].value) // given["groups"]) * channels
        maps = source.value[0, begin : begin + channels].cpu().double().numpy()
        windows = _windows(maps, at, kernel.shape[1:], dilation, 0.0)
        sums = (windows * kernel).sum(axis=(1, 2))
        order = np.arange(channels)
        if channels > SHOWN:
            order = np.argsort(-np.abs(sums), kind="stable")[:SHOWN]
        inputs = [
            {
                "channel": begin + int(c),
                "window": windows[c],
                "kernel": kernel[c],
                "sum": sums[c],
                **self._map_of(source, begin + int(c)),
            }
            for c in order
        ]
        bias = given["bias"]
        told = {
            "layer": step.layer,
            "bias": float(bias.value[chosen]) if isinstance(bias, Step) else None,
            "sums": sums,
            "inputs": inputs,
            "at": at,
            "step": list(dilation),
        }
        return "convolution", told, []

    def _linear(self, step: Step, index: Index) -> "_Told | None":
        given = step.arguments
        bias = None
        if step.operation == "addmm":
            if (given.get("beta", 1), given.get("alpha", 1)) != (1, 1):
                return None
            source, matrix = given["mat1"], given["mat2"]
            each = given["self"]
            flat = each.value.reshape(-1)
            bias = float(flat[index[1] if len(flat) > 1 else 0])
        else:
            source, matrix = given["self"], given["mat2"]
        read = source.value[index[0]].cpu().double().numpy()
        weights = matrix.value[:, index[1]].detach().cpu().double().numpy()
        products = read * weights
        order = np.argsort(-np.abs(products), kind="stable")[:FEATURES]
        told = {
            "layer": step.layer,
            "bias": bias,
            "inputs": [
                {
                    "feature": int(i),
                    "value": read[i],
                    "weight": weights[i],
                    "product": products[i],
                    **self.origin(source, (0, int(i))),
                }
                for i in order
            ],
            "others": len(products) - len(order),
            "rest": products.sum() - products[order].sum(),
        }
        return "linear", told, []

    def _pool(self, step: Step, index: Index) -> "_Told | None":
        source = step.arguments["self"]
        if source.value.dim() != 4:
            return None
        sides = source.value.shape[2:]
        dilation = (1, 1)
        if "kernel_size" in step.arguments:
            kernel = _pair(step.arguments["kernel_size"])
            stride = _pair(step.arguments.get("stride") or kernel)
            padding = _pair(step.arguments.get("padding", 0))
            dilation = _pair(step.arguments.get("dilation", 1))
            at = [p * s - b for p, s, b in zip(index[2:], stride, padding, strict=True)]
        elif "output_size" in step.arguments:
            out = step.value.shape[2:]
            places = list(zip(index[2:], sides, out, strict=True))
            at = [i * n // o for i, n, o in places]
            kernel = [-(-(i + 1) * n // o) - i * n // o for i, n, o in places]
            padding = (0, 0)
        else:  # over whole maps
            if sorted(d % 4 for d in step.arguments.get("dim") or ()) != [2, 3]:
                return None
            at, kernel, padding = [0, 0], sides, (0, 0)
        maps = source.value[0, index[1]].cpu().double().numpy()[None]
        (window,) = _windows(maps, at, kernel, dilation, math.nan)
        told: dict[str, Any] = {"window": window, "at": at, **self._map_of(source, index[1])}
        if "max" in step.operation:
            return "maximum", told, []
        told["count"] = int(np.isfinite(window).sum())
        if step.arguments.get("count_include_pad", True):
            # What a window overhangs the padding by, with ceil_mode, never counts.
            ways = zip(at, kernel, sides, padding, strict=True)
            told["count"] = math.prod(min(a + k, n + b) - a for a, k, n, b in ways)
        told["count"] = step.arguments.get("divisor_override") or told["count"]
        return "average", told, []


_Told = tuple[str, dict[str, Any], list[Term]]
TELL: dict[str, Callable[[_Way, Step, Index], _Told | None]] = {
    "convolution": _Way._convolution,
    "addmm": _Way._linear,
    "mm": _Way._linear,
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "avg_pool2d",
            "_adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "mean",
            "amax",
        ),
        _Way._pool,
    ),
}


def moved(step: Step, index: Index) -> tuple[Step, Index] | None:
    """Where one of MOVES takes a number of its result from; None where it is a constant.

    It is run again on tensors whose numbers say where they stand.
    """
    if step.operation == "as_strided":  # how an average over maps lies in memory, no more
        return step.inputs[0], index
    marked: list[Step] = []
    start = MARK

    def marks(argument: Any) -> Any:
        nonlocal start
        if isinstance(argument, list | tuple):
            return [marks(each) for each in argument]
        if not isinstance(argument, Step):
            return argument
        count = argument.value.numel()
        places = torch.arange(start, start + count, dtype=torch.float64)
        marked.append(argument)
        start += count
        return places.reshape(argument.value.shape)

    arguments = {name: marks(argument) for name, argument in step.arguments.items()}
    mark = int(step.function(**arguments)[index]) - MARK
    if mark < 0:
        return None
    for source in marked:
        if mark < source.value.numel():
            place = np.unravel_index(mark, source.value.shape)
            return source, tuple(int(i) for i in place)
        mark -= source.value.numel()
    raise AssertionError(step.operation)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _windows(
    maps: np.ndarray, at: Sequence[int], kernel: Sequence[int], step: Sequence[int], beyond: float
) -> np.ndarray:
    """Of maps (C, h, w) the numbers from row and column `at` on, `step` apart: (C, kh, kw).

    beyond: what stands for those over the border.
    """
    found = np.full((len(maps), *kernel), beyond)
    rows, columns = (
        np.arange(count) * each + first for first, count, each in zip(at, kernel, step, strict=True)
    )
    inside = [
        (places >= 0) & (places < side)
        for places, side in zip((rows, columns), maps.shape[1:], strict=True)
    ]
    part = maps[:, rows[inside[0]]][:, :, columns[inside[1]]]
    found[:, inside[0].nonzero()[0][:, None], inside[1].nonzero()[0]] = part
    return found
