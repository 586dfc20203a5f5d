"""The layer table: shape, parameters, multiply-adds and receptive field of each layer.

A unit's receptive field follows from the geometry alone. Along a path of layers with kernel k,
dilation d and stride s, the field r and the distance j between neighbouring units' fields start
at 1 and 1 and become r + (k − 1)·d·j and j·s (Araujo et al. 2019, Computing Receptive Fields of
Convolutional Neural Networks, eq. 2); where paths join, the largest field counts (there,
"Arbitrary computation graphs"). The paths are read from autograd's graph, so sums, concatenations
and reshapes written in a model's `forward` are followed like any module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convlens.look.activations import blank_image, hooked

POOLS = (nn.MaxPool2d, nn.AvgPool2d)
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class _Window:
    """What a unit reads of the map before it, (down, across) each; an infinite kernel reads all."""

    kernel: tuple[float, float]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)


WHOLE_MAP = _Window((math.inf, math.inf))


@dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    name: the module's (`#2` for its second use). kind: "conv 3×3/2", "max pool 2×2/2", "linear".
    shape: of the output without the batch: (C, h, w) or (features,). parameters: learnable numbers.
    multiply_adds: for one image; comparisons, sums, norms and nonlinearities are not counted.
    field: receptive field, pixels of the image (height, width), ignoring the image's border; None
    where a unit reads the whole image (linear layers, global pools). stride: pixels (down, across)
    between the fields of neighbouring units; None where field is.
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

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear, *POOLS, *ADAPTIVE_POOLS)):
            kind, window = _describe(module, inputs[0].shape, output.shape)
            graph.windows[output.grad_fn] = window
            field, stride = graph.field_and_stride(output)
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
                    field,
                    stride,
                )
            )

    with hooked(model, hook), torch.enable_grad():
        model(image)
    other = sum(p.numel() for p in model.parameters() if p not in counted)
    if other:
        rows.append(Layer("(other)", "norms and the like", (), other, 0, None, None))
    return rows


def to_text(rows: Sequence[Layer]) -> str:
    """The table as aligned Markdown, with totals in the last line."""
    header = ("layer", "kind", "output", "parameters", "multiply-adds", "field", "stride")
    cells = [header]
    for row in rows:
        shape = "×".join(map(str, row.shape))
        seen = _pixels(row.field) if row.field else "whole image" if row.shape else ""
        stride = _pixels(row.stride) if row.stride else ""
        numbers = (f"{n:,}" if n else "" for n in (row.parameters, row.multiply_adds))
        cells.append((row.name, row.kind, shape, *numbers, seen, stride))
    parameters = sum(row.parameters for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    cells.append(("total", "", "", f"{parameters:,}", f"{multiply_adds:,}", "", ""))

    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ("-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths))
    lines = []
    for line in (header, rule, *cells[1:]):
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


def _describe(
    module: nn.Module, inputs: Sequence[int], outputs: Sequence[int]
) -> tuple[str, _Window]:
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
        window = _Window(_pair(module.kernel_size), _pair(module.stride), dilation)
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
        # By the graph's node that made a layer's output. A convolution called as a function has
        # no entry here, but its node has saved the geometry; so has a pool's.
        self.windows: dict[object, _Window] = {}
        self.known: dict[object, tuple[tuple, tuple]] = {}  # node: field, stride

    def field_and_stride(self, output: Tensor) -> tuple[tuple | None, tuple | None]:
        """Of one unit of `output`; (None, None) where it reads the whole image."""
        pending = [output.grad_fn]  # a stack, for a deep net's graph is deeper than Python's
        while pending:
            inputs = [node for node, _ in pending[-1].next_functions if node is not None]
            missing = [node for node in inputs if node not in self.known]
            if missing:
                pending += missing
            else:
                node = pending.pop()
                self.known[node] = self._step(node, inputs)
        field, stride = self.known[output.grad_fn]
        return (None, None) if math.inf in field else (field, stride)

    def _step(self, node: object, inputs: list) -> tuple[tuple, tuple]:
        if not inputs:  # a leaf: the image, or a parameter, which sees no pixel
            side = int(getattr(node, "variable", None) is self.image)
            return (side, side), (1, 1)
        field = tuple(max(sides) for sides in zip(*(self.known[n][0] for n in inputs), strict=True))
        stride = tuple(max(s) for s in zip(*(self.known[n][1] for n in inputs), strict=True))
        window = self.windows.get(node) or _saved_window(node)
        if window is None:
            return field, stride
        return (
            tuple(
                r + (k - 1) * d * j
                for r, k, d, j in zip(field, window.kernel, window.dilation, stride, strict=True)
            ),
            tuple(j * s for j, s in zip(stride, window.stride, strict=True)),
        )


def _saved_window(node: object) -> _Window | None:
    """The window of a convolution or pool that was called as a function, else None."""
    if hasattr(node, "_saved_kernel_size"):
        kernel = _pair(node._saved_kernel_size)
        # torch writes "as the kernel" as an empty stride
        stride = _pair(node._saved_stride) if node._saved_stride else kernel
    elif hasattr(node, "_saved_output_padding"):
        kernel, stride = _pair(node._saved_weight.shape[2:]), _pair(node._saved_stride)
    else:
        return None
    return _Window(kernel, stride, _pair(getattr(node, "_saved_dilation", 1)))
