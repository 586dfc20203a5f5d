import numpy as np
import pytest
import torch
from torch import nn

from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier, ensemble
from convlens.inference.ensemble import Ensemble, Views
from convlens.models import ConvNet, LeNet5


def classifier(model, mean=0.5, std=0.25, **options) -> Classifier:
    normalize = Normalize([mean] * 3, [std] * 3)
    return Classifier(model.eval(), ("a", "b", "c"), normalize, **options)


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
    both = ensemble([classifier(Corner(), size=64, crop_pct=0.8)], tta=True)
    assert (both.size, both.crop_pct, both.loaded_size) == (80, 1.0, 80)


def test_an_image_and_its_mirror_get_one_answer():
    torch.manual_seed(0)
    model = Views(ConvNet(3).eval(), 64)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model(x.flip(3)))


def test_an_ensemble_is_the_mean_probability_each_with_its_own_statistics():
    torch.manual_seed(0)
    members = [classifier(LeNet5(3)), classifier(LeNet5(3), mean=0.3, std=0.5)]
    images = torch.rand(4, 3, 64, 64)
    with torch.inference_mode():
        expected = sum(
            m.model((images - m.normalize.mean[0]) / m.normalize.std[0]).softmax(dim=1)
            for m in members
        ) / len(members)
        answer = ensemble(members).model((images - 0.5) / 0.25)
    torch.testing.assert_close(answer.softmax(dim=1), expected)
    torch.testing.assert_close(answer.exp(), expected)


def test_members_are_averaged_at_their_own_temperatures():
    torch.manual_seed(0)
    members = [classifier(LeNet5(3), temperature=temperature) for temperature in (0.5, 2)]
    x = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        expected = [(m.model(x) / m.temperature).softmax(dim=1) for m in members]
        both = ensemble(members)
        torch.testing.assert_close(both.model(x).softmax(dim=1), sum(expected) / 2)
        assert both.temperature == 1
        views = ensemble(members[:1], tta=True)
        shown = Views(lambda y: members[0].model(y) / 0.5, 64)(x)
        torch.testing.assert_close(views.model(x), shown)
        assert views.temperature == 1


def test_one_member_alone_is_itself_and_two_equal_ones_answer_as_one():
    torch.manual_seed(0)
    one = classifier(LeNet5(3))
    assert ensemble([one]) is one
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = ensemble([one, one]).model(x)
        torch.testing.assert_close(both.softmax(dim=1), one.model(x).softmax(dim=1))
    assert isinstance(ensemble([one, one]).model, Ensemble)
    assert isinstance(ensemble([one], tta=True).model, Views)


def test_what_an_ensemble_says_of_an_image_is_what_its_members_say(toy_weights, toy_data):
    one, other = Classifier.load(toy_weights), Classifier.load(toy_weights)
    torch.nn.init.normal_(other.model.fc3.bias)
    other.temperature = 0.5
    both = ensemble([one, other])
    dataset = one.open_dataset(toy_data)
    seen = both.evaluate(dataset)
    members = [m.evaluate(dataset).probabilities for m in (one, other)]
    np.testing.assert_allclose(seen.probabilities, np.mean(members, axis=0), rtol=1e-4)
    path = toy_data / dataset.validation.paths[0]
    [prediction] = both.predict(path, top=5)
    expected = sorted(seen.probabilities[0], reverse=True)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-4)


def test_run_folders_and_weights_files_are_members_too(finished_run):
    run = Classifier.load(finished_run)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    both = ensemble([finished_run, str(finished_run / "last.safetensors")])
    np.testing.assert_allclose(
        both.probabilities(both.logits(images)), run.probabilities(run.logits(images)), rtol=1e-4
    )


def test_members_that_do_not_fit_are_refused():
    one = classifier(LeNet5(3))
    with pytest.raises(UserError, match="do not know the same classes"):
        ensemble([one, one.with_model(one.model, class_names=("a", "b", "d"))])
    with pytest.raises(UserError, match="the runs take 64 of 64 pixels and 32 of 32"):
        ensemble([one, one.with_model(one.model, size=32)])
    with pytest.raises(UserError, match="the runs take 64 of 64 pixels and 64 of 80"):
        ensemble([one, one.with_model(one.model, crop_pct=0.8)])
    with pytest.raises(UserError, match="made so by squash and pad; average runs of one `fit`"):
        ensemble([one, one.with_model(one.model, fit="pad")])
    with pytest.raises(UserError, match="needs at least one network"):
        ensemble([])
