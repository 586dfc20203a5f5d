"""The layer table: shape, parameters, multiply-adds and receptive field of each layer.

A unit's receptive field follows from the geometry alone. Along a path of layers with kernel k,
dilation d, stride s and padding p, the first unit's field reaches from pixel a to pixel b, both
inclusive, and the fields of neighboring units lie j apart: a = b = 0 and j = 1 on the image, then
a − p·j, b + ((k − 1)·d − p)·j and j·s (Araujo et al. 2019, Computing Receptive Fields of
Convolutional Neural Networks, eq. 2 and 5). Where paths join, the field reaches over all of
theirs (there, "Arbitrary computation graphs"). The paths are read from autograd's graph, so sums,
concatenations and reshapes written in a model's `forward` are followed like any module. Behind an
upsampling fields are no longer alike and evenly spaced; there the whole image is told.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from convlens.errors import UserError
from convlens.models.hooks import blank_image, hooked

T = TypeVar("T")

POOLS = (nn.MaxPool2d, nn.AvgPool2d)
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
WINDOWED = (nn.Conv2d, nn.Linear, *POOLS, *ADAPTIVE_POOLS)


@dataclass(frozen=True)
class _Window:
    """What a unit reads of the map before it, (down, across) each; an infinite kernel reads all."""

    kernel: tuple[float, float]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)  # above, to the left


WHOLE_MAP = _Window((math.inf, math.inf))

# Functions whose outputs' fields are not alike and evenly spaced; nor are those of a transposed
# convolution. All that can be said of a unit behind them is that it may read the whole map.
UNEVEN = ("Upsample", "PixelShuffle", "AdaptiveAvgPool", "AdaptiveMaxPool")


@dataclass(frozen=True)
class Field:
    """The receptive fields of a layer's units on the image, in pixels, (down, across) each.

    size: of each field, as if the image had no border. stride: between the fields of neighboring
    units. start: first row and column of the field of unit (0, 0), negative where it reaches over
    the border. Padding in circles is taken for none.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The field of unit (row, column): first row and column, then those after its last."""
        top, left = (
            a + i * j for a, i, j in zip(self.start, (row, column), self.stride, strict=True)
        )
        return top, left, top + self.size[0], left + self.size[1]


@dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    name: the module's (`#2` for its second use). kind: "conv 3×3/2", "max pool 2×2/2", "linear".
    shape: of the output without the batch: (C, h, w) or (features,). parameters: learnable numbers.
    multiply_adds: for one image; comparisons, sums, norms and nonlinearities are not counted.
    field: receptive field, pixels of the image (height, width), ignoring the image's border; None
    where a unit reads the whole image (linear layers, global pools). stride: pixels (down, across)
    between the fields of neighboring units; None where field is.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    field: tuple[int, int] | None
    stride: tuple[int, int] | None


def layer_table(model: nn.Module, size: int = 64) -> list[Layer]:
    """The rows for each 2-D convolution, pool and linear layer, in the order of execution.

    A last row `(other)` holds the parameters of all other modules (batch norms), if there are any,
    so that the column adds up to the model. size: side of the image the model is run on, pixels.
    Pools and convolutions called as functions count in the receptive fields but have no row.
    """
    image = blank_image(model, size).requires_grad_()
    graph = _Graph(image)
    rows = []
    counted = set()

    def hook(layer: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, WINDOWED):
            kind, graph.windows[output.grad_fn] = _describe(module, inputs[0].shape, output.shape)
            field = graph.field(output)
            own = [p for p in module.parameters() if p not in counted]
            counted.update(own)  # a module used twice has its parameters once
            multiply_adds = 0
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                weight = module.weight
                multiply_adds = output[0].numel() * (weight.numel() // len(weight))
            rows.append(
                Layer(
                    layer,
                    kind,
                    tuple(output.shape[1:]),
                    sum(p.numel() for p in own),
                    multiply_adds,
                    field.size if field else None,
                    field.stride if field else None,
                )
            )

    with hooked(model, hook), torch.enable_grad():
        model(image)
    other = sum(p.numel() for p in model.parameters() if p not in counted)
    if other:
        rows.append(Layer("(other)", "norms and the like", (), other, 0, None, None))
    return rows


def receptive_field(model: nn.Module, layer: str, size: int = 64) -> Field | None:
    """Where the units of any layer look; None where each reads the whole image, or may.

    layer: a module's name, as in `look.arrays.activations`. size: side of the image the model is
    run on, pixels. UserError for a layer that the model does not run.
    """
    return receptive_fields(model, [layer], size)[layer]


def receptive_fields(
    model: nn.Module, layers: Sequence[str], size: int = 64
) -> dict[str, Field | None]:
    """`receptive_field` of several layers, from one pass."""
    image = blank_image(model, size).requires_grad_()
    graph = _Graph(image)
    found = {}

    def hook(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, WINDOWED):
            _, graph.windows[output.grad_fn] = _describe(module, inputs[0].shape, output.shape)
        if name in layers:
            found[name] = graph.field(output)

    with hooked(model, hook), torch.enable_grad():
        model(image)
    for layer in layers:
        if layer not in found:
            raise UserError(f"{type(model).__name__} has no layer {layer!r}; choose another")
    return found


def cells(rows: Sequence[Layer]) -> list[tuple[str, ...]]:
    """The table as it is written: its header, a line for each row, and the totals."""
    header = ("layer", "kind", "output", "parameters", "multiply-adds", "field", "stride")
    lines: list[tuple[str, ...]] = [header]
    for row in rows:
        shape = "×".join(map(str, row.shape))
        seen = _pixels(row.field) if row.field else "whole image" if row.shape else ""
        stride = _pixels(row.stride) if row.stride else ""
        numbers = (f"{n:,}" if n else "" for n in (row.parameters, row.multiply_adds))
        lines.append((row.name, row.kind, shape, *numbers, seen, stride))
    parameters = sum(row.parameters for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    lines.append(("total", "", "", f"{parameters:,}", f"{multiply_adds:,}", "", ""))
    return lines


def to_text(rows: Sequence[Layer]) -> str:
    """The table as aligned Markdown, with totals in the last line."""
    header, *body = cells(rows)
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = ("-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths))
    lines = []
    for line in (header, rule, *body):
        aligned = (
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("| " + " | ".join(aligned) + " |")
    return "\n".join(lines)


def _pixels(pair: tuple[int, int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _both(values: Iterable[T]) -> tuple[T, T]:
    down, across = values
    return down, across


def _describe(module: Any, inputs: Sequence[int], outputs: Sequence[int]) -> tuple[str, _Window]:
    """The layer in words, and its window; inputs and outputs are the shapes with the batch."""
    if isinstance(module, nn.Linear):
        return "linear", WHOLE_MAP
    if isinstance(module, nn.Conv2d):
        name = "conv"
    elif isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)):
        name = "max pool"
    else:
        name = "average pool"

    if not isinstance(module, ADAPTIVE_POOLS):
        dilation = _pair(getattr(module, "dilation", 1))
        # Of a convolution with padding="same", whose node in the graph says how it pads.
        padding = (0, 0) if isinstance(module.padding, str) else _pair(module.padding)
        window = _Window(_pair(module.kernel_size), _pair(module.stride), dilation, padding)
    elif tuple(outputs[2:]) == (1, 1):
        return f"global {name}", WHOLE_MAP
    else:
        # Output i reads rows ⌊i·h/o⌋ to ⌈(i+1)·h/o⌉; the largest of these windows counts.
        sides = list(zip(inputs[2:], outputs[2:], strict=True))
        kernel = [max(-(-(i + 1) * h // o) - i * h // o for i in range(o)) for h, o in sides]
        window = _Window(_pair(kernel), _pair([h // o for h, o in sides]))

    kind = f"{name} {window.kernel[0]}×{window.kernel[1]}"
    return kind if window.stride == (1, 1) else f"{kind}/{_pixels(window.stride)}", window


class _Graph:
    """Receptive fields along autograd's graph of one forward pass that starts at `image`."""

    def __init__(self, image: Tensor):
        self.image = image
        # By the graph's node that made a layer's output; for those nodes that say no geometry.
        self.windows: dict[object, _Window] = {}
        self.known: dict[object, _Reach | None] = {}

    def field(self, output: Tensor) -> Field | None:
        """Of the units of `output`; None where they read the whole image."""
        pending: list[Any] = [
            output.grad_fn
        ]  # a stack, for a deep net's graph is deeper than Python's
        while pending:
            inputs = [node for node, _ in pending[-1].next_functions if node is not None]
            missing = [node for node in inputs if node not in self.known]
            if missing:
                pending += missing
            else:
                node = pending.pop()
                self.known[node] = self._step(node, inputs)
        reach = self.known[output.grad_fn]
        if reach is None or math.inf in reach.last:
            return None
        size = _both(int(b) - a + 1 for a, b in zip(reach.first, reach.last, strict=True))
        return Field(size, reach.stride, reach.first)

    def _step(self, node: Any, inputs: list[Any]) -> "_Reach | None":
        """None where the node sees no pixel: a parameter, and what is made of parameters."""
        if getattr(node, "variable", None) is self.image:
            return _Reach((0, 0), (0, 0), (1, 1))
        reaches = [reach for n in inputs if (reach := self.known[n]) is not None]
        if not reaches:
            return None
        first = _both(map(min, zip(*(r.first for r in reaches), strict=True)))
        last = _both(map(max, zip(*(r.last for r in reaches), strict=True)))
        stride = _both(map(max, zip(*(r.stride for r in reaches), strict=True)))
        window = _saved_window(node) or self.windows.get(node)
        if window is None and node.name().startswith(UNEVEN):
            window = WHOLE_MAP
        if window is None:
            return _Reach(first, last, stride)
        sides = list(zip(window.kernel, window.dilation, window.padding, stride, strict=True))
        return _Reach(
            _both(a - p * j for a, (_, _, p, j) in zip(first, sides, strict=True)),
            _both(b + ((k - 1) * d - p) * j for b, (k, d, p, j) in zip(last, sides, strict=True)),
            _both(j * s for j, s in zip(stride, window.stride, strict=True)),
        )


