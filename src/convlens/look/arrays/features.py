"""What a network knows of an image just before it decides: features, and images with like ones."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.batches import batches_of
from convlens.data.dataset import Rows, center_crop
from convlens.errors import UserError
from convlens.inference.classifier import Classifier, images_at_once
from convlens.models.hooks import hooked


def features(
    classifier: Classifier, images: np.ndarray | Rows, batch_size: int | None = None
) -> np.ndarray:
    """What the last linear layer reads (the penultimate layer), float32, shape (N, features).

    Args:
        classifier: The network with its normalization.
        images: uint8, (N, size, size, 3), or larger by its `crop_pct`; a memory map is read a batch
            at a time.
        batch_size: Images in a forward pass, by default `images_at_once`.

    Raises:
        UserError: where the model runs no linear layer.
    """
    collected = []
    batch_size = batch_size or images_at_once(classifier.size, classifier.device)
    read: Tensor | None = None

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal read
        if isinstance(module, nn.Linear):
            (read,) = inputs

    with hooked(classifier.model, hook), torch.no_grad():
        for batch in batches_of(center_crop(images, classifier.size), batch_size):
            classifier(batch.to(classifier.device))
            if read is None:
                raise UserError(
                    f"{type(classifier.model).__name__} has no linear layer, before which the "
                    "features are read; choose a classifier"
                )
            collected.append(read.flatten(1).float().cpu())
    return torch.cat(collected).numpy()


@dataclass(frozen=True)
class Neighbors:
    """rows: int64, (M, k): the k most alike of N candidates, most alike first. similarity: float32,
    (M, k): the cosine of the angle between the features, -1..1."""

    rows: np.ndarray
    similarity: np.ndarray


def nearest(queries: np.ndarray, candidates: np.ndarray, count: int = 8) -> Neighbors:
    """The `count` candidates whose features point most nearly where each query's do.

    queries: float, (M, features). candidates: float, (N, features). Of equals the earlier row
    counts. There are fewer than `count` where N is less.
    """
    cosine = _unit(queries) @ _unit(candidates).T
    rows = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return Neighbors(rows, np.take_along_axis(cosine, rows, axis=1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Each row over its length; a row of zeros stays one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def embedding(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """The two directions in which features differ most: principal components.

    vectors: float, (N, features). Returns float32, (N, 2), and the share of the variance, 0..1,
    that the two hold. Each axis points where its largest coordinate is positive, so that the same
    features always give the same picture.
    """
    centered = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    u, s = np.pad(u, ((0, 0), (0, 2)))[:, :2], np.pad(s, (0, 2))
    places = u * s[:2]
    signs = np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])
    total = float((s**2).sum())
    share = float((s[:2] ** 2).sum()) / total if total else 1.0
    return (places * np.where(signs == 0, 1, signs)).astype(np.float32), share
