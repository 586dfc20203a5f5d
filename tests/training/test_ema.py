import pytest
import torch
from torch import nn

from convlens.training.ema import ModelEma


def test_average_is_the_recurrence_and_follows_batch_norm():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    average = ModelEma(model, 0.9)
    expected = model[0].weight.detach().clone()
    for t in range(1, 40):
        model[0].weight.data += 1
        model[1].running_mean += 2
        model[1].num_batches_tracked += 1
        average.update()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.module[0].weight, expected)
    assert average.module[1].running_mean < model[1].running_mean
    assert average.module[1].num_batches_tracked == 39
    assert not any(p.requires_grad for p in average.module.parameters())


def test_swa_is_the_plain_mean_of_the_last_share():
    model = nn.Linear(1, 1, bias=False)
    average, seen = ModelEma(model, 0.0, swa_fraction=0.25), []
    for t in range(40):
        model.weight.data.fill_(float(t * t))
        average.update(t / 40)
        seen.append(float(average.module.weight))
    assert seen[:30] == [t * t for t in range(30)]
    for t in range(30, 40):
        assert seen[t] == pytest.approx(sum(i * i for i in range(30, t + 1)) / (t - 29))


@pytest.mark.parametrize(("length", "mean"), [(20, 14.5), (40, 29.5)])
def test_a_run_that_goes_on_averages_its_new_end_alone(length, mean):
    model = nn.Linear(1, 1, bias=False)
    average = ModelEma(model, 0.0, swa_fraction=0.5)
    for t in range(length):
        model.weight.data.fill_(float(t))
        average.update(t / 10 if t < 10 else t / length)
        if t == 9:
            assert float(average.module.weight) == pytest.approx(7.0)  # of 5 to 9
            kept = average.state_dict()
            average = ModelEma(model, 0.0, swa_fraction=0.5)
            average.load_state_dict(kept)
    assert float(average.module.weight) == pytest.approx(mean)


def test_without_decay_the_average_is_the_model():
    model = nn.Linear(1, 1)
    average = ModelEma(model, 0.0)
    average.update()
    assert average.module is model
    assert model.weight.requires_grad


@pytest.mark.parametrize("options", [(0.9,), (0.0, 0.5), (0.0,)])
def test_an_average_goes_on_where_it_was(options):
    def advance(model, average, steps):
        for step in steps:
            model.weight.data.fill_(float(step))
            average.update(step / 20)

    whole = nn.Linear(1, 1)
    average = ModelEma(whole, *options)
    advance(whole, average, range(12))
    later = nn.Linear(1, 1)
    later.load_state_dict(whole.state_dict())
    other = ModelEma(later, *options)
    other.load_state_dict(average.state_dict())
    advance(whole, average, range(12, 20))
    advance(later, other, range(12, 20))
    assert torch.equal(average.module.weight, other.module.weight)
    assert average.steps == other.steps


@pytest.mark.parametrize("state", [{}, {"steps": "1", "model": None}, {"steps": 1, "model": []}, 3])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises((KeyError, TypeError)):
        ModelEma(nn.Linear(1, 1), 0.9).load_state_dict(state)
