"""Whether a network's probabilities can be believed, and the temperature that mends them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

# The least and the largest temperature that is fitted or accepted.
TEMPERATURES = (0.05, 20.0)


class TemperatureScaling(nn.Module):
    """Logits over a temperature, which makes a softmax of them as sure as it may be.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. Every probability that
    ConvLens shows comes from here.

    Args:
        temperature: Above 0; above 1 makes less sure, below 1 surer.

    Input and output: logits, (N, C).
    """

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature

    def probabilities(self, logits: np.ndarray | Tensor) -> np.ndarray:
        """Class probabilities, float32, (N, C), rows summing to 1."""
        scores = torch.as_tensor(logits).float()
        return self(scores).softmax(dim=1).cpu().numpy()

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}"


@dataclass(frozen=True)
class Reliability:
    """What was promised and what was held, in bins of equal width of the highest probability.

    confidence: mean highest probability. accuracy: share of images that were right. count: images.
    All of shape (bins,); NaN in the first two where a bin is empty.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1: mean gap, each bin weighed by its images.

        Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.
        """
        gap = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(gap * self.count) / self.count.sum())


def reliability(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, bins: int = 15
) -> Reliability:
    """logits: float, (N, C). labels: int, (N,). temperature: what the logits are divided by."""
    probabilities = (torch.from_numpy(logits).double() / temperature).softmax(dim=1).numpy()
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # the right edge belongs to its bin, as in the paper
    index = np.clip(np.ceil(highest * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=values, minlength=bins) for values in (highest, right))
    confidence, accuracy = (
        np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums
    )
    return Reliability(confidence, accuracy, count)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least cross-entropy, in 0.05..20 (Guo et al. 2017, section 4.2).

    logits: float, (N, C); labels: int, (N,); of images that were not trained on. The loss has one
    minimum in 1/temperature, so golden-section search finds it.
    """
    scores, targets = torch.from_numpy(logits).double(), torch.from_numpy(np.asarray(labels))
    low, high = np.log(TEMPERATURES)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _loss(scores, targets, left) < _loss(scores, targets, right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _loss(scores: Tensor, targets: Tensor, log_temperature: float) -> float:
    scaled = scores / float(np.exp(log_temperature))
    return float(torch.nn.functional.cross_entropy(scaled, targets))
