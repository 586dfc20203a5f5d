"""benchmarks/finetune.py: what it is worth to begin with trained weights."""

import importlib.util
import json
from pathlib import Path

import pytest

from convlens.recipes import RECIPES

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "finetune.py"
OPTIONS = {"data": None, "weights": "w.safetensors"}


@pytest.fixture(scope="module")
def finetune():
    spec = importlib.util.spec_from_file_location("finetune", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ways_see_as_many_images_and_only_two_begin_with_weights(finetune):
    for images in finetune.SHOTS:
        scratch, tuned, frozen = (
            finetune.config_of(
                {"way": way, "images": images, "seed": 3}, "quick", OPTIONS, 10, 3068
            )
            for way in finetune.WAYS
        )
        assert scratch.recipe.epochs == tuned.recipe.epochs == frozen.recipe.epochs
        assert scratch.max_train_images == tuned.max_train_images == frozen.max_train_images
        assert scratch.max_train_images == (images and 10 * images)
        assert (scratch.recipe.name, tuned.recipe.name) == ("quick", "finetune")
        assert (scratch.weights, tuned.weights, frozen.weights) == (None, *2 * ["w.safetensors"])
        assert (tuned.recipe.freeze, frozen.recipe.freeze) == (False, True)
        assert {c.seed for c in (scratch, tuned, frozen)} == {3}
        assert not any(c.has_holdout for c in (scratch, tuned, frozen))


def test_every_setting_is_judged_on_a_holdout_and_is_another(finetune):
    found = [
        finetune.config_of({"way": name, "images": 20, "seed": 0}, "quick", OPTIONS, 10, 3068)
        for name in finetune.SETTINGS
    ]
    assert all(config.holdout == 0.15 for config in found)
    recipes = [config.recipe for config in found]
    own = RECIPES["finetune"]().learning_rate
    named = dict(zip(finetune.SETTINGS, recipes, strict=True))
    assert named["half the learning rate"].learning_rate == own / 2
    assert named["twice the epochs"].epochs == 2 * named["as it is"].epochs


def test_a_record_replaces_its_own_and_the_table_has_the_means(finetune, tmp_path):
    def record(way, images, seed, accuracy):
        about = {"way": way, "images": images, "seed": seed, "train_images": 10 * (images or 300)}
        return {**about, "validation_accuracy": accuracy}

    for each in (
        record("fine-tuned", None, 0, 0.9),
        record("fine-tuned", 5, 0, 0.1),
        record("fine-tuned", 5, 1, 0.5),
        record("fine-tuned", 5, 0, 0.4),
        record("from random weights", 5, 0, 0.25),
    ):
        finetune.collect(tmp_path, "measure", each)
    content = json.loads((tmp_path / "finetune.json").read_text())
    assert len(content["measure"]) == 4
    assert (tmp_path / "finetune.md").read_text() == (
        "| images a class | from random weights, validation | fine-tuned, validation | "
        "frozen, validation |\n"
        "| --: | --: | --: | --: |\n"
        "| 5 | 25.0% | 45.0% ± 5.0% |  |\n"
        "| all |  | 90.0% |  |\n"
    )
    assert (tmp_path / "finetune.png").stat().st_size > 1000
