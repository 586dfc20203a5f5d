"""A network as a reader would draw it: its layers in true order of the data, each at its result.

A stage is what a convolution or a linear layer gives after its norm and nonlinearity, or what a
pooling gives. What its numbers are computed from on the way from the stages before (norms, the
projection on a shortcut) is counted with it, so that parameters and multiply-adds add up to the
whole network's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from convlens.look.arrays.layers import (
    ADAPTIVE_POOLS,
    POOLS,
    Field,
    Layer,
    layer_table,
    receptive_fields,
)
from convlens.models.hooks import NONLINEARITIES, blank_image, conv_relu_layers
from convlens.models.trace import GIVEN, Step, Trace, place_of, trace

IMAGE = ""  # in the place of a stage's name


@dataclass(frozen=True)
class Shortcut:
    """What is added to a stage's main path before its nonlinearity.

    reads: the stages that it comes from; IMAGE for the image. layer, kind: of the projection on it,
    "conv 1×1"; "" where the stage's numbers are added as they are. parameters, multiply_adds: its
    own, which the stage's do not count.
    """

    reads: tuple[str, ...]
    layer: str
    kind: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Stage:
    """A layer at its result.

    name: the layer whose output is shown, as in `look.arrays.activations`. kind: "conv 3×3/2,
    ReLU", "max pool 2×2/2", "linear". shape: (C, h, w) or (features,). field: None where a unit
    reads the whole image. parameters, multiply_adds: of all that lies between the stages that it
    reads and its result, but for the shortcut. convolution: the layer whose filters made the maps;
    None for a pooling or a linear layer. reads: the stages that it is computed from; IMAGE for the
    image. shortcut: None where nothing is added.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    field: Field | None
    parameters: int
    multiply_adds: int
    convolution: str | None
    reads: tuple[str, ...]
    shortcut: Shortcut | None


def stages(model: nn.Module, size: int = 64) -> list[Stage]:
    """The stages of `model`, run once on a blank image of `size` pixels.

    Where several convolutions end in one nonlinearity (a residual block's main path and its
    projection), the one with the most multiply-adds is named. UserError where the model runs no
    convolution.
    """
    rows = {row.name: row for row in layer_table(model, size)}
    results = _Results(rows, set(conv_relu_layers(model, size)))
    ran = trace(model, blank_image(model, size), results.hook)
    results.close_linear()
    parts = _Parts(ran, model, rows, [name for name, *_ in results.found])
    # Maps first: a gate that the means of maps decide is not what made them.
    first = sorted(results.found, key=lambda shown: -ran.layers[shown[0]].value.dim())
    made = {shown[0]: parts.stage(*shown) for shown in first}
    found = [made[name] for name, *_ in results.found]
    fields = receptive_fields(model, [stage.name for stage in found], size)
    return [replace(stage, field=fields[stage.name]) for stage in found]