@dataclass(frozen=True)
class _Reach:
    """First and last pixel of the first unit's field, and the stride, (down, across) each."""

    first: tuple[int, int]
    last: tuple[float, float]
    stride: tuple[int, int]


def _saved_window(node: Any) -> _Window | None:
    """The window that a convolution's, pool's or padding's node in the graph tells, else None."""
    if hasattr(node, "_saved_kernel_size"):
        kernel = _pair(node._saved_kernel_size)
        # torch writes "as the kernel" as an empty stride
        stride = _pair(node._saved_stride) if node._saved_stride else kernel
    elif getattr(node, "_saved_transposed", False):
        return WHOLE_MAP
    elif hasattr(node, "_saved_output_padding"):
        kernel, stride = _pair(node._saved_weight.shape[2:]), _pair(node._saved_stride)
    elif "Pad" in node.name():  # left, right, top, bottom
        sides = getattr(node, "_saved_pad", None) or getattr(node, "_saved_padding", None)
        if sides is None or len(sides) != 4:
            return None
        # Negative ones, which crop, are told as if unsigned.
        top, left = ((side + 2**63) % 2**64 - 2**63 for side in (sides[2], sides[0]))
        return _Window((1, 1), padding=(top, left))
    else:
        return None
    dilation = _pair(getattr(node, "_saved_dilation", 1))
    return _Window(kernel, stride, dilation, _pair(node._saved_padding))
