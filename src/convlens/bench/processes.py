"""Fresh processes: each measurement starts one, so that none inherits another's state."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convlens.errors import UserError


def peers_folder() -> Path:
    """Where the peers' scripts lie: in the installed package, else in the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in package / "benchmarks" / "peers", package.parents[1] / "benchmarks" / "peers":
        if folder.is_dir():
            return folder
    raise UserError("benchmarks/peers is missing; run bench from a clone of the source")


def ours(measure: str, environment: Mapping[str, str], **arguments: Any) -> dict[str, Any]:
    """Run `convlens.bench.ours.MEASURE(**arguments)` in a fresh process; what it returns."""
    command = ["-m", "convlens.bench.ours", measure, json.dumps(arguments, default=str)]
    return run_json([sys.executable, *command], environment)


def peer(script: str, environment: Mapping[str, str], *arguments: Any, **options: Any) -> dict:
    """Run benchmarks/peers/SCRIPT in a fresh process; the JSON of its last line.

    options: `batch=64` becomes `--batch 64`, `compile=True` becomes `--compile`.
    """
    command = [sys.executable, str(peers_folder() / script), *map(str, arguments)]
    return run_json(command + as_options(options), environment)


@contextlib.contextmanager
def started(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen]:
    """`command` running silently while the block does; the block's end waits for its end.

    It is terminated when the block raises.
    """
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=nowhere, stderr=nowhere
    )
    try:
        yield process
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()


@contextlib.contextmanager
def burning(count: int) -> Iterator[None]:
    """While the block runs, so many other programs each use up a core."""
    burn = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**5))"
    programs = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def as_options(options: Mapping[str, Any]) -> list[str]:
    """{"batch": 64, "compile": True, "out": None} → ["--batch", "64", "--compile"]."""
    words = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def run_json(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The JSON in the last line that `command` prints.

    Raises RuntimeError with the end of its error output when it fails: a measurement that breaks
    is a fault of the program, not of the user.
    """
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
