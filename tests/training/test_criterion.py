import numpy as np
import pytest
import torch
from torch import nn

from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.recipes import Recipe
from convlens.training.criterion import Criterion, load_teachers, make_teacher

COUNTS = np.array([8, 4, 2, 2])
LOGITS = torch.tensor([[1.0, 0.5, -1.0, 2.0], [0.0, 3.0, 1.0, -2.0]])
TARGETS = torch.eye(4)[[3, 1]]
IMAGES = torch.zeros(2, 3, 8, 8)


def recipe(**changes):
    return Recipe("mine", "ConvNet", **changes)


def by_hand(logits, targets):
    return float((targets * (logits.exp().sum(dim=1, keepdim=True).log() - logits)).sum(1).mean())


def test_plain_cross_entropy_by_hand():
    loss = Criterion(recipe(), COUNTS, None)(LOGITS, TARGETS, IMAGES)
    assert float(loss) == pytest.approx(by_hand(LOGITS, TARGETS), rel=1e-5)


def test_logit_adjustment_raises_logits_by_the_log_of_the_shares():
    loss = Criterion(recipe(logit_adjust_tau=1.5), COUNTS, None)(LOGITS, TARGETS, IMAGES)
    raised = LOGITS + 1.5 * torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    assert float(loss) == pytest.approx(by_hand(raised, TARGETS), rel=1e-5)


def test_the_gradient_of_distillation_vanishes_where_the_teacher_is_matched():
    class Teacher(nn.Module):
        def forward(self, images):
            return LOGITS + 7  # a constant added to logits changes no probability

    logits = LOGITS.clone().requires_grad_()
    Criterion(recipe(distillation=1.0), COUNTS, Teacher())(logits, TARGETS, IMAGES).backward()
    assert logits.grad.abs().max() < 1e-6


def test_distillation_by_hand():
    soft = torch.tensor([[4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0]])
    criterion = Criterion(recipe(distillation=0.25), COUNTS, lambda images: soft)
    expected = 0.75 * by_hand(LOGITS, TARGETS) + 0.25 * 4 * by_hand(
        LOGITS / 2, (soft / 2).softmax(dim=1)
    )
    assert float(criterion(LOGITS, TARGETS, IMAGES)) == pytest.approx(expected, rel=1e-5)


def test_teachers_see_images_normalized_as_they_were_trained(toy_weights):
    trained = Classifier.load(toy_weights)
    pixels = torch.rand(3, 3, 16, 16)

    def normalized(by):
        return (pixels - by.mean.view(1, 3, 1, 1)) / by.std.view(1, 3, 1, 1)

    here = Normalize([0.5, 0.5, 0.4], [0.3, 0.2, 0.1])
    teachers = load_teachers([str(toy_weights)] * 2, trained.class_names)
    teacher = make_teacher(teachers, here, torch.float32)
    expected = trained.model(normalized(trained.normalize)).log_softmax(dim=1)
    torch.testing.assert_close(teacher(normalized(here)), expected, rtol=1e-4, atol=1e-4)
    assert make_teacher([], here, torch.float32) is None


def test_a_teacher_of_other_classes_is_refused(toy_weights):
    with pytest.raises(UserError, match=f"`teachers` {toy_weights} does not know") as refused:
        load_teachers([str(toy_weights)], ("a", "b"))
    assert refused.value.options == ("teachers",)
