"""Attributions are right, speak of the weights, and leave the model as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.data.decode import decode
from convlens.errors import UserError
from convlens.look.arrays.attribution import (
    grad_cam,
    grad_cam_layer,
    guided_backprop,
    integrated_gradients,
    targets,
)
from convlens.look.arrays.occlusion import occlusion
from convlens.models import ConvNet, LeNet5, ResNet18

VIEWS = {
    "grad_cam": grad_cam,
    "guided_backprop": guided_backprop,
    "integrated_gradients": lambda *args: integrated_gradients(*args, steps=8, samples=4),
    "occlusion": lambda *args: occlusion(*args).probability,
}
GRADIENT_VIEWS = {name: view for name, view in VIEWS.items() if name != "occlusion"}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
each_gradient_view = pytest.mark.parametrize("view", GRADIENT_VIEWS.values(), ids=GRADIENT_VIEWS)


class Users(nn.Module):
    """A network as users write them: one in-place ReLU for all, and dropout."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.relu(self.second(self.relu(self.first(x))))
        return self.head(self.drop(x.mean(dim=(2, 3))))


class Failing(Users):
    def forward(self, x):
        super().forward(x)
        raise RuntimeError("boom")


class FunctionalReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean(dim=(2, 3)))


def state_of(model: nn.Module) -> list:
    """What a view may change on its way and must put back."""
    return [
        (
            module.training,
            getattr(module, "inplace", None),
            len(module._forward_hooks) + len(module._forward_pre_hooks),
            len(module._backward_hooks) + len(module._backward_pre_hooks),
            [parameter.grad for parameter in module.parameters()],
        )
        for module in model.modules()
    ]


