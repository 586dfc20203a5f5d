"""Files of version 0.1, format 1, which had other words for the same things, are still read."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from convlens import formats
from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.recipes import RECIPES, Recipe, find_recipe
from convlens.training.config import RunConfig
from convlens.training.run import Run, resume, train
from convlens.training.run_folder import RunFolder

# config.yaml as version 0.1 wrote it, of a small run with everything that has another name now.
CONFIG = """
recipe:
  name: lenet5plus
  model: LeNet5
  model_options:
    padding: 2
    batch_norm: true
    dropout: 0.25
  size: 16
  zoom: 1.25
  train_size: 16
  early_size: 16
  early_share: 0.25
  epochs: 3
  pretraining: 0
  batch_size: 12
  optimiser: muon
  learning_rate: 0.001
  schedule: cosine
  warmup: 0.05
  momentum: 0.9
  weight_decay: 0.25
  l1: 0.0
  l2: 0.0
  label_smoothing: 0.05
  initialisation: kaiming
  average: 0.95
  swa: 0.0
  balance: 0.5
  distillation: 0.0
  augment:
    scale: 0.3
    aspect: 0.15
    translate: 0.0
    rotate: 8
    flip: 0.5
    colour: 0.2
    grey: 0.1
    trivial: 0.25
    erase: 0.0
    mixup: 0.0
    cutmix: 0.0
  temperature: 0.9
data: {data}
digest: {digest}
seed: 4
split_seed: 0
skip_bad: false
holdout: 0.4
folds: 0
fold: 0
images: 0
teacher: []
device: cpu
precision: fp32
snapshots: true
"""
# The same in today's words.
RECIPE = Recipe(
    name="lenet5plus",
    model="LeNet5",
    model_options={"padding": 2, "batch_norm": True, "dropout": 0.25},
    size=16,
    crop_pct=0.8,
    train_size=16,
    early_size=16,
    early_fraction=0.25,
    epochs=3,
    batch_size=12,
    optimizer="muon",
    learning_rate=0.001,
    weight_decay=0.25,
    label_smoothing=0.05,
    initialization="kaiming",
    ema_decay=0.95,
    logit_adjust_tau=0.5,
    augment=Augment(
        scale=0.3, aspect=0.15, rotate=8, flip=0.5, color=0.2, grayscale=0.1, trivial_augment=0.25
    ),
    temperature=0.9,
)
ASKED = RunConfig(RECIPE, seed=4, holdout=0.4, device="cpu", precision="fp32", snapshots=True)
PLAN = {"conv2": {"4x4": "patches"}}


class Stop(Exception):
    pass


def weights_of_format_1(path: Path) -> None:
    """Rewrite a weights file as version 0.1 wrote it."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        now = json.loads(file.metadata()["convlens"])
    then = {
        "network": now["network"],
        "options": now["options"],
        "classes": now["class_names"],
        "size": now["size"],
        "mean": now["mean"],
        "std": now["std"],
        "recipe": now["recipe"],
        "commit": now["commit"],
        "temperature": now["temperature"],
        "zoom": 1 / now["crop_pct"],
    }
    save_file(tensors, path, {"format": "pt", "convlens": json.dumps(then)})


def run_of_format_1(run: Path, data: Path, digest: str = "") -> None:
    """Rewrite what a run folder holds as version 0.1 wrote it."""
    (run / "config.yaml").write_text(CONFIG.format(data=data, digest=digest or "''"))
    for path in run.rglob("*.safetensors"):
        weights_of_format_1(path)
    rows = (run / "history.csv").read_text().replace("holdout_", "validation_")
    (run / "history.csv").write_text(rows)
    now = torch.load(run / "state.pt", weights_only=True)
    then = {
        "history": [
            {name.replace("holdout_", "validation_"): value for name, value in row.items()}
            for row in now["history"]
        ],
        "model": now["model"],
        "average": now["ema"],
        "optimisers": now["optimizers"],
        "plan": {
            layer: {tuple(map(int, size.split("x"))): name for size, name in sizes.items()}
            for layer, sizes in now["convolutions"].items()
        },
    }
    torch.save(then, run / "state.pt")
    if (run / "metrics.json").exists():
        metrics = json.loads((run / "metrics.json").read_text())
        del metrics["format"]
        words = {name: name.replace("near_duplicates", "duplicates") for name in metrics}
        # why they are not known has only had a name since
        words |= {name: name for name in words if name.endswith("_unknown")}
        old = {words[name]: value for name, value in metrics.items()}
        (run / "metrics.json").write_text(json.dumps(old))


@pytest.fixture(scope="module")
def whole(toy_data, tmp_path_factory):
    """A run of today, never stopped; and, cut after two epochs, another of the same settings."""
    folder = tmp_path_factory.mktemp("formats")

    def stop(stats):
        if stats.epoch == 2:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(folder / "cache"))
        patch.setattr("convlens.training.run.choose_algorithms", lambda *_: PLAN)
        train(ASKED, out=folder / "whole", data=toy_data)
        with pytest.raises(Stop):
            train(ASKED, out=folder / "cut", data=toy_data, on_epoch=stop)
    return folder / "whole", folder / "cut"


