"""What `convlens reproduce` trains, collects and averages."""

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from convlens.cli import main
from convlens.errors import UserError
from convlens.recipes import RECIPES
from convlens.reproduce import averaged_table, reproduce
from convlens.training import run as runs
from convlens.training.run_folder import load_trained
from convlens.training.parallel import train_all


def options(folder, data, **others):
    return {
        "seeds": 2, "epochs": None, "images": 0, "data": data, "runs": folder / "runs",
        "results": folder / "results", "weights": folder / "weights", "device": "cpu",
        "precision": "fp32", **others,
    }  # fmt: skip


def test_reproduce_collects_every_run_and_repeats_none(toy_data, tmp_path, capsys):
    asked = options(tmp_path, toy_data, epochs=1)
    reproduce(("lenet5plus", "lenet5"), **asked)
    records = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert [(r["recipe"], r["seed"]) for r in records] == [
        ("lenet5", 0), ("lenet5", 1), ("lenet5plus", 0), ("lenet5plus", 1),
    ]  # fmt: skip
    assert list(records[0]) == list(runs.SUMMARY_FIELDS)
    assert {p.name for p in (tmp_path / "weights").iterdir()} == {
        "lenet5.safetensors", "lenet5plus.safetensors",
    }  # fmt: skip
    assert (tmp_path / "results" / "lenet5" / "history.csv").exists()
    cards = tmp_path / "results" / "cards"
    assert {p.name for p in cards.iterdir()} == {"lenet5.md", "lenet5plus.md"}
    assert "2 runs, seeds 0, 1." in (cards / "lenet5.md").read_text()
    noise = (tmp_path / "results" / "summary.md").read_text().splitlines()[-1]
    assert noise.startswith("On 20 images an accuracy has a standard error of ")
    assert capsys.readouterr().out.splitlines()[-1] == noise
    capsys.readouterr()
    reproduce(("lenet5plus",), **asked)
    assert "epoch" not in capsys.readouterr().out
    assert len(json.loads((tmp_path / "results" / "summary.json").read_text())) == 4
    with pytest.raises(UserError, match="other settings than those asked for now"):
        reproduce(("lenet5",), **{**asked, "epochs": 2})


@pytest.fixture
def short(monkeypatch):
    """lenet5 of one epoch, as the recipe itself."""
    recipe = dataclasses.replace(RECIPES["lenet5"](), epochs=1)
    monkeypatch.setitem(RECIPES, "lenet5", lambda: recipe)
    return recipe


def test_averages_are_what_their_commands_print(short, toy_data, tmp_path, capsys):
    reproduce(("lenet5",), **options(tmp_path, toy_data, seeds=3))
    records = json.loads((tmp_path / "results" / "averaged.json").read_text())
    assert [(r["seeds"], r["views"]) for r in records] == [
        ([0, 1, 2], False), ([0], True), ([1], True), ([2], True), ([0, 1, 2], True),
    ]  # fmt: skip
    for record in records:
        capsys.readouterr()
        main([*record["command"].split()[1:], "--device", "cpu"])
        seen = [line for line in capsys.readouterr().out.splitlines() if "validation" in line][-1]
        assert f"accuracy {record['validation_accuracy']:.2%}" in seen
        assert f"mean per class {record['validation_mean_class_accuracy']:.2%}" in seen
        assert f"loss {record['validation_loss']:.4f}" in seen
        without = record["validation_accuracy_without_duplicates"]
        assert without == record["validation_accuracy"]  # random noise is never the same twice
    table = averaged_table(records)
    assert table in (tmp_path / "results" / "summary.md").read_text()
    singles = [r["validation_accuracy"] for r in records if len(r["seeds"]) == 1]
    error = np.std(singles, ddof=1) / np.sqrt(3)
    row = next(line for line in table.splitlines() if "| 1 (3 seeds) |" in line)
    assert row.startswith("| `lenet5`, ten views |")
    assert f"| {np.mean(singles):.1%} ± {error:.1%} |" in row


def test_runs_side_by_side_are_the_runs_one_after_the_other(short, toy_data, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as each of the workers has: the same sums, to the last bit
    try:
        reproduce(("lenet5",), **options(tmp_path / "a", toy_data))
        reproduce(("lenet5",), **options(tmp_path / "b", toy_data, workers=2))
    finally:
        torch.set_num_threads(threads)
    for seed in 0, 1:
        a, b = (load_trained(tmp_path / side / "runs" / f"lenet5-s{seed}") for side in "ab")
        for ours, theirs in zip(a.model.parameters(), b.model.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        log = tmp_path / "b" / "runs" / f"lenet5-s{seed}.log"
        assert "epoch   1/1 " in log.read_text()
    a, b = (json.loads((tmp_path / side / "results/averaged.json").read_text()) for side in "ab")
    for ours, theirs in zip(a, b, strict=True):
        command = theirs["command"].replace(str(tmp_path / "b"), str(tmp_path / "a"))
        assert {**theirs, "command": command} == ours


def test_a_run_that_cannot_be_trained_stops_none_of_the_others(short, toy_data, tmp_path):
    wrong = dataclasses.replace(short, batch_size=0)
    asked = [
        {"recipe": recipe, "run": tmp_path / name, "data": toy_data, "seed": 0, "device": "cpu"}
        for name, recipe in (("first", wrong), ("second", short))
    ]
    finished = []
    with pytest.raises(UserError, match=r"first: --batch-size 0 is out of range"):
        for run in train_all(asked, workers=2):
            finished.append(run)
    assert finished == [tmp_path / "second"]
    assert runs.read_metrics(tmp_path / "second")["epochs"] == 1


def test_workers_end_with_who_started_them(toy_data, tmp_path):
    """A killed parent tells its workers nothing; what they print to is open while they live."""
    command = [
        *(sys.executable, "-m", "convlens", "reproduce", "lenet5", "--seeds", "2"),
        *("--workers", "2", "--epochs", "100000", "--data", str(toy_data)),
        *("--runs", str(tmp_path), "--results", str(tmp_path), "--weights", str(tmp_path)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        logs = [tmp_path / f"lenet5-s{seed}.log" for seed in (0, 1)]
        patience = time.monotonic() + 120
        while not all(log.exists() and "epoch   2/" in log.read_text() for log in logs):
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.2)
        process.kill()
        process.communicate(timeout=60)
