import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.models.layers.convolution import MOST_BLOCKS, Conv2d, Dense, Patches

geometries = st.tuples(
    st.integers(1, 3),  # images
    st.integers(1, 4),  # channels in
    st.integers(1, 4),  # channels out
    st.integers(1, 5),  # height
    st.integers(1, 5),  # width
    st.integers(1, 3),  # kernel height
    st.integers(1, 3),  # kernel width
    st.integers(1, 3),  # stride
    st.integers(0, 2),  # padding
).filter(lambda g: g[3] + 2 * g[8] >= g[5] and g[4] + 2 * g[8] >= g[6])


@pytest.mark.parametrize("algorithm", [Patches, Dense])
@settings(deadline=None, max_examples=80)
@given(geometry=geometries, channels_last=st.booleans(), seed=st.integers(0, 100))
def test_values_and_gradients_are_those_of_conv2d(algorithm, geometry, channels_last, seed):
    n, c, o, h, w, kh, kw, stride, padding = geometry
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, h, w, dtype=torch.double, generator=generator)
    weight = torch.randn(o, c, kh, kw, dtype=torch.double, generator=generator)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    weight.requires_grad_()
    expected = F.conv2d(x, weight, stride=stride, padding=padding)
    y = algorithm.apply(x, weight, stride, padding)
    torch.testing.assert_close(y, expected)
    grad = torch.randn(y.shape, dtype=torch.double, generator=generator)
    wanted = torch.autograd.grad(expected, [x, weight], grad)
    torch.testing.assert_close(torch.autograd.grad(y, [x, weight], grad), wanted)


@pytest.mark.parametrize("algorithm", [Patches, Dense])
def test_gradients_by_finite_differences(algorithm):
    x = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: algorithm.apply(x, w, 2, 1), (x, weight))


@pytest.mark.parametrize("algorithm", [Patches, Dense])
def test_an_input_that_needs_no_gradient_gets_none(algorithm):
    weight = torch.randn(3, 2, 3, 3, requires_grad=True)
    algorithm.apply(torch.randn(2, 2, 2, 2), weight, 1, 1).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("algorithm", ["patches", "dense"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_follows_autocast_and_keeps_its_gradients_in_full_precision(algorithm, bias):
    layer = Conv2d(4, 4, 3, padding=1, bias=bias)
    x = torch.randn(2, 4, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        layer.algorithms = {(2, 2): algorithm}
        y = layer(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.05)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_another_map_size_than_the_one_chosen_for_goes_to_the_library():
    layer = Conv2d(2, 2, 3, padding=1)
    layer.algorithms = {(2, 2): "dense"}
    x = torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))


def test_only_what_can_be_computed_is_offered():
    assert Conv2d(2, 2, 3, padding=1).choices(2, 2) == ["patches", "dense"]
    assert Conv2d(2, 2, 3, padding=1).choices(8, 8) == ["patches"]
    assert Conv2d(2, 2, 3, padding=1).choices(16, 16) == ["patches"]
    assert Conv2d(2, 2, 3, padding=1).choices(16, 17) == []
    assert MOST_BLOCKS < 8 * 8 * 8 * 8
    for odd in (
        Conv2d(2, 2, 3, groups=2),
        Conv2d(2, 2, 3, dilation=2),
        Conv2d(2, 2, 3, padding="same"),
        Conv2d(2, 2, 3, stride=(1, 2)),
        Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ):
        assert odd.choices(4, 4) == []


def test_algorithms_are_no_part_of_the_state():
    layer = Conv2d(2, 2, 3)
    layer.algorithms = {(2, 2): "dense"}
    assert set(layer.state_dict()) == {"weight", "bias"}
