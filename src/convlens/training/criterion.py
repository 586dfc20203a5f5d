"""What training minimizes, before the penalties on the weights."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.files import as_unicode, on_disk
from convlens.inference.classifier import Classifier
from convlens.inference.ensemble import Ensemble
from convlens.inference.fast import FastInference
from convlens.recipes.recipe import Recipe

# Softer than 1, so that what a teacher holds to be less probable is learned too (Hinton et al.
# 2015, section 2).
TEMPERATURE = 2.0


class Criterion:
    """Cross-entropy with label smoothing, logit adjustment and distillation, as the recipe says.

    Logit adjustment: Menon et al. 2021, "Long-tail learning via logit adjustment", eq. 10.
    Distillation: the teacher sees the very images, augmented, that the network sees (Beyer et al.
    2022, "A good teacher is patient and consistent", section 3.1).

    Args:
        recipe: Its label_smoothing, logit_adjust_tau and distillation count.
        counts: Training images of each class, (C,).
        teacher: Gives logits for what the network is given; None where nobody teaches.
        device: Of the logits.
    """

    def __init__(
        self,
        recipe: Recipe,
        counts: np.ndarray,
        teacher: nn.Module | None = None,
        device: torch.device | str = "cpu",
    ):
        self.recipe, self.teacher = recipe, teacher
        self.adjustment: Tensor | None = None
        if recipe.logit_adjust_tau:
            shares = torch.tensor(np.maximum(counts, 1) / counts.sum(), dtype=torch.float32)
            self.adjustment = (recipe.logit_adjust_tau * shares.log()).to(device)

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """The mean loss in nats.

        Args:
            logits: float32, (B, C).
            targets: (B, C), rows summing to 1.
            images: (B, channels, H, W), what the logits were made from.
        """
        raised = logits if self.adjustment is None else logits + self.adjustment
        loss = F.cross_entropy(raised, targets, label_smoothing=self.recipe.label_smoothing)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            taught = (self.teacher(images).float() / TEMPERATURE).softmax(dim=1)
        # times T², so that its gradient is of the size of the other term's (there, section 2)
        soft = F.cross_entropy(logits / TEMPERATURE, taught) * TEMPERATURE**2
        return torch.lerp(loss, soft, self.recipe.distillation)


def load_teachers(
    runs: Sequence[str], classes: Sequence[str], channels: int = 3, sizes: Iterable[int] = ()
) -> list[Classifier]:
    """The networks of run folders or weights files.

    UserError unless they know those classes and can see what the student is given: images of so
    many `channels`, for of gray ones no colors can be made, and of these `sizes`, in pixels.
    """
    teachers = [Classifier.load(on_disk(as_unicode(run))) for run in runs]
    for run, teacher in zip(runs, teachers, strict=True):
        if teacher.class_names != tuple(classes):
            raise UserError(
                f"`teachers` {run} does not know the data set's classes; give a run trained on it",
                option="teachers",
            )
        if teacher.normalize.channels > channels:
            raise UserError(
                f"`teachers` {run} reads colors, and with `channels` {channels} it would be shown "
                "gray; give a run that was trained with `channels` 1, or train in color",
                option=("teachers", "channels"),
            )
        _check_sizes(run, teacher, sizes)
    return teachers


def _check_sizes(run: str, teacher: Classifier, sizes: Iterable[int]) -> None:
    for size in sizes:
        try:
            with torch.no_grad():
                teacher.model(torch.zeros(1, teacher.normalize.channels, size, size))
        except RuntimeError:  # LeNet5, whose first linear layer reads all of its maps
            raise UserError(
                f"`teachers` {run} is for images of {teacher.size} pixels and takes none of {size};"
                f" train with `size` {teacher.size} in all epochs, or give another",
                option=("teachers", "size"),
            ) from None


class Teachers(nn.Module):
    """Several teachers, each of which teaches a part of every batch.

    For a student it is as if all taught every image, at the cost of one: cross-entropy is linear in
    what is taught, and over the epochs an image comes to each of them.
    Input: (B, channels, H, W), normalized by `normalize`. Output: (B, num_classes).

    Args:
        teachers: At least one.
        normalize: Of the images of the student.
        dtype: Of the products: torch.float32 or torch.bfloat16.
    """

    def __init__(self, teachers: Sequence[Classifier], normalize: Normalize, dtype: torch.dtype):
        super().__init__()
        self.models = nn.ModuleList(
            Ensemble([FastInference(teacher.model, dtype)], [teacher.normalize], normalize)
            for teacher in teachers
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = x.tensor_split(len(self.models))  # the first have an image more, where need be
        taught = zip(self.models, parts, strict=True)
        return torch.cat([model(part) for model, part in taught if len(part)])
