"""The average of the weights over the steps, which generalizes better than the last ones."""

import copy
from typing import Any

import torch
from torch import nn


class ModelEma:
    """An average of a model's weights and batch-norm statistics over the steps.

    Exponential (EMA): the decay grows from 0 towards `decay` as (1 + t) / (10 + t), so that the
    random first weights are soon forgotten. With `swa_fraction`, the last share of the steps, every
    step in it counts the same instead (Izmailov et al. 2018, "Averaging Weights Leads to Wider
    Optima", algorithm 1, whose extra pass for batch norm is spared by averaging its statistics
    too). With neither, the average is the model itself.

    Attributes:
        module: The averaged model.
        steps: How many steps it has averaged.
        progress: The share of all steps before the last of them.
    """

    def __init__(self, model: nn.Module, decay: float, swa_fraction: float = 0.0):
        self.decay, self.swa_fraction, self.source = decay, swa_fraction, model
        self.steps, self.progress = 0, 0.0
        averages = decay or swa_fraction
        self.module = copy.deepcopy(model).requires_grad_(False) if averages else model

    @torch.no_grad()
    def update(self, progress: float = 0.0) -> None:
        """Take in the model after a step; progress: the share of all steps before it, [0, 1)."""
        if self.module is self.source:
            return
        if not self.swa_fraction:
            self.steps += 1
            weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        else:
            if progress < self.progress:  # a run that had ended goes on: its end is another one
                self.steps = 0
            self.progress = progress
            self.steps += int(progress >= 1 - self.swa_fraction)
            weight = 1 / max(1, self.steps)
        mine, theirs = self.module.state_dict(), self.source.state_dict()
        floats = [k for k, v in mine.items() if v.is_floating_point()]
        # one call for all tensors: a step of ResNet-18 has 122 of them
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [mine[k] for k in floats], [theirs[k] for k in floats], weight
        )
        for k in mine.keys() - set(floats):
            mine[k].copy_(theirs[k])

    def state_dict(self) -> dict[str, Any]:
        """For the training state; the average's own weights only where there is an average."""
        own = None if self.module is self.source else self.module.state_dict()
        return {"steps": self.steps, "progress": self.progress, "model": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`. Raises TypeError where `state` is none."""
        if not isinstance(state["steps"], int):
            raise TypeError("steps are counted")
        self.steps, self.progress = state["steps"], float(state.get("progress", 0.0))
        if self.module is not self.source:
            self.module.load_state_dict(state["model"])
