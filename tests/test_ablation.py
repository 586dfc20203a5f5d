"""benchmarks/ablation.py: one recipe with one thing changed at a time."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from convlens.recipes import RECIPES
from convlens.train.run import check, read_config

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_is_a_recipe_of_its_own(ablation):
    base = RECIPES["convnet"]()
    variants = [change(base) for change in ablation.VARIANTS.values()]
    assert variants[0] == base
    for number, variant in enumerate(variants):
        check(variant)
        assert variant not in variants[:number]


def test_variants_are_trained_once_and_compared_seed_by_seed(
    ablation, toy_data, tmp_path, monkeypatch, capsys
):
    def measure(*more):
        monkeypatch.setattr(sys, "argv", [
            "ablation", ablation.BASE, "no erasing", "distilled from the base run", "--coarse",
            "--epochs", "1", "--data", str(toy_data), "--runs", str(tmp_path / "runs"),
            "--out", str(tmp_path), *more,
        ])  # fmt: skip
        ablation.main()
        return json.loads((tmp_path / "ablation.json").read_text())

    (first, *_) = measure("--seeds", "1")
    records = measure("--seeds", "2")
    assert records[0] == first
    assert [(r["variant"], r["seed"]) for r in records] == [
        (name, seed)
        for name in (ablation.BASE, "no erasing", "distilled from the base run")
        for seed in (0, 1)
    ]
    assert capsys.readouterr().out.count("epoch   1/1 ") == 6
    learned = next((tmp_path / "runs").glob("*/distilled-*-s1"))
    assert [Path(t).name for t in read_config(learned).teacher] == ["as-it-is-s1"]

    for record, accuracy in zip(records, (0.5, 0.7, 0.6, 0.6, 0.5, 0.5), strict=True):
        record["holdout_accuracy"] = accuracy
    table = ablation.table(records)
    # of differences: +10 and -10, mean 0, standard error 10; 0 and -20, mean -10, standard error 10
    assert "| as it is | 2 | 60.0 ± 10.0 |  |" in table
    assert "| no erasing | 2 | 60.0 ± 0.0 | +0.0 ± 10.0 |" in table
    assert "| distilled from the base run | 2 | 50.0 ± 0.0 | -10.0 ± 10.0 |" in table


def test_an_unknown_variant_is_named(ablation, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation", "no such thing"])
    with pytest.raises(SystemExit) as stopped:
        ablation.main()
    assert stopped.value.code == 2
    assert "there is no variant 'no such thing'; there are: as it is, " in capsys.readouterr().err