@pytest.fixture
def old_run(whole, toy_data, tmp_path):
    """A finished run folder of format 1."""
    return _copied(whole[0], toy_data, tmp_path)


@pytest.fixture
def old_cut_run(whole, toy_data, tmp_path):
    """One that was cut after two of three epochs."""
    return _copied(whole[1], toy_data, tmp_path)


def _copied(run: Path, data: Path, tmp_path: Path) -> Path:
    digest = RunFolder(run).read_config().digest
    run = Path(shutil.copytree(run, tmp_path / "old"))
    run_of_format_1(run, data, digest)
    return run


def test_an_old_configuration_is_that_of_today(whole, old_run, toy_data):
    now, then = (RunFolder(run).read_config() for run in (whole[0], old_run))
    assert then.recipe == now.recipe == RECIPE
    assert then.convolutions == {}  # they lie in the state
    assert then.differs_from(now) == now.differs_from(then) == []
    assert (then.data, then.digest) == (now.data, now.digest)
    assert then.max_train_images is None and then.teachers == ()


def test_an_old_run_is_used_as_one_of_today(whole, old_run):
    now, then = Run(whole[0]), Run(old_run)
    assert then.metrics == {k: v for k, v in now.metrics.items() if k != "format"}
    assert then.history.keys() == now.history.keys()
    assert any(name.startswith("holdout_") for name in then.history)
    for name, column in now.history.items():
        np.testing.assert_array_equal(then.history[name], column)
    for name in "best", "last":
        mine, theirs = (RunFolder(run).classifier(name) for run in (old_run, whole[0]))
        for attribute in "class_names", "size", "crop_pct", "loaded_size", "temperature", "origin":
            assert getattr(mine, attribute) == getattr(theirs, attribute)
        state = theirs.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in mine.model.state_dict().items())
    assert list(RunFolder(old_run).snapshots()) == [1, 2, 3]
    dataset = RunFolder(old_run).open_for(then.classifier)
    assert then.classifier.evaluate(dataset).loss == now.classifier.evaluate(dataset).loss
    assert "holdout" in then._repr_html_()


def test_an_old_run_goes_on_and_ends_bit_identical_to_one_that_never_stopped(whole, old_cut_run):
    found = resume(old_cut_run)
    for name in "last", "best":
        mine, theirs = (load_file(run / f"{name}.safetensors") for run in (old_cut_run, whole[0]))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    expected = Run(whole[0]).metrics
    untold = ("seconds", "commit")
    assert {k: v for k, v in found.metrics.items() if k not in untold} == {
        k: v for k, v in expected.items() if k not in untold
    }
    # and from now on it is one of today
    assert found.config == Run(whole[0]).config
    assert yaml.safe_load((old_cut_run / "config.yaml").read_text())["format"] == formats.FORMAT
    assert (old_cut_run / "history.csv").read_text().startswith("epoch,learning_rate,train_loss")
    assert "holdout_loss" in (old_cut_run / "history.csv").read_text()
    assert "validation" not in (old_cut_run / "history.csv").read_text()
    state = torch.load(old_cut_run / "state.pt", weights_only=True)
    assert state["format"] == formats.FORMAT and state["convolutions"] == PLAN


def test_an_old_run_without_a_digest_goes_on_too(whole, old_cut_run, toy_data):
    (old_cut_run / "config.yaml").write_text(CONFIG.format(data=toy_data, digest="''"))
    assert resume(old_cut_run).config.digest == Run(whole[0]).config.digest


def test_a_finished_old_run_is_trained_further(old_run):
    found = resume(old_run, epochs=4)
    assert found.history["epoch"].tolist() == [1, 2, 3, 4]
    assert found.config.convolutions == PLAN


def test_an_old_run_of_the_full_set_has_the_columns_it_had(finished_run):
    """Without a hold-out the monitored split was validation/, and still is."""
    folder = RunFolder(finished_run)
    values = yaml.safe_load((finished_run / "config.yaml").read_text())
    before = folder.read_history()
    del values["format"]
    recipe = values["recipe"]
    for new, old in {
        "optimizer": "optimiser",
        "initialization": "initialisation",
        "ema_decay": "average",
        "swa_fraction": "swa",
        "logit_adjust_tau": "balance",
        "early_fraction": "early_share",
    }.items():
        recipe[old] = recipe.pop(new)
    recipe["zoom"] = 1.08
    del recipe["crop_pct"]
    for new, old in {"color": "colour", "grayscale": "grey", "trivial_augment": "trivial"}.items():
        recipe["augment"][old] = recipe["augment"].pop(new)
    values["images"] = 30
    values["teacher"] = values.pop("teachers")
    del values["max_train_images"], values["convolutions"]
    (finished_run / "config.yaml").write_text(yaml.safe_dump(values))
    assert folder.read_history().keys() == before.keys()
    config = folder.read_config()
    assert config.max_train_images == 30
    assert config.recipe.loaded_size == 69  # as 64 pixels at a zoom of 1.08 were
    assert config.recipe.augment == RECIPES["lenet5plus"]().augment


