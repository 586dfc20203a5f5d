"""benchmarks/ablation.py: one recipe with one thing changed at a time."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from convlens.recipes import RECIPES
from convlens.training.run_folder import RunFolder

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_is_a_recipe_of_its_own(ablation):
    base = RECIPES["convnet"]()
    variants = [
        (change(base), ablation.TEACHERS.get(name)) for name, change in ablation.VARIANTS.items()
    ]
    assert variants[0] == (base, None)
    for number, (variant, teachers) in enumerate(variants):
        variant.check()
        assert bool(variant.distillation) == bool(teachers)
        assert (variant, teachers) not in variants[:number]


def test_variants_are_trained_once_and_compared_image_by_image(
    ablation, toy_data, tmp_path, monkeypatch, told, capsys
):
    monkeypatch.setitem(ablation.TEACHERS, "distilled from three base runs", 2)

    def measure(*more):
        asked = ["ablation", "--coarse", "--epochs", "1", "distilled from three base runs"]
        where = {"--data": toy_data, "--runs": tmp_path / "runs", "--out": tmp_path}
        asked += [str(word) for pair in where.items() for word in pair]
        monkeypatch.setattr(sys, "argv", [*asked, *more])
        ablation.main()
        return json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))

    (first, *_) = measure("--seeds", "1")
    records = measure("--seeds", "2")
    assert records[0] == first
    # the base is trained for as many seeds as somebody learns from
    assert [(r["variant"], r["seed"]) for r in records] == [
        *((ablation.BASE, seed) for seed in range(3)),
        *(("distilled from three base runs", seed) for seed in range(2)),
    ]
    assert capsys.readouterr().out.count("epoch   1/1 ") == 5
    learned = next((tmp_path / "runs").glob("*/distilled-*-s1"))
    teachers = RunFolder(learned).read_config().teachers
    assert [Path(teacher).name for teacher in teachers] == ["as-it-is-s1", "as-it-is-s2"]
    for record in records:
        right = np.unpackbits(np.frombuffer(bytes.fromhex(record["right"]), np.uint8))
        assert right.mean() * len(right) / record["images"] == record["holdout_accuracy"]


def test_the_table_by_hand(ablation):
    def record(variant, seed, *right):
        return {
            "recipe": "convnet",
            "epochs": 1,
            "variant": variant,
            "seed": seed,
            "images": 4,
            "right": np.packbits(right).tobytes().hex(),
            "holdout_accuracy": np.mean(right),
            "holdout_mean_class_accuracy": 0.25,
            "train_accuracy": 0.75,
            "seconds": 90,
        }

    records = [
        record(ablation.BASE, 0, 1, 1, 0, 0),
        record(ablation.BASE, 1, 1, 0, 0, 0),
        record("no erasing", 0, 1, 1, 1, 0),
        record("no erasing", 1, 0, 1, 1, 0),
        record("SWA", 1, 1, 0, 0, 0),
    ]
    text = ablation.table(records)
    assert "judged on 15% of `train/` (4 images)" in text
    assert "| as it is | 2 | 37.5 |  | 25.0 | 75.0 | 1.5 |" in text
    # differences of the images, mean of two seeds: -½, ½, 1, 0; mean ¼, deviation √(5/12)
    assert "| no erasing | 2 | 62.5 | +25.0 ± 32.3 | 25.0 | 75.0 | 1.5 |" in text
    # a seed is compared with the base's own
    assert "| SWA | 1 | 25.0 | +0.0 ± 0.0 | 25.0 | 75.0 | 1.5 |" in text


def test_an_unknown_variant_is_named(ablation, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation", "no such thing"])
    with pytest.raises(SystemExit) as stopped:
        ablation.main()
    assert stopped.value.code == 2
    assert "there is no variant 'no such thing'; there are: as it is, " in capsys.readouterr().err
