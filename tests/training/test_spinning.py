"""How threads wait: chosen before torch is there, and left to whoever has chosen."""

import os
import subprocess
import sys

import pytest

from convlens.training.spinning import sleep_at_once


def test_threads_sleep_unless_the_user_has_chosen():
    environment = {"PATH": "/bin"}
    sleep_at_once(environment)
    assert environment == {"PATH": "/bin", "GOMP_SPINCOUNT": "0"}
    for chosen in {"GOMP_SPINCOUNT": "5000"}, {"OMP_WAIT_POLICY": "active"}:
        environment = dict(chosen)
        sleep_at_once(environment)
        assert environment == chosen


def test_nothing_is_set_where_torch_has_read_it_already(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    sleep_at_once()  # these tests have imported torch
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize("chosen", [None, "7"])
def test_the_command_line_sets_it_before_torch_is_imported(chosen):
    script = (
        "import os, sys\n"
        "from convlens.cli import main\n"
        "main(['--version'])\n"
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": chosen} if chosen else {}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{chosen or 0} False"
