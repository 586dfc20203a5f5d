import dataclasses

import pytest
import torch
from torch import nn

from convlens.inference.ensemble import Ensemble, Views, combine
from convlens.errors import UserError
from convlens.models import ConvNet, LeNet5
from convlens.training.run_folder import Trained


def trained(model, classes=("a", "b", "c"), size=64, mean=0.5, std=0.25, zoom=1.0) -> Trained:
    statistics = torch.full((3,), mean), torch.full((3,), std)
    return Trained(model.eval(), "", {}, classes, size, *statistics, "", "", zoom=zoom)


class Corner(nn.Module):
    """Logits: the value of the upper left pixel, and zero."""

    def forward(self, x):
        return torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], dim=1)


def test_views_average_the_probabilities_of_ten_views_by_hand():
    x = torch.arange(25.0).view(1, 1, 5, 5).expand(1, 3, 5, 5) / 10
    # the upper left pixel of the image, of it shifted by two (its border repeated), of the mirrors
    seen = torch.tensor([0, 4, 0, 4, 10, 14, 0, 2, 2, 4]) / 10
    expected = seen.sigmoid().mean()
    answer = Views(Corner(), 5, shift=2)(x).exp()
    torch.testing.assert_close(answer[0], torch.stack([expected, 1 - expected]))


def test_views_of_a_larger_image_are_cut_out_of_it():
    x = torch.arange(49.0).view(1, 1, 7, 7).expand(1, 3, 7, 7) / 10
    # the upper left pixel of the middle 5×5, of those above, below, left and right, of the mirrors
    seen = torch.tensor([8, 12, 1, 5, 15, 19, 7, 11, 9, 13]) / 10
    expected = seen.sigmoid().mean()
    answer = Views(Corner(), 5)(x).exp()
    torch.testing.assert_close(answer[0], torch.stack([expected, 1 - expected]))
    both = combine([trained(Corner(), size=64, zoom=1.25)], views=True)
    assert (both.size, both.zoom, both.loaded_size) == (80, 1.0, 80)


def test_an_image_and_its_mirror_get_one_answer():
    torch.manual_seed(0)
    model = Views(ConvNet(3).eval(), 64)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model(x.flip(3)))


def test_an_ensemble_is_the_mean_probability_each_with_its_own_statistics():
    torch.manual_seed(0)
    members = [trained(LeNet5(3), mean=0.5, std=0.25), trained(LeNet5(3), mean=0.3, std=0.5)]
    images = torch.rand(4, 3, 64, 64)
    with torch.inference_mode():
        expected = sum(
            m.model((images - m.mean[0]) / m.std[0]).softmax(dim=1) for m in members
        ) / len(members)
        answer = combine(members).model((images - 0.5) / 0.25)
    torch.testing.assert_close(answer.softmax(dim=1), expected)
    torch.testing.assert_close(answer.exp(), expected)


def test_members_are_averaged_at_their_own_temperatures():
    torch.manual_seed(0)
    members = [
        dataclasses.replace(trained(LeNet5(3)), temperature=temperature) for temperature in (0.5, 2)
    ]
    x = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        expected = [(m.model(x) / m.temperature).softmax(dim=1) for m in members]
        both = combine(members)
        torch.testing.assert_close(both.model(x).softmax(dim=1), sum(expected) / 2)
        assert both.temperature == 1
        views = combine(members[:1], views=True)
        shown = Views(lambda y: members[0].model(y) / 0.5, 64)(x)
        torch.testing.assert_close(views.model(x), shown)
        assert views.temperature == 1


def test_one_member_alone_is_itself_and_two_equal_ones_answer_as_one():
    torch.manual_seed(0)
    one = trained(LeNet5(3))
    assert combine([one]) is one
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = combine([one, one]).model(x)
        torch.testing.assert_close(both.softmax(dim=1), one.model(x).softmax(dim=1))
    assert isinstance(combine([one, one]).model, Ensemble)
    assert isinstance(combine([one], views=True).model, Views)


def test_members_that_do_not_fit_are_refused():
    one = trained(LeNet5(3))
    with pytest.raises(UserError, match="do not know the same classes"):
        combine([one, dataclasses.replace(one, classes=("a", "b", "d"))])
    with pytest.raises(UserError, match=r"images of 64 pixels at zoom 1\.0 and 32 at 1\.0"):
        combine([one, dataclasses.replace(one, size=32)])