def images(count: int, size: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def seeded(network: type[nn.Module], *args, **options) -> nn.Module:
    torch.manual_seed(0)
    return network(*args, **options)


# Grad-CAM


@pytest.mark.parametrize(
    ("network", "expected"),
    [(LeNet5, "relu2"), (ConvNet, "stage4.relu2"), (ResNet18, "layer3.1.relu2")],
)
def test_grad_cam_reads_the_last_layer_that_is_not_too_coarse(network, expected):
    assert grad_cam_layer(network(5), 64) == expected  # ResNet18's layer4 has maps of 2×2


def test_where_all_maps_are_small_the_last_of_the_largest_is_read():
    assert grad_cam_layer(Users(), 2) == "relu#2"


def test_grad_cam_is_the_papers_formula():
    model = seeded(Users).eval()
    x = images(2)
    maps = F.relu(model.second(F.relu(model.first(x)))).detach().requires_grad_()
    logits = model.head(maps.mean(dim=(2, 3)))
    logits[:, 2].sum().backward()
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    expected = F.relu((weights * maps).sum(dim=1)).detach().numpy()
    assert expected.max() > 0
    np.testing.assert_allclose(grad_cam(model, x, 2), expected, atol=1e-6)


def test_grad_cam_is_scaled_to_the_image_from_the_layer_asked_for():
    cam = grad_cam(seeded(LeNet5, 5, size=16), images(2, 16), layer="relu2")
    assert cam.shape == (2, 16, 16) and cam.dtype == np.float32 and cam.min() >= 0


@pytest.mark.parametrize(("layer", "why"), [("relu9", "no layer 'relu9'"), ("fc1", "has no map")])
def test_grad_cam_needs_a_layer_with_maps(layer, why):
    with pytest.raises(UserError, match=why):
        grad_cam(LeNet5(5, size=16), images(1, 16), layer=layer)


# Guided backpropagation


def test_guided_backpropagation_lets_only_positive_gradients_through_a_relu():
    # y = ReLU(x₀) − ReLU(x₁) + ReLU(x₂) for a pixel's colors (1, 1, −1): the second is stopped
    # because its gradient is negative, the third because the ReLU was shut.
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)[:, :, None, None])
        model[3].weight.copy_(torch.tensor([[1.0, -1.0, 1.0]]))
    x = torch.tensor([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1)
    assert guided_backprop(model, x, 0).ravel().tolist() == [1, 0, 0]


def test_a_network_whose_relus_are_functions_cannot_be_guided():
    with pytest.raises(UserError, match=r"FunctionalReLU has no nn\.ReLU module"):
        guided_backprop(FunctionalReLU(), images(1))


# Integrated gradients


def test_integrated_gradients_sum_to_what_the_image_adds_to_the_logit():
    model = seeded(Users).eval()
    x = images(2)
    with torch.no_grad():
        added = (model(x) - model(torch.zeros_like(x)))[:, 1].numpy()
    got = integrated_gradients(model, x, 1, steps=200, samples=0)
    assert np.abs(added).min() > 1e-3
    np.testing.assert_allclose(got.sum(axis=(1, 2, 3)), added, rtol=0.01)


def test_smoothing_is_seeded_and_leaves_torchs_random_state_alone():
    model, x = seeded(Users), images(1)
    before = torch.get_rng_state()
    first, again, other = (integrated_gradients(model, x, 1, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_smoothing_without_noise_is_the_plain_view():
    model, x = seeded(Users), images(1)
    smoothed = integrated_gradients(model, x, 1, samples=2, noise=0)
    np.testing.assert_allclose(smoothed, integrated_gradients(model, x, 1, samples=0), atol=1e-6)


# All views


@each_gradient_view
def test_a_batch_gives_what_its_images_give_each_for_its_own_class(view):
    if view is GRADIENT_VIEWS["integrated_gradients"]:

        def view(*args):
            return integrated_gradients(*args, samples=0)

    model, x = seeded(Users), images(3)
    both = view(model, x, [2, 0, 1])
    for i, target in enumerate((2, 0, 1)):
        np.testing.assert_allclose(both[i], view(model, x[i : i + 1], target)[0], atol=1e-6)


@each_view
def test_the_predicted_class_is_the_default(view):
    model, x = seeded(Users), images(1)
    with torch.no_grad():
        predicted = int(model.eval()(x).argmax())
    others = [view(model, x, target) for target in range(3) if target != predicted]
    assert np.array_equal(view(model, x), view(model, x, predicted))
    assert not any(np.array_equal(view(model, x), other) for other in others)


@each_view
@pytest.mark.parametrize("network", [Users, Failing])
def test_a_view_leaves_the_model_and_the_image_as_they_were(view, network):
    model, x = seeded(network), images(1)
    model.drop.eval()  # modes differ between modules
    before, pixels = state_of(model), x.clone()
    if network is Failing:
        with pytest.raises(RuntimeError, match="boom"):
            view(model, x, 0)
    else:
        with torch.no_grad():  # as a user's code may
            view(model, x, 0)
    assert state_of(model) == before
    assert torch.equal(x, pixels) and not x.requires_grad


@pytest.mark.parametrize("target", [3, -1])
@each_view
def test_a_target_that_is_no_class_is_refused(view, target):
    with pytest.raises(UserError, match=rf"Users has no class {target}; .* from 0 to 2"):
        view(Users(), images(1), target)


def test_targets_are_each_images_predicted_class_or_those_given():
    model, x = seeded(Users).eval(), images(4)
    assert targets(model, x).tolist() == model(x).argmax(dim=1).tolist()
    assert targets(model, x, 2).tolist() == [2, 2, 2, 2]
    assert targets(model, x, [0, 1, 2, 0]).tolist() == [0, 1, 2, 0]


# Adebayo et al. 2018, Sanity Checks for Saliency Maps, section 3: a view of a trained model must
# change when the weights are drawn anew, else it shows edges of the image and not the model.


@pytest.fixture(scope="module")
def trained(toy_data):
    """A network trained a little on the toy data set, and an image of each class."""
    paths = sorted((toy_data / "train").glob("*/*.png"))
    pixels = np.stack([decode(path, 32) for path in paths])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 0.5
    labels = torch.arange(5).repeat_interleave(12)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        if loss < 0.3:  # surer, and hiding a part of an image would not change a digit
            break
        loss.backward()
        optimizer.step()
    assert (model(x).argmax(dim=1) == labels).float().mean() > 0.9
    return model.eval(), x[::12]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of magnitudes; ties (the zeros of a ReLU) share their mean rank."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, group, count = np.unique(np.abs(values), return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[group.ravel()]

    return float(np.corrcoef(ranks(a.ravel()), ranks(b.ravel()))[0, 1])


@each_view
def test_a_view_changes_when_the_weights_are_randomised(view, trained):
    model, x = trained
    randomised = copy.deepcopy(model)
    torch.manual_seed(5)
    for module in randomised:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    same, other = [], []
    for label, image in enumerate(x):
        image = image[None]
        nudged = image + 0.01 * torch.randn(image.shape)
        seen = view(model, image, label)
        same.append(rank_correlation(seen, view(model, nudged, label)))
        other.append(rank_correlation(seen, view(randomised, image, label)))
    assert np.mean(same) > 0.8
    assert np.mean(other) < np.mean(same) - 0.3
