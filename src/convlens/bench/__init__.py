"""`convlens bench`: ours and its peers, measured in turn on this machine.

`rows` says what is measured and what it should reach, `peers` tunes and times the peers,
`training`, `inference`, `matrix`, `growth` and `explorer` measure ours, each in fresh `processes`;
`measures` is how each row is measured, `ratios` the arithmetic, `results` the files, and `command`
goes through the rows.
"""

from convlens.bench.command import BenchOptions, bench
from convlens.bench.peers import QUICK, Effort
from convlens.bench.rows import EXPLORER

__all__ = ["EXPLORER", "QUICK", "BenchOptions", "Effort", "bench"]
