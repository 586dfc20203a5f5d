"""`convlens bench`: ours and its peers, measured in turn on this machine.

`rows` says what is measured and what it should reach, `peers` tunes and times the peers,
`training`, `inference`, `matrix`, `growth` and `explorer` measure ours, each in fresh `processes`;
`ratios` is the arithmetic, `results` the files, and `command` goes through the rows.
"""

from convlens.bench.command import EXPLORER, bench
from convlens.bench.peers import QUICK, Effort

__all__ = ["EXPLORER", "QUICK", "Effort", "bench"]
