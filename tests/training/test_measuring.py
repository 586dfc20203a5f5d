"""Choices by measurement, on quiet machines and on others."""

import subprocess
import sys
import time
from collections import namedtuple

import pytest
import torch

from convlens.training import measuring
from convlens.training.device import choose
from convlens.training.measuring import BUSY, Measurements, Watch, is_positive, least_seconds

Times = namedtuple("Times", "user nice system idle iowait")


@pytest.fixture
def machine(monkeypatch, real_watch):
    """The system's own counting, by decree: seconds of the clock, of this process, of all."""

    class Machine:
        wall = own = busy = 0.0

        def goes_on(self, wall, own, others):
            self.wall, self.own, self.busy = (
                self.wall + wall,
                self.own + own,
                self.busy + own + others,
            )

    machine = Machine()
    monkeypatch.setattr(time, "perf_counter", lambda: machine.wall)
    monkeypatch.setattr(time, "process_time", lambda: machine.own)
    monkeypatch.setattr(
        measuring.psutil, "cpu_times", lambda: Times(machine.busy, 0, 0, 1e6 - machine.busy, 7)
    )
    return machine


def test_what_others_use_is_what_this_process_does_not(machine):
    watch = Watch()
    machine.goes_on(10, own=18, others=0)
    assert watch.others() == 0
    machine.goes_on(10, own=2, others=15.03)
    assert watch.others() == pytest.approx(1.5)
    machine.goes_on(0.1, own=0.1, others=0.02)  # less than the system's counting can tell
    assert watch.others() == 0


def test_a_program_that_burns_a_core_is_noticed(real_watch):
    burn = "import time\nend = time.time() + 20\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", burn]) as burner:
        try:
            time.sleep(0.3)
            watch = Watch()
            time.sleep(0.5)
            assert watch.others() > BUSY
        finally:
            burner.kill()


def test_what_was_measured_beside_others_is_used_and_not_kept(machine):
    def measure(others, answer):
        machine.goes_on(1, own=1, others=others)
        return answer

    device = torch.device("cpu")
    disturbed = Measurements(device)
    assert disturbed.get("gain", lambda: measure(1.0, 0.3)) == 0.3
    assert disturbed.get("gain", lambda: pytest.fail("measured twice")) == 0.3
    disturbed.save()
    assert disturbed.disturbed
    quiet = Measurements(device)
    assert "gain" not in quiet
    assert quiet.get("gain", lambda: measure(0.1, 1.7)) == 1.7
    quiet.save()
    assert not quiet.disturbed
    assert Measurements(device).values == {"gain": 1.7}


@pytest.mark.parametrize("value", ["abc", None, [1], True, -5, 0, 1e300, float("nan")])
def test_a_value_that_nobody_can_have_measured_is_measured_anew(value, machine, own_cache):
    kept = Measurements(torch.device("cpu"))
    kept.new["gain"] = value
    kept.save()
    assert Measurements(torch.device("cpu")).get("gain", lambda: 1.5, is_positive) == 1.5


def test_a_bad_moment_is_told_and_does_not_last(machine, monkeypatch):
    moment = {"others": 1.5, "gain": 0.3}

    def measured(device):
        machine.goes_on(1, own=1, others=moment["others"])
        return moment["gain"]

    monkeypatch.setattr("convlens.training.device._measure_gain", measured)
    monkeypatch.setattr("convlens.training.device.has_bf16", lambda device: True)
    first = choose("cpu")
    assert first.precision == "fp32"
    assert first.why.endswith("measured now, beside other programs; another start looks again")
    moment.update(others=0.0, gain=1.7)
    assert choose("cpu").why == "bf16 is 1.7× as fast here, measured now"
    moment.update(others=1.5, gain=0.3)
    again = choose("cpu")
    assert (again.precision, again.why) == ("bf16", "bf16 is 1.7× as fast here, measured before")


def test_what_an_earlier_version_kept_at_any_moment_is_measured_anew(own_cache):
    device = torch.device("cpu")
    key = Measurements(device).key
    before = key.removesuffix(", on a quiet machine")
    assert before != key
    (own_cache / "machine.json").write_text(f'{{"{before}": {{"gain": 0.3}}}}')
    assert "gain" not in Measurements(device)


def test_candidates_take_turns_and_the_least_counts(monkeypatch):
    clock, order = [0.0], []
    durations = {"a": iter([9, 5, 2, 7]), "b": iter([9, 3, 4, 3])}  # the first is not counted
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def run(name):
        order.append(name)
        clock[0] += next(durations[name])

    found = least_seconds({name: lambda name=name: run(name) for name in "ab"}, rounds=3)
    assert found == {"a": 2, "b": 3}
    assert order == list("abababab")


@pytest.mark.parametrize(
    ("slow", "enough", "expected"),
    [(1.4, 1e9, "ab" * 10), (1.6, 1e9, "ab" * 4), (1.4, 5.0, "ab" * 4), (1.4, 11.0, "ab" * 5)],
)
def test_what_is_hopeless_or_enough_is_timed_no_more(monkeypatch, slow, enough, expected):
    clock, order = [0.0], []
    durations = {"a": 1.0, "b": slow}
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def run(name):
        order.append(name)
        clock[0] += durations[name]

    candidates = {name: lambda name=name: run(name) for name in "ab"}
    assert least_seconds(candidates, rounds=9, enough=enough) == pytest.approx(durations)
    assert order == list(expected)
