"""benchmarks/hostile_requests.py in short: nothing that it sends ends in a fault or in silence."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hostile_requests.py"


@pytest.fixture
def hostile(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_requests", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hostile_requests", module)
    spec.loader.exec_module(module)
    return module


def test_300_hostile_requests_are_answered_and_none_by_a_fault(hostile, capsys):
    outcomes, well = hostile.attack(300, seed=1)
    assert well, capsys.readouterr().out
    assert outcomes["403"] > 10
    assert outcomes["200"] > 5


def test_what_must_not_be_is_seen(hostile, monkeypatch, capsys):
    """Else the count of 0 would say nothing: a fault, a redirect elsewhere, a stranger let in."""
    guard = hostile.server.Guard
    monkeypatch.setattr(guard, "_refusal", lambda *_: None)
    monkeypatch.setattr(hostile.server, "answer", lambda *_: 1 / 0)
    monkeypatch.setattr(
        guard, "_to_the_page", lambda *_: hostile.server.RedirectResponse("//evil.example")
    )
    outcomes, well = hostile.attack(150, seed=1)
    assert not well
    assert outcomes["500"]
    assert outcomes["LET A STRANGER IN"]
