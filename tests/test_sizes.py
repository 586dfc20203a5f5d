"""benchmarks/sizes.py: what the size of the images costs."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "sizes.py"


@pytest.fixture(scope="module")
def sizes():
    spec = importlib.util.spec_from_file_location("sizes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_network_is_described_as_it_is_at_that_size(sizes):
    small, large = sizes.described("convnet", 64), sizes.described("convnet", 224)
    assert (small["last_map"], large["last_map"]) == (4, 7)
    assert small["parameters"] == large["parameters"]
    assert large["model_options"] == {**small["model_options"], "stem_stride": 2}
    # no more than the pixels, of which there are twelve times as many
    assert large["multiply_adds"] < (224 / 64) ** 2 * small["multiply_adds"]


@pytest.mark.parametrize("what", ["training", "inference"])
def test_what_is_measured_is_a_row_of_the_table(sizes, toy_data, what):
    measured = sizes.measure(what, "quick", 16, 16, 32, str(toy_data))
    assert list(measured) == [f"{what}_images_per_second", f"{what}_peak_mb"]
    assert measured[f"{what}_images_per_second"] > 0
    assert json.loads(json.dumps(measured)) == measured
    other = "inference" if what == "training" else "training"
    row = {
        **sizes.described("quick", 16),
        **measured,
        f"{other}_images_per_second": 1234.4,
        f"{other}_peak_mb": None,
    }
    title, rule, line = sizes.table([row]).splitlines()
    assert title.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| `quick` | 16 | 1×1 | ")
    assert "| 1,234 |  |" in line
