"""`convlens bench`: how fast this machine trains and answers."""

import sys
from collections.abc import Sequence


def bench(arguments: Sequence[str]) -> None:
    """Measure how fast this machine trains, ours and the loops people write today in turn.

    Needs a quiet machine.
    """
    from convlens.bench import BenchOptions
    from convlens.bench import bench as measure
    from convlens.cli.options import read

    if not measure(read(BenchOptions, arguments, "bench", bench.__doc__)):
        sys.exit(1)
