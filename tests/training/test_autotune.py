import pytest
import torch

from convlens.models import ResNet18
from convlens.models.layers.convolution import Conv2d
from convlens.training import autotune
from convlens.training.autotune import apply_plan, choose_algorithms
from convlens.training.device import Machine

CPU = Machine(torch.device("cpu"), "fp32", "for the test")


@pytest.fixture
def clock(monkeypatch):
    """Times by decree: seconds of each algorithm; records what was measured."""
    asked = []
    seconds = {"library": 3.0, "patches": 2.0, "dense": 1.0}

    def decree(layer, algorithm, shape, machine):
        asked.append((algorithm, shape))
        return seconds[algorithm]

    monkeypatch.setattr(autotune, "_seconds", decree)
    return seconds, asked


def test_the_fastest_is_chosen_where_it_is_possible(clock):
    plan = choose_algorithms(ResNet18(5), 16, [64], CPU)
    assert plan["layer4.1.conv2"] == {(2, 2): "dense"}
    assert plan["layer3.1.conv2"] == {(4, 4): "patches"}  # too large for the dense matrix
    assert plan["layer1.0.conv1"] == {(16, 16): "patches"}
    assert "conv1" not in plan  # its windows on 64×64 would take too much memory


def test_a_gain_within_the_noise_leaves_the_librarys(clock):
    clock[0].update(patches=2.9, dense=2.7)
    assert choose_algorithms(ResNet18(5), 16, [64], CPU) == {}


def test_a_second_start_measures_nothing_and_chooses_the_same(clock):
    seconds, asked = clock
    first = choose_algorithms(ResNet18(5), 16, [64], CPU)
    assert asked
    asked.clear()
    seconds.update(library=0.1)
    assert choose_algorithms(ResNet18(5), 16, [64], CPU) == first
    assert asked == []
    assert choose_algorithms(ResNet18(5), 8, [64], CPU) == {}  # another batch is another question


def test_measuring_for_real_leaves_the_model_as_it_was():
    model = ResNet18(5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    choose_algorithms(model, 4, [32], CPU)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(not m.algorithms for m in model.modules() if isinstance(m, Conv2d))
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert model.training


def test_a_plan_changes_how_and_not_what(clock):
    torch.manual_seed(0)
    model = ResNet18(5).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    expected = model(x)
    plan = choose_algorithms(ResNet18(5), 16, [64], CPU)
    apply_plan(model, plan)
    assert model.layer4[1].conv2.algorithms == {(2, 2): "dense"}
    torch.testing.assert_close(model(x), expected)
    apply_plan(model, {})
    assert torch.equal(model(x), expected)


def test_a_plan_covers_every_size_that_is_trained_at(clock):
    plan = choose_algorithms(ResNet18(5), 16, [32, 64], CPU)
    assert plan["layer4.1.conv2"] == {(1, 1): "dense", (2, 2): "dense"}
