"""How an answer changes as the image moves, grows and turns (Zeiler and Fergus 2014, fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.look.arrays.activations import activations
from convlens.models.hooks import conv_relu_layers

CHANGES: dict[str, tuple[float, ...]] = {
    "translation": tuple(range(-16, 17, 2)),  # pixels downwards
    "scale": tuple(np.round(np.linspace(0.5, 1.8, 14), 2).tolist()),  # times
    "rotation": tuple(range(0, 360, 15)),  # degrees, anticlockwise
}
UNITS = {"translation": "pixels down", "scale": "times", "rotation": "degrees"}
UNCHANGED = {"translation": 0, "scale": 1, "rotation": 0}


@dataclass(frozen=True)
class Invariance:
    """One change of M images in V steps.

    change: a key of CHANGES. values: float, (V,). probability: float32, (M, V), 0..1, of each
    image's target. distances: by layer, float32, (M, V): Euclidean distance of the layer's output
    from that of the unchanged image, over the length of the latter.
    """

    change: str
    values: np.ndarray
    probability: np.ndarray
    distances: dict[str, np.ndarray]


def invariance(
    model: nn.Module,
    x: Tensor,
    targets: Sequence[int],
    change: str,
    values: Sequence[float] | None = None,
    layers: Sequence[str] | None = None,
    temperature: float = 1.0,
) -> Invariance:
    """Change images step by step and follow the target's probability and the layers' outputs.

    What comes in from beyond the border is the mean color.

    Args:
        model: Any module with 2-D convolutions that gives logits.
        x: Normalized float, (M, channels, H, W).
        targets: M classes.
        change: "translation" (pixels down), "scale" (times) or "rotation" (degrees anticlockwise).
        values: The steps, by default those of CHANGES.
        layers: Names as in `named_modules()`; by default those after the first and the last
            convolution's ReLU.
        temperature: What the logits are divided by, as a `Classifier` does.

    Raises:
        KeyError: for another change.
    """
    steps = CHANGES[change] if values is None else values
    if layers is None:
        first, *_, last = conv_relu_layers(model, x.shape[2]) * 2
        layers = list(dict.fromkeys([first, last]))
    wanted = torch.as_tensor(list(targets))
    whole = activations(model, x, layers)
    probability: list[np.ndarray] = []
    distances: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for value in steps:
        changed = apply_change(x, change, value)
        outputs = activations(model, changed, [*layers, ""])  # "" is the model itself
        shares = (torch.from_numpy(outputs[""]) / temperature).softmax(dim=1)
        probability.append(shares.gather(1, wanted[:, None])[:, 0].numpy())
        for layer in layers:
            distances[layer].append(_distance(outputs[layer], whole[layer]))
    return Invariance(
        change,
        np.asarray(steps, dtype=float),
        np.stack(probability, axis=1),
        {layer: np.stack(of_layer, axis=1) for layer, of_layer in distances.items()},
    )


def apply_change(x: Tensor, change: str, value: float) -> Tensor:
    """The images (M, …, H, W) moved, scaled or turned about their center; 0 comes in from outside.

    A translation by whole pixels and no change at all are exact.
    """
    height = x.shape[2]
    if UNCHANGED.get(change) == value:
        return x  # sampling it anew would move the last digits
    if change == "translation":
        maps = [[1.0, 0.0, 0.0], [0.0, 1.0, -2 * value / height]]
    elif change == "scale":
        maps = [[1 / value, 0.0, 0.0], [0.0, 1 / value, 0.0]]
    elif change == "rotation":
        angle = np.deg2rad(value)
        maps = [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0]]
    else:
        raise KeyError(change)
    theta = torch.tensor(maps, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _distance(changed: np.ndarray, whole: np.ndarray) -> np.ndarray:
    changed, whole = changed.reshape(len(changed), -1), whole.reshape(len(whole), -1)
    length = np.maximum(np.linalg.norm(whole, axis=1), 1e-12)
    return np.linalg.norm(changed - whole, axis=1) / length
