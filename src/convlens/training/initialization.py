"""How a network's weights begin."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from convlens.data.batches import batches_of
from convlens.data.dataset import Rows
from convlens.data.normalize import Normalize
from convlens.models.hooks import first_convolution


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


WHITENED = 2000  # images whose patches are looked at
LEAST_VARIANCE = 0.01  # is added to the patches' own, so that what hardly varies is not blown up


def whiten(model: nn.Module, images: np.ndarray | Rows, normalize: Normalize) -> None:
    """Have the first convolution begin by whitening the patches that it sees, in place.

    Half of its filters become the eigenvectors of the patches' second moments, the largest first,
    each divided by the root of its eigenvalue; the other half the negatives of these, since what
    follows keeps one sign only (Page 2019, "How to Train Your ResNet 8: Bag of Tricks"; Jordan
    2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.2). Filters for which there
    are no more eigenvectors stay as they are. Unlike there the filters are trained on.

    Args:
        model: A network whose first convolution reads images, all channels at once.
        images: Training images, uint8, shape (N, H, W, 3); of many an even sample is read.
        normalize: What makes the network's input of them.
    """
    convolution = first_convolution(model)
    if convolution is None:
        return
    weight = convolution.weight
    moments = torch.zeros(weight[0].numel(), weight[0].numel(), dtype=torch.float64)
    count = 0
    sample = np.linspace(0, len(images) - 1, min(len(images), WHITENED)).astype(int)
    for batch in batches_of(Rows(images, sample), 250):
        pixels = normalize(batch.to(normalize.mean.device))
        # side by side, without overlap: (patches, channels · height · width)
        patches = F.unfold(pixels, weight.shape[2:], stride=weight.shape[2:]).mT.flatten(0, 1)
        moments += (patches.T @ patches).double().cpu()
        count += len(patches)
    values, vectors = torch.linalg.eigh(moments / max(count, 1))
    # eigh leaves the sign open: the largest entry is positive
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    vectors = vectors * vectors.gather(0, largest).sign()
    filters = (vectors / (values.clamp(min=0) + LEAST_VARIANCE).sqrt()).T.flip(0)
    filters = filters[: len(weight) // 2].reshape(-1, *weight.shape[1:]).to(weight)
    with torch.no_grad():
        weight[: 2 * len(filters)] = torch.cat([filters, -filters])
