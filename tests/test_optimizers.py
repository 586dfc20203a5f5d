"""The optimizers are torch's to the last bit, and the compiler stays where it is."""

import copy
import subprocess
import sys
import textwrap

import pytest
import torch

from convlens import optimizers

KINDS = {
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1, "fused": True},
    "SGD": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "fused": True},
}


def layer() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3)


def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    assert all(p.grad is None for p in network.parameters())
    network(torch.arange(10.0).view(2, 5)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", KINDS)
def test_steps_and_states_are_those_of_torch_to_the_last_bit(name):
    ours, theirs = layer(), layer()
    mine = getattr(optimizers, name)(ours.parameters(), **KINDS[name])
    plain = getattr(torch.optim, name)(theirs.parameters(), **KINDS[name])
    for round_ in range(4):
        if round_ == 2:  # a state that torch's own has saved is gone on with
            mine = getattr(optimizers, name)(ours.parameters(), **KINDS[name])
            mine.load_state_dict(copy.deepcopy(plain.state_dict()))
        step(ours, mine)
        step(theirs, plain)
        assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    assert not mine.state[ours.weight].keys() ^ plain.state[theirs.weight].keys()
    assert all(not p.requires_grad for p in mine.state[ours.weight].values() if torch.is_tensor(p))


def test_a_run_that_is_trained_and_asked_imports_no_compiler(toy_data, tmp_path):
    script = f"""
        import sys
        import convlens as cl

        size = dict(size=16, train_size=16, early_size=16, batch_size=16, epochs=1)
        for kind in "adamw", "sgd", "muon":
            out = {str(tmp_path)!r} + "/" + kind
            run = cl.train(
                "lenet5plus", data={str(toy_data)!r}, out=out, optimizer=kind, **size
            )
        run.classifier.predict({str(toy_data / "validation")!r})
        print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"
