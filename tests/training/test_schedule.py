import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convlens.training.schedule import schedule, set_learning_rate


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


def test_every_group_follows_its_own_peak():
    groups = [
        {"params": [nn.Parameter(torch.zeros(1))], "lr": lr, "peak": lr} for lr in (0.1, 0.02)
    ]
    optimizers = [torch.optim.SGD(groups[:1]), torch.optim.SGD(groups[1:])]
    set_learning_rate(optimizers, 0.5)
    assert [o.param_groups[0]["lr"] for o in optimizers] == [0.05, 0.01]
    assert [o.param_groups[0]["peak"] for o in optimizers] == [0.1, 0.02]
