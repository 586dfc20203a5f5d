"""One run in the explorer: its network, and what it makes of one image.

A network is asked by one thread at a time. What takes long (integrated gradients, occlusion) is
asked of a copy, so that a second thread can wait for it while the first goes on answering.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from convlens.errors import UserError
from convlens.explorer.kept import Kept
from convlens.explorer.pictures import Picture, scale_of, short
from convlens.explorer.runs import table_of
from convlens.inference.classifier import Classifier
from convlens.inference.weights_file import in_half_precision
from convlens.look.arrays.stages import IMAGE, Stage, stages
from convlens.look.arrays.sums import Term, explain
from convlens.models.hooks import hooked
from convlens.models.trace import Trace, trace
from convlens.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

PICTURES_KEPT = 256
PASSES_KEPT = 24  # of single images of 64 pixels; a pass of ConvNet is 2 MB
TRACES_KEPT = 64_000_000  # bytes, of passes with every result; one of ConvNet is 5 MB
INPUTS_SHOWN = 9  # maps whose filters are shown of one that reads hundreds


@dataclass(frozen=True)
class Pass:
    """One forward pass over N images, in evaluation mode.

    logits: float32, (N, num_classes). maps: of each stage, float32, (N, C, h, w), (N, C, 1, 1) of a
    linear layer. features: what the last linear layer read, float32, (N, F); None where there is
    none.
    """

    logits: np.ndarray
    maps: list[np.ndarray]
    features: np.ndarray | None

    @cached_property
    def scales(self) -> list[float]:
        """Of each stage what is drawn white."""
        return [scale_of(maps) for maps in self.maps]


def look_inside(model: nn.Module, x: Tensor, layers: list[str]) -> Pass:
    """`x`: normalized float, (N, channels, H, W). layers: names of stages."""
    maps: dict[str, np.ndarray] = {}
    features: Tensor | None = None

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal features
        if isinstance(module, nn.Linear):
            features = inputs[0].flatten(1).clone()
        if layer in layers and isinstance(output, Tensor):
            # A copy, because an in-place ReLU after this layer would overwrite it.
            copied = output.to("cpu", torch.float32, copy=True)
            maps[layer] = copied.contiguous().numpy().reshape(*_four(copied.shape))

    with hooked(model, hook), torch.inference_mode():
        logits = model(x)
    return Pass(
        logits.float().cpu().numpy(),
        [maps[layer] for layer in layers],
        None if features is None else features.float().cpu().numpy(),
    )


def _kind(classifier: Classifier) -> tuple:
    """What two classifiers have in common whose weights alone differ."""
    origin = classifier.origin
    return origin.network, origin.options, classifier.class_names, classifier.size


def _unless_damaged(read: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What is read of a run; None, which is told, where it is damaged: its network can be shown
    without."""
    try:
        return read()
    except UserError as problem:
        logger.warning("left out   %s", problem)
        return None


def _bytes(ran: Trace) -> int:
    return sum(step.value.nbytes for step in ran.steps)


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1) if len(shape) == 2 else tuple(shape)


