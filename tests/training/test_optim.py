import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.recipes.recipe import Recipe
from convlens.training.optim import (
    Average,
    Muon,
    initialize,
    make_optimizers,
    orthogonalize,
    penalty,
    schedule,
)


def test_cosine_warms_up_linearly_and_ends_at_zero():
    assert schedule("cosine", 0.0, 0.1) == 0
    assert schedule("cosine", 0.05, 0.1) == pytest.approx(0.5)
    assert schedule("cosine", 0.1, 0.1) == pytest.approx(1)
    assert schedule("cosine", 0.55, 0.1) == pytest.approx(0.5)
    assert schedule("cosine", 1.0, 0.1) == pytest.approx(0)


def test_onecycle_is_torchs():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=1001, final_div_factor=1e9, cycle_momentum=False
    )
    for step in range(1001):
        # torch counts to the last step, and its top is at 0.3·total - 1
        up = step / 299.3
        ours = schedule("onecycle", 0.3 * up if up < 1 else 0.3 + 0.7 * (step - 299.3) / 700.7, 0)
        assert ours == pytest.approx(reference.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        if step < 1000:
            reference.step()


@given(kind=st.sampled_from(["constant", "cosine", "onecycle"]), progress=st.floats(0, 1))
def test_a_schedule_stays_between_zero_and_the_peak(kind, progress):
    assert -1e-12 <= schedule(kind, progress, 0.05) <= 1 + 1e-12


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (40, 16)])
def test_orthogonalize_keeps_singular_vectors_and_levels_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix).float()
    core = u.T @ result @ v.T
    levels = core.diagonal()[s > 0.05 * s[0]]  # what is nearly zero needs more steps to rise
    assert levels.min() > 0.6
    assert levels.max() < 1.3
    assert (core - core.diagonal().diag()).abs().max() < 0.06  # bf16


def iterated(matrix):
    """Newton–Schulz as the paper writes it, in double precision."""
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 8), (64, 576), (128, 30)])
@pytest.mark.parametrize("decades", [0, 2, 5])
def test_orthogonalize_is_the_papers_iteration_whatever_the_spectrum(shape, decades):
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    matrix = u @ torch.logspace(0, -decades, len(v)).diag() @ v
    result, expected = orthogonalize(1e-3 * matrix, -2.0).double() / -2.0, iterated(matrix)
    assert (result - expected).norm() < 0.35 * expected.norm()
    assert torch.linalg.matrix_norm(result, ord=2) < 1.4  # rounding has not grown


def test_many_rows_are_orthogonalized_in_blocks():
    matrix = torch.randn(384, 500, generator=torch.Generator().manual_seed(0))
    blocks = [orthogonalize(block) for block in matrix.split(128)]
    torch.testing.assert_close(orthogonalize(matrix), torch.cat(blocks), atol=0.01, rtol=0.05)
    odd = orthogonalize(matrix[:257])  # a prime number of rows has no blocks
    assert torch.linalg.svdvals(odd.float()).max() < 1.4


def test_a_gradient_of_rank_one_or_zero_is_no_trouble():
    one = torch.zeros(64, 576)
    one[3, 5] = 2.0
    levels = torch.linalg.svdvals(orthogonalize(one).float())
    assert 0.6 < levels[0] < 1.3
    assert levels[1:].max() < 0.1
    assert not orthogonalize(torch.zeros(4, 9)).any()


def test_muon_decays_and_steps_as_written():
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(4, 3, 3, 3))
    before = p.detach().clone()
    p.grad = torch.randn_like(p)
    Muon([p], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    nesterov = p.grad.lerp(0.1 * p.grad, 0.9).flatten(1)
    update = iterated(nesterov).view_as(p).float()
    step = p.detach() - before * (1 - 0.1 * 0.5)
    expected = -0.1 * 0.2 * math.sqrt(27) * update
    assert (step - expected).norm() < 0.1 * expected.norm()  # bf16


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_every_parameter_is_optimized_once_and_vectors_do_not_decay(kind):
    model = LeNet5(5, batch_norm=True)
    recipe = Recipe("r", "LeNet5", optimizer=kind, weight_decay=0.1, learning_rate=0.01)
    groups = [g for o in make_optimizers(model, recipe) for g in o.param_groups]
    held = [p for g in groups for p in g["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    for group in groups:
        for p in group["params"]:
            assert group["weight_decay"] == (0.1 if p.ndim > 1 else 0.0)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_every_optimizer_learns_a_small_problem(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))
    x = torch.randn(64, 1, 6, 6)
    y = (x[:, 0, 2, 2] > 0).long()
    recipe = Recipe("r", "LeNet5", optimizer=kind, learning_rate=0.02)
    optimizers = make_optimizers(model, recipe)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert loss < 0.35


def test_penalties_by_hand_and_not_on_biases():
    model = nn.Linear(2, 1)
    model.weight.data = torch.tensor([[3.0, -4.0]])
    model.bias.data = torch.tensor([100.0])
    assert penalty(model, l1=0.1, l2=0.0).item() == pytest.approx(0.7)
    assert penalty(model, l1=0.0, l2=0.2).item() == pytest.approx(2.5)
    assert penalty(model, 0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # standard deviation: √(2 / fan out) for a 3×3 convolution; √(2 / (fan in + fan out))
        ("kaiming", math.sqrt(2 / (64 * 9))),
        ("xavier", math.sqrt(2 / ((32 + 64) * 9))),
    ],
)
def test_initialization_has_the_papers_spread(scheme, expected):
    torch.manual_seed(0)
    model = nn.Conv2d(32, 64, 3)
    initialize(model, scheme)
    assert model.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert not model.bias.any()


def test_default_initialization_changes_nothing():
    model = nn.Conv2d(3, 4, 3)
    before = copy.deepcopy(model.state_dict())
    initialize(model, "default")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_average_is_the_recurrence_and_follows_batch_norm():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    average = Average(model, 0.9)
    expected = model[0].weight.detach().clone()
    for t in range(1, 40):
        model[0].weight.data += 1
        model[1].running_mean += 2
        model[1].num_batches_tracked += 1
        average.update()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, expected)
    assert average.model[1].running_mean < model[1].running_mean
    assert average.model[1].num_batches_tracked == 39
    assert not any(p.requires_grad for p in average.model.parameters())


def test_swa_is_the_plain_mean_of_the_last_share():
    model = nn.Linear(1, 1, bias=False)
    average, seen = Average(model, 0.0, swa=0.25), []
    for t in range(40):
        model.weight.data.fill_(float(t * t))
        average.update(t / 40)
        seen.append(float(average.model.weight))
    assert seen[:30] == [t * t for t in range(30)]
    for t in range(30, 40):
        assert seen[t] == pytest.approx(sum(i * i for i in range(30, t + 1)) / (t - 29))


def test_without_decay_the_average_is_the_model():
    model = nn.Linear(1, 1)
    average = Average(model, 0.0)
    average.update()
    assert average.model is model
    assert model.weight.requires_grad


def test_every_recipe_says_how_to_run_it_and_what_to_expect():
    for name, recipe in RECIPES.items():
        assert recipe().name == name
        assert f"convlens train {name}" in recipe.__doc__
        assert "seed" in recipe.__doc__
