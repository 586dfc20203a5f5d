"""benchmarks/frontier.py: what is asked of a process, what is not done again, table and picture."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def frontier():
    spec = importlib.util.spec_from_file_location("frontier", BENCHMARKS / "frontier.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def processes(frontier, monkeypatch):
    """Every training ends at once; what was asked of each."""
    asked = []

    def run(command, env, **_):
        asked.append(command[3:])
        assert not list(Path(env["CONVLENS_CACHE"]).iterdir())  # a cold start
        out = Path(command[command.index("--out") + 1])
        out.mkdir(parents=True)
        name = "last_holdout" if "--holdout" in command else "validation"
        seed = int(command[command.index("--seed") + 1])
        metrics = {
            f"{name}_accuracy": 0.7 + seed / 10,
            f"{name}_mean_class_accuracy": 0.5,
            "epochs": 4 + seed,
            "command": "convlens train quick --model-options.stem-stride 1 --epochs 4",
            "device": "cpu, 2 threads",
            "precision": "fp32",
            "commit": "0" * 40,
        }
        (out / "metrics.json").write_text(json.dumps(metrics))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(frontier.subprocess, "run", run)
    return asked


def test_each_time_and_seed_is_run_once_and_shown(
    frontier, processes, tmp_path, monkeypatch, capsys
):
    def main(*more):
        words = ["frontier.py", "--data", "photos", "--runs", str(tmp_path / "runs")]
        words += ["--out", str(tmp_path), "--times", "90s", "5m", *more]
        monkeypatch.setattr(sys, "argv", words)
        frontier.main()
        return capsys.readouterr().out

    peer = {"set": "photos", "method": "timm", "minutes": 5.0, "split": "validation"}
    (tmp_path / "datasets.json").write_text(
        json.dumps([{**peer, "seconds": 299.0, "accuracy": 0.6}])
    )
    main("--seeds", "2")
    assert len(processes) == 4
    assert processes[0][:5] == ["train", "--time", "90s", "--data", "photos"]
    shown = main("--seeds", "2", "--table")
    assert len(processes) == 4  # nothing is done again
    assert "| photos | 1m30s | 2 |" in shown
    assert "| 75.0% ± 5.0% | 50.0% ± 0.0% | `quick`, fine maps, 4 to 5 epochs |" in shown
    main("--seeds", "1", "--holdout", "0.1")
    assert len(processes) == 6 and processes[-1][-2:] == ["--holdout", "0.1"]
    records = json.loads((tmp_path / "frontier.json").read_text())
    assert [(r["time"], r["seed"], r["holdout"]) for r in records[:2]] == [
        ("1m30s", 0, 0.0),
        ("5m", 0, 0.0),
    ]
    assert "photos, 10% held out" in (tmp_path / "frontier.md").read_text()
    with Image.open(tmp_path / "frontier.png") as image:
        assert np.asarray(image.convert("L")).std() > 5
