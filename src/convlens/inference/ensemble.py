"""Several answers made one: of several networks, and of an image's mirrored and shifted copies."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.data.normalize import LUMA, Normalize
from convlens.errors import UserError
from convlens.inference.classifier import Classifier


def ensemble(members: Sequence[Classifier | Path | str], tta: bool = False) -> Classifier:
    """One classifier that answers for all `members`: the mean of their probabilities.

    Each member's probabilities are those at its own temperature; the mean's is 1. Everything but
    the network is the first member's; where some read colors and others gray, the images are
    normalized as for the first that reads colors, and those that read gray make it of them.

    Args:
        members: Classifiers, run folders or weights files.
        tta: Test-time augmentation: each member answers for ten views of the image.

    Raises:
        UserError: when the members do not know the same classes, take images of different sizes or
            another `fit`, or there are none.
    """
    if not members:
        raise UserError("an ensemble needs at least one network", option="members")
    networks = [m if isinstance(m, Classifier) else Classifier.load(m) for m in members]
    first, *others = networks
    for other in others:
        if other.class_names != first.class_names:
            raise UserError(
                "the runs do not know the same classes; average runs on one data set only"
            )
        if (other.size, other.loaded_size) != (first.size, first.loaded_size):
            raise UserError(
                f"the runs take {first.size} of {first.loaded_size} pixels and {other.size} of "
                f"{other.loaded_size}; average runs of one size and crop_pct only"
            )
        if other.fit != first.fit:
            raise UserError(
                f"the runs have images that are not square made so by {first.fit} and {other.fit}; "
                "average runs of one `fit` only"
            )
    if not tta and not others:
        return first
    models = [nn.Sequential(m.model, m.scaling) for m in networks]
    size, crop_pct = first.size, first.crop_pct
    if tta:
        # the views are cut out of the whole of a loaded image
        models = [Views(model, size) for model in models]
        size, crop_pct = first.loaded_size, 1.0
    model = models[0]
    normalizers = [network.normalize for network in networks]
    given = max(normalizers, key=lambda normalize: normalize.channels)  # the first in color
    if others:
        model = Ensemble(models, normalizers, given)
    return first.with_model(
        model, size=size, crop_pct=crop_pct, temperature=1.0, normalize=copy.deepcopy(given)
    )


class Views(nn.Module):
    """Test-time augmentation: the mean of a network's probabilities over ten views of an image.

    The views are the middle of the image and what lies around it in each of the four directions, to
    the image's border, each as it is and mirrored. An image that is no larger than what the model
    takes has its border repeated for `shift` pixels.
    Input: (N, channels, side, side), side at least `size`, that of the model's images. Output: (N,
    num_classes), the logarithms of the mean probabilities.
    """

    def __init__(self, model: nn.Module, size: int, shift: int = 3):
        super().__init__()
        self.model, self.size, self.shift = model, size, shift

    def forward(self, x: Tensor) -> Tensor:
        spare = (x.shape[2] - self.size) // 2
        if not spare:
            spare = self.shift
            x = F.pad(x, [spare] * 4, mode="replicate")
        answers = []
        for down, right in (0, 0), (-1, 0), (1, 0), (0, -1), (0, 1):
            top, left = (1 + down) * spare, (1 + right) * spare
            view = x[:, :, top : top + self.size, left : left + self.size]
            answers += [self.model(view), self.model(view.flip(3))]
        return log_mean(answers)


class Ensemble(nn.Module):
    """The mean of several networks' probabilities (Hansen and Salamon 1990).

    Args:
        models: The networks.
        normalizers: What each one's images are normalized by.
        given: What the input is normalized by; by default as the first network's is.

    Raises:
        ValueError: where `given` makes gray of the colors that a network reads.

    Input: (N, channels, H, W), normalized by `given`. Output: (N, num_classes), the
    logarithms of the mean probabilities.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        models: Sequence[nn.Module],
        normalizers: Sequence[Normalize],
        given: Normalize | None = None,
    ):
        super().__init__()
        self.models = nn.ModuleList(models)
        given = normalizers[0] if given is None else given
        self.in_channels = given.channels
        if any(n.channels > given.channels for n in normalizers):
            raise ValueError("gray images have no colors for a network that reads them")
        # normalized by that, then by a member's own: x ↦ x·scale + shift, (members, channels)
        scales, shifts = zip(*(_between(given, n) for n in normalizers), strict=True)
        self.register_buffer("scale", torch.stack(scales))
        self.register_buffer("shift", torch.stack(shifts))
        # of a member that reads gray in an ensemble that is given colors: their sum is its gray
        self.summed = [n.channels < given.channels for n in normalizers]

    def forward(self, x: Tensor) -> Tensor:
        scales, shifts = self.scale[:, :, None, None], self.shift[:, :, None, None]
        answers = []
        for model, scale, shift, summed in zip(
            self.models, scales, shifts, self.summed, strict=True
        ):
            own = x * scale + shift
            answers.append(model(own.sum(dim=1, keepdim=True) if summed else own))
        return log_mean(answers)


def _between(given: Normalize, own: Normalize) -> tuple[Tensor, Tensor]:
    """Scale and shift, (channels,) each, from images normalized by `given` to those by `own`.

    Where `own` is of gray and `given` of colors, what comes out has to be summed over these.
    """
    if own.channels == given.channels:
        return given.std / own.std, (given.mean - own.mean) / own.std
    luma = torch.tensor(LUMA, device=own.mean.device)
    return luma * given.std / own.std, (luma * given.mean - own.mean / 3) / own.std


def log_mean(logits: list[Tensor]) -> Tensor:
    """Logarithm of the mean of the probabilities that several logits stand for."""
    stacked = torch.stack([each.float().log_softmax(dim=1) for each in logits])
    return stacked.logsumexp(dim=0) - torch.tensor(float(len(logits))).log()
