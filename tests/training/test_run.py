import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from convlens import formats
from convlens.cli.train_options import parse_train
from convlens.data import open_dataset
from convlens.errors import Diverged, UserError
from convlens.inference import Classifier
from convlens.inference.calibration import fit_temperature
from convlens.inference.metrics import score
from convlens.recipes import RECIPES
from convlens.training import finish, record
from convlens.training.config import RunConfig, make_config
from convlens.training.distributed import World
from convlens.training.record import MEASURED
from convlens.training.run import Run, resume, train, train_or_continue
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits

FILES = {
    "config.yaml",
    "history.csv",
    "metrics.json",
    "best.safetensors",
    "last.safetensors",
    "state.pt",
    "curves.png",
    "confusion.png",
    "confusion.csv",
    "per_class.csv",
    "per_class.png",
    "worst.png",
    "batch.png",
    "reliability.png",
    "MODEL_CARD.md",
}
CPU = {"device": "cpu", "precision": "fp32"}
# Small enough for a test, on images of 16×16.
SIZES = {"size": 16, "train_size": 16, "early_size": 16}
TINY = {"epochs": 1, "batch_size": 16, **SIZES, **CPU}


def content(run):
    """Every file of a folder."""
    return {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def same_weights(first, second, names=("last", "best")):
    for name in names:
        mine, theirs = (load_file(run / f"{name}.safetensors") for run in (first, second))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine), name


def untimed(metrics):
    """What of a record does not depend on the hour and on who has committed since."""
    return {k: v for k, v in metrics.items() if k not in ("seconds", "command", "commit")}


def assert_alike(metrics, others):
    """The same to rounding: what was trained computes by another algorithm than what is loaded."""
    metrics, others = untimed(metrics), untimed(others)
    assert metrics.keys() == others.keys()
    for name, value in metrics.items():
        expected = others[name]
        assert value == (pytest.approx(expected, rel=1e-4) if type(value) is float else expected)


@pytest.fixture
def tiny_run(toy_data, tmp_path):
    return train("lenet5plus", out=tmp_path / "tiny", data=toy_data, **TINY)


def test_a_finished_run_folder_holds_what_the_design_says_and_nothing_half_written(finished_run):
    run = Run(finished_run)
    assert {path.name for path in finished_run.iterdir()} == FILES
    assert json.loads((finished_run / "metrics.json").read_text()) == run.metrics
    assert run.metrics["format"] == formats.FORMAT
    assert run.metrics.keys() >= MEASURED
    confusion = list(csv.reader((finished_run / "confusion.csv").read_text().splitlines()))
    hits = sum(int(row[i]) for i, row in enumerate(confusion[1:], 1))
    assert hits / 20 == pytest.approx(run.metrics["validation_accuracy"])


def test_a_run_is_asked_for_what_its_folder_holds(finished_run, toy_data):
    run = Run(finished_run)
    assert run.history["epoch"].tolist() == [1, 2]
    assert run.classifier.class_names == open_dataset(toy_data).classes
    assert set(run.figures) == {path.stem for path in finished_run.glob("*.png")}
    assert run.figures["curves"]._repr_png_() == (finished_run / "curves.png").read_bytes()
    assert run.config.recipe.epochs == 2
    assert repr(run) == f"Run('{finished_run}')"
    shown = run._repr_html_()
    assert "lenet5plus: LeNet5, 2 epochs, seed 0" in shown
    assert f"{run.metrics['validation_accuracy']:.2%}" in shown
    assert "data:image/png;base64," in shown


