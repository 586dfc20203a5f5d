import copy

import numpy as np
import pytest
import torch
from torch import nn

from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.recipes import Recipe
from convlens.training.criterion import Criterion, Teachers, load_teachers

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


def normalized(pixels, by):
    return (pixels - by.mean.view(1, 3, 1, 1)) / by.std.view(1, 3, 1, 1)


def test_each_teacher_teaches_its_part_on_images_normalized_as_it_was_trained(toy_weights):
    first = Classifier.load(toy_weights)
    second = copy.deepcopy(first)
    *_, bias = second.model.parameters()  # of the classes
    bias.data += torch.arange(len(bias))
    second.normalize = Normalize([0.1, 0.2, 0.3], [0.3, 0.3, 0.2])
    pixels, here = torch.rand(5, 3, 16, 16), Normalize([0.5, 0.5, 0.4], [0.3, 0.2, 0.1])
    expected = [
        each.model(normalized(pixels, each.normalize)).log_softmax(dim=1)
        for each in (first, second)
    ]
    teachers = Teachers([first, second], here, torch.float32)
    for count in (5, 4, 1):  # the larger part to the first, and to each one where it goes round
        half = (count + 1) // 2
        taught = teachers(normalized(pixels, here)[:count])
        torch.testing.assert_close(taught[:half], expected[0][:half], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(taught[half:], expected[1][half:count], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected[0], expected[1], atol=0.1)


def test_a_teacher_that_takes_one_size_only_is_asked_for_no_other(toy_weights):
    trained = Classifier.load(toy_weights)  # a LeNet5
    load_teachers([str(toy_weights)], trained.class_names, sizes={16})
    with pytest.raises(UserError, match="is for images of 16 pixels and takes none of 48; train w"):
        load_teachers([str(toy_weights)], trained.class_names, sizes={16, 48})


def test_a_teacher_of_other_classes_is_refused(toy_weights):
    with pytest.raises(UserError, match=f"`teachers` {toy_weights} does not know") as refused:
        load_teachers([str(toy_weights)], ("a", "b"))
    assert refused.value.options == ("teachers",)


@pytest.mark.parametrize(("count", "teachers"), [(16, 5), (32, 10), (3, 3)])
def test_every_teacher_teaches_where_there_are_enough_images(count, teachers, toy_weights):
    trained = Classifier.load(toy_weights)
    faculty = Teachers([trained] * teachers, trained.normalize, torch.float32)
    asked = []
    for number, model in enumerate(faculty.models):
        model.register_forward_hook(lambda *_, number=number: asked.append(number))
    assert len(faculty(torch.zeros(count, 3, 16, 16))) == count
    assert asked == list(range(teachers))