class _Results:
    """Which layers' outputs are shown, in order: `found` has their names, those of their
    nonlinearities ("" without one) and of the layer with a row that leads there."""

    def __init__(self, rows: dict[str, Layer], after_convolution: set[str]):
        self.rows, self.after_convolution = rows, after_convolution
        self.found: list[tuple[str, str, str]] = []
        self.convolution = ""  # the last one
        self.linear = ""  # one whose nonlinearity may still come

    def close_linear(self) -> None:
        if self.linear:
            self.found.append((self.linear, "", self.linear))
        self.linear = ""

    def hook(self, layer: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            self.convolution = layer
        if layer in self.rows or layer in self.after_convolution:
            self.close_linear()
        if not isinstance(output, Tensor) or output.dim() not in (2, 4):
            return
        name = type(module).__name__ if isinstance(module, NONLINEARITIES) else ""
        if layer in self.after_convolution:
            self.found.append((layer, name, self.convolution))
        elif isinstance(module, (*POOLS, *ADAPTIVE_POOLS)):
            self.found.append((layer, "", layer))
        elif isinstance(module, nn.Linear):
            self.linear = layer
        elif self.linear and name:
            self.found.append((layer, name, self.linear))
            self.linear = ""


class _Parts:
    """Which operations and parameters of a forward pass belong to which stage."""

    def __init__(self, ran: Trace, model: nn.Module, rows: dict[str, Layer], names: list[str]):
        self.ran, self.rows = ran, rows
        self.sizes = {place_of(p): p.numel() for p in model.parameters()}  # not counted yet
        self.results = {ran.image: IMAGE} | {ran.layers[name]: name for name in names}
        self.owned = set(self.results)

    def stage(self, name: str, nonlinearity: str, leads: str) -> Stage:
        """A stage, without its field; it owns all that leads to it and no stage had before."""
        step = self.ran.layers[name]
        self.owned.discard(step)
        owned = self._walk(step)
        made = self._made_by(owned)
        main = self.rows[leads]
        if main.kind.startswith("conv") and name not in self.rows:
            main = max((main, *made), key=lambda row: row.multiply_adds)
        branch = self._branch(step, main.name, owned)
        shortcut = self._shortcut(*branch) if branch else None
        parameters = self._count(owned)
        self.owned.update(owned)
        return Stage(
            name,
            main.kind + (f", {nonlinearity}" if nonlinearity else ""),
            tuple(step.value.shape[1:]),
            None,
            parameters,
            sum(row.multiply_adds for row in made) - (shortcut.multiply_adds if shortcut else 0),
            main.name if main.kind.startswith("conv") else None,
            self._sources(*step.inputs),
            shortcut,
        )

    def _walk(self, step: Step) -> dict[Step, None]:
        """`step` and what it is computed from, back to what other stages own."""
        found: dict[Step, None] = {}
        pending = [] if step in self.owned else [step]
        while pending:
            step = pending.pop()
            if step not in found:
                found[step] = None
                pending += [
                    each
                    for each in step.inputs
                    if each not in self.owned and each.operation != GIVEN
                ]
        return found

    def _sources(self, *steps: Step) -> tuple[str, ...]:
        """The stages that steps are computed from, in the order of execution."""
        seen: set[Step] = set()
        pending = list(steps)
        while pending:
            step = pending.pop()
            if step not in seen:
                seen.add(step)
                pending += () if step in self.results else step.inputs
        return tuple(name for step, name in self.results.items() if step in seen)

    def _made_by(self, steps: Iterable[Step]) -> list[Layer]:
        """The rows of the layers whose results are among the steps."""
        layers = dict.fromkeys(step.layer for step in steps)
        return [self.rows[layer] for layer in layers if layer in self.rows]

    def _count(self, steps: Iterable[Step]) -> int:
        """The parameters that steps read and that were not counted before."""
        places = {place_of(each.value) for step in steps for each in step.inputs}
        return sum(self.sizes.pop(place, 0) for place in places)

    def _branch(
        self, step: Step, main: str, owned: dict[Step, None]
    ) -> tuple[Step, dict[Step, None]] | None:
        """What is added to the path of the layer `main` on the way to `step`: the last step of it,
        and those that the path does not have."""
        while step in owned and step.operation != "add":
            maps = [each for each in step.inputs if each.value.shape == step.value.shape]
            if len(maps) != 1:
                return None
            step = maps[0]
        ways = [(each, self._walk(each)) for each in step.inputs if step in owned]
        if len(ways) != 2 or any(end.value.dim() != 4 for end, _ in ways):
            return None
        ways.sort(key=lambda way: any(each.layer == main for each in way[1]))
        (end, beside), (_, path) = ways
        return end, {each: None for each in beside if each not in path}

    def _shortcut(self, end: Step, steps: dict[Step, None]) -> Shortcut:
        rows = self._made_by(steps)
        return Shortcut(
            self._sources(end),
            rows[0].name if rows else "",
            " + ".join(row.kind for row in rows),
            self._count(steps),
            sum(row.multiply_adds for row in rows),
        )
