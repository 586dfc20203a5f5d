"""How threads wait: looking on a quiet machine, asleep beside others, as the user says else."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from convlens.training.spinning import CHOICES, CROWD, INTERVAL, Waiting, follow

linux = pytest.mark.skipif(sys.platform != "linux", reason="another system, another OpenMP")


def threads_of_this_process(expected: int) -> int:
    """How many, once they are as many as expected or ten seconds have passed."""
    end = time.monotonic() + 10
    while (found := len(os.listdir("/proc/self/task"))) != expected and time.monotonic() < end:
        time.sleep(0.01)
    return found


@linux
def test_beside_others_openmp_has_more_threads_than_cores_and_then_has_not():
    waiting = Waiting()
    for others in CROWD, 0.0:  # of the first some threads stay
        waiting.look(others)
    torch.ones(10**7).neg_()
    time.sleep(0.1)
    before, computing = len(os.listdir("/proc/self/task")), torch.get_num_threads()
    waiting.look(CROWD - 0.1)
    assert not waiting.asleep and threads_of_this_process(before) == before
    for _ in range(2):
        waiting.look(CROWD)
    assert waiting.asleep and torch.get_num_threads() == computing
    with_own = before + (os.cpu_count() or 1)  # the thread that holds them is one of them
    assert threads_of_this_process(with_own) == with_own
    waiting.look(CROWD - 0.1)
    assert not waiting.asleep and torch.get_num_threads() == computing
    assert threads_of_this_process(before) == before


def test_operators_answer_the_same_while_threads_sleep():
    x = torch.randn(8, 16, 32, 32)
    layer = torch.nn.Conv2d(16, 16, 3)
    waiting = Waiting()
    looking = layer(x)
    waiting.look(1.0)
    asleep = layer(x)
    waiting.look(0.0)
    assert torch.equal(looking, asleep)


SCRIPT = """
import threading, time
from convlens.training.spinning import follow
follow(); follow()
print(sum(t.name == "convlens follow" for t in threading.enumerate()), flush=True)
end = time.monotonic() + 30
def waiting():
    return any(t.name.startswith("convlens waiting") for t in threading.enumerate())
while time.monotonic() < end and not waiting():
    time.sleep(0.05)
print(time.monotonic() < end, flush=True)
"""


@linux
@pytest.mark.parametrize("chosen", [None, *CHOICES])
def test_a_process_follows_what_else_runs_unless_the_user_has_chosen(chosen):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment |= {chosen: "5000" if chosen == CHOICES[0] else "active"} if chosen else {}
    script = SCRIPT if chosen is None else SCRIPT.replace("+ 30", f"+ {2 * INTERVAL}")
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        burner.kill()
        burner.wait()
    assert done.stdout.split() == (["1", "True"] if chosen is None else ["0", "False"])


def test_the_trainer_follows():
    from convlens.training.device import choose

    choose("cpu", "fp32")
    following = [t for t in threading.enumerate() if t.name == "convlens follow"]
    chosen = any(name in os.environ for name in CHOICES)
    assert len(following) == (sys.platform == "linux" and not chosen)
    assert all(thread.daemon for thread in following)
    follow()
    assert len([t for t in threading.enumerate() if t.name == "convlens follow"]) == len(following)
