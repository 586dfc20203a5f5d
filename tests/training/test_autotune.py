import dataclasses

import pytest
import torch

from convlens.errors import UserError
from convlens.models import ResNet18
from convlens.models.layers.convolution import Conv2d
from convlens.recipes import RECIPES
from convlens.training import autotune
from convlens.training.autotune import apply_plan, choose_algorithms
from convlens.training.device import Machine

CPU = Machine(torch.device("cpu"), "fp32", "for the test")


def resnet18(**changes):
    return dataclasses.replace(RECIPES["resnet18"](), batch_size=16, **changes)


@pytest.fixture
def clock(monkeypatch):
    """Times by decree: seconds of each algorithm; records what was measured."""
    asked = []
    seconds = {"library": 3.0, "patches": 2.0, "dense": 1.0}

    def note(layer, algorithm, shape, machine):
        asked.append((algorithm, shape))
        return algorithm

    def decree(candidates, rounds, enough):
        return {name: seconds[name] for name in candidates}

    monkeypatch.setattr(autotune, "_pass", note)
    monkeypatch.setattr(autotune, "least_seconds", decree)
    return seconds, asked


def test_the_fastest_is_chosen_where_it_is_possible(clock):
    plan = choose_algorithms(resnet18(), 5, CPU)
    assert plan["layer4.1.conv2"] == {"2x2": "dense"}
    assert plan["layer3.1.conv2"] == {"4x4": "patches"}  # too large for the dense matrix
    assert plan["layer1.0.conv1"] == {"16x16": "patches"}
    assert "conv1" not in plan  # its windows on 64×64 would take too much memory


def test_a_gain_within_the_noise_leaves_the_librarys(clock):
    clock[0].update(patches=2.9, dense=2.7)
    assert choose_algorithms(resnet18(), 5, CPU) == {}


def test_a_second_start_measures_nothing_and_chooses_the_same(clock):
    seconds, asked = clock
    first = choose_algorithms(resnet18(), 5, CPU)
    assert asked
    asked.clear()
    seconds.update(library=0.1)
    assert choose_algorithms(resnet18(), 5, CPU) == first
    assert asked == []
    # another batch is another question, and so is the share of two processes
    assert choose_algorithms(dataclasses.replace(resnet18(), batch_size=8), 5, CPU) == {}
    asked.clear()
    assert choose_algorithms(resnet18(), 5, CPU, processes=2) == {}
    assert asked == []


def test_no_layer_is_measured_once_the_time_for_it_is_over(clock, monkeypatch):
    asked = clock[1]
    monkeypatch.setattr(autotune.time, "perf_counter", lambda: float(len(asked)))
    plan = choose_algorithms(resnet18(), 5, CPU, seconds=5)
    assert plan and 5 < len(asked) <= 5 + 3
    asked.clear()
    assert choose_algorithms(resnet18(), 5, CPU, seconds=-1) == plan  # what is known is used
    assert asked == []


def test_measuring_for_real_leaves_the_layer_as_it_was():
    layer = Conv2d(4, 4, 3, padding=1)
    layer.algorithms = {(8, 8): "dense"}
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    best = autotune._fastest(layer, ["patches", "dense"], (4, 4, 2, 2), CPU)
    assert best in ("library", "patches", "dense")
    assert all(torch.equal(before[k], v) for k, v in layer.state_dict().items())
    assert layer.algorithms == {(8, 8): "dense"}
    assert layer.weight.grad is None


def test_measuring_for_real_disturbs_nobodys_draws_and_gives_what_can_be_used():
    recipe = resnet18(size=32, train_size=32, early_size=32)
    before = torch.random.get_rng_state()
    plan = choose_algorithms(dataclasses.replace(recipe, batch_size=4), 5, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    apply_plan(ResNet18(5), plan)


def test_a_plan_changes_how_and_not_what(clock):
    torch.manual_seed(0)
    model = ResNet18(5).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    expected = model(x)
    plan = choose_algorithms(resnet18(), 5, CPU)
    apply_plan(model, plan)
    assert model.layer4[1].conv2.algorithms == {(2, 2): "dense"}
    torch.testing.assert_close(model(x), expected)
    apply_plan(model, {})
    assert torch.equal(model(x), expected)


def test_a_plan_covers_every_size_that_is_trained_at(clock):
    plan = choose_algorithms(resnet18(early_size=32, early_fraction=0.5), 5, CPU)
    assert plan["layer4.1.conv2"] == {"1x1": "dense", "2x2": "dense"}


@pytest.mark.parametrize(
    "plan",
    [
        {"conv1": {"8x8": "winograd"}},
        {"conv1": {"8": "patches"}},
        {"conv1": {"x": "patches"}},
        {"conv1": {"8x-1": "patches"}},
        {"conv1": {"8x8x8": "patches"}},
    ],
)
def test_a_plan_of_what_there_is_not_is_refused(plan):
    with pytest.raises(
        UserError, match=r"`convolutions` name .* which this ConvLens does not have"
    ):
        apply_plan(ResNet18(5), plan)
