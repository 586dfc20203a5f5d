"""Whether a network's probabilities can be believed, and the temperature that mends them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

# The least and the largest temperature that is fitted or accepted.
TEMPERATURES = (0.05, 20.0)
FEWEST_IMAGES = 20
PRIOR_SPREAD = 0.5


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


def fit_temperature(logits: np.ndarray, labels: np.ndarray, prior: float = 1.0) -> float:
    """The temperature that images not trained on ask for (Guo et al. 2017, section 4.2).

    It has the least cross-entropy, with a prior that a few images cannot overrule: were all of them
    told with certainty, the least would lie at 0. The prior is log-normal about `prior`, with a
    spread of PRIOR_SPREAD in the logarithm; beside hundreds of images it does not count. Of fewer
    than FEWEST_IMAGES nothing is learned.

    Args:
        logits: float, (N, C).
        labels: int, (N,).
        prior: What the temperature is taken to be before the images are seen.
    """
    scores, targets = torch.from_numpy(logits).double(), torch.from_numpy(np.asarray(labels))
    if len(targets) < FEWEST_IMAGES:
        return prior
    # The loss has one minimum in 1/temperature, so golden-section search finds it.
    low, high = np.log(TEMPERATURES)
    golden = (np.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        scaled = scores / float(np.exp(log_temperature))
        surprise = (log_temperature - np.log(prior)) / PRIOR_SPREAD
        data = torch.nn.functional.cross_entropy(scaled, targets, reduction="sum")
        return float(data) + surprise**2 / 2

    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
