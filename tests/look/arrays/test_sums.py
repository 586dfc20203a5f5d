"""What is told of a unit adds up to its number, and its leaves are the numbers of other stages."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.look.arrays.activations import activations
from convlens.look.arrays.stages import stages
from convlens.look.arrays.sums import Term, explain
from convlens.models import ConvNet, LeNet5, ResNet18
from convlens.models.trace import trace

SIZE = 32


class Rare(nn.Module):
    """What the networks of the house do not have: pads, groups, holes, odd pools, own functions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 12, (3, 5), stride=(2, 1), padding="valid", padding_mode="zeros")
        self.act = nn.PReLU()
        self.average = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.inside = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.holes = nn.Conv2d(12, 6, 3, padding=2, dilation=2, groups=3)
        self.around = nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular", bias=False)
        self.some = nn.AdaptiveAvgPool2d(2)
        self.most = nn.AdaptiveMaxPool2d(1)
        self.hidden = nn.Linear(32, 8, bias=False)
        self.head = nn.Linear(16, 4)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(self.average(self.act(self.first(x) + 0.25))) * self.scale
        x = F.gelu(self.around(F.pad(self.holes(x), (1, 0, 0, 1))))
        wide = torch.tanh(self.hidden(self.some(x).flatten(1)))
        return self.head(torch.cat([wide, self.most(x).flatten(1)], dim=1))


def shaken(model: nn.Module) -> nn.Module:
    """Its batch norms have seen something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    return model.eval()


MODELS = {
    "lenet5": lambda: LeNet5(5, size=SIZE),
    "lenet5 with batch norm": lambda: LeNet5(5, size=SIZE, batch_norm=True),
    "convnet with gates": lambda: ConvNet(5, squeeze_excite=True, widths=(8, 16, 16, 24)),
    "resnet18": lambda: ResNet18(5),
    "resnet18 with strides": lambda: ResNet18(5, conv2_stride=2),
    "rare": Rare,
}


def computed(term: Term) -> float:
    """A term's number from what is told of it."""
    about, parts = term.about, [part.value for part in term.parts]
    if term.kind == "convolution":
        for each in about["inputs"]:
            assert (each["window"] * each["kernel"]).sum() == pytest.approx(each["sum"], abs=1e-9)
        assert len(about["inputs"]) == min(len(about["sums"]), 9)
        return about["sums"].sum() + (about["bias"] or 0)
    if term.kind == "linear":
        assert all(i["value"] * i["weight"] == pytest.approx(i["product"]) for i in about["inputs"])
        return sum(i["product"] for i in about["inputs"]) + about["rest"] + (about["bias"] or 0)
    if term.kind == "maximum":
        return np.nanmax(about["window"])
    if term.kind == "average":
        return np.nansum(about["window"]) / about["count"]
    if term.kind == "norm":
        spread = math.sqrt(about["variance"] + about["eps"])
        return (parts[0] - about["mean"]) / spread * about["weight"] + about["bias"]
    if term.kind == "function":
        torch_s = {"ReLU": F.relu, "GELU": F.gelu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
        if about["name"] == "PReLU":
            return parts[0] if parts[0] > 0 else 0.25 * parts[0]
        return torch_s[about["name"]](torch.tensor(parts[0])).item()
    return {"sum": math.fsum, "product": math.prod}[term.kind](parts)


@pytest.mark.parametrize("name", MODELS)
def test_a_unit_s_number_is_what_is_told_of_it(name):
    torch.manual_seed(0)
    model, x = shaken(MODELS[name]()), torch.randn(1, 3, SIZE, SIZE)
    found = stages(model, SIZE)
    ran = trace(model, x)
    known = {ran.image: ""} | {ran.layers[stage.name]: stage.name for stage in found}
    shown = activations(model, x, [stage.name for stage in found]) | {"": x.numpy()}
    kinds, compared = set(), 0

    def follow(term: Term, scale: float) -> None:
        nonlocal compared
        kinds.add(term.kind)
        for each in (term.about, *term.about.get("inputs", ())):
            if "map" in each and "window" in each:
                compare(each, term.about)
            elif "unit" in each:
                expected = shown[each["stage"]][(0, *each["unit"])]
                assert each.get("value", term.value) == pytest.approx(expected, abs=1e-5 * scale)
                compared += 1
        if term.kind not in ("value", "constant"):
            assert term.value == pytest.approx(computed(term), rel=1e-5, abs=1e-5 * scale)
        for part in term.parts:
            follow(part, scale)

    def compare(each: dict, about: dict) -> None:
        """A window is cut out of the map that it names."""
        nonlocal compared
        whole = shown[each["stage"]][0, each["map"]]
        (top, left), (down, right) = about["at"], about.get("step", (1, 1))
        for (i, j), number in np.ndenumerate(each["window"]):
            row, column = top + i * down, left + j * right
            if 0 <= row < whole.shape[0] and 0 <= column < whole.shape[1]:
                assert number == pytest.approx(whole[row, column], abs=1e-5)
                compared += 1
            else:
                assert number == 0 or math.isnan(number)

    for stage in found:
        maps = shown[stage.name][0]
        units = {np.unravel_index(maps.argmax(), maps.shape), (0,) * maps.ndim}
        for unit in units:
            unit = tuple(map(int, unit))
            term = explain(ran.layers[stage.name], unit, known)
            assert term.value == pytest.approx(maps[unit], abs=1e-6)
            follow(term, float(abs(maps).max()) + 1)
    assert compared > 50
    assert "unknown" not in kinds
    if name == "rare":
        assert kinds >= {"convolution", "linear", "maximum", "average", "function", "constant"}


def test_what_is_not_told_apart_is_called_so():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)
            self.up = nn.ConvTranspose2d(4, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(self.norm(self.conv(x)))

    ran = trace(Grouped(), torch.randn(1, 3, 8, 8))
    up = explain(ran.layers["up"], (0, 1, 1), {ran.image: ""})
    assert (up.kind, up.about, up.parts) == ("unknown", {"operation": "convolution"}, ())
    norm = explain(ran.layers["norm"], (0, 1, 1), {ran.image: ""})
    assert (norm.kind, norm.about) == ("function", {"name": "native_group_norm"})
    assert [part.kind for part in norm.parts] == ["convolution"]
