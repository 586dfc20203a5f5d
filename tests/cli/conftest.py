"""What the tests of the command line share: two ways to ask it, and one finished run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convlens.cli import main

# Options of a training that takes a second or two.
QUICK = ("--size", "16", "--train-size", "16", "--device", "cpu", "--precision", "fp32")

Ask = Callable[..., str]


@pytest.fixture
def quick() -> tuple[str, ...]:
    """Options of a training that takes a second or two."""
    return QUICK


@pytest.fixture
def tell(capsys) -> Ask:
    """What a verb that succeeds prints on stdout; its stderr stays empty."""

    def tell(*arguments: object) -> str:
        main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert told.err == ""
        return told.out

    return tell


@pytest.fixture
def refuse(capsys) -> Ask:
    """The one sentence on stderr of a verb that ends with status 2."""

    def refuse(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith("convlens: ") and told.count("\n") == 1
        return told.removeprefix("convlens: ").rstrip("\n")

    return refuse


@pytest.fixture(scope="session")
def finished(toy_data, tmp_path_factory) -> tuple[Path, str]:
    """A run of two epochs that the command line made, and what it printed. Not to be changed."""
    folder = tmp_path_factory.mktemp("cli")
    command = [
        *(sys.executable, "-m", "convlens", "train", "lenet5plus", "--data", str(toy_data)),
        *("--out", str(folder / "run"), "--epochs", "2", "--batch-size", "20", "--seed", "3"),
        *QUICK,
    ]
    environment = {
        **os.environ,
        "CONVLENS_CACHE": str(folder / "cache"),
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return folder / "run", done.stdout