def test_a_sample_of_the_training_images_is_measured_where_it_is_asked_for(toy_data, tmp_path):
    run = train("lenet5plus", out=tmp_path / "run", data=toy_data, train_sample=20, **TINY)
    seen = open_dataset(toy_data, size=run.config.recipe.loaded_size).train
    assert (run.metrics["train_images"], run.metrics["train_sample"]) == (len(seen), 20)
    drawn = np.sort(np.random.default_rng(0).choice(len(seen), 20, replace=False))
    expected = run.classifier.evaluate(seen.take(drawn))
    assert run.metrics["train_accuracy"] == expected.accuracy
    assert run.metrics["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
    card = (run.folder / "MODEL_CARD.md").read_text()
    assert f"| accuracy on 20 of the training images | {expected.accuracy:.1%} |" in card
    assert "--train-sample 20" in run.metrics["command"]


def test_config_is_read_back_as_it_was_written(finished_run, toy_data):
    config = Run(finished_run).config
    recipe = dataclasses.replace(RECIPES["lenet5plus"](), epochs=2, batch_size=16)
    assert config.recipe == recipe
    assert config.data == str(toy_data.resolve())
    assert (config.device, config.precision) == ("cpu", "fp32")
    assert config.digest == open_dataset(toy_data).digest
    raw = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert raw["format"] == formats.FORMAT
    assert raw["convolutions"] == config.convolutions


def test_the_command_in_the_record_repeats_the_run_bit_for_bit(
    finished_run, toy_data, tmp_path, monkeypatch
):
    metrics = Run(finished_run).metrics
    assert metrics["command"] == (
        "convlens train lenet5plus --epochs 2 --batch-size 16 --device cpu --precision fp32"
    )
    config = Run(finished_run).config
    # on a machine that has measured the same algorithms to be the fastest
    monkeypatch.setattr("convlens.training.run.choose_algorithms", lambda *_: config.convolutions)
    asked, _ = parse_train(shlex.split(metrics["command"])[2:])
    again = train(asked.config, out=tmp_path / "again", data=toy_data)
    assert again.config == config
    same_weights(finished_run, tmp_path / "again")
    assert untimed(again.metrics) == untimed(metrics)
    assert again.metrics["command"] == metrics["command"]


def test_snapshots_are_kept_where_asked_for_and_go_with_the_run(tiny_run, toy_data):
    run = tiny_run.folder
    before = untimed(tiny_run.metrics)
    again = train("lenet5plus", out=run, data=toy_data, snapshots=True, overwrite=True, **TINY)
    assert {path.name for path in run.iterdir()} == FILES | {"snapshots"}
    assert [p.name for p in (run / "snapshots").iterdir()] == ["epoch-0001.safetensors"]
    assert again.metrics["command"].endswith("--precision fp32 --snapshots")
    assert untimed(again.metrics) == before
    train("lenet5plus", out=run, data=toy_data, overwrite=True, **TINY)
    assert not (run / "snapshots").exists()


class Favoring(World):
    """Finds every image of the monitored split told after one epoch, the first by default."""

    def __init__(self, epoch=1):
        super().__init__()
        object.__setattr__(self, "left", [epoch])

    def evaluate(self, classifier, split):
        seen = super().evaluate(classifier, split)
        self.left[0] -= 1
        if self.left[0]:
            return seen
        logits = 9 * np.eye(len(seen.class_names), dtype=np.float32)[seen.labels]
        return score(logits, seen.labels, seen.class_names, seen.temperature)


@pytest.mark.parametrize("favored", [1, 3])
def test_with_a_holdout_the_best_epochs_weights_have_their_own_figures_and_temperature(
    favored, toy_data, tmp_path
):
    run, after = tmp_path / "run", {}

    def keep(stats):
        after[stats.epoch] = load_file(run / "last.safetensors")

    found = train(
        "lenet5plus",
        out=run,
        data=toy_data,
        holdout=0.4,
        on_epoch=keep,
        world=Favoring(favored),
        **{**TINY, "epochs": 3, "learning_rate": 1e-3},
    )
    metrics, folder = found.metrics, RunFolder(run)
    assert metrics["best_epoch"] == favored
    held_out = monitored_splits(found.config, found.config.open_dataset()).monitored
    assert len(held_out) == metrics["holdout_images"] == 25
    for name, epoch, prefix in ("best", favored, "holdout"), ("last", 3, "last_holdout"):
        weights = load_file(run / f"{name}.safetensors")
        assert all(torch.equal(weights[k], after[epoch][k]) for k in weights)
        classifier = folder.classifier(name)
        seen = classifier.evaluate(held_out)
        assert metrics[f"{prefix}_accuracy"] == seen.accuracy
        # to rounding: what was trained computes by another algorithm than what was loaded
        assert metrics[f"{prefix}_loss"] == pytest.approx(seen.loss, rel=1e-4)
        assert metrics[f"{prefix}_mean_class_accuracy"] == seen.mean_class_accuracy
        own = fit_temperature(seen.logits, seen.labels, RECIPES["lenet5plus"]().temperature)
        assert classifier.temperature == pytest.approx(own, rel=1e-3)
    best, last = folder.classifier("best"), folder.classifier("last")
    assert metrics["temperature"] == best.temperature != RECIPES["lenet5plus"]().temperature
    assert (best.temperature == last.temperature) == (favored == 3)
    assert metrics["calibrated_error"] != metrics["calibration_error"]
    # the confusion is that of the weights to use
    assert (folder.read_confusion() == best.evaluate(held_out).confusion).all()
    assert {name.partition("_")[0] for name in found.history} >= {"train", "holdout"}
    assert not any("validation" in name for name in (*found.history, *metrics))


def test_the_figures_of_the_best_epoch_are_kept_when_a_run_is_resumed(toy_data, tmp_path):
    run = tmp_path / "run"
    options = {"data": toy_data, "holdout": 0.4, **TINY, "epochs": 3, "learning_rate": 1e-3}
    first = train("lenet5plus", out=run, world=Favoring(1), **options)
    best = load_file(run / "best.safetensors")
    again = resume(run)  # trains nothing
    assert_alike(again.metrics, first.metrics)
    assert all(torch.equal(v, best[k]) for k, v in load_file(run / "best.safetensors").items())


def test_a_temperature_that_was_found_is_written_into_a_recipe_and_its_runs_carry_it(
    toy_data, tmp_path
):
    found = train("lenet5plus", out=tmp_path / "all", data=toy_data, temperature=1.5, **TINY)
    assert found.metrics["temperature"] == found.classifier.temperature == 1.5
    assert "--temperature 1.5" in found.metrics["command"]
    assert Classifier.load(tmp_path / "all/last.safetensors").temperature == 1.5


def test_crop_pct_reaches_every_place_where_the_network_is_used(toy_data, tmp_path):
    run = tmp_path / "run"
    found = train("lenet5plus", out=run, data=toy_data, crop_pct=0.8, epochs=1, **CPU)
    assert "--crop-pct 0.8" in found.metrics["command"]
    classifier = found.classifier
    assert (classifier.size, classifier.crop_pct, classifier.loaded_size) == (64, 0.8, 80)

    dataset = RunFolder(run).open_for(classifier)
    assert dataset.size == 64
    seen = classifier.evaluate(dataset)
    assert seen.loss == pytest.approx(found.metrics["validation_loss"], rel=1e-4)
    assert seen.accuracy == found.metrics["validation_accuracy"]

    path = toy_data / dataset.validation.paths[3]
    with Image.open(path) as image:
        large = np.asarray(image.resize((80, 80), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(classifier.decode(path), large[8:72, 8:72])
    np.testing.assert_array_equal(dataset.validation.images[3], large[8:72, 8:72])
    (prediction,) = classifier.predict([path], top=5)
    expected = sorted(seen.probabilities[3], reverse=True)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-4)


def test_near_duplicates_of_a_large_data_set_are_left_unknown(finished_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(record, "MAX_PAIRS", 60 * 20 - 1)
        metrics = resume(finished_run).metrics
    assert metrics["validation_near_duplicates"] is None
    assert metrics["validation_accuracy_without_near_duplicates"] is None
    assert "not known" in (finished_run / "MODEL_CARD.md").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(record, "MAX_PAIRS", 60 * 20)
        assert resume(finished_run).metrics["validation_near_duplicates"] == 0


def test_a_run_ends_though_its_images_are_gone_by_then(toy_data, tmp_path, told, capsys):
    data = shutil.copytree(toy_data, tmp_path / "data")

    def remove(stats):
        shutil.rmtree(data)

    found = train("lenet5plus", out=tmp_path / "run", data=data, on_epoch=remove, **TINY)
    assert found.metrics["validation_near_duplicates"] is None
    assert "not known  which images have near-duplicates" in capsys.readouterr().out


def test_figures_without_the_images_that_training_saw(toy_data, tmp_path):
    data = tmp_path / "toy"
    shutil.copytree(toy_data, data)
    for name in ("cyan_bar", "red_cross"):  # the first of each is now also in train/
        leak = data / "validation" / name / "image_0001.png"
        shutil.copyfile(data / "train" / name / "image_0003.png", leak)
    found = train("lenet5plus", out=tmp_path / "run", data=data, **TINY)
    assert found.metrics["validation_near_duplicates"] == 2
    dataset = RunFolder(tmp_path / "run").open_for(found.classifier)
    seen = found.classifier.evaluate(dataset)
    names = [path.split("/", 1)[1] for path in dataset.validation.paths]
    clean = [n not in ("cyan_bar/image_0001.png", "red_cross/image_0001.png") for n in names]
    right = (seen.predicted == seen.labels)[clean]
    accuracy = found.metrics["validation_accuracy_without_near_duplicates"]
    assert accuracy == pytest.approx(right.mean())


def test_a_teacher_is_asked_for_with_its_share_and_before_anything_is_lost(
    finished_run, toy_data, tmp_path
):
    options = {"data": toy_data, "epochs": 1, "batch_size": 16, **CPU}
    student = tmp_path / "student"
    with pytest.raises(UserError, match="`distillation` and `teachers` go together"):
        train("lenet5plus", out=student, distillation=0.5, **options)
    stranger = Classifier.load(finished_run)
    stranger = stranger.with_model(stranger.model, class_names=tuple("abcde"))
    stranger.save(tmp_path / "toy.safetensors")
    with pytest.raises(UserError, match=r"`teachers` .*toy\.safetensors does not know"):
        train(
            "lenet5plus",
            out=student,
            distillation=0.5,
            teachers=[tmp_path / "toy.safetensors"],
            **options,
        )
    assert not student.exists()
    found = train("lenet5plus", out=student, distillation=0.5, teachers=[finished_run], **options)
    assert f"--teachers {finished_run} --device" in found.metrics["command"]
    assert found.config.teachers == (str(finished_run),)


def test_an_existing_run_is_neither_overwritten_nor_touched_unless_asked(finished_run, toy_data):
    before = content(finished_run)
    with pytest.raises(UserError, match=r"exists; `resume` .* continues it"):
        train("lenet5plus", out=finished_run, data=toy_data)
    assert content(finished_run) == before
    again = train("lenet5plus", out=finished_run, data=toy_data, seed=1, overwrite=True, **TINY)
    assert again.metrics["seed"] == 1
    assert again.history["epoch"].tolist() == [1]


def test_overwrite_spares_a_folder_that_is_no_run(tmp_path, toy_data):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(UserError, match="no run folder, so it is not overwritten"):
        train("lenet5plus", out=tmp_path, data=toy_data, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"train_size": 48},
        {"model_options": {"dropuot": 0.1}},
        {"data": "/nowhere"},
        {"device": "nonsense"},
        {"batch_size": 1},
        {"folds": 99, "fold": 1},
        {"folds": 3, "fold": 1, "holdout": 0.1},
        {"epoch": 3},
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(options, toy_data, tmp_path):
    with pytest.raises(UserError):
        train("lenet5plus", out=tmp_path / "run", **{"data": toy_data, **TINY, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_diverges_leaves_nothing_that_is_no_number(precision, toy_data, tmp_path):
    run = tmp_path / "run"
    options = {"data": toy_data, **TINY, "precision": precision}
    with pytest.raises(Diverged, match="diverged; lower `learning_rate` and start again") as ended:
        train("lenet5", out=run, **options | {"epochs": 5, "learning_rate": 1e9})
    assert (run / "diverged.txt").read_text(encoding="utf-8") == f"{ended.value}\n"
    assert not (run / "metrics.json").exists()
    for path in run.glob("*.safetensors"):
        assert all(v.isfinite().all() for v in load_file(path).values())
    if (run / "state.pt").exists():
        state = torch.load(run / "state.pt", weights_only=True)
        assert all(v.isfinite().all() for v in state["model"].values())
    with pytest.raises(UserError):  # and it does not pass for a run that has finished
        RunFolder(run).read_metrics()
    train("lenet5", out=run, overwrite=True, **options)
    assert not (run / "diverged.txt").exists()


def test_resume_of_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        resume(tmp_path)
    (tmp_path / "config.yaml").write_text("recipe: [")
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        resume(tmp_path)


def test_resume_to_fewer_epochs_than_done_is_refused(finished_run):
    before = content(finished_run)
    with pytest.raises(UserError, match="`epochs` 1 is less than the 2") as told:
        resume(finished_run, epochs=1)
    assert told.value.options == ("epochs",)
    assert content(finished_run) == before


def edited(**changes):
    """Changes lines of config.yaml; a dotted name is the recipe's."""

    def edit(run):
        values = yaml.safe_load((run / "config.yaml").read_text())
        for name, value in changes.items():
            (values["recipe"] if name in values["recipe"] else values)[name] = value
        (run / "config.yaml").write_text(yaml.safe_dump(values))

    return edit


def written(text):
    return lambda run: (run / "config.yaml").write_text(text)


def state(change):
    """Changes the content of state.pt."""

    def edit(run):
        saved = torch.load(run / "state.pt", weights_only=True)
        saved = change(saved) or saved
        torch.save(saved, run / "state.pt")

    return edit


def first_state(saved):
    return next(iter(saved["optimizers"][0]["state"].values()))


DAMAGES = {
    "epochs are no whole number": edited(epochs=2.5),
    "seed is no number": edited(seed="abc"),
    "a fold of none": edited(fold=7),
    "an option nobody knows": edited(colour=1),
    "another network": edited(model="ResNet18", model_options={}),
    "wider network": edited(model_options={"padding": 3}),
    "a network of nonsense": edited(model="ConvNet", model_options={"depths": [100_000, 1, 1, 1]}),
    "the plan is a list": edited(convolutions=[1]),
    "the plan is flat": edited(convolutions={"conv1": "patches"}),
    "an unknown algorithm": edited(convolutions={"conv1": {"8x8": "winograd"}}),
    "a map of no size": edited(convolutions={"conv1": {"8 by 8": "patches"}}),
    "the config is a list": written("[1, 2]"),
    "the config is empty": written(""),
    "the config is brackets": written("[" * 50_000),
    "the config is braces": written("{" * 20_000),
    "the config is bytes": lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe\x00"),
    "the state is a list": state(lambda saved: [saved]),
    "the state is empty": lambda run: (run / "state.pt").write_bytes(b""),
    "the state is cut": lambda run: (run / "state.pt").write_bytes(
        (run / "state.pt").read_bytes()[:5000]
    ),
    "no model": state(lambda saved: saved.pop("model") and None),
    "no history": state(lambda saved: saved.pop("history") and None),
    "no ema": state(lambda saved: saved.pop("ema") and None),
    "no optimizers": state(lambda saved: saved.pop("optimizers") and None),
    "no convolutions": state(lambda saved: saved.pop("convolutions") and None),
    "the model is a list": state(lambda saved: saved.update(model=[1])),
    "a weight is a list": state(lambda saved: saved["model"].update({"fc3.bias": [0.0] * 5})),
    "a weight of another shape": state(
        lambda saved: saved["model"].update({"fc3.bias": torch.zeros(7)})
    ),
    "a weight is missing": state(lambda saved: saved["model"].pop("fc3.bias") is None),
    "the ema is a list": state(lambda saved: saved.update(ema=[1])),
    "the ema is another network": state(lambda saved: saved["ema"].update(model={})),
    "the ema has counted words": state(lambda saved: saved["ema"].update(steps="many")),
    "one optimizer": state(lambda saved: saved["optimizers"].pop() is None),
    "an optimizer is a list": state(lambda saved: saved["optimizers"].__setitem__(0, [1])),
    "an optimizer without groups": state(lambda saved: saved["optimizers"][0].clear()),
    "a group without its rate": state(
        lambda saved: saved["optimizers"][0]["param_groups"][0].pop("peak") is None
    ),
    "a momentum of another shape": state(
        lambda saved: first_state(saved).update(momentum=torch.zeros(3))
    ),
    "a momentum in words": state(lambda saved: first_state(saved).update(momentum="fast")),
    "the history is a row": state(lambda saved: saved.update(history=saved["history"][0])),
    "the history is of words": state(lambda saved: saved["history"][0].update(seconds="long")),
    "an epoch without its seconds": state(lambda saved: saved["history"][0].pop("seconds") is None),
    "an epoch without its accuracy": state(
        lambda saved: saved["history"][0].pop("validation_accuracy") is None
    ),
    "a plan that is a list": state(lambda saved: saved.update(convolutions=["dense"])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_in_a_sentence_and_nothing_of_it_is_lost(damage, finished_run):
    DAMAGES[damage](finished_run)
    before = content(finished_run)
    for epochs in None, 3:
        with pytest.raises(UserError) as told:
            resume(finished_run, epochs=epochs)
        assert "\n" not in str(told.value) and len(str(told.value)) < 700
        assert content(finished_run) == before


@pytest.mark.parametrize("name", ["history.csv", "metrics.json", "confusion.csv", "curves.png"])
def test_what_can_be_written_anew_is(name, finished_run, request):
    if name.endswith(".png"):
        request.getfixturevalue("drawn")
    before = content(finished_run)
    for damage in b"", b"\xff[":
        (finished_run / name).write_bytes(damage)
        again = resume(finished_run).metrics
        assert_alike(again, json.loads(before[finished_run / "metrics.json"]))
        assert (finished_run / name).read_bytes() == before[finished_run / name]
    (finished_run / name).unlink()
    resume(finished_run)
    assert content(finished_run).keys() == before.keys()


def test_a_resumed_run_keeps_the_algorithms_it_began_with(toy_data, tmp_path, monkeypatch):
    """Whatever this machine would choose now: another one rounds otherwise."""
    plan = {"conv2": {"4x4": "patches"}}
    monkeypatch.setattr("convlens.training.run.choose_algorithms", lambda *_: plan)
    options = {"data": toy_data, **TINY, "epochs": 2}
    train("lenet5plus", out=tmp_path / "whole", **options)

    class Stop(Exception):
        pass

    def stop(stats):
        raise Stop

    with pytest.raises(Stop):
        train("lenet5plus", out=tmp_path / "cut", on_epoch=stop, **options)
    kept = yaml.safe_load((tmp_path / "cut/config.yaml").read_text())
    assert kept["convolutions"] == plan
    monkeypatch.setattr("convlens.training.run.choose_algorithms", lambda *_: {})
    used = []
    restored = RunFolder.read_config
    monkeypatch.setattr(
        RunFolder, "read_config", lambda self: used.append(restored(self)) or used[-1]
    )
    resume(tmp_path / "cut")
    assert used[0].convolutions == plan
    same_weights(tmp_path / "whole", tmp_path / "cut")
    # the plan is in force: without it the weights round otherwise
    cut = RunConfig.from_dict(kept)
    other = train(dataclasses.replace(cut, convolutions={}), out=tmp_path / "other")
    mine, theirs = (
        load_file(tmp_path / "cut/last.safetensors"),
        load_file(tmp_path / "other/last.safetensors"),
    )
    assert other.config.convolutions == {}
    assert not all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_the_record_says_what_a_figure_is_worth(finished_run):
    metrics = Run(finished_run).metrics
    p = metrics["validation_accuracy"]
    assert metrics["validation_standard_error"] == pytest.approx((p * (1 - p) / 20) ** 0.5)
    assert (metrics["train_images"], metrics["validation_images"]) == (60, 20)
    assert metrics["validation_near_duplicates"] == 0  # random noise is never the same twice
    assert metrics["validation_accuracy_without_near_duplicates"] == p
    card = (finished_run / "MODEL_CARD.md").read_text()
    assert f"{p:.1%}" in card and f"{metrics['validation_standard_error']:.1%}" in card
    assert metrics["command"] in card


def test_a_run_is_resumed_on_a_copy_of_its_data_set_but_not_on_another(
    finished_run, toy_data, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(toy_data, copy)
    found = resume(finished_run, epochs=3, data=copy)
    assert found.metrics["epochs"] == 3
    assert found.config.data == str(copy)
    before = content(finished_run)
    (copy / "train" / "cyan_bar" / "image_0001.png").unlink()
    with pytest.raises(UserError, match=r"does not hold the files that .* has been trained on"):
        resume(finished_run, epochs=4)
    shutil.rmtree(copy)
    with pytest.raises(UserError):
        resume(finished_run, epochs=4)
    assert content(finished_run) == before


def test_a_run_of_those_settings_is_taken_as_it_is_and_of_others_refused(
    tiny_run, toy_data, told, capsys
):
    run = tiny_run.folder
    options = {"data": toy_data, **TINY}
    before = content(run)
    assert train_or_continue("lenet5plus", run, **options).metrics == tiny_run.metrics
    # "auto" asks for nothing, and where the data lies decides nothing
    open_minded = {**options, "device": "auto", "precision": "auto", "data": None}
    assert train_or_continue("lenet5plus", run, **open_minded).metrics == tiny_run.metrics
    for other in (
        {"skip_bad": True},
        {"snapshots": True},
        {"precision": "bf16"},
        {"device": "cuda"},
        {"seed": 1},
        {"epochs": 2},
        {"holdout": 0.4},
        {"max_train_images": 30},
        {"learning_rate": 1.0},
        {"augment.flip": 0.1},
    ):
        [name] = other
        with pytest.raises(UserError, match=f"other settings than those asked for now.*{name}"):
            train_or_continue("lenet5plus", run, **{**options, **other})
    assert content(run) == before
    assert "epoch" not in capsys.readouterr().out


def test_a_run_that_was_cut_is_continued_and_one_that_never_began_is_started(
    toy_data, tmp_path, told, capsys
):
    config = make_config("lenet5plus", {"data": str(toy_data), **TINY, "epochs": 2})
    run = tmp_path / "run"
    assert train_or_continue(config, run).metrics["epochs"] == 2
    assert capsys.readouterr().out.count("train loss") == 2
    (run / "metrics.json").unlink()  # as if it had been cut at the end
    train_or_continue(config, run)
    assert capsys.readouterr().out.count("train loss") == 0
    (run / "state.pt").unlink()
    train_or_continue(config, run)
    assert capsys.readouterr().out.count("train loss") == 2


def test_a_killed_run_continues_and_ends_bit_identical(toy_data, tmp_path):
    """The process is really killed, at an epoch nobody chose."""
    epochs = 15
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = [sys.executable, "-m", "convlens", "train"]
    new = [
        *command,
        "lenet5plus",
        "--data",
        str(toy_data),
        "--epochs",
        str(epochs),
        "--batch-size",
        "12",
        "--size",
        "16",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--threads",
        "1",
        "--out",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "PYTHONWARNINGS": "error"}}
    # Here, so that what is fastest is kept however busy the machine is: another choice rounds
    # otherwise.
    options = {"epochs": epochs, "batch_size": 12, "size": 16, "threads": 1, **CPU}
    train("lenet5plus", data=toy_data, out=whole, **options)
    process = subprocess.Popen([*new, str(cut)], **quiet)

    def epochs_done():
        return len(RunFolder(cut).read_history()["epoch"])

    while process.poll() is None and not ((cut / "history.csv").exists() and epochs_done() >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= epochs_done() < epochs
    assert not (cut / "metrics.json").exists()
    subprocess.run([*command, "--resume", str(cut)], check=True, **quiet)
    same_weights(whole, cut)
    ours, wholes = (json.loads((r / "metrics.json").read_text()) for r in (cut, whole))
    assert untimed(ours) == untimed(wholes)
    assert ours["command"] == wholes["command"]
    assert {path.name for path in cut.iterdir()} == FILES


def test_a_run_cut_while_its_pages_are_written_does_not_count_as_finished(
    finished_run, monkeypatch
):
    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_evaluation", cut)
        with pytest.raises(KeyboardInterrupt):
            resume(finished_run)
    with pytest.raises(UserError, match=r"no metrics\.json; .* finishes it"):
        Run(finished_run).metrics  # noqa: B018
    assert resume(finished_run).metrics == RunFolder(finished_run).read_metrics()


def test_an_overwritten_run_does_not_pass_for_finished_while_it_is_pretrained(
    tiny_run, toy_data, monkeypatch
):
    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("convlens.training.trainer.pretrain", cut)
    with pytest.raises(KeyboardInterrupt):
        train(
            "lenet5plus", out=tiny_run.folder, data=toy_data, overwrite=True, pretraining=1, **TINY
        )
    assert not RunFolder(tiny_run.folder).is_finished


def test_the_library_prints_nothing_and_logs_what_the_command_line_shows(
    toy_data, tmp_path, capsys, caplog
):
    with caplog.at_level("INFO", logger="convlens"):
        train("lenet5plus", out=tmp_path / "run", data=toy_data, **TINY)
    assert capsys.readouterr().out == ""
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" ")[0] for line in lines[:3]] == ["data", "recipe", "device"]
    assert any(re.match(r"epoch +1/1  train loss", line) for line in lines)
