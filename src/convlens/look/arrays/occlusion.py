"""Occlusion sensitivity: what a network says while a gray square hides a part of the image.

Zeiler and Fergus 2014 (Visualizing and Understanding Convolutional Networks), section 4.2 and
Figure 6. Where the square hides what the network looks at, the probability falls.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convlens.errors import UserError
from convlens.inference.classifier import images_at_once
from convlens.look.arrays.attribution import targets
from convlens.models.hooks import check_maps, conv_relu_layers, layer_outputs


@dataclass(frozen=True)
class Occlusion:
    """What was recorded at each place of the square, in maps of shape (rows, columns).

    Row i, column j: the square's center is that of the image's cell of stride × stride pixels whose
    upper left corner is at (i·stride, j·stride).

    target: the class whose probability is shown. layer, map: whose activation is. activation:
    float32, its sum over the map. probability: float32, 0..1, of the target. predicted: int64, the
    most probable class. square, stride: pixels. whole: the probability of the target where nothing
    is hidden.
    """

    target: int
    layer: str
    map: int
    activation: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    square: int
    stride: int
    whole: float


def occlusion(
    model: nn.Module,
    x: Tensor,
    target: int | None = None,
    *,
    layer: str | None = None,
    square: int | None = None,
    stride: int | None = None,
    temperature: float = 1.0,
) -> Occlusion:
    """Slide a square of the mean color over one image and record what `model` makes of the rest.

    Squares reach over the image's border, so that the maps cover the image.

    Args:
        model: Any module with 2-D convolutions that gives logits.
        x: Normalized float, shape (1, channels, H, W), so that 0 is the mean color; moved to the
            model's device.
        target: A class, by default the predicted one.
        layer: Whose strongest map, the one of the largest sum on the whole image, is followed; by
            default the last convolution's after its ReLU.
        square: Side, pixels, by default a quarter of the image.
        stride: From one place to the next, pixels, by default a quarter of the square.
        temperature: What the logits are divided by, as a `Classifier` does.

    Raises:
        UserError: for an unknown target or layer, and for a square or stride below 1.
    """
    if x.dim() != 4 or len(x) != 1:
        raise ValueError(f"occlusion takes one image, shape (1, …, H, W), not {tuple(x.shape)}")
    height, width = x.shape[2:]
    square = max(min(height, width) // 4, 1) if square is None else square
    stride = max(square // 4, 1) if stride is None else stride
    if square < 1 or stride < 1:
        raise UserError(
            f"a `square` of {square} with `stride` {stride} hides nothing; choose 1 or more",
            option=("square", "stride"),
        )
    target = int(targets(model, x, target))
    layer = conv_relu_layers(model, height)[-1] if layer is None else layer
    x = x.detach().to(next(model.parameters(), x).device)

    sums, whole = _sums_and_probabilities(model, x, layer, temperature)
    strongest = int(sums[0].argmax())
    places = [(top, left) for top in range(0, height, stride) for left in range(0, width, stride)]
    margin = (square - stride) // 2  # the square is centered on its cell
    activation, probability, predicted = [], [], []
    at_once = images_at_once(max(height, width), x.device)
    for start in range(0, len(places), at_once):
        chunk = places[start : start + at_once]
        hidden = x.repeat(len(chunk), 1, 1, 1)
        for image, (top, left) in zip(hidden, chunk, strict=True):
            top, left = top - margin, left - margin
            image[:, max(top, 0) : top + square, max(left, 0) : left + square] = 0
        sums, probabilities = _sums_and_probabilities(model, hidden, layer, temperature)
        activation.append(sums[:, strongest])
        probability.append(probabilities[:, target])
        predicted.append(probabilities.argmax(dim=1))

    def as_map(batches: list[Tensor]) -> np.ndarray:
        return torch.cat(batches).reshape(-(-height // stride), -1).cpu().numpy()

    return Occlusion(
        target,
        layer,
        strongest,
        as_map(activation),
        as_map(probability),
        as_map(predicted),
        square,
        stride,
        float(whole[0, target]),
    )


def _sums_and_probabilities(
    model: nn.Module, x: Tensor, layer: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """The sum of each map of `layer`, shape (N, C), and the probabilities, (N, num_classes)."""
    with torch.no_grad():
        outputs = layer_outputs(model, x, [layer, ""])  # "" is the model itself
    check_maps(layer, outputs[layer])
    sums = outputs[layer].sum(dim=(2, 3), dtype=torch.float32)
    return sums, (outputs[""].float() / temperature).softmax(dim=1)
