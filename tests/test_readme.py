"""What the README and the committed results say of each other is true."""

import json
import re
from pathlib import Path

import pytest

from convlens.bench.results import markdown
from convlens.recipes import RECIPES
from convlens.reproduce import averaged_table, results_table
from convlens.training.run_folder import load_trained
from convlens.training.run import SUMMARY_FIELDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RECORDS = json.loads((ROOT / "results" / "summary.json").read_text())


def test_the_readmes_table_is_made_from_the_records():
    table = re.search(r"<!-- results -->\n(.*?)<!-- /results -->", README, re.DOTALL)[1]
    averaged = json.loads((ROOT / "results" / "averaged.json").read_text())
    assert table == results_table(RECORDS) + "\n" + averaged_table(averaged)
    assert table == (ROOT / "results" / "summary.md").read_text()


def test_the_averaged_networks_are_those_of_the_table():
    """Averages are measured anew when a recipe is trained anew."""
    averaged = json.loads((ROOT / "results" / "averaged.json").read_text())
    for recipe in {record["recipe"] for record in RECORDS}:
        seeds = {record["seed"] for record in RECORDS if record["recipe"] == recipe}
        used = [record["seeds"] for record in averaged if record["recipe"] == recipe]
        assert {seed for group in used for seed in group} == set(sorted(seeds)[:5])


def test_the_speed_table_is_the_measured_one():
    table = re.search(r"<!-- bench -->\n(.*?)<!-- /bench -->", README, re.DOTALL)[1]
    assert table == (ROOT / "results" / "bench.md").read_text()
    assert table == markdown(json.loads((ROOT / "results" / "bench.json").read_text()))


def test_the_ablation_table_is_the_measured_one():
    page = (ROOT / "docs" / "accuracy.md").read_text()
    table = re.search(r"<!-- ablation -->\n(.*?)<!-- /ablation -->", page, re.DOTALL)[1]
    assert table == (ROOT / "results" / "ablation.md").read_text()


def test_records_have_the_designs_fields_and_name_their_commit():
    for record in RECORDS:
        assert tuple(record) == SUMMARY_FIELDS
        assert record["recipe"] in RECIPES
        assert re.fullmatch(r"[0-9a-f]{12}", record["commit"])
        assert record["command"].startswith(f"convlens train {record['recipe']}")


def test_results_table_by_hand():
    record = {
        "recipe": "lenet5", "epochs": 3, "train_loss": 1.0, "train_accuracy": 0.5,
        "validation_loss": 2.0, "validation_accuracy": 0.25,
        "validation_mean_class_accuracy": 0.125, "seconds": 90, "validation_images": 1911,
        "device": "cpu, 2 threads",
        "validation_standard_error": 0.01, "validation_mean_class_standard_error": 0.015,
        "validation_duplicates": 7, "validation_accuracy_without_duplicates": 0.2,
    }  # fmt: skip
    other = {**record, "validation_accuracy": 0.35, "validation_standard_error": 0.013}
    assert results_table([record]).splitlines()[2:] == [
        "| `lenet5` | 1 | 3 | 1.000 | 50.0% | 2.000 | 25.0% | 20.0% | 12.5% "
        "| 2 on cpu, 2 threads | `convlens reproduce lenet5` |",
        "",
        "On 1,911 images an accuracy has a standard error of 1.0 points and a mean per class one "
        "of 1.5; the accuracies on two random halves of them differ by 2.0 points (one standard "
        "deviation). 7 of them have a near duplicate in `train/`.",
    ]
    # the standard error of 25 and 35 is 5
    table = results_table([record, other])
    assert "30.0% ± 5.0%" in table and "standard error of 1.0 to 1.3 points" in table
    older = dict.fromkeys(record, None) | {
        name: record[name] for name in record if "duplicates" not in name and "error" not in name
    }
    assert "| 25.0% | – | 12.5% |" in results_table([older, {**record, "recipe": "convnet"}])


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.safetensors")), ids=str)
def test_committed_weights_load_and_say_where_they_are_from(path):
    trained = load_trained(path)
    assert trained.recipe == path.stem
    assert len(trained.classes) == 101
    assert trained.size == 64
    commits = {r["recipe"]: r["commit"] for r in RECORDS if r["seed"] == 0}
    assert trained.commit == commits[trained.recipe]


def test_what_the_readme_points_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_verbs_and_options_in_the_readme_are_real(capsys):
    from convlens import cli

    used = set(re.findall(r"convlens ([a-z]+)", README))
    assert used - {"is"} <= cli.VERBS.keys()
