"""A data set with test/: it is reported and never trained or chosen on; and parts of one."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens import cli
from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.inference.classifier import load
from convlens.training.run import train

SMALL = {
    "epochs": 1,
    "batch_size": 16,
    "size": 16,
    "crop_pct": 1.0,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def three(toy_data, tmp_path_factory) -> Path:
    """The toy data set with half of its validation images in test/, and no cyan_bar among them."""
    root = shutil.copytree(toy_data, tmp_path_factory.mktemp("three") / "toy")
    for path in sorted(root.glob("validation/*/image_000[34].png")):
        target = root / "TEST" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shutil.rmtree(root / "TEST/cyan_bar")
    return root


@pytest.fixture(scope="module")
def run(three, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("run")
        patch.setenv("CONVLENS_CACHE", str(folder / "cache"))
        return train("lenet5", data=three, out=folder / "run", **SMALL)


def test_test_is_reported_beside_validation_and_never_seen_before(run, three):
    dataset = run.classifier.open_dataset(three)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 60,
        "validation": 10,
        "test": 8,
    }
    seen = run.classifier.evaluate(dataset, split="test")
    metrics = run.metrics
    assert metrics["test_loss"] == pytest.approx(seen.loss, rel=1e-6)
    assert metrics["test_accuracy"] == seen.accuracy
    assert metrics["test_mean_class_accuracy"] == seen.mean_class_accuracy
    assert metrics["test_images"] == 8
    assert not any(name.startswith("test") for name in run.history)
    with open(run.folder / "test/confusion.csv", newline="", encoding="utf-8") as file:
        rows = np.array([row[1:] for row in list(csv.reader(file))[1:]], dtype=int)
    np.testing.assert_array_equal(rows, seen.confusion)


def test_a_run_on_the_same_files_without_test_is_the_same(run, three, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLENS_CACHE", str(run.folder.parent / "cache"))  # what was measured fast
    root = shutil.copytree(three, tmp_path / "toy")
    shutil.rmtree(root / "TEST")
    other = train("lenet5", data=root, out=tmp_path / "run", **SMALL)
    weights = run.classifier.state_dict()
    for name, tensor in other.classifier.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert other.config.digest == run.config.digest
    assert not any(name.startswith("test") for name in other.metrics)


def test_a_hold_out_leaves_test_alone(three, tmp_path):
    found = train("lenet5", data=three, out=tmp_path / "run", holdout=0.2, **SMALL)
    assert not any(name.startswith("test") for name in found.metrics)


def test_evaluate_tells_all_three(run, three, tmp_path, capsys):
    cli.main(["evaluate", str(run.folder), "--device", "cpu", "--out", str(tmp_path / "out")])
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert [name for name in lines if name in ("train", "validation", "test", "all")] == [
        "train",
        "validation",
        "test",
    ]
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert written["test_accuracy"] == run.metrics["test_accuracy"]
    assert (tmp_path / "out/test/confusion.csv").exists()


def test_a_folder_per_class_alone_is_measured_as_one(run, three, tmp_path, capsys):
    flat = str(three / "TEST")
    cli.main(["evaluate", str(run.folder), "--data", flat, "--device", "cpu"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert line.startswith("all ")
    assert f"accuracy {run.metrics['test_accuracy']:.2%}" in line


def test_the_own_data_set_of_a_run_is_dealt_as_it_was(three, tmp_path, capsys):
    flat = three / "train"
    found = train("lenet5", data=flat, out=tmp_path / "run", **SMALL)
    capsys.readouterr()
    cli.main(["evaluate", str(found.folder), "--data", str(flat), "--device", "cpu"])
    told = capsys.readouterr().out
    assert f"accuracy {found.metrics['validation_accuracy']:.2%}" in told
    assert "\nall " not in told


def test_labels_are_told_by_the_names_of_classes(run, three, tmp_path):
    """A data set may lack classes of the network, which must not shift the others' labels."""
    whole = run.classifier.evaluate(three, split="validation")
    some = tmp_path / "some"
    for name in "yellow_ring", "green_square":
        shutil.copytree(three / "validation" / name, some / name)
    part = run.classifier.open_dataset(some)
    assert part.classes == run.classifier.class_names
    seen = run.classifier.evaluate(part.flat)
    for name in "yellow_ring", "green_square":
        label = run.classifier.label(name)
        np.testing.assert_array_equal(seen.confusion[label], whole.confusion[label])
    assert seen.confusion.sum() == 4
    (some / "yellow_ring").rename(some / "zebra")
    with pytest.raises(UserError, match="was not trained on the class zebra of") as problem:
        run.classifier.open_dataset(some)
    assert problem.value.options == ("data",)


def test_what_is_loaded_otherwise_is_given_so_by_every_verb(three, tmp_path):
    """`fit` goes from the recipe through the weights file to what the network is shown."""
    found = train("lenet5", data=three, out=tmp_path / "run", fit="pad", **SMALL)
    classifier = load(found.folder)
    assert (classifier.fit, classifier.loading) == ("pad", (16, "pad"))
    assert classifier.open_dataset(three).fit == "pad"
    wide = np.zeros((16, 32, 3), np.uint8)
    shown = classifier.decode(wide)
    assert shown[:4].min() == shown[-4:].min() == 128 and shown[6:10].max() == 0
    assert "--fit pad" in found.config.command()


def test_what_lacks_training_images_is_not_trained_on(three, tmp_path):
    root = shutil.copytree(three, tmp_path / "toy")
    shutil.rmtree(root / "train")
    with pytest.raises(UserError, match="has no images to train on; add train/"):
        train("lenet5", data=root, out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
    assert open_dataset(root, size=8).test is not None