def test_old_weights_without_a_zoom_or_a_temperature_are_read(toy_weights, tmp_path):
    classifier = Classifier.load(toy_weights)
    path = classifier.save(tmp_path / "w.safetensors")
    weights_of_format_1(path)
    with safe_open(path, framework="pt") as file:
        claims = json.loads(file.metadata()["convlens"])
    del claims["zoom"], claims["temperature"]
    save_file(load_file(path), path, {"convlens": json.dumps(claims)})
    again = Classifier.load(path)
    assert (again.crop_pct, again.temperature) == (1.0, 1.0)
    assert again.class_names == classifier.class_names


@pytest.mark.parametrize("zoom", [0, -1, "1.25", None, [1], True, 1e-320, 10**400, math.nan, 9])
def test_old_weights_of_a_zoom_that_cannot_be_are_refused(zoom, toy_weights, tmp_path):
    path = Classifier.load(toy_weights).save(tmp_path / "w.safetensors")
    weights_of_format_1(path)
    with safe_open(path, framework="pt") as file:
        claims = json.loads(file.metadata()["convlens"]) | {"zoom": zoom}
    save_file(load_file(path), path, {"convlens": json.dumps(claims)})
    with pytest.raises(UserError, match="is not a weights file of ConvLens"):
        Classifier.load(path)


@pytest.mark.parametrize("zoom", [0, -1, "much", None, [1], True, 1e-320, 10**400, math.nan, 9])
def test_an_old_configuration_of_a_zoom_that_cannot_be_is_refused(zoom):
    values = yaml.safe_load(CONFIG.format(data="/data", digest="abc"))
    values["recipe"]["zoom"] = zoom
    with pytest.raises(UserError):
        RunConfig.from_dict(values)


def test_an_old_network_with_its_old_option_is_read():
    found = formats.read_weights({"classes": ["a"], "options": {"stochastic_depth": 0.2}})
    assert found == {"class_names": ["a"], "options": {"drop_path": 0.2}, "crop_pct": 1.0}


def test_an_old_recipe_in_a_file_is_read_nested_or_dotted(tmp_path):
    (tmp_path / "best.yaml").write_text(
        "recipe: convnet\noptimiser: sgd\nzoom: 1.25\naverage: 0.5\naugment.colour: 0.125\n"
        "model_options.stochastic_depth: 0.25\naugment: {grey: 0.0625}\n"
    )
    recipe = find_recipe(tmp_path / "best.yaml")
    assert (recipe.optimizer, recipe.crop_pct, recipe.ema_decay) == ("sgd", 0.8, 0.5)
    assert (recipe.augment.color, recipe.augment.grayscale) == (0.125, 0.0625)
    assert recipe.model_options["drop_path"] == 0.25


def test_words_of_today_are_left_alone_and_old_ones_are_not_mixed_into_them():
    values = RunConfig(RECIPE).as_dict()
    assert formats.read_config(values) == {k: v for k, v in values.items() if k != "format"}
    with pytest.raises(UserError, match=r"no option `recipe\.zoom`"):
        RunConfig.from_dict({**values, "recipe": {**values["recipe"], "zoom": 1.25}})


def test_old_figures_have_todays_names_and_those_of_today_keep_theirs():
    old = {
        "validation_duplicates": 3,
        "validation_accuracy_without_duplicates": 0.5,
        "holdout_mean_class_accuracy_without_duplicates": 0.25,
        "validation_accuracy": 0.75,
    }
    now = {
        "validation_near_duplicates": 3,
        "validation_accuracy_without_near_duplicates": 0.5,
        "holdout_mean_class_accuracy_without_near_duplicates": 0.25,
        "validation_accuracy": 0.75,
    }
    assert formats.read_metrics(old) == formats.read_metrics(now) == now


WORDS = st.sampled_from(
    [
        *formats.RECIPE,
        *formats.RECIPE.values(),
        *formats.RUN,
        "zoom",
        "augment",
        "augment.grey",
        "model_options",
        "recipe",
        "format",
        "classes",
        "options",
        "history",
        "plan",
        "average",
    ]
)
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("values", [{"recipe": {5: 6}}, {5: {}}, {"recipe": {None: 1}}])
def test_a_name_that_is_no_text_is_told(values):
    with pytest.raises(UserError):
        RunConfig.from_dict(values)


@given(values=st.dictionaries(WORDS, GARBAGE, max_size=6))
def test_no_garbage_is_read_as_a_configuration_or_stumbled_over(values):
    with pytest.raises(UserError):
        RunConfig.from_dict(values)