class Network:
    """A classifier by a name, and what is known of the run that trained it.

    Args:
        classifier: The network with its classes, its size and its temperature.
        name: What the page calls it.
        history: Columns and rows of history.csv; without any where there is none.
        summary: metrics.json; None where there is none.
        snapshots: Weights files that the run kept, by epoch.
        half: Whether the file keeps the weights in half precision, unlike the run that it is of.

    Attributes:
        model: The classifier's network.
        second: A classifier like the first, for what takes long; copy: its network.
        epochs: Those of which the run kept the weights.
        size: Side of its images, pixels.
        loading: How the images are loaded that they are the middle of.
        stages, layers: What it computes, in order, and the names of that.
        reads_features: Whether a linear layer decides, before which features are read.
        drawn: The pictures of single images that were asked for last.
        is_at_home: Whether the images that it is asked about are split as its run had them; None
            where nobody knows.
    """

    def __init__(
        self,
        classifier: Classifier,
        name: str,
        history: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        snapshots: Mapping[int, Path] | None = None,
        half: bool = False,
    ):
        self.classifier, self.name, self.summary, self.half = classifier, name, summary, half
        self.history = history or {"columns": [], "rows": []}
        self.second = copy.deepcopy(classifier)
        self.model, self.copy = classifier.model, self.second.model
        self._snapshots = dict(snapshots or {})
        self.epochs = list(self._snapshots)
        self.size, self.loading = classifier.size, classifier.loading
        self.stages: list[Stage] = stages(self.model, self.size)
        self.layers = [stage.name for stage in self.stages]
        self.reads_features = any(isinstance(m, nn.Linear) for m in self.model.modules())
        self.is_at_home: bool | None = None
        self.drawn: Kept[Picture] = Kept(PICTURES_KEPT)
        self._traces: Kept[Trace] = Kept(TRACES_KEPT, _bytes)
        self._passes: Kept[Pass] = Kept(
            min(PASSES_KEPT, max(PASSES_KEPT * 64**2 // self.size**2, 4))
        )

    @classmethod
    def of_run(cls, run: Path) -> "Network":
        """Of a run folder, or of a weights file, whose history and record lie in results/NAME/
        beside its folder where its run is among those that are quoted. Raises UserError where it
        is none."""
        folder = RunFolder(run)
        classifier = folder.classifier()
        kept = folder if run.is_dir() else RunFolder(run.parent.parent / "results" / run.stem)
        columns = summary = None
        if (kept.path / "history.csv").exists():
            columns = _unless_damaged(kept.read_history)
        if kept.is_finished:
            summary = _unless_damaged(kept.read_metrics)
        history = None if columns is None else table_of(columns)
        half = run.is_file() and in_half_precision(run)
        name = run.name.removesuffix(".safetensors")
        return cls(classifier, name, history, summary, folder.snapshot_files(), half)

    def normalized(self, image: np.ndarray) -> Tensor:
        """uint8 (size, size, 3) → what the network reads, (1, channels, size, size)."""
        return self.classifier.inputs(image[None])

    def look(self, name: str, image: np.ndarray) -> Pass:
        """The pass over one image; kept for a while by its name."""
        return self._passes.made(
            name, lambda: look_inside(self.model, self.normalized(image), self.layers)
        )

    def explain(self, name: str, image: np.ndarray, stage: int, unit: Sequence[int]) -> Term:
        """The sum behind a unit of a stage, (map, row, column) or (feature,)."""
        found = self._traces.made(name, lambda: trace(self.model, self.normalized(image)))
        known = {found.image: IMAGE} | {found.layers[layer]: layer for layer in self.layers}
        return explain(found.layers[self.layers[stage]], unit, known)

    @cached_property
    def _grown(self) -> list[Classifier]:
        return [self._snapshot(file) for file in self._snapshots.values()]

    def _snapshot(self, file: Path) -> Classifier:
        """Raises UserError where it is damaged, or of another network than the run's."""
        then = Classifier.load(file)
        if _kind(then) != _kind(self.classifier):
            raise UserError(f"{file} is of another network than {self.name}; remove it")
        return then

    def grown(self, image: np.ndarray, stage: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """At each of `epochs`, the probabilities, (num_classes,), and a stage's maps, (C, h, w)."""
        layers = [self.layers[stage]]
        passes = [
            (then, look_inside(then.model, then.inputs(image[None]), layers))
            for then in self._grown
        ]
        return [(then.probabilities(seen.logits)[0], seen.maps[0][0]) for then, seen in passes]

    def deconvolution(self, image: np.ndarray, stage: int, maps: list[int]) -> np.ndarray:
        """Of each of `maps` what excites it most, (M, size, size, channels); 0 where nothing."""
        from convlens.look.arrays.deconvolution import deconvolution

        x = self.normalized(image).repeat(len(maps), 1, 1, 1)
        return deconvolution(self.model, x, self.layers[stage], maps)

    def filter(self, stage: int, number: int) -> dict[str, Any] | None:
        """The weights that make a map, strongest inputs first; None where no filter does.

        Of the first layer they stand in the order of the colors.
        """
        name = self.stages[stage].convolution
        if name is None:
            return None
        module = cast(nn.Conv2d, self.model.get_submodule(name.partition("#")[0]))
        weight = module.weight[number].detach().cpu().numpy()  # (in_channels / groups, kh, kw)
        first = number // (module.out_channels // module.groups) * len(weight)
        order = np.arange(len(weight))
        if len(weight) != 3:
            order = np.argsort(-np.linalg.norm(weight, axis=(1, 2)), kind="stable")[:INPUTS_SHOWN]
        return {
            "of": name,
            "kernel": list(weight.shape[1:]),
            "inputs": [
                {"map": first + int(i), "weights": [short(row) for row in weight[i]]} for i in order
            ],
        }
