import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convlens.errors import UserError
from convlens.inference.metrics import evaluate
from convlens.inference.prediction import predict
from convlens.recipes import RECIPES, Recipe
from convlens.reproduce import noise
from convlens.training import run as runs
from convlens.training.run_folder import load_trained, read_history, save_weights

FILES = {
    "config.yaml", "history.csv", "metrics.json", "best.safetensors", "last.safetensors",
    "state.pt", "curves.png", "confusion.png", "confusion.csv", "per_class.csv", "per_class.png",
    "worst.png", "batch.png", "reliability.png", "MODEL_CARD.md",
}  # fmt: skip


def tiny(**changes):
    return dataclasses.replace(RECIPES["lenet5plus"](), epochs=2, batch_size=16, **changes)


@pytest.fixture
def finished(toy_data, tmp_path):
    run = tmp_path / "run"
    return run, runs.start(tiny(), run, data=toy_data, device="cpu", precision="fp32")


def test_a_finished_run_folder_holds_what_the_design_says_and_nothing_half_written(finished):
    run, metrics = finished
    assert {p.name for p in run.iterdir()} == FILES
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert set(runs.SUMMARY_FIELDS) <= metrics.keys()
    confusion = list(csv.reader((run / "confusion.csv").read_text().splitlines()))
    hits = sum(int(row[i]) for i, row in enumerate(confusion[1:], 1))
    assert hits / 20 == pytest.approx(metrics["validation_accuracy"])


def test_config_is_read_back_as_it_was_written(finished, toy_data):
    config = runs.read_config(finished[0])
    assert config.recipe == tiny()
    assert config.data == str(toy_data.resolve())


def test_snapshots_are_kept_where_asked_for_and_go_with_the_run(finished, toy_data, tmp_path):
    run = tmp_path / "kept"
    options = {"data": toy_data, "device": "cpu", "precision": "fp32"}
    metrics = runs.start(tiny(), run, snapshots=True, **options)
    assert {p.name for p in run.iterdir()} == FILES | {"snapshots"}
    assert [p.name for p in sorted((run / "snapshots").iterdir())] == [
        "epoch-0001.safetensors", "epoch-0002.safetensors"
    ]  # fmt: skip
    assert metrics["command"].endswith("--snapshots --seed 0")
    timed = ("seconds", "command")
    assert {k: v for k, v in metrics.items() if k not in timed} == {
        k: v for k, v in finished[1].items() if k not in timed
    }
    runs.start(tiny(), run, overwrite=True, **options)
    assert not (run / "snapshots").exists()


def test_the_command_in_the_record_repeats_the_run(finished):
    assert finished[1]["command"] == (
        "convlens train lenet5plus --epochs 2 --batch-size 16 --seed 0"
    )
    config = dataclasses.replace(
        runs.read_config(finished[0]), recipe=RECIPES["resnet18"](), holdout=0.1, seed=3
    )
    assert runs.command_of(config) == "convlens train resnet18 --holdout 0.1 --seed 3"


def test_a_holdout_gives_the_temperature_and_the_weights_carry_it(toy_data, tmp_path):
    run = tmp_path / "run"
    options = {"data": toy_data, "device": "cpu", "precision": "fp32"}
    metrics = runs.start(tiny(), run, holdout=0.3, **options)
    assert metrics["temperature"] != 1
    for name in "best", "last":
        trained = load_trained(run / f"{name}.safetensors")
        assert trained.temperature == metrics["temperature"]
    assert metrics["calibrated_error"] != metrics["calibration_error"]
    # what was found so is written into a recipe, and its runs on all images carry it
    found = runs.start(tiny(temperature=1.5), tmp_path / "all", **options)
    assert found["temperature"] == load_trained(tmp_path / "all").temperature == 1.5
    assert found["command"].endswith("--temperature 1.5 --seed 0")


