"""The learning rate over a run."""

import math

import torch


def schedule(kind: str, progress: float, warmup: float) -> float:
    """Share of the highest learning rate to use at `progress`, the share of all steps done, [0, 1).

    "cosine": linear warm-up, then half a cosine to zero (Loshchilov and Hutter 2017, without
    restarts). "onecycle": cosine from 1/25 up over the first 30 %, cosine down to zero over the
    rest (Smith and Topin 2018). "constant": 1.
    """
    if kind == "constant":
        return 1.0
    if kind == "onecycle":
        warmup = 0.3
        if progress < warmup:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / warmup)) / 2
    elif progress < warmup:
        return progress / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def set_learning_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
