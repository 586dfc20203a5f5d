"""Every network through one body, then each against its specification."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.models import MODELS, ConvNet, LeNet5, ResNet18, adapted, build
from convlens.models.layers.drop_path import DropPath, drop_rates
from convlens.models.layers.pooling import pool_rectified
from convlens.models.layers.squeeze_excite import SqueezeExcite

VARIANTS = [
    (LeNet5, {}),
    (LeNet5, {"padding": 0}),
    (LeNet5, {"batch_norm": True, "dropout": 0.4}),
    (ConvNet, {}),
    (ConvNet, {"dropout": 0.2, "stem_stride": 2}),
    (ConvNet, {"depths": (1, 2, 1, 2), "squeeze_excite": True, "drop_path": 0.2}),
    (ResNet18, {}),
    (ResNet18, {"drop_path": 0.3}),
    (ResNet18, {"conv2_stride": 2}),
]


@pytest.fixture(params=VARIANTS, ids=lambda v: f"{v[0].__name__}-{v[1]}")
def variant(request):
    return request.param


def test_logits_have_a_row_an_image_and_a_column_a_class(variant):
    network, options = variant
    model = network(num_classes=7, **options).eval()
    assert model(torch.randn(3, 3, 64, 64)).shape == (3, 7)


def test_predict_proba_is_the_softmax_of_the_logits(variant):
    network, options = variant
    model = network(5, **options).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = model(x).exp() / model(x).exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.predict_proba(x), expected)


def test_every_parameter_gets_a_gradient(variant):
    network, options = variant
    model = network(5, **options)
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 2, 2)
    y = layer(x)
    per_image = y.flatten(1)
    assert torch.equal(per_image.amin(dim=1), per_image.amax(dim=1))
    assert set(per_image[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert float(y.mean()) == pytest.approx(1, abs=0.04)  # 4 standard errors
    assert layer.eval()(x) is x
    assert drop_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="drop"):
        DropPath(1.0)


def test_squeeze_excite_by_hand():
    torch.manual_seed(0)
    layer, x = SqueezeExcite(16), torch.randn(3, 16, 4, 5)
    means = x.mean(dim=(2, 3))
    hidden = (means @ layer.reduce.weight.T + layer.reduce.bias).clamp(min=0)
    gates = 1 / (1 + (-(hidden @ layer.expand.weight.T + layer.expand.bias)).exp())
    torch.testing.assert_close(layer(x), x * gates[:, :, None, None])


def test_the_order_of_relu_and_pooling_changes_neither_value_nor_gradient():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 12, 12) - 0.8  # windows that are negative throughout, too
    x[0, 0] = 0
    relu, results = nn.ReLU(), []
    for pool in nn.MaxPool2d(4), nn.MaxPool2d(3, 2, padding=1):
        for training in True, False:
            leaf = x.clone().requires_grad_()
            y = pool_rectified(relu.train(training), pool, leaf)
            (y * torch.arange(y.numel()).view_as(y)).sum().backward()
            results.append((y, leaf.grad))
        torch.testing.assert_close(*results[-2:], rtol=0, atol=0)


def test_relus_are_modules_not_in_place_and_used_once(variant):
    network, options = variant
    model = network(5, **options).eval()
    calls = []
    for name, module in model.named_modules():
        assert not getattr(module, "inplace", False)
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model(torch.randn(1, 3, 64, 64))
    relus = [n for n, m in model.named_modules() if isinstance(m, nn.ReLU)]
    assert sorted(calls) == sorted(relus)


def test_one_image_does_not_depend_on_its_batch_in_evaluation_mode(variant):
    network, options = variant
    model = network(5, **options).eval()
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-4, atol=1e-5)


def test_models_are_listed_by_their_own_names():
    assert {name: cls.__name__ for name, cls in MODELS.items()} == {
        name: name for name in ("LeNet5", "ConvNet", "ResNet18")
    }


def _shapes(model, layers, size=64):
    shapes = {}
    for name in layers:
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: shapes.__setitem__(name, tuple(out.shape[1:]))
        )
    model.eval()(torch.randn(1, 3, size, size))
    return shapes


def test_lenet5_is_the_assignments_table():
    model = LeNet5(101)
    layers = [m for m in model.children() if not isinstance(m, nn.Identity | nn.Dropout)]
    kinds = [type(m).__name__ for m in layers]
    assert kinds == [
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "Linear",
        "ReLU",
        "Linear",
        "ReLU",
        "Linear",
    ]
    for conv, filters in ((model.conv1, 32), (model.conv2, 64)):
        assert (conv.kernel_size, conv.stride, conv.out_channels) == ((5, 5), (1, 1), filters)
    for pool in (model.pool1, model.pool2):
        assert (pool.kernel_size, pool.stride) == (4, 4) or (pool.kernel_size, pool.stride) == (
            (4, 4),
            (4, 4),
        )
    assert [f.out_features for f in (model.fc1, model.fc2, model.fc3)] == [1021, 84, 101]
    assert model.fc3.in_features == 84
    assert all(isinstance(m, nn.Dropout) is False or m.p == 0 for m in model.modules())


def test_lenet5_parameter_count_by_hand():
    conv = (3 * 25 + 1) * 32 + (32 * 25 + 1) * 64
    dense = (64 * 4 * 4 + 1) * 1021 + (1021 + 1) * 84 + (84 + 1) * 101
    assert sum(p.numel() for p in LeNet5(101).parameters()) == conv + dense


def test_lenet5_maps_with_and_without_padding():
    assert _shapes(LeNet5(), ["pool1", "pool2"]) == {"pool1": (32, 16, 16), "pool2": (64, 4, 4)}
    assert _shapes(LeNet5(padding=0), ["pool1", "pool2"]) == {
        "pool1": (32, 15, 15),
        "pool2": (64, 2, 2),
    }


def test_lenet5_takes_other_sizes_and_refuses_too_small_ones():
    assert LeNet5(3, size=96)(torch.randn(1, 3, 96, 96)).shape == (1, 3)
    with pytest.raises(ValueError, match="at least 16×16 pixels, not 12×12"):
        LeNet5(3, size=12)
    with pytest.raises(ValueError, match="size is at most 4096"):
        LeNet5(3, size=10**9)


def test_convnet_opens_as_the_activation_figures_need():
    model = ConvNet(101)
    shapes = _shapes(model, ["relu1", "relu2"])
    assert (shapes["relu1"][0], shapes["relu2"][0]) == (32, 64)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions[:2]] == [32, 64]


def test_convnet_fits_the_weights_budget_in_half_precision():
    size = sum(t.numel() * 2 for t in ConvNet(101).state_dict().values())
    assert size < 10e6


def _reference_resnet18(weights, x, conv2_stride):
    """ResNet-18 straight from the paper's table 1, in functional form, from named weights."""

    def norm(name, x):
        return F.batch_norm(
            x,
            weights[f"{name}.running_mean"],
            weights[f"{name}.running_var"],
            weights[f"{name}.weight"],
            weights[f"{name}.bias"],
        )

    x = F.relu(norm("bn1", F.conv2d(x, weights["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, first_stride in enumerate((conv2_stride, 2, 2, 2), 1):
        for block, stride in enumerate((first_stride, 1)):
            at = f"layer{stage}.{block}"
            y = F.conv2d(x, weights[f"{at}.conv1.weight"], stride=stride, padding=1)
            y = F.relu(norm(f"{at}.bn1", y))
            y = norm(f"{at}.bn2", F.conv2d(y, weights[f"{at}.conv2.weight"], padding=1))
            if f"{at}.downsample.0.weight" in weights:
                x = F.conv2d(x, weights[f"{at}.downsample.0.weight"], stride=stride)
                x = norm(f"{at}.downsample.1", x)
            x = F.relu(x + y)
    return F.linear(x.mean(dim=(2, 3)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize("conv2_stride", [1, 2])
def test_resnet18_equals_an_independent_reference(conv2_stride):
    torch.manual_seed(0)
    model = ResNet18(10, conv2_stride=conv2_stride).double()
    model.train()(torch.randn(8, 3, 64, 64).double())  # gives batch norm statistics of its own
    model.eval()
    x = torch.randn(2, 3, 64, 64).double()
    torch.testing.assert_close(model(x), _reference_resnet18(model.state_dict(), x, conv2_stride))


def test_resnet18_has_torchvisions_names_and_parameter_count():
    state = ResNet18(1000).state_dict()
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{n}" for n in norm)]
    for stage in range(1, 5):
        for block in range(2):
            at = f"layer{stage}.{block}"
            for i in (1, 2):
                names += [f"{at}.conv{i}.weight", *(f"{at}.bn{i}.{n}" for n in norm)]
            if stage > 1 and block == 0:
                names += [f"{at}.downsample.0.weight", *(f"{at}.downsample.1.{n}" for n in norm)]
    assert list(state) == [*names, "fc.weight", "fc.bias"]
    # the number that torchvision's documentation gives for resnet18
    assert sum(p.numel() for p in ResNet18(1000).parameters()) == 11_689_512


def test_resnet18_readings_of_the_stride_differ_by_one_halving():
    layers = ["maxpool", "layer1", "layer4"]
    assert _shapes(ResNet18(), layers) == {
        "maxpool": (64, 16, 16),
        "layer1": (64, 16, 16),
        "layer4": (512, 2, 2),
    }
    assert _shapes(ResNet18(conv2_stride=2), layers) == {
        "maxpool": (64, 16, 16),
        "layer1": (64, 8, 8),
        "layer4": (512, 1, 1),
    }
    with pytest.raises(ValueError, match="1 or 2, not 3"):
        ResNet18(conv2_stride=3)


def test_a_network_is_built_from_its_name_and_the_options_of_a_file():
    options = {"depths": [1, 2, 1, 1], "squeeze_excite": True, "dropout": "1e-1"}  # as YAML has it
    model = build("ConvNet", options, num_classes=3, size=32)
    assert len(model.stage2) == 2
    assert model.dropout.p == 0.1
    assert build("LeNet5", {}, 3, size=32).fc1.in_features == 64 * 2 * 2  # the one told the size
    assert build("LeNet5", {"size": 32}, 3, size=32).fc1.in_features == 64 * 2 * 2


@pytest.mark.parametrize(
    ("network", "options", "reason"),
    [
        ("LeNet5", {"dropuot": 0.1}, "no option dropuot"),
        ("LeNet5", {"num_classes": 3}, "no option num_classes"),
        ("LeNet5", {"return": 3}, "no option return"),
        ("LeNet5", {"in_channels": 1}, "no option in_channels"),
        ("ResNet18", {"size": 64}, "no option size"),
        ("LeNet5", {"padding": 10**9}, "padding at most 64"),
        ("LeNet5", {"size": 32}, "for images of 32 pixels, and they have 64"),
        ("LeNet5", {"padding": 1.5}, "padding is 1.5; it must be of type int"),
        ("LeNet5", {"batch_norm": 1}, "batch_norm is 1; it must be of type bool"),
        ("LeNet5", {"dropout": float("nan")}, r"dropout is in \[0, 1\), not nan"),
        ("LeNet5", {"dropout": 1.0}, r"dropout is in \[0, 1\), not 1.0"),
        ("ResNet18", {"drop_path": -0.5}, r"drop is in \[0, 1\), not"),
        ("ConvNet", {"depths": [100_000, 1, 1, 1]}, "depths are four numbers from 1 to 64"),
        ("ConvNet", {"depths": [1, 1, 1]}, "depths are four numbers"),
        ("ConvNet", {"depths": 4}, "depths is 4; it must be a list"),
        ("ConvNet", {"widths": [10**9] * 4}, "widths are four numbers from 1 to 8192"),
        ("ConvNet", {"widths": [0, 1, 1, 1]}, "widths are four numbers"),
        ("ConvNet", {"stem_stride": 0}, "stem_stride is 1 or 2"),
    ],
)
def test_options_that_no_network_has_are_refused_before_anything_is_built(network, options, reason):
    with pytest.raises(ValueError, match=reason):
        build(network, options, num_classes=5, size=64)


@pytest.mark.parametrize("network", MODELS)
def test_a_network_for_gray_images_is_one_whose_colors_weigh_the_same(network):
    torch.manual_seed(0)
    gray = build(network, {}, num_classes=3, size=32, channels=1).eval()
    color = build(network, {}, num_classes=3, size=32).eval()
    weights = gray.state_dict()
    color.load_state_dict({**weights, "conv1.weight": weights["conv1.weight"].repeat(1, 3, 1, 1)})
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(gray(x), color(x.expand(-1, 3, -1, -1) / 3), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="in_channels is 1 or 3, not 2"):
        build(network, {}, num_classes=3, size=32, channels=2)


@pytest.mark.parametrize("size", [64, 96, 112, 113, 128, 192, 224])
def test_convnets_last_map_stays_between_4_and_7_pixels(size):
    options = adapted("ConvNet", {"dropout": 0.1}, size)
    assert options == {"dropout": 0.1} | ({"stem_stride": 2} if size > 112 else {})
    with torch.device("meta"):
        model, image = build("ConvNet", options, 3, size), torch.empty(1, 3, size, size)
    found = []
    model.stage4.register_forward_hook(lambda _m, _i, out: found.append(out.shape[2]))
    model.eval()(image)
    assert 4 <= found[0] <= 7


def test_an_option_that_is_given_is_not_adapted_and_other_networks_have_none():
    assert adapted("ConvNet", {"stem_stride": 1}, 224) == {"stem_stride": 1}
    assert adapted("ResNet18", {}, 224) == adapted("LeNet5", {}, 224) == {}


def test_a_network_on_the_meta_device_draws_nothing(variant):
    network, options = variant
    before = torch.random.get_rng_state()
    with torch.device("meta"):
        model = build(network.__name__, options, num_classes=5, size=64)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_a_network_filled_from_a_file_computes_as_one_that_was_built(variant):
    network, options = variant
    model = network(5, **options).eval()
    with torch.device("meta"):
        outline = build(network.__name__, options, num_classes=5, size=64)
    outline.load_state_dict(model.state_dict(), assign=True)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(outline.eval()(x), model(x))
