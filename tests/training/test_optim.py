import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from convlens.models import LeNet5
from convlens.recipes import Recipe
from convlens.training import optim
from convlens.training.optim import (
    Muon,
    descend,
    highest_rate,
    load_optimizer,
    make_optimizers,
    orthogonalize,
    penalty,
)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalize_is_the_same_in_both_precisions(dtype, monkeypatch):
    monkeypatch.setattr(optim, "has_bf16", lambda device: dtype == torch.bfloat16)
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(0))
    result = orthogonalize(matrix)
    assert result.dtype == dtype
    assert (result.double() - iterated(matrix)).norm() < 0.35 * iterated(matrix).norm()


def test_many_rows_are_orthogonalized_in_blocks():
    matrix = torch.randn(384, 500, generator=torch.Generator().manual_seed(0))
    blocks = [orthogonalize(block) for block in matrix.split(128)]
    torch.testing.assert_close(orthogonalize(matrix), torch.cat(blocks), atol=0.01, rtol=0.05)
    odd = orthogonalize(matrix[:257])  # a prime number of rows: the last block is filled up
    halves = torch.cat([orthogonalize(matrix[:129]), orthogonalize(matrix[129:257])])
    assert odd.shape == (257, 500)
    torch.testing.assert_close(odd, halves, atol=0.01, rtol=0.05)


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


def peaks(optimizers):
    """The highest learning rate of each parameter, by its identity."""
    return {id(p): g["peak"] for o in optimizers for g in o.param_groups for p in g["params"]}


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_the_layers_below_the_classifier_have_their_share_of_the_rate(kind):
    model = LeNet5(5, batch_norm=True)
    recipe = Recipe("r", "LeNet5", optimizer=kind, weight_decay=0.1, learning_rate=0.01)
    plain = peaks(make_optimizers(model, recipe))
    slow = dataclasses.replace(recipe, backbone_lr_scale=0.25)
    optimizers = make_optimizers(model, slow)
    found = peaks(optimizers)
    assert found.keys() == plain.keys() == {id(p) for p in model.parameters()}
    for name, p in model.named_parameters():
        assert found[id(p)] == (1 if name.startswith("fc3.") else 0.25) * plain[id(p)], name
    assert highest_rate(optimizers) == pytest.approx(max(found.values()))
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        assert all(group["weight_decay"] == (0.1 if p.ndim > 1 else 0) for p in group["params"])


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_what_is_frozen_is_neither_optimized_nor_penalized(kind):
    model = LeNet5(5, batch_norm=True).requires_grad_(False)
    model.fc3.requires_grad_(True)
    recipe = Recipe("r", "LeNet5", optimizer=kind, weight_decay=0.1, backbone_lr_scale=0.5)
    optimizers = make_optimizers(model, recipe)
    assert peaks(optimizers).keys() == {id(model.fc3.weight), id(model.fc3.bias)}
    assert penalty(model, 1.0, 0.0).item() == pytest.approx(model.fc3.weight.abs().sum().item())
    before = model.fc3.weight.detach().clone()
    descend(model(torch.randn(4, 3, 64, 64)).square().sum(), optimizers)
    assert not torch.equal(model.fc3.weight, before)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_every_optimizer_learns_a_small_problem(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    x = torch.randn(64, 3, 8, 8)
    y = (x[:, 0, 2, 2] > 0).long()
    recipe = Recipe("r", "LeNet5", size=8, optimizer=kind, learning_rate=0.02)
    optimizers = make_optimizers(model, recipe)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        descend(loss, optimizers)
    assert loss < 0.35


def test_penalties_by_hand_and_not_on_biases():
    model = nn.Linear(2, 1)
    model.weight.data = torch.tensor([[3.0, -4.0]])
    model.bias.data = torch.tensor([100.0])
    assert penalty(model, l1=0.1, l2=0.0).item() == pytest.approx(0.7)
    assert penalty(model, l1=0.0, l2=0.2).item() == pytest.approx(2.5)
    assert penalty(model, 0.0, 0.0) == 0.0


class ClassifierFirst(nn.Module):
    """Registers what decides before what is seen first, as a user's module may."""

    def __init__(self):
        super().__init__()
        self.decide = nn.Linear(6, 5)
        self.embed = nn.Linear(4, 6)
        self.see = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.decide(self.embed(self.see(x).mean(dim=(2, 3))).relu())


def test_muon_leaves_the_classifier_to_adamw_wherever_it_is_registered():
    model = ClassifierFirst()
    muon, adamw = make_optimizers(model, Recipe("r", "LeNet5", optimizer="muon"))
    assert isinstance(muon, Muon)
    [hidden] = muon.param_groups
    assert {id(p) for p in hidden["params"]} == {id(model.see.weight), id(model.embed.weight)}
    assert adamw.param_groups[0]["params"] == [model.decide.weight]


def test_sgd_without_momentum_is_plain_descent():
    model = nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    recipe = Recipe("r", "LeNet5", optimizer="sgd", momentum=0.0, learning_rate=0.5)
    descend(model(torch.ones(1, 2)).sum(), make_optimizers(model, recipe))
    torch.testing.assert_close(model.weight.detach(), before - 0.5)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_optimizers_go_on_from_their_states_and_refuse_others(kind):
    def made(width=8):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 36, 2)]
        model = nn.Sequential(*layers)
        recipe = Recipe("r", "LeNet5", size=8, optimizer=kind, learning_rate=0.02)
        return model, make_optimizers(model, recipe)

    def step(model, optimizers):
        descend(model(torch.ones(2, 3, 8, 8)).square().sum(), optimizers)

    model, optimizers = made()
    step(model, optimizers)
    states = copy.deepcopy([optimizer.state_dict() for optimizer in optimizers])
    other, others = made()
    other.load_state_dict(model.state_dict())
    for optimizer, state in zip(others, states, strict=True):
        load_optimizer(optimizer, state)
    for _ in range(2):
        step(model, optimizers)
        step(other, others)
    assert all(map(torch.equal, model.parameters(), other.parameters()))

    _, (wider, *_) = made(width=9)
    with pytest.raises(ValueError, match="of another parameter"):
        load_optimizer(wider, states[0])
    name = next(iter(states[0]["state"][0]))
    for damage in (
        lambda state: state["param_groups"][0].pop("peak"),
        lambda state: state["param_groups"].pop(),
        lambda state: state["param_groups"].clear(),
        lambda state: state.pop("param_groups"),
        lambda state: state["state"][0].update({name: [1.0, 2.0]}),
        lambda state: state["state"][0].update({name: torch.zeros(3, 1)}),
        lambda state: (
            state["state"][0].update(more=torch.zeros(()))
            if len(state["state"]) > 1
            else state.clear()
        ),
    ):
        damaged = copy.deepcopy(states[0])
        damage(damaged)
        with pytest.raises((KeyError, ValueError, TypeError)):
            load_optimizer(made()[1][0], damaged)
