"""How many threads compute beside other programs, with steps and loads by decree."""

import time

import pytest
import torch
import yaml

from convlens import train
from convlens.recipes import RECIPES
from convlens.training import run
from convlens.training import threads as module
from convlens.training.device import Machine as Device
from convlens.training.measuring import Watch
from convlens.training.run import resume
from convlens.training.threads import AGAIN, CROWD, INTERVAL, Threads, fastest_number


class Machine:
    """Two cores, by decree: what steps of each number of threads take, and what others use."""

    def __init__(self):
        self.now, self.number, self.others = 0.0, 2, 0.0
        self.seconds = {1: 1.0, 2: 0.5}

    def train(self, threads, seconds):
        """Steps for about so long; the numbers of threads that they had."""
        used, end = [], self.now + seconds
        while self.now < end:
            used.append(self.number)
            self.now += self.seconds[self.number]
            threads.step(None, None)
        return used


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(time, "perf_counter", lambda: machine.now)
    monkeypatch.setattr(Watch, "others", lambda self: machine.others)
    monkeypatch.setattr(torch, "get_num_threads", lambda: machine.number)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: setattr(machine, "number", n))
    return machine


def test_a_quiet_machine_keeps_all_threads(machine):
    machine.others = CROWD - 0.1
    machine.seconds[1] = 0.1
    with Threads(None) as threads:
        assert set(machine.train(threads, 100)) == {2}


def test_fewer_threads_beside_others_where_they_are_faster_until_the_others_end(machine, caplog):
    machine.seconds = {2: 2.0, 1: 0.8}
    with caplog.at_level("INFO"), Threads(None) as threads:
        machine.train(threads, INTERVAL)
        machine.others = 1.0
        machine.train(threads, 40)
        assert machine.number == 1
        assert machine.train(threads, AGAIN / 4).count(1) >= 15
        machine.others = 0.0
        machine.train(threads, INTERVAL + 1)
        assert set(machine.train(threads, 100)) == {2}
    assert [record.getMessage() for record in caplog.records] == [
        "threads    1 of 2 beside other programs",
        "threads    2 again, for other programs have ended",
    ]


def test_all_threads_stay_where_fewer_gain_nothing_and_are_not_tried_all_the_time(machine):
    machine.others = 1.0
    machine.seconds = {2: 0.5, 1: 0.49}  # less than is worth a change
    with Threads(None) as threads:
        first = machine.train(threads, INTERVAL + 15)
        assert 1 in first and machine.number == 2
        assert set(machine.train(threads, AGAIN - 20)) == {2}
        assert 1 in machine.train(threads, 40)  # looked at again
        machine.train(threads, 20)
        machine.others = 1.0 + CROWD  # another load
        assert 1 in machine.train(threads, INTERVAL + 5)


def test_what_passes_between_two_epochs_counts_for_no_number(machine):
    machine.others = 1.0
    machine.seconds = {2: 0.5, 1: 1.0}
    with Threads(None) as threads:
        while threads.trial is None:
            machine.train(threads, 0.1)
        machine.train(threads, 0.6)  # the first step is over, the second would count
        machine.now += 1000
        threads.epoch(None, None)
        machine.train(threads, 30)
        assert machine.number == 2


@pytest.mark.parametrize(("asked", "adapts"), [(1, True), (None, False)])
def test_a_number_that_is_asked_for_or_shared_stays_and_is_put_back(machine, asked, adapts):
    machine.others, machine.seconds = 2.0, {1: 1.0, 2: 5.0}
    with Threads(asked, adapts) as threads:
        assert set(machine.train(threads, 200)) == {asked or 2}
    assert machine.number == 2


def test_a_trial_is_among_as_many_as_others_leave_half_and_one(machine):
    machine.number, machine.others = 8, 2.1
    machine.seconds = {8: 3.0, 6: 2.0, 4: 2.5, 1: 9.0}
    with Threads(None) as threads:
        used = machine.train(threads, 300)
    assert set(used) == {8, 6, 4, 1}
    assert used[-1] == 6
    assert module.ROUNDS > 1


# The number that is usual


@pytest.fixture
def measured(machine, monkeypatch):
    """What a pass of so many threads takes, by decree; the numbers that were timed."""
    timed = []

    def least_seconds(passes, rounds, enough):
        timed.extend(passes)
        for number, compute in passes.items():
            compute()
            assert machine.number == number
        return {number: machine.seconds[number] for number in passes}

    monkeypatch.setattr(module, "least_seconds", least_seconds)
    monkeypatch.setattr(module, "TWO", 2)
    machine.number = 8
    return timed


FP32 = Device(torch.device("cpu"), "fp32", "for the test")


def usual_number() -> int | None:
    return fastest_number(RECIPES["lenet5"](), 5, FP32)


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        ({8: 1.0, 6: 1.2, 4: 1.5, 2: 2.0}, None),
        ({8: 1.0, 6: 0.7, 4: 0.6, 2: 0.9}, 4),
        ({8: 1.0, 6: 0.95, 4: 1.5, 2: 2.0}, None),  # gains less than is worth it
    ],
)
def test_the_fastest_number_is_measured_once_and_kept(machine, measured, seconds, number):
    machine.seconds = seconds
    assert usual_number() == number and measured == [8, 6, 4, 2]
    assert machine.number == 8  # as it was
    assert usual_number() == number and len(measured) == 4
    fastest_number(RECIPES["quick"](), 5, FP32)  # another network
    assert len(measured) == 8


def test_beside_other_programs_all_threads_are_usual_and_another_start_looks_again(
    machine, measured
):
    machine.seconds = {8: 1.0, 6: 0.5, 4: 0.5, 2: 0.5}
    machine.others = 1.0
    assert usual_number() is None
    machine.others = 0.0
    assert usual_number() == 6


def test_two_threads_always_compute_both(machine, measured):
    machine.number = 2
    assert usual_number() is None and not measured


def test_a_run_computes_with_the_usual_number_and_so_does_what_resumes_it(
    toy_data, tmp_path, monkeypatch
):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(run, "fastest_number", lambda *_: 3)
    options = {"data": toy_data, "size": 16, "device": "cpu", "precision": "fp32"}

    def watch(_):
        seen.append(torch.get_num_threads())

    train("lenet5", out=tmp_path / "r", epochs=1, on_epoch=watch, **options)
    monkeypatch.setattr(run, "fastest_number", lambda *_: 5)
    resume(tmp_path / "r", epochs=2, on_epoch=watch)
    assert seen == [3, 3] and torch.get_num_threads() == before
    train("lenet5", out=tmp_path / "asked", epochs=1, threads=1, on_epoch=watch, **options)
    assert seen == [3, 3, 1]
    kept = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    assert (kept["threads"], kept["usual_threads"]) == (None, 3)
