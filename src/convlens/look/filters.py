"""The filters of the first convolution, the only ones whose channels are colours."""

import numpy as np
import torch
from torch import nn

from convlens.errors import UserError


def first_filters(model: nn.Module) -> np.ndarray:
    """Weights of the first convolution as float32, shape (out, kh, kw, 3), channels R, G, B.

    That is the first 2-D convolution, in the order of definition, that reads 3 channels. A weight
    is what it is, of either sign; `figures.filters` scales for display. UserError where the model
    has no such convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] == 3:
            weight = module.weight.detach().to("cpu", torch.float32, copy=True)
            return weight.permute(0, 2, 3, 1).contiguous().numpy()
    raise UserError(
        f"{type(model).__name__} has no 2-D convolution that reads 3 channels, so its filters "
        "have no colours to show; choose a convolutional model for RGB images"
    )
