"""Commands in a process of their own, several in one where each would only import torch again."""

import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence

END = "\x1e"  # between commands, among the arguments and in what is printed
MANY = f"""
import sys
from itertools import groupby
from convlens.cli import main

for between, words in groupby(sys.argv[1:], {END!r}.__eq__):
    if not between:
        main(list(words))
        print({END!r}, flush=True)
"""


def told_by(
    commands: Sequence[Sequence[object]], environment: Mapping[str, str]
) -> tuple[list[bytes], bytes]:
    """What each of these commands of `convlens` prints, and all that they complain of.

    One process runs them one after the other; each has to succeed.
    """
    words = [*itertools.chain.from_iterable((*command, END) for command in commands)]
    done = subprocess.run(
        [sys.executable, "-c", MANY, *map(str, words)],
        env=dict(environment),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    *told, rest = done.stdout.split(f"{END}\n".encode())
    assert (len(told), rest) == (len(commands), b"")
    return told, done.stderr
