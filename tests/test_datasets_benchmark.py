"""benchmarks/datasets.py: which runs there are, and the table."""

import dataclasses
import gzip
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.errors import UserError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def datasets():
    path, known = list(sys.path), set(sys.modules)
    yield load("datasets_benchmark", BENCHMARKS / "datasets.py")
    sys.path[:] = path
    for name in {"datasets_benchmark", "datasets_sets"} - known:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def protocol():
    yield load("peers_protocol", BENCHMARKS / "datasets_peers" / "protocol.py")
    sys.modules.pop("peers_protocol")


def record(method, accuracy, seconds, minutes=None, seed=0, split="validation") -> dict:
    return {
        "set": "photos",
        "method": method,
        "minutes": minutes,
        "seed": seed,
        "split": split,
        "accuracy": accuracy,
        "mean_class_accuracy": accuracy / 2,
        "loss": 1.0,
        "seconds": seconds,
    }


def test_a_run_is_asked_for_once_and_those_of_a_time_first(datasets):
    def asked():
        return datasets.tasks({"photos": "test"}, ["quick", "timm", "convlens"], [5, 1], 2)

    every = [(t.method, t.minutes, t.seed) for t in datasets.todo(asked(), [])]
    assert every == [
        (method, minutes, seed)
        for seed in (0, 1)
        for method, minutes in (
            ("convlens", 1),
            ("timm", 1),
            ("convlens", 5),
            ("timm", 5),
            ("quick", None),
        )
    ]
    records = []
    for task in datasets.todo(asked(), records):  # which grow while it goes on
        records.append({**dataclasses.asdict(task), "seconds": 301})
    assert len(records) == len(every)
    assert {r["split"] for r in records} == {"test"}
    assert list(datasets.todo(asked(), json.loads(json.dumps(records)))) == []


def test_the_table_compares_with_the_best_peer_and_knows_standard_errors(datasets, tmp_path):
    records = [
        *(record("convlens", accuracy, 50, 1, s) for s, accuracy in enumerate((0.80, 0.84))),
        record("convlens", 0.85, 290, 5),
        record("quick", 0.82, 50),
        *(record("timm", accuracy, 60, 1, s) for s, accuracy in enumerate((0.70, 0.76))),
        record("fastai", 0.72, 60, 1),
        record("fastai", 0.9, 300, 5),
    ]
    lines = datasets.table(records, [1, 5, 20]).splitlines()
    # standard errors by hand: half the distance of two values
    assert lines[2:6] == [
        "| photos | 1 | accuracy | 82.0% ± 2.0% | 72.0% | 73.0% ± 3.0% | – | +9.0 ± 3.6 |",
        "| photos | 1 | mean per class | 41.0% ± 1.0% | 36.0% | 36.5% ± 1.5% | – | +4.5 ± 1.8 |",
        "| photos | 5 | accuracy | 85.0% | 90.0% | – | – | -5.0 |",
        "| photos | 5 | mean per class | 42.5% | 45.0% | – | – | -2.5 |",
    ]
    assert lines[6] == ""  # nobody was given 20 minutes
    assert lines[9] == "| photos | `quick` | 1 | 0.8 | 82.0% | 41.0% | 1.000 |"
    assert lines[-1].endswith("Measured on photos: `validation/`. Machine: not recorded.")
    known = [{**each, "machine": "a laptop"} for each in records]
    other = {**record("quick", 0.5, 50), "set": "cats", "machine": "a workstation"}
    assert datasets.table(known, [1]).splitlines()[-1].endswith("Machine: a laptop.")
    assert (
        datasets.table([*known, other], [1])
        .splitlines()[-1]
        .endswith("Machines: photos: a laptop; cats: a workstation.")
    )
    datasets.write_pages(tmp_path, records, [1])
    with Image.open(tmp_path / "datasets.png") as picture:
        assert picture.height > 300, "a panel for the set"


def test_sets_are_links_and_what_is_missing_is_named(datasets, tmp_path, monkeypatch):
    python, mine = tmp_path / "python", tmp_path / "photos"
    for split in "train", "validation", "test":
        (mine / split / "cat").mkdir(parents=True)

    def find(*words: object) -> dict:
        words = ["datasets", "--runs", tmp_path / "runs", "--peers", python, *words]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        return datasets.find_sets(datasets.options())

    with pytest.raises(UserError, match="python is missing; `make peers`"):
        find("--data", mine, "--sets", "photos")
    python.touch()
    (root,) = find("--data", mine, "--sets", "photos").values()
    assert root != mine and (root / "test" / "cat").samefile(mine / "test" / "cat")
    assert datasets.reported_split(root) == "test"
    with pytest.raises(UserError, match=r"there is no set 'cats' \(there are photos, demo, "):
        find("--data", mine, "--sets", "cats")
    (mine / "test" / "cat").rmdir()
    (mine / "test").rename(tmp_path / "flat")
    with pytest.raises(UserError, match="has no train/; split it first"):
        find("--data", tmp_path / "flat", "--sets", "flat")


def test_idx_files_are_read_as_they_were_written(datasets, tmp_path):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    header = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
    (tmp_path / "images.gz").write_bytes(gzip.compress(header + images.tobytes()))
    read = sys.modules["datasets_sets"].read_idx(tmp_path / "images.gz")
    assert read.shape == images.shape and (read == images).all()


@pytest.mark.parametrize("seconds", [20, 60, 300.5])
@pytest.mark.parametrize("per_epoch", [1, 7, 60])
def test_as_many_steps_are_planned_as_fit(protocol, seconds, per_epoch):
    timing = protocol.Timing(start=4.0, step=0.25, between=3.0, end=2.0)

    def needed(steps: int) -> float:
        epochs = -(-steps // per_epoch)
        return 4 + 0.25 * steps + 3 * (epochs - 1) + 2

    steps = timing.steps_within(seconds, per_epoch)
    allowed = seconds * (1 - protocol.MARGIN)
    assert needed(steps) <= allowed < needed(steps + 1)
    assert timing.steps_within(5, per_epoch) == 1  # less than none cannot be trained


def test_a_clock_tells_the_parts_of_a_run(protocol, monkeypatch):
    clock, now = protocol.Clock(), iter([10, 10.5, 11, 14.5, 15, 15.5, 20])
    monkeypatch.setattr(protocol, "elapsed", lambda: next(now))
    for _ in range(2):
        clock.epoch()
        for _ in range(3):
            clock.step()
    assert clock.timing() == protocol.Timing(start=9.5, step=0.5, between=3.0, end=4.5)


def test_figures_of_probabilities(protocol):
    probabilities = np.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 1]])
    found = protocol.figures(probabilities, [0, 1, 0, 0])
    assert found == {
        "accuracy": 0.5,
        "mean_class_accuracy": (2 / 3 + 0) / 2,  # the third class has no image
        "loss": pytest.approx(-np.log([0.5, 0.25, 0.5, 1e-12]).mean()),
        "images": 4,
    }
