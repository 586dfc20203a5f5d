"""Modules as users write them go through every function of `look.arrays` and every view."""

from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens import look as views
from convlens.data.dataset import Dataset, Split
from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.look import arrays as look
from convlens.models.hooks import layer_outputs

SIZE, CLASSES, COUNT = 32, 4, 6
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)


class SmallVGG(nn.Module):
    """Simonyan and Zisserman 2015 in small: two blocks, ReLUs in place, dropout."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in 8, 12:
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.classifier = nn.Sequential(
            nn.Linear(12 * 4 * 4, 24), nn.ReLU(True), nn.Dropout(), nn.Linear(24, CLASSES)
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class SmallUNet(nn.Module):
    """Ronneberger et al. 2015 in small, with a head: ReLUs and pools as functions, maps skipped
    past the deeper levels and concatenated to what comes back up."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.down2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.bottom = nn.Conv2d(8, 10, 3, padding=1)
        self.up = nn.ConvTranspose2d(10, 8, 2, stride=2)
        self.join2 = nn.Conv2d(16, 8, 3, padding=1)
        self.join1 = nn.Conv2d(14, 9, 3, padding=1)
        self.head = nn.Linear(9, CLASSES)

    def forward(self, x):
        one = F.relu(self.norm1(self.down1(x)))
        two = F.relu(self.down2(F.max_pool2d(one, 2)))
        deep = F.relu(self.bottom(F.max_pool2d(two, 2)))
        two = F.relu(self.join2(torch.cat([two, self.up(deep)], dim=1)))
        one = F.relu(self.join1(torch.cat([one, F.interpolate(two, scale_factor=2)], dim=1)))
        return self.head(one.mean(dim=(2, 3)))


# The layer that is looked at, how many maps it has, and their side.
DEEPEST = {SmallVGG: ("features.8", 12, 16), SmallUNet: ("join1", 9, 32)}


