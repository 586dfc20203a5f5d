"""Inference of `convnet`: what `convlens predict --fast` and `--int8` do."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from convlens.data import open_dataset
from convlens.inference.classifier import Classifier
from convlens.inference.int8 import to_int8
from convlens.models import ConvNet
from convlens.training.initialization import initialize

# A way counts only if no logit is off by more than this share of the largest.
TOLERANCE = 0.02
BATCHES = (1, 16, 64, 128, 256)
# `convlens predict --fast` takes bf16 where it pays.
WAYS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def classifier_and_images(weights: str | None, batch: int) -> tuple[Classifier, Tensor]:
    """ConvNet (trained, if there is a weights file) and as many normalized images.

    The images, (batch, channels, size, size) of the network, are noise: no layer's time depends on
    the values.
    """
    torch.manual_seed(0)
    if weights is not None:
        classifier = Classifier.load(weights)
    else:
        model = ConvNet(101)
        initialize(model, "kaiming")
        classifier = Classifier(model, tuple(map(str, range(101))))
    channels, size = classifier.normalize.channels, classifier.size
    return classifier.float().eval(), torch.randn(batch, channels, size, size)


@torch.inference_mode()
def inference_rate(weights: str | None, way: str, batch: int, seconds: float) -> dict[str, Any]:
    """Images/s of one of WAYS, once it is made ready, which takes `start_seconds`.

    `difference` is the largest difference of a logit from eager fp32, as a share of the largest
    logit.
    """
    classifier, images = classifier_and_images(weights, batch)
    expected = classifier.model(images)
    start = time.perf_counter()
    run = classifier.fast(WAYS[way]).model
    difference = float((run(images) - expected).abs().max() / expected.abs().max())
    ready = time.perf_counter() - start
    run(images)  # the last of the warm-up
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        run(images)
        count += 1
    return {
        "way": way,
        "batch": batch,
        "images_per_second": count * batch / elapsed,
        "start_seconds": ready,
        "difference": difference,
    }


@torch.inference_mode()
def int8_rates(weights: str, data: str, batches: Sequence[int], seconds: float) -> dict[str, Any]:
    """Images/s in int8 at each batch size, the best of them, and what int8 costs in accuracy.

    data: what the network was trained on. Raises UserError where int8 costs too much.
    """
    plain = Classifier.load(weights).float().eval()
    dataset = plain.aligned(open_dataset(data, size=plain.loaded_size, fit=plain.fit))
    start = time.perf_counter()
    rounded, check = to_int8(plain, dataset.train, dataset.validation, "validation")
    ready = time.perf_counter() - start
    grid = []
    for batch in batches:
        images = classifier_and_images(weights, batch)[1]
        rounded.model(images)
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not count:
            rounded.model(images)
            count += 1
        grid.append({"batch": batch, "images_per_second": count * batch / elapsed})
    best = max(grid, key=lambda row: row["images_per_second"])
    return {**best, "grid": grid, "start_seconds": ready, **asdict(check)}


def inference_grid(
    weights: str | None, seconds: float, batches: Sequence[int] = BATCHES
) -> dict[str, Any]:
    """`inference_rate` of every way at every batch size, and the best that keeps to TOLERANCE."""
    grid = [inference_rate(weights, way, batch, seconds) for way in WAYS for batch in batches]
    exact = [row for row in grid if row["difference"] <= TOLERANCE]
    return {"best": max(exact, key=lambda row: row["images_per_second"]), "grid": grid}