def test_zoom_reaches_every_place_where_the_network_is_used(toy_data, tmp_path):
    run = tmp_path / "run"
    metrics = runs.start(tiny(zoom=1.25), run, data=toy_data, device="cpu", precision="fp32")
    assert "--zoom 1.25" in metrics["command"]
    trained = load_trained(run)
    assert (trained.size, trained.zoom, trained.loaded_size) == (64, 1.25, 80)

    dataset = runs.open_for(trained, run)
    assert dataset.size == 64
    seen = evaluate(trained.model, dataset.validation, trained.mean, trained.std)
    assert seen.loss == metrics["validation_loss"]
    assert seen.accuracy == metrics["validation_accuracy"]

    path = toy_data / dataset.validation.paths[3]
    with Image.open(path) as image:
        large = np.asarray(image.resize((80, 80), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(trained.decode(path), large[8:72, 8:72])
    np.testing.assert_array_equal(dataset.validation.images[3], large[8:72, 8:72])
    (prediction,) = predict(trained, [path], top=5)
    expected = sorted(seen.probabilities(trained.temperature)[3], reverse=True)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)


def test_near_duplicates_of_a_large_data_set_are_left_unknown(toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "MOST_PAIRS", 60 * 20 - 1)
    options = {"data": toy_data, "device": "cpu", "precision": "fp32"}
    metrics = runs.start(tiny(), tmp_path / "run", **options)
    assert metrics["validation_duplicates"] is None
    assert metrics["validation_accuracy_without_duplicates"] is None
    assert "is not known" in (tmp_path / "run/MODEL_CARD.md").read_text()
    assert "an unknown number of them" in noise([metrics])
    monkeypatch.setattr(runs, "MOST_PAIRS", 60 * 20)
    metrics = runs.start(tiny(), tmp_path / "other", **options)
    assert metrics["validation_duplicates"] is not None


def test_a_teacher_is_asked_for_with_its_share_and_before_anything_is_lost(toy_data, tmp_path):
    options = {"data": toy_data, "device": "cpu", "precision": "fp32"}
    runs.start(tiny(), tmp_path / "teacher", **options)
    with pytest.raises(UserError, match="--distillation and --teacher go together"):
        runs.start(tiny(distillation=0.5), tmp_path / "student", **options)
    with pytest.raises(UserError, match=r"--teacher .*toy\.safetensors does not know"):
        other = dataclasses.replace(load_trained(tmp_path / "teacher"), classes=tuple("abcde"))
        save_weights(tmp_path / "toy.safetensors", other)
        runs.start(
            tiny(distillation=0.5), tmp_path / "student", **options,
            teacher=[tmp_path / "toy.safetensors"],
        )  # fmt: skip
    assert not (tmp_path / "student").exists()
    metrics = runs.start(
        tiny(distillation=0.5), tmp_path / "student", teacher=[tmp_path / "teacher"], **options
    )
    assert f"--teacher {tmp_path / 'teacher'} --seed 0" in metrics["command"]
    assert runs.read_config(tmp_path / "student").teacher == (str(tmp_path / "teacher"),)


def test_an_existing_run_is_neither_overwritten_nor_touched_unless_asked(finished, toy_data):
    run, _ = finished
    before = (run / "best.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"exists; --resume .* continues it"):
        runs.start(tiny(), run, data=toy_data)
    assert (run / "best.safetensors").read_bytes() == before
    again = runs.start(
        tiny(), run, data=toy_data, seed=1, device="cpu", precision="fp32", overwrite=True
    )
    assert again["seed"] == 1
    assert len(read_history(run)["epoch"]) == 2


def test_overwrite_spares_a_folder_that_is_no_run(tmp_path, toy_data):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(UserError, match="no run folder, so it is not overwritten"):
        runs.start(tiny(), tmp_path, data=toy_data, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, "--epochs 0 is out of range; give 1 up"),
        ({"batch_size": 0}, "--batch-size 0 is out of range"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0 is out of range; give 0 up"),
        ({"train_size": 48}, "must be 64 as --size is: LeNet5"),
        ({"model_options": {"dropuot": 0.1}}, "dropuot"),
        ({"size": 12, "train_size": 12}, "at least 16×16"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_written(
    changes, sentence, toy_data, tmp_path
):
    with pytest.raises(UserError, match=sentence):
        runs.start(dataclasses.replace(tiny(), **changes), tmp_path / "run", data=toy_data)
    assert not (tmp_path / "run").exists()


def test_resume_of_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        runs.resume(tmp_path)
    (tmp_path / "config.yaml").write_text("recipe: [")
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        runs.resume(tmp_path)


def test_resume_to_fewer_epochs_than_done_is_refused(finished):
    with pytest.raises(UserError, match="--epochs 1 is less than the 2"):
        runs.resume(finished[0], epochs=1)


def test_weights_in_half_precision_stand_in_for_the_run(finished, tmp_path):
    run, _ = finished
    trained = load_trained(run)
    save_weights(tmp_path / "small.safetensors", trained, half=True)
    small = load_trained(tmp_path / "small.safetensors")
    assert dataclasses.replace(small, model=None, mean=None, std=None) == dataclasses.replace(
        trained, model=None, mean=None, std=None
    )
    assert torch.equal(small.mean, trained.mean)
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(small.model(x), trained.model(x), rtol=0.02, atol=0.02)
    sizes = [p.stat().st_size for p in (tmp_path / "small.safetensors", run / "best.safetensors")]
    assert sizes[0] < 0.52 * sizes[1]


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors at all", b"\x08" + bytes(7) + b"{}      "]
)
def test_a_file_that_is_no_weights_file_is_named(content, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"w\.safetensors is not a weights file of ConvLens"):
        load_trained(path)


def test_the_record_says_what_a_figure_is_worth(finished, toy_data):
    run, metrics = finished
    p = metrics["validation_accuracy"]
    assert metrics["validation_standard_error"] == pytest.approx((p * (1 - p) / 20) ** 0.5)
    assert (metrics["train_images"], metrics["validation_images"]) == (60, 20)
    assert metrics["validation_duplicates"] == 0  # random noise is never the same twice
    assert metrics["validation_accuracy_without_duplicates"] == p
    card = (run / "MODEL_CARD.md").read_text()
    assert f"| accuracy | {p:.1%} | {metrics['validation_standard_error']:.1%} |" in card
    assert f"`{metrics['command']}`" in card


def test_figures_without_the_images_that_training_saw(toy_data, tmp_path):
    data = tmp_path / "toy"
    shutil.copytree(toy_data, data)
    for name in ("cyan_bar", "red_cross"):  # the first of each is now also in train/
        leak = data / "validation" / name / "image_0001.png"
        shutil.copyfile(data / "train" / name / "image_0003.png", leak)
    run = tmp_path / "run"
    metrics = runs.start(tiny(), run, data=data, device="cpu", precision="fp32")
    assert metrics["validation_duplicates"] == 2
    trained = load_trained(run)
    dataset = runs.open_for(trained, run)
    seen = evaluate(trained.model, dataset.validation, trained.mean, trained.std)
    names = [path.split("/", 1)[1] for path in dataset.validation.paths]
    clean = [n not in ("cyan_bar/image_0001.png", "red_cross/image_0001.png") for n in names]
    right = (seen.predicted == seen.labels)[clean]
    assert metrics["validation_accuracy_without_duplicates"] == pytest.approx(right.mean())


def test_a_run_of_an_older_version_is_completed_without_training(finished, toy_data, tmp_path):
    run, metrics = finished
    new = {name for name in metrics if re.search("error|duplicates|_images", name)}
    old = {name: value for name, value in metrics.items() if name not in new}
    (run / "metrics.json").write_text(json.dumps(old))
    card = (run / "MODEL_CARD.md").read_text()
    for name in ("MODEL_CARD.md", "reliability.png"):
        (run / name).unlink()
    assert runs.complete(run) == metrics
    assert runs.read_metrics(run) == metrics
    assert {p.name for p in run.iterdir()} == FILES
    assert (run / "MODEL_CARD.md").read_text() == card

    (run / "metrics.json").write_text(json.dumps(old | {"validation_accuracy": 0.01}))
    with pytest.raises(UserError, match=r"found 1\.0% right and its weights now find"):
        runs.complete(run)


def test_a_run_is_resumed_on_a_copy_of_its_data_set_but_not_on_another(
    finished, toy_data, tmp_path
):
    run, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(toy_data, copy)
    assert runs.resume(run, epochs=3, data=copy)["epochs"] == 3
    assert runs.read_config(run).data == str(copy)
    before = {path: path.read_bytes() for path in run.iterdir()}
    (copy / "train" / "cyan_bar" / "image_0001.png").unlink()
    with pytest.raises(UserError, match=r"does not hold the files that .* has been trained on"):
        runs.resume(run, epochs=4)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_killed_run_continues_and_ends_bit_identical(toy_data, tmp_path):
    """The process is really killed, at an epoch nobody chose."""
    epochs = 40
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train = [sys.executable, "-m", "convlens", "train"]
    new = [
        *train, "lenet5plus", "--data", str(toy_data), "--epochs", str(epochs), "--batch-size",
        "12", "--device", "cpu", "--precision", "fp32", "--out",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "PYTHONWARNINGS": "error"}}
    subprocess.run([*new, str(whole)], check=True, **quiet)
    process = subprocess.Popen([*new, str(cut)], **quiet)
    while process.poll() is None and not (
        (cut / "history.csv").exists() and len(read_history(cut)["epoch"]) >= 5
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 5 <= len(read_history(cut)["epoch"]) < epochs
    assert not (cut / "metrics.json").exists()
    subprocess.run([*train, "--resume", str(cut)], check=True, **quiet)
    for name in ("last.safetensors", "best.safetensors"):
        mine, theirs = load_file(cut / name), load_file(whole / name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    ours, wholes = (json.loads((r / "metrics.json").read_text()) for r in (cut, whole))
    assert {k: v for k, v in ours.items() if k != "seconds"} == {
        k: v for k, v in wholes.items() if k != "seconds"
    }


def test_a_recipe_is_plain_data():
    assert dataclasses.is_dataclass(Recipe)
    assert RECIPES["resnet18_stride2"]() == dataclasses.replace(
        RECIPES["resnet18"](), name="resnet18_stride2", model_options={"conv2_stride": 2}
    )


def test_a_run_cut_while_its_pictures_are_drawn_does_not_count_as_finished(
    toy_data, tmp_path, monkeypatch
):
    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.figures, "confusion", cut)
        with pytest.raises(KeyboardInterrupt):
            runs.start(tiny(), tmp_path / "run", data=toy_data, device="cpu", precision="fp32")
    with pytest.raises(UserError, match=r"no metrics\.json; .* finishes it"):
        runs.read_metrics(tmp_path / "run")
    assert runs.resume(tmp_path / "run") == runs.read_metrics(tmp_path / "run")