def user_s(network: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return network().train()


def classifier(model: nn.Module) -> Classifier:
    normalize = Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    return Classifier(model, "abcd", normalize, size=SIZE, temperature=0.5)


def x() -> torch.Tensor:
    return classifier(nn.Identity()).inputs(IMAGES)


def vectors(model) -> np.ndarray:
    return look.features(classifier(model), IMAGES, batch_size=4)


def finite(values: np.ndarray, shape: tuple[int, ...]) -> None:
    assert values.shape == shape and np.isfinite(values).all() and np.ptp(values) > 0


def layers(model, layer, maps, side):
    found = look.conv_relu_layers(model, SIZE)
    assert found[-1] == layer and len(found) == (4 if isinstance(model, SmallVGG) else 5)


def outputs(model, layer, maps, side):
    finite(look.activations(model, x(), [layer])[layer], (COUNT, maps, side, side))


def statistics(model, layer, maps, side):
    seen = look.map_statistics(look.activations(model, x(), [layer])[layer][0])
    assert sorted(seen.by_strength()) == list(range(maps))
    assert (seen.mean <= seen.maximum).all() and (seen.active <= 1).all()


def composites(model, layer, maps, side):
    found = look.composite_filters(model, layer, SIZE)
    field = look.receptive_field(model, layer, SIZE)
    sides = tuple(min(length, SIZE) for length in field.size) if field else (SIZE, SIZE)
    finite(found, (maps, *sides, 3))


def kernels(model, layer, maps, side):
    seen = look.kernels(model, layer, [0, maps - 1], count=3, size=SIZE)
    assert isinstance(model.get_submodule(seen.convolution), nn.Conv2d)
    finite(seen.weights, (2, 3, 3, 3))


def field(model, layer, maps, side):
    """Only pixels of the box move a unit."""
    for name in look.conv_relu_layers(model, SIZE):
        image = torch.randn(1, 3, SIZE, SIZE, requires_grad=True)
        output = layer_outputs(model, image, [name])[name]
        unit = (output.shape[2] // 2, output.shape[3] // 2)
        seen = look.receptive_field(model, name, SIZE)
        top, left, bottom, right = seen.box(*unit) if seen else (0, 0, SIZE, SIZE)
        (gradient,) = torch.autograd.grad(output[0, :, *unit].sum(), image)
        moved = gradient[0].abs().sum(dim=0)
        assert moved.any()
        moved[max(top, 0) : bottom, max(left, 0) : right] = 0
        assert not moved.any(), name
    assert look.receptive_field(model, "features.5" if hasattr(model, "features") else "bottom")


def table(model, layer, maps, side):
    rows = look.layer_table(model, SIZE)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())


def deconvolved(model, layer, maps, side):
    strongest = look.activations(model, x(), [layer])[layer].max(axis=(0, 2, 3)).argmax()
    finite(look.deconvolution(model, x(), layer, [strongest] * COUNT), (COUNT, SIZE, SIZE, 3))


def patches(model, layer, maps, side):
    found = look.top_activating_patches(classifier(model), IMAGES, layer, 3, batch_size=4)
    finite(found.values, (maps, 3))
    assert found.rows.max() < COUNT and found.positions.max() < side
    for box in found.boxes[:, 0]:
        assert look.crop(IMAGES[0], box).size


def growth(model, layer, maps, side):
    networks = {1: classifier(user_s(type(model))), 2: classifier(model)}
    seen = look.growth(networks, IMAGES, layer, count=2)
    assert seen.projections.shape == seen.patches.shape and seen.values.shape == (2, 2)


def invariance(model, layer, maps, side):
    seen = look.invariance(model, x(), [0] * COUNT, "rotation", [0, 90], [layer])
    np.testing.assert_allclose(seen.distances[layer][:, 0], 0, atol=1e-4)
    assert (seen.distances[layer][:, 1] > 0.01).all()


def occlusion(model, layer, maps, side):
    seen = look.occlusion(model, x()[:1], 2)
    finite(seen.probability, (16, 16))
    assert seen.layer == layer


def cam(model, layer, maps, side):
    assert look.grad_cam_layer(model, SIZE) == layer
    assert look.grad_cam(model, x(), 1).shape == (COUNT, SIZE, SIZE)


def guided(model, layer, maps, side):
    if isinstance(model, SmallVGG):
        finite(look.guided_backprop(model, x(), 1), (COUNT, 3, SIZE, SIZE))
    else:
        with pytest.raises(UserError, match=r"SmallUNet has no nn\.ReLU module"):
            look.guided_backprop(model, x(), 1)


def integrated(model, layer, maps, side):
    finite(look.integrated_gradients(model, x(), 1, steps=4, samples=2), (COUNT, 3, SIZE, SIZE))


def visualized(model, layer, maps, side):
    ascent = look.Ascent(steps=3)
    images, values = look.feature_visualization(classifier(model), layer, [0, 3], ascent=ascent)
    finite(images, (2, SIZE, SIZE, 3))
    assert values.shape == (2,)


def deepest(model, layer, maps, side):
    assert look.deepest_local_layer(model, SIZE) in look.conv_relu_layers(model, SIZE)


def predicted(model, layer, maps, side):
    assert look.targets(model, x()).tolist() == vectors_decided(model)


def vectors_decided(model) -> list[int]:
    return classifier(model).logits(IMAGES).argmax(axis=1).tolist()


def feature_vectors(model, layer, maps, side):
    finite(vectors(model), (COUNT, 24 if isinstance(model, SmallVGG) else 9))


def neighbors(model, layer, maps, side):
    found = look.nearest(vectors(model), vectors(model), 2)
    assert found.rows[:, 0].tolist() == list(range(COUNT))


def embedded(model, layer, maps, side):
    finite(look.embedding(vectors(model))[0], (COUNT, 2))


def drawn(model, layer, maps, side):
    found = look.stages(model, SIZE)
    (deepest,) = [stage for stage in found if stage.name == layer]
    assert deepest.shape == (maps, side, side)
    parts = [*found, *(stage.shortcut for stage in found if stage.shortcut)]
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in model.parameters())


