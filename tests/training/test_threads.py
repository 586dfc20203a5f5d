"""How many threads compute beside other programs, with steps and loads by decree."""

import time

import pytest
import torch

from convlens.training import threads as module
from convlens.training.measuring import Watch
from convlens.training.threads import AGAIN, CROWD, INTERVAL, Threads


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
