"""Stochastic depth: residual branches left out at random (Huang et al. 2016, section 3)."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, each image's branch is zero with probability `drop`, else over 1 - drop.

    drop: in [0, 1). Input and output: (N, ...). In evaluation mode the input itself.
    """

    def __init__(self, drop: float):
        super().__init__()
        self.drop = probability(drop, "drop")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop:
            return x
        kept = torch.rand(len(x), device=x.device) >= self.drop
        scale = (kept / (1 - self.drop)).to(x.dtype)
        return x * scale.view(-1, *[1] * (x.ndim - 1))

    def extra_repr(self) -> str:
        return f"drop={self.drop}"


def probability(value: float, name: str) -> float:
    """`value`, which lies in [0, 1); else ValueError, for NaN too."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is in [0, 1), not {value}")
    return value


def drop_rates(drop: float, blocks: int) -> list[float]:
    """The probabilities of a network's blocks: from 0 linearly to `drop` in the last (eq. 4)."""
    return [drop * block / max(blocks - 1, 1) for block in range(blocks)]
