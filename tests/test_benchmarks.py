"""The scripts in benchmarks/ load: what they measure is not repeated here, which takes hours."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LOAD = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"


def test_every_script_finds_what_it_imports():
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    assert len(names) > 10
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
