"""Several answers made one: of an image's mirrored and shifted copies, and of several networks."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.errors import UserError
from convlens.training.run_folder import Trained


def combine(members: Sequence[Trained], views: bool = False) -> Trained:
    """One network that answers for all `members`, with `views` each for ten views of the image.

    Everything but the network is the first member's. What is averaged are probabilities at each
    member's own temperature; the average's is 1. Raises UserError when the members do not know the
    same classes or take images of different sizes.
    """
    first, *others = members
    for other in others:
        if other.classes != first.classes:
            raise UserError(
                "the runs do not know the same classes; average runs on one data set only"
            )
        if (other.size, other.zoom) != (first.size, first.zoom):
            raise UserError(
                f"the runs take images of {first.size} pixels at zoom {first.zoom} and "
                f"{other.size} at {other.zoom}; average runs of one size and zoom only"
            )
    if views or others:
        members = [replace(m, model=Divided(m.model, m.temperature), temperature=1.0)
                   for m in members]  # fmt: skip
    if views:
        # the views are cut out of the whole of a loaded image
        members = [
            replace(m, model=Views(m.model, m.size), size=m.loaded_size, zoom=1.0) for m in members
        ]
    if not others:
        return members[0]
    ensemble = Ensemble([(m.model, m.mean, m.std) for m in members], first.mean, first.std)
    return replace(members[0], model=ensemble)


class Divided(nn.Module):
    """A network's logits over its temperature."""

    def __init__(self, model: nn.Module, temperature: float):
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) / self.temperature


class Views(nn.Module):
    """Test-time augmentation: the mean of a network's probabilities over ten views of an image.

    The views are the middle of the image and what lies around it in each of the four directions, to
    the image's border, each as it is and mirrored. An image that is no larger than what the model
    takes has its border repeated for `shift` pixels.
    Input: (N, 3, side, side), side at least `size`, that of the model's images. Output: (N,
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

    members: each network with the mean and the standard deviation, both (3,), that its images are
    normalized by. Input: (N, 3, H, W), normalized by `mean` and `std`. Output: (N, num_classes),
    the logarithms of the mean probabilities.
    """

    def __init__(
        self, members: Sequence[tuple[nn.Module, Tensor, Tensor]], mean: Tensor, std: Tensor
    ):
        super().__init__()
        self.models = nn.ModuleList(model for model, _, _ in members)
        # normalized by those, then by a member's: x ↦ x·scale + shift
        self.register_buffer("scale", torch.stack([std / s for _, _, s in members]))
        self.register_buffer("shift", torch.stack([(mean - m) / s for _, m, s in members]))

    def forward(self, x: Tensor) -> Tensor:
        scales, shifts = self.scale[:, :, None, None], self.shift[:, :, None, None]
        answers = (m(x * a + b) for m, a, b in zip(self.models, scales, shifts, strict=True))
        return log_mean(list(answers))


def log_mean(logits: list[Tensor]) -> Tensor:
    """Logarithm of the mean of the probabilities that several logits stand for."""
    stacked = torch.stack([each.float().log_softmax(dim=1) for each in logits])
    return stacked.logsumexp(dim=0) - torch.tensor(float(len(logits))).log()
