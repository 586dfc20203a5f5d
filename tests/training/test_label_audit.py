"""Which network judges which image, and what is written of it."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import convlens as cl
from convlens.data import folds, open_dataset, split_per_class
from convlens.errors import UserError
from convlens.files import read_csv
from convlens.inference import Classifier
from convlens.inference.label_audit import Judged, LabelAudit
from convlens.inference.label_errors import find
from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.reporting import audit_pages
from convlens.reporting.audit_pages import write_label_errors
from convlens.training.config import RunConfig
from convlens.training.label_audit import audit_labels, own_data
from convlens.training.run_folder import RunFolder

TINY = dataclasses.replace(RECIPES["lenet5"](), size=16, train_size=16, early_size=16)


@pytest.fixture
def dataset(toy_data):
    return open_dataset(toy_data, size=16)


@pytest.fixture
def pretend(dataset):
    """Makes the folder of a finished run on `dataset`, its network untrained."""

    def pretend(folder, seed=0, recipe=TINY, **options):
        config = RunConfig(recipe, data=str(dataset.root), digest=dataset.digest, **options)
        run = RunFolder(folder)
        run.begin(config)
        torch.manual_seed(seed)
        Classifier(LeNet5(5, size=16), dataset.classes, size=16).save(folder / "last.safetensors")
        run.write_metrics({})
        return folder

    return pretend


def answers(run, split):
    network = Classifier.load(run / "last.safetensors")
    return network.probabilities(network.logits(split.images))


def test_a_run_tells_what_the_audit_of_it_finds(pretend, tmp_path):
    folder = pretend(tmp_path / "run", holdout=0.25)
    found, expected = cl.Run(folder).label_errors(), audit_labels(folder)
    assert found.suspects() == expected.suspects()
    assert len(found.unseen) == 20 + 15  # validation/ and what it held out


def test_each_image_is_judged_by_the_folds_that_have_not_seen_it(dataset, pretend, tmp_path):
    runs = [pretend(tmp_path / f"fold-{i}", seed=i, folds=3, fold=i) for i in (1, 2, 3)]
    audit = audit_labels(tmp_path, device="cpu")
    train = np.empty((60, 5), np.float32)
    for run, (_, held_out) in zip(runs, folds(dataset.train.labels, 3), strict=True):
        train[held_out] = answers(run, dataset.train.take(held_out))
    validation = np.mean([answers(run, dataset.validation) for run in runs], axis=0)
    expected = find(
        np.concatenate([train, validation]),
        np.concatenate([dataset.train.labels, dataset.validation.labels]),
    )
    assert audit.unseen.counts() == {"train": 60, "validation": 20} and len(audit.seen) == 0
    found = audit.unseen.errors
    np.testing.assert_allclose(audit.unseen.probabilities[:60], train, rtol=1e-5)
    np.testing.assert_allclose(found.given_probability, expected.given_probability, rtol=1e-5)
    np.testing.assert_allclose(found.thresholds, expected.thresholds, rtol=1e-5)
    assert found.suggested.tolist() == expected.suggested.tolist()
    assert audit.notes == () and "the 3 networks of" in audit.render()


def test_a_run_judges_what_it_held_out_and_apart_what_it_was_trained_on(dataset, pretend, tmp_path):
    run = pretend(tmp_path / "run", holdout=0.25)
    audit = audit_labels(run, device="cpu")
    kept, held_out = split_per_class(dataset.train.labels, 0.75, seed=0)
    unseen, seen = audit.unseen, audit.seen
    assert unseen.counts() == {"train": len(held_out), "validation": 20}
    assert unseen.rows[unseen.splits == "train"].tolist() == held_out.tolist()
    assert seen.rows.tolist() == kept.tolist() and set(seen.splits) == {"train"}
    expected = find(answers(run, dataset.train.take(kept)), dataset.train.labels[kept])
    np.testing.assert_allclose(seen.errors.given_probability, expected.given_probability, rtol=1e-5)
    shown = audit.render()
    assert f"{len(kept)} images of train/, which the network was trained on" in shown
    assert f"{len(held_out)} images of train/, 20 images of validation/, which no judge" in shown


def test_a_run_without_a_holdout_and_images_that_it_left_aside(pretend, tmp_path):
    audit = audit_labels(pretend(tmp_path / "run", max_train_images=30), device="cpu")
    assert audit.seen.counts() == {"train": 30}
    assert audit.unseen.counts() == {"train": 30, "validation": 20}
    assert {s.in_sample for s in audit.suspects()} <= {False, True}
    seen = set(audit.seen.rows.tolist())
    assert all(
        suspect.in_sample == (suspect.split == "train" and suspect.row in seen)
        for suspect in audit.suspects()
    )


def test_a_run_that_is_not_there_is_told_before_any_data_is_opened(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist") as told:
        own_data(tmp_path / "nowhere")
    assert told.value.options == ("run",)


def test_what_is_not_known_is_said(toy_data, toy_weights, pretend, tmp_path):
    audit = audit_labels(toy_weights, toy_data, device="cpu")
    assert audit.seen.counts() == {"train": 60} and audit.unseen.counts() == {"validation": 20}
    assert "\nnot known        which images" in audit.render()

    taught = dataclasses.replace(TINY, distillation=0.5)
    run = pretend(tmp_path / "run", recipe=taught, teachers=("elsewhere",))
    assert "its teachers had learned the labels" in audit_labels(run, device="cpu").notes[0]

    other = shutil.copytree(toy_data / "validation", tmp_path / "other" / "train")
    audit = audit_labels(run, other.parent, device="cpu")
    assert len(audit.seen) == 0 and len(audit.unseen) == 20
    assert "it was trained on another data set" in audit.notes[0]


def test_a_data_set_that_has_changed_is_refused(toy_data, pretend, tmp_path):
    root = shutil.copytree(toy_data, tmp_path / "photos")
    digest = open_dataset(root, size=16).digest
    run = pretend(tmp_path / "run")
    config = dataclasses.replace(RunFolder(run).read_config(), data=str(root), digest=digest)
    RunFolder(run).write_config(config)
    assert len(audit_labels(run, device="cpu").seen) == 60
    (root / "train/red_cross/image_0001.png").rename(root / "train/blue_disc/moved.png")
    with pytest.raises(UserError, match=r"photos has changed since .*run was trained on it"):
        audit_labels(run, device="cpu")


def test_folds_that_are_missing_cut_or_of_other_settings(pretend, tmp_path):
    with pytest.raises(UserError, match="holds no run and no folds"):
        audit_labels(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        audit_labels(tmp_path / "nowhere")
    pretend(tmp_path / "fold-1", folds=2, fold=1)
    with pytest.raises(UserError, match="holds 2 folds, and number 2 is not finished"):
        own_data(tmp_path)
    pretend(tmp_path / "fold-2", folds=2, fold=2, seed=1)
    RunFolder(tmp_path / "fold-2").write_config(
        dataclasses.replace(RunFolder(tmp_path / "fold-2").read_config(), seed=7)
    )
    with pytest.raises(UserError, match="fold-2 was trained with other settings or on other files"):
        own_data(tmp_path)


def test_the_runs_own_data_set_and_how_it_read_it(toy_data, toy_weights, pretend, tmp_path):
    run = pretend(tmp_path / "run", skip_bad=True, split_seed=3)
    data, reading = own_data(run)
    assert data == str(toy_data) and (reading.skip_bad, reading.split_seed) == (True, 3)
    assert own_data(run, "other")[0] == "other"
    assert own_data(toy_weights)[0] is None


@pytest.fixture
def hostile(tmp_path):
    """An audit of three images that are labeled wrong, their names chosen by an enemy."""
    classes = ("=1+1", "<b>\x1b[31m$x$</b>")
    root = tmp_path / "data"
    for split in "train", "validation":
        for i, name in enumerate(("a", "b")):
            for j in range(6):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 16), (100 * i, 10 * j, 0)).save(folder / f"=image_{j}.png")
    dataset = open_dataset(root, size=16)
    labels = dataset.train.labels
    probabilities = np.full((12, 2), 0.1, np.float32)
    probabilities[np.arange(12), labels] = 0.9
    probabilities[:3] = [[0.02, 0.98], [0.01, 0.99], [0.03, 0.97]]
    rows = np.arange(12)
    none = probabilities[:0]
    nobody = Judged(rows[:0].astype(object), rows[:0], none, find(none, labels[:0]))
    errors = find(probabilities, labels)
    judged = Judged(np.full(12, "train", object), rows, probabilities, errors)
    return LabelAudit(dataset, classes, "<i>us</i>", judged, nobody)


def test_the_table_and_the_pages(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_pages.figures, "LABELS_A_PAGE", 2)
    out = tmp_path / "out"
    out.mkdir()
    for name in "labels-09.png", "labels-final.png":
        (out / name).touch()
    written = write_label_errors(hostile, out)
    assert [path.name for path in written] == ["label-errors.csv", "labels-01.png", "labels-02.png"]
    there = {path.name for path in out.iterdir()}
    assert there == {*(path.name for path in written), "labels-final.png"}  # which is not ours
    header, *rows = read_csv(written[0])
    assert header[:5] == ["path", "split", "given", "suggested", "doubt"]
    assert [row[0] for row in rows] == [f"train/a/=image_{i}.png" for i in (1, 0, 2)]
    assert rows[0][1:] == ["train", *hostile.classes, "0.990", "0.010", "0.990", "0"]
    assert ",'=1+1," in written[0].read_text(encoding="utf-8")
    with Image.open(written[1]) as page:
        assert page.width > 500


def test_a_table_that_was_worked_on_is_kept(hostile, tmp_path):
    table, *_ = write_label_errors(hostile, tmp_path)
    assert write_label_errors(hostile, tmp_path)[0] == table  # nothing of it was changed
    table.write_text("path\ntrain/a/1.png\n", encoding="utf-8")
    second = tmp_path / "label-errors-2.csv"
    for _ in range(2):
        assert write_label_errors(hostile, tmp_path)[0] == second
    assert table.read_text(encoding="utf-8") == "path\ntrain/a/1.png\n"
    assert len(read_csv(second)) == 4


def test_names_do_nothing_where_they_are_shown(hostile):
    assert "=1+1 → <b>\\x1b[31m$x$</b>: 3" in hostile.render()
    page = hostile._repr_html_()
    assert "<b>" not in page and "<i>" not in page and "&lt;i&gt;us&lt;/i&gt;" in page


def test_a_suspects_picture_is_what_the_network_was_given(hostile):
    first = hostile.suspects()[0]
    assert (first.row, first.given, first.suggested) == (1, 0, 1)
    np.testing.assert_array_equal(hostile.image(first), np.full((16, 16, 3), (0, 10, 0), np.uint8))
