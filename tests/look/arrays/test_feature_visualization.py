"""Images made by optimization excite what they are made for."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.errors import UserError
from convlens.look.arrays.feature_visualization import Ascent, feature_visualization
from convlens.models import MODELS, ConvNet


@pytest.mark.parametrize("name", MODELS)
def test_they_excite_their_class_more_than_any_random_image(name, classifier_of):
    torch.manual_seed(0)
    model = MODELS[name](5).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images, values = feature_visualization(
        classifier_of(model, 64), None, [1, 3], ascent=Ascent(steps=12, learning_rate=0.05)
    )
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    with torch.no_grad():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) - 0.5) / 0.25
        np.testing.assert_allclose(model(x)[[0, 1], [1, 3]], values, rtol=1e-3, atol=1e-4)
        random = model((torch.rand(32, 3, 64, 64) - 0.5) / 0.25).amax(dim=0)
    assert (values > random[[1, 3]].numpy()).all()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_unit_of_a_convolution_wants_its_filter(classifier_of):
    # the best image for one linear unit is bright where its weights are positive, dark elsewhere
    model = nn.Sequential(nn.Conv2d(3, 2, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(0)
    nn.init.normal_(model[0].weight)
    images, _ = feature_visualization(
        classifier_of(model, 16),
        "0",
        [1],
        unit=(4, 6),
        ascent=Ascent(steps=200, jitter=0, learning_rate=0.1),
    )
    window = images[0, 4:9, 6:11].transpose(2, 0, 1) - 0.5
    weight = model[0].weight[1].detach().numpy()
    assert np.corrcoef(window.ravel(), weight.ravel())[0, 1] > 0.6


def test_the_same_seed_makes_the_same_image(classifier_of):
    torch.manual_seed(0)
    classifier = classifier_of(ConvNet(3).eval(), 64)
    once, again, other = (
        feature_visualization(classifier, "relu1", [0], ascent=Ascent(steps=3, seed=seed))[0]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_what_is_not_there_is_named(classifier_of):
    model = ConvNet(3).eval()
    with pytest.raises(UserError, match="logits have no class 3; choose from 0 to 2"):
        feature_visualization(classifier_of(model, 64), None, [3])
    with pytest.raises(UserError, match="has no layer 'relu9'"):
        feature_visualization(classifier_of(model, 64), "relu9", [0])
    assert all(p.requires_grad for p in model.parameters())
