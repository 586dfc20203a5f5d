"""One run in the explorer: its network, and what it makes of one image.

A network is asked by one thread at a time. What takes long (integrated gradients, occlusion) is
asked of a copy, so that a second thread can wait for it while the first goes on answering.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.explorer.kept import Kept
from convlens.explorer.pictures import scale_of
from convlens.models.hooks import hooked
from convlens.look.arrays.stages import Stage, stages
from convlens.training.run_folder import Trained, load_trained, read_history
from convlens.training.run import read_metrics

if TYPE_CHECKING:
    from convlens.explorer.attribution import Method, Picture

PICTURES_KEPT = 256
PASSES_KEPT = 24  # of single images; a pass of ConvNet is 2 MB
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
    """`x`: normalized float, (N, 3, H, W). layers: names of stages."""
    maps: dict[str, np.ndarray] = {}
    features: Tensor | None = None

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal features
        if isinstance(module, nn.Linear):
            features = inputs[0].flatten(1).clone()
        if layer in layers:
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


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1) if len(shape) == 2 else tuple(shape)


class Network:
    """A trained network by a name.

    history: columns and rows of history.csv, empty where there is none. summary: metrics.json, None
    where there is none. reads_features: whether a linear layer decides, before which features are
    read.
    """

    def __init__(
        self, trained: Trained, name: str, history: dict | None = None, summary: dict | None = None
    ):
        self.trained, self.name, self.summary = trained, name, summary
        self.history = history or {"columns": [], "rows": []}
        self.size, self.loaded_size = trained.size, trained.loaded_size
        self.stages: list[Stage] = stages(trained.model, trained.size)
        self.layers = [stage.name for stage in self.stages]
        self.reads_features = any(isinstance(m, nn.Linear) for m in trained.model.modules())
        self.copy = copy.deepcopy(trained.model)  # for what takes long
        self._passes: Kept[Pass] = Kept(PASSES_KEPT)
        self._drawn: Kept[Picture] = Kept(PICTURES_KEPT)

    @classmethod
    def of_run(cls, run: Path) -> "Network":
        """Of a run folder or a weights file. UserError where it is none."""
        trained = load_trained(run)
        history = summary = None
        if (run / "history.csv").exists():
            columns = read_history(run)
            rows = np.stack(list(columns.values()), axis=1).tolist()
            history = {"columns": list(columns), "rows": rows}
        if (run / "metrics.json").exists():
            summary = read_metrics(run)
        return cls(trained, run.name.removesuffix(".safetensors"), history, summary)

    def normalized(self, image: np.ndarray) -> Tensor:
        """uint8 (size, size, 3) → what the network reads, (1, 3, size, size)."""
        return normalize(to_tensor(image[None]), self.trained.mean, self.trained.std)

    def look(self, name: str, image: np.ndarray) -> Pass:
        """The pass over one image; kept for a while by its name."""
        found = self._passes.get(name)
        if found is None:
            found = look_inside(self.trained.model, self.normalized(image), self.layers)
            self._passes.put(name, found)
        return found

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, num_classes), float32: softmax at the run's temperature."""
        return (torch.from_numpy(logits) / self.trained.temperature).softmax(dim=1).numpy()

    def draw(self, method: "Method", name: str, image: np.ndarray, target: int) -> "Picture":
        """An attribution of the image of that name; kept, for its picture and its caption are
        asked for one after the other."""
        key = method.name, name, target
        return self._drawn.get(key) or self._drawn.put(key, method.draw(self, image, target))

    def deconvolution(self, image: np.ndarray, stage: int, maps: list[int]) -> np.ndarray:
        """Of each of `maps` what excites it most, float32, (M, size, size, 3); 0 where nothing."""
        from convlens.look.arrays.deconvolution import deconvolution

        x = self.normalized(image).repeat(len(maps), 1, 1, 1)
        return deconvolution(self.trained.model, x, self.layers[stage], maps)

    def filter(self, stage: int, number: int) -> dict | None:
        """The weights that make a map, strongest inputs first; None where no filter does.

        Of the first layer they stand in the order of the colors.
        """
        name = self.stages[stage].convolution
        if name is None:
            return None
        module = dict(self.trained.model.named_modules())[name.partition("#")[0]]
        weight = module.weight[number].detach().cpu().numpy()  # (in_channels / groups, kh, kw)
        first = number // (module.out_channels // module.groups) * len(weight)
        order = np.arange(len(weight))
        if len(weight) != 3:
            order = np.argsort(-np.linalg.norm(weight, axis=(1, 2)), kind="stable")[:INPUTS_SHOWN]
        return {
            "of": name,
            "kernel": list(weight.shape[1:]),
            "inputs": [
                {"map": first + int(i), "weights": [short(row) for row in weight[i]]}
                for i in order
            ],
        }


def short(values: Sequence[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    """As many digits as a picture or a caption shows; None for what JSON has no word for."""
    return [
        float(f"{value:.{digits}g}") if math.isfinite(value) else None
        for value in np.asarray(values).tolist()
    ]
