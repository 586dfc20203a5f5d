import json

import pytest
import torch

from convlens.errors import UserError
from convlens.training import device as devices
from convlens.training.device import Machine, choose


@pytest.fixture
def clock(monkeypatch):
    """Steps take as long as `seconds` says; `calls` lists what was measured (bf16 or not)."""

    class Clock:
        def __init__(self):
            self.seconds, self.calls = {False: 1.0, True: 1.0}, []

        def __call__(self, candidates, rounds, enough):
            self.calls += candidates
            return {bf16: self.seconds[bf16] for bf16 in candidates}

    clock = Clock()
    monkeypatch.setattr(devices, "least_seconds", clock)
    monkeypatch.setattr(devices, "has_bf16", lambda device: True)
    return clock


def test_what_is_asked_for_is_taken_without_measuring(clock):
    for precision in ("fp32", "bf16"):
        chosen = choose("cpu", precision)
        assert chosen == Machine(torch.device("cpu"), precision, "as asked")
    assert clock.calls == []


@pytest.mark.parametrize(
    ("seconds", "precision", "gain"),
    [(0.5, "bf16", "2.0"), (0.9, "fp32", "1.1"), (4, "fp32", "0.2")],
)
def test_bf16_is_chosen_only_where_it_is_worth_its_rounding(clock, seconds, precision, gain):
    clock.seconds = {False: 1.0, True: seconds}
    chosen = choose("cpu")
    assert chosen.precision == precision
    assert f"bf16 is {gain}× as fast here, measured now" in chosen.describe()


def test_it_is_measured_once_and_then_kept(clock, own_cache):
    clock.seconds = {False: 3.0, True: 1.0}
    first, second = choose("cpu"), choose("cpu")
    assert sorted(clock.calls) == [False, True]
    assert (first.precision, second.precision) == ("bf16", "bf16")
    assert second.why == "bf16 is 3.0× as fast here, measured before"
    json.loads((own_cache / "machine.json").read_text())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cpu": 3}', "null"])
def test_a_damaged_record_is_measured_anew(content, clock, own_cache):
    (own_cache / "machine.json").write_text(content)
    assert choose("cpu").why.endswith("measured now")
    assert choose("cpu").why.endswith("measured before")


def test_no_place_to_keep_the_measurement_is_no_reason_to_fail(clock, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "file" / "below"))
    assert choose("cpu").why.endswith("measured now")


def test_a_record_is_of_one_number_of_threads(clock, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    choose("cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert choose("cpu").why.endswith("measured now")


@pytest.mark.parametrize("device", ["nonsense", "", "meta", "cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(
        UserError, match=f"`device` {device} is not available on this machine; use auto"
    ) as refused:
        choose(device, "fp32")
    assert refused.value.options == ("device",)


@pytest.mark.parametrize(("threads", "told"), [(1, "cpu, 1 thread"), (2, "cpu, 2 threads")])
def test_the_number_of_threads_is_told_in_english(threads, told, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert choose("cpu", "fp32").name == told
    assert choose("cpu", "fp32").describe() == f"{told}, fp32 (as asked)"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_forward_pass_runs_in_the_precision_chosen(precision, dtype):
    with choose("cpu", precision).autocast():
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


def test_what_a_processor_has_no_instructions_for_is_not_measured(clock, monkeypatch):
    monkeypatch.setattr(devices, "has_bf16", lambda device: device != "cpu")
    chosen = choose("cpu")
    assert (chosen.precision, clock.calls) == ("fp32", [])
    assert chosen.why == "this processor has no instructions for bf16"
    assert choose("cpu", "bf16").precision == "bf16"  # as asked


def test_a_gain_is_measured_for_real(monkeypatch):
    monkeypatch.setattr(devices, "ROUNDS", 1)
    monkeypatch.setattr(devices, "IMAGES", 4)  # bf16 may be emulated, and take seconds
    assert devices._measure_gain(torch.device("cpu")) > 0
