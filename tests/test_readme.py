"""What the README and the committed results say of each other is true."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from convlens import formats
from convlens.bench.results import markdown
from convlens.cli.main import VERBS
from convlens.inference import Classifier
from convlens.inference.measures import LABELS
from convlens.recipes import RECIPES
from convlens.reporting.tables import ensembles_table, results_table
from convlens.training.record import MEASURED, SUMMARY_FIELDS

ROOT = Path(__file__).parent.parent


def text_of(*path: str) -> str:
    return ROOT.joinpath(*path).read_text(encoding="utf-8")


def imported(path: Path) -> ModuleType:
    """A script of the repository that no package has in it."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


results = imported(ROOT / "docs" / "results.py")
README = text_of("README.md")
RECORDS = json.loads(text_of("results", "summary.json"))
ENSEMBLES = json.loads(text_of("results", "ensembles.json"))


@pytest.mark.parametrize(("page", "name"), sorted(results.TABLES))
def test_the_tables_of_the_pages_are_those_in_results(page, name):
    """As `python docs/results.py` writes them."""
    assert results.filled(page, name) == text_of(page)


def test_a_table_goes_between_the_marks_of_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    for text in "| new |\n", "| newer |\n":
        monkeypatch.setattr(results, "table", lambda *_, text=text: text)
        page = tmp_path / "page.md"
        page.write_text("a\n<!-- datasets -->\nold\n<!-- /datasets -->\nb\n", encoding="utf-8")
        assert results.filled("page.md", "datasets") == (
            f"a\n<!-- datasets -->\n{text}<!-- /datasets -->\nb\n"
        )
    page.write_text("a\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines <!-- datasets -->"):
        results.filled("page.md", "datasets")


@pytest.mark.parametrize("name", results.PICTURES)
def test_the_pictures_of_the_pages_are_those_in_results(name):
    shown = ROOT / "docs" / "pictures" / name
    assert shown.read_bytes() == (ROOT / "results" / name).read_bytes()


def test_the_tables_in_results_are_made_from_the_records():
    table = results_table(RECORDS) + "\n" + ensembles_table(ENSEMBLES)
    assert table == text_of("results", "summary.md")


def test_the_ensembles_are_of_the_networks_of_the_table():
    """Ensembles are measured anew when a recipe is trained anew; of seeds that were trained
    elsewhere all but the first may be missing in them."""
    for recipe in {record["recipe"] for record in RECORDS}:
        seeds = {record["seed"] for record in RECORDS if record["recipe"] == recipe}
        used = [record["seeds"] for record in ENSEMBLES if record["recipe"] == recipe]
        found = {seed for group in used for seed in group}
        assert 0 in found and found <= seeds and max(map(len, used)) <= 5
        assert set(map(tuple, used)) >= {(seed,) for seed in found}


def test_the_speed_table_is_the_measured_one():
    assert text_of("results", "bench.md") == markdown(json.loads(text_of("results", "bench.json")))


def test_records_have_the_designs_fields_and_name_their_commit():
    for record in RECORDS:
        known = [name for name in SUMMARY_FIELDS if name in record]  # older ones have fewer
        assert list(record) == known
        assert record.keys() >= MEASURED - {f"validation_{name}" for name in LABELS}
        assert record["recipe"] in RECIPES
        assert re.fullmatch(r"[0-9a-f]{12}", record["commit"])
        assert record["command"].startswith(f"convlens train {record['recipe']}")


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/metrics.json")), ids=str)
def test_the_committed_metrics_are_those_of_the_table(path):
    metrics = json.loads(path.read_text(encoding="utf-8"))
    assert metrics["format"] == formats.FORMAT
    (record,) = (r for r in RECORDS if (r["recipe"], r["seed"]) == (path.parent.name, 0))
    assert record == {name: metrics.get(name) for name in record}


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.safetensors")), ids=str)
def test_committed_weights_load_and_say_where_they_are_from(path):
    classifier = Classifier.load(path)
    assert classifier.origin.recipe == path.stem
    assert len(classifier.class_names) == 101
    assert classifier.size == 64
    commits = {r["recipe"]: r["commit"] for r in RECORDS if r["seed"] == 0}
    assert classifier.origin.commit == commits[classifier.origin.recipe]


def test_what_the_readme_points_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_verbs_in_the_readme_are_real():
    used = set(re.findall(r"convlens ([a-z]+)", README))
    assert used - {"as", "is"} <= VERBS.keys()
