"""One evaluator for every split: cross-entropy and accuracy as exact sums, divided once."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.augment import normalize
from convlens.data.batches import one_hot, to_tensor
from convlens.data.dataset import Split
from convlens.data.readahead import will_need

# Images in a forward pass: the maps of more no longer fit into a CPU's caches.
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a split.

    logits: float32, shape (N, C). losses: float64, shape (N,), cross-entropy of each image in nats.
    labels: int64, shape (N,). confusion: int64, shape (C, C), rows true, columns predicted.
    """

    logits: np.ndarray
    losses: np.ndarray
    labels: np.ndarray
    confusion: np.ndarray

    @property
    def loss(self) -> float:
        """Mean cross-entropy against one-hot labels, nats."""
        return float(self.losses.sum() / len(self.losses))

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is theirs, 0..1."""
        return float(self.confusion.trace() / self.confusion.sum())

    @property
    def class_accuracy(self) -> np.ndarray:
        """float64, shape (C,); NaN for a class without images."""
        count = self.confusion.sum(axis=1)
        return np.divide(
            self.confusion.diagonal(), count, out=np.full(len(count), np.nan), where=count > 0
        )

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have images, 0..1."""
        return float(np.nanmean(self.class_accuracy))

    @property
    def standard_error(self) -> float:
        """Of the accuracy, 0..1: √(p·(1 - p)/N), as of N images drawn at random.

        The accuracies of two random halves of the images differ by twice this (one standard
        deviation), so differences between networks that are smaller mean little.
        """
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.labels)))

    @property
    def mean_class_standard_error(self) -> float:
        """Of the mean of the class accuracies, 0..1: each class's images drawn at random.

        √(Σ p·(1 - p)/(n - 1))/C over the C classes that have images, n in a class; a class of one
        image, whose spread is unknown, counts with that of all images.
        """
        count = self.confusion.sum(axis=1)
        p, n = self.class_accuracy[count > 0], count[count > 0]
        overall = self.accuracy * (1 - self.accuracy)
        variance = np.where(n > 1, p * (1 - p) / np.maximum(n - 1, 1), overall)
        return float(np.sqrt(variance.sum()) / len(n))

    def take(self, rows: np.ndarray) -> "Evaluation":
        """What the model makes of some of the images; rows: indices or a mask, (N,)."""
        return score(self.logits[rows], self.labels[rows])

    @property
    def predicted(self) -> np.ndarray:
        """int64, shape (N,): the most probable class of each image."""
        return self.logits.argmax(axis=1)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """float32, shape (N, C), rows summing to 1."""
        return (torch.from_numpy(self.logits) / temperature).softmax(dim=1).numpy()


@torch.inference_mode()
def compute_logits(
    model: nn.Module,
    images: np.ndarray,
    mean: Tensor,
    std: Tensor,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
) -> np.ndarray:
    """Logits, float32, shape (N, C), in evaluation mode and full precision.

    images: uint8, shape (N, H, W, 3). mean, std: (3,). The model comes back in the mode it had.
    """
    training = model.training
    model.eval()
    try:
        logits = []
        for start in range(0, len(images), batch_size):
            will_need(images, np.arange(start, min(start + batch_size, len(images))))
            x = to_tensor(images[start : start + batch_size]).to(device)
            x = normalize(x, mean.to(device), std.to(device))
            logits.append(model(x).float().cpu())
    finally:
        model.train(training)
    return torch.cat(logits).numpy()


def evaluate(
    model: nn.Module,
    split: Split,
    mean: Tensor,
    std: Tensor,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
) -> Evaluation:
    """Evaluate `model` on the whole of `split`, unaugmented, every image once."""
    logits = compute_logits(model, split.images, mean, std, device=device, batch_size=batch_size)
    return score(logits, np.asarray(split.labels))


def score(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Evaluation of logits (N, C) against class indices (N,); sums in double precision.

    Works on some rows at a time: of a million images the logits fit into memory, and several times
    as much in double precision may not.
    """
    num_classes = logits.shape[1]
    losses = np.empty(len(labels))
    for start in range(0, len(labels), 4096):
        rows = slice(start, start + 4096)
        targets = one_hot(labels[rows], num_classes).double()
        log_probabilities = torch.from_numpy(logits[rows]).double().log_softmax(dim=1)
        losses[rows] = -(targets * log_probabilities).sum(dim=1)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    return Evaluation(logits, losses, labels, confusion)
