"""Squeeze-and-excitation: maps weighed by what all maps show."""

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Every map times a gate that all maps' means decide (Hu et al. 2018, fig. 2).

    Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden)
        self.relu = nn.ReLU()
        self.expand = nn.Linear(hidden, channels)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(self.expand(self.relu(self.reduce(x.mean(dim=(2, 3))))))
        return x * gates.to(x.dtype)[:, :, None, None]
