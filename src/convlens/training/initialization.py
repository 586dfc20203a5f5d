"""How a network's weights begin."""

from torch import nn


def initialize(model: nn.Module, scheme: str) -> None:
    """Set the weights of convolutions and linear layers in place; biases to zero.

    "kaiming": normal, He et al. 2015 (Delving Deep into Rectifiers), fan out for convolutions as in
    their ResNet. "xavier": uniform, Glorot and Bengio 2010. "default": as PyTorch made them.
    """
    if scheme == "default":
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if scheme == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
