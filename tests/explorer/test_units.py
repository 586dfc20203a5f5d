"""What is told of a unit ends at the number in its map, in every layer of every network."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens.explorer.answers import NotThere, answer
from convlens.models import ConvNet, LeNet5, ResNet18

MODELS = {
    "lenet5": lambda: LeNet5(5, size=24, batch_norm=True),
    "convnet": lambda: ConvNet(5, widths=(8, 16, 16, 24)),
    "resnet18": lambda: ResNet18(5),
}


def told(explorer, path: str):
    return json.loads(answer(explorer, path).body)


def computed(term: dict) -> float:
    """The number at the end, from those at the beginning alone."""
    parts = [computed(part) for part in term.get("parts", ())]
    bias = term.get("bias") or 0
    match term["kind"]:
        case "value" | "constant":
            return term["value"]
        case "convolution":
            windows = [np.multiply(each["window"], each["kernel"]).sum() for each in term["inputs"]]
            if len(windows) == len(term["sums"]):
                return math.fsum(windows) + bias
            return math.fsum(term["sums"]) + bias
        case "linear":
            products = [each["value"] * each["weight"] for each in term["inputs"]]
            return math.fsum(products) + term["rest"] + bias
        case "maximum":
            return max(number for row in term["window"] for number in row if number is not None)
        case "average":
            return sum(n for row in term["window"] for n in row if n is not None) / term["count"]
        case "norm":
            spread = math.sqrt(term["variance"] + term["eps"])
            return (parts[0] - term["mean"]) / spread * term["weight"] + bias
        case "function":
            assert term["name"] == "ReLU"
            return max(parts[0], 0.0)
        case "sum":
            return math.fsum(parts)
    raise AssertionError(term["kind"])


@pytest.mark.parametrize("which", [*MODELS, "unet", "vgg"])
def test_a_unit_s_sum_ends_at_the_number_in_its_map(own, which, request):
    torch.manual_seed(0)
    module = MODELS[which]() if which in MODELS else request.getfixturevalue(which)
    explorer = own(module)
    network = explorer.networks[0]
    seen = network.look("v3", explorer.pixels("v3", network))
    random = np.random.default_rng(0)
    for number, (stage, maps) in enumerate(zip(network.stages, seen.maps, strict=True)):
        shape = maps.shape[1:] if len(stage.shape) == 3 else maps.shape[1:2]
        values = maps.reshape(shape)
        largest = np.unravel_index(values.argmax(), shape)
        for unit in (largest, random.integers(shape)):
            place = "-".join(map(str, unit))
            term = told(explorer, f"api/0/v3/unit-{number}-{place}.json")
            expected = pytest.approx(values[tuple(unit)], abs=1e-5 * (1 + float(abs(values).max())))
            assert term["value"] == expected
            assert computed(term) == expected
        if len(shape) == 3:
            chosen = told(explorer, f"api/0/v3/map-{number}-{largest[0]}.json")
            np.testing.assert_allclose(chosen, values[largest[0]], rtol=1e-6)
    shares = told(explorer, "api/0/v3/prediction.json")["probabilities"]
    expected = F.softmax(torch.tensor(seen.logits[0]) / 1.5, dim=0)
    for number, share in enumerate(shares):
        term = told(explorer, f"api/0/v3/softmax-{number}.json")
        power = math.exp((term["logit"] - term["largest"]) / term["temperature"])
        assert power / term["total"] == pytest.approx(expected[number].item(), abs=1e-6)
        assert term["value"] == pytest.approx(share, abs=1e-6)
        assert math.fsum(each["power"] for each in term["inputs"]) == pytest.approx(term["total"])


def test_a_unit_that_is_not_there_is_told(explorer):
    for place in ("0-0-16-0", "0-32-0-0", "0-0", "6-5", "6-0-0-0", "7-0"):
        with pytest.raises(NotThere, match="has no"):
            answer(explorer, f"api/0/v3/unit-{place}.json")
    with pytest.raises(NotThere, match="no class 5"):
        answer(explorer, "api/0/v3/softmax-5.json")