def first(model, layer, maps, side):
    finite(look.first_filters(model), (8 if isinstance(model, SmallVGG) else 6, 3, 3, 3))


BODIES = {
    "activations": outputs,
    "composite_filters": composites,
    "conv_relu_layers": layers,
    "crop": patches,
    "deconvolution": deconvolved,
    "deepest_local_layer": deepest,
    "embedding": embedded,
    "feature_visualization": visualized,
    "features": feature_vectors,
    "first_filters": first,
    "grad_cam": cam,
    "grad_cam_layer": cam,
    "growth": growth,
    "guided_backprop": guided,
    "integrated_gradients": integrated,
    "invariance": invariance,
    "kernels": kernels,
    "layer_table": table,
    "map_statistics": statistics,
    "nearest": neighbors,
    "occlusion": occlusion,
    "receptive_field": field,
    "stages": drawn,
    "targets": predicted,
    "top_activating_patches": patches,
}

# How each view is asked for, of a classifier and the layer that is looked at.
VIEWS = {
    "activations": lambda c, layer: views.activations(c, IMAGES[0], layer),
    "attribution": lambda c, layer: views.attribution(c, IMAGES[0], "b"),
    "deconvolution": lambda c, layer: views.deconvolution(c, data(), layer, (0,)),
    "embedding": lambda c, layer: views.embedding(c, data()),
    "feature_visualization": lambda c, layer: views.feature_visualization(c, layer, (0,)),
    "filters": lambda c, layer: views.filters(c, layer, (0, 1)),
    "first_activations": lambda c, layer: views.first_activations(c, IMAGES[0])[1],
    "growth": lambda c, layer: views.growth({3: c}, data(), layer, (0,)),
    "invariance": lambda c, layer: views.invariance(c, IMAGES[:2]),
    "kernels": lambda c, layer: views.kernels(c, layer, (0, 1)),
    "layers": lambda c, layer: views.layers(c),
    "neighbors": lambda c, layer: views.neighbors(c, IMAGES[:2], data()),
    "occlusion": lambda c, layer: views.occlusion(c, IMAGES[0]),
    "patches": lambda c, layer: views.patches(c, data(), layer, (0, 1)),
}


def data() -> Dataset:
    labels = np.arange(COUNT) % CLASSES
    split = Split(IMAGES, labels, tuple(f"train/{i}.png" for i in range(COUNT)))
    return Dataset("noise", Path("noise"), tuple("abcd"), SIZE, split, split)


def state_of(model: nn.Module) -> list:
    """What a view may change on its way and must put back."""
    return [
        (
            module.training,
            getattr(module, "inplace", None),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            len(module._backward_hooks),
            [(p.requires_grad, p.grad, p.detach().sum().item()) for p in module.parameters()],
        )
        for module in model.modules()
    ]


@pytest.mark.parametrize("network", DEEPEST, ids=lambda network: network.__name__)
@pytest.mark.parametrize("function", BODIES)
def test_a_user_s_module_goes_through(function, network):
    model = user_s(network)
    before = state_of(model)
    BODIES[function](model, *DEEPEST[network])
    assert state_of(model) == before


@pytest.mark.parametrize("network", DEEPEST, ids=lambda network: network.__name__)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_a_user_s_module_draws_itself_and_leaves_no_hook(view, network):
    model = user_s(network)
    before = state_of(model)
    seen = VIEWS[view](classifier(model), DEEPEST[network][0])
    assert state_of(model) == before
    assert all(isinstance(array, np.ndarray) for array in seen.arrays.values())
    if view == "attribution":  # the ReLUs of SmallUNet are functions, which cannot be guided
        assert ("guided_backprop" in seen.arrays) == (network is not SmallUNet)
    seen.plot().draw_without_rendering()


def test_no_function_is_left_out():
    for package, bodies, other in (
        (look, BODIES, set()),
        (views, VIEWS, {"assigned_images", "describe_prediction", "find_patches"}),
    ):
        functions = {n for n in package.__all__ if isinstance(getattr(package, n), FunctionType)}
        assert set(bodies) == functions - other
