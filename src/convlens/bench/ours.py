"""Our side of each measurement in a process of its own: `python -m convlens.bench.ours NAME JSON`.

Prints, as its last line, what the function of that name returns for the arguments in JSON.
"""

import json
import sys

from convlens.bench.explorer import explorer_seconds
from convlens.bench.growth import caching, second_start
from convlens.bench.inference import inference_grid, inference_rate, int8_rates
from convlens.bench.matrix import matrix_rate
from convlens.bench.training import training_rate

FUNCTIONS = (
    training_rate,
    matrix_rate,
    inference_grid,
    inference_rate,
    int8_rates,
    caching,
    second_start,
    explorer_seconds,
)

if __name__ == "__main__":
    name, arguments = sys.argv[1:]
    measure = {function.__name__: function for function in FUNCTIONS}[name]
    print(json.dumps(measure(**json.loads(arguments))))
