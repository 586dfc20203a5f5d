import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data import open_dataset
from convlens.data.dataset import Split
from convlens.errors import UserError
from convlens.inference.metrics import evaluate
from convlens.recipes import RECIPES
from convlens.training import loop, objective
from convlens.training.run_folder import load_snapshots, load_state, load_trained, read_history
from convlens.training.trainer import Config, channel_statistics, is_kept, monitored_splits, train
from convlens.training.device import Machine

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")


@pytest.fixture
def dataset(toy_data):
    return open_dataset(toy_data)


def short(name, **changes):
    """A recipe cut to what a test can afford."""
    return dataclasses.replace(RECIPES[name](), epochs=3, batch_size=16, **changes)


def run_of(tmp_path, recipe, dataset, name="run", **options):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return folder, train(Config(recipe, str(dataset.root), **options), dataset, folder, FP32)


def same_weights(a, b):
    mine, theirs = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_after_any_epoch_ends_bit_identical(name, dataset, tmp_path, monkeypatch):
    _, whole = run_of(tmp_path, short(name), dataset, "whole")

    class Stop(Exception):
        pass

    end_epoch = loop.Progress.end_epoch

    def stop(progress, row, monitored):
        end_epoch(progress, row, monitored)
        if row["epoch"] < 3:
            raise Stop

    monkeypatch.setattr(loop.Progress, "end_epoch", stop)
    for _ in range(2):
        with pytest.raises(Stop):
            run_of(tmp_path, short(name), dataset, "cut")
    cut, outcome = run_of(tmp_path, short(name), dataset, "cut")
    assert same_weights(whole.trained, outcome.trained)
    assert same_weights(whole.trained, load_trained(cut))
    timed = ("seconds", "images_per_second")
    for mine, theirs in zip(whole.history, outcome.history, strict=True):
        assert {k: v for k, v in mine.items() if k not in timed} == {
            k: v for k, v in theirs.items() if k not in timed
        }


def test_the_seed_decides_the_weights(dataset, tmp_path):
    runs = [
        run_of(tmp_path, short("lenet5plus"), dataset, str(i), seed=seed)[1]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert same_weights(runs[0].trained, runs[1].trained)
    assert not same_weights(runs[0].trained, runs[2].trained)


def test_it_learns_and_reports_what_the_saved_weights_do(dataset, tmp_path):
    recipe = dataclasses.replace(RECIPES["lenet5"](), epochs=20, batch_size=10)
    folder, outcome = run_of(tmp_path, recipe, dataset)
    assert outcome.evaluations["train"].accuracy == 1.0
    assert outcome.evaluations["validation"].accuracy > 0.6
    trained = load_trained(folder)
    again = evaluate(trained.model, dataset.validation, trained.mean, trained.std)
    reported = outcome.evaluations["validation"].loss
    assert read_history(folder)["validation_loss"][-1] == reported
    # to rounding: a loaded network computes by the library, whatever was fastest in training
    assert again.loss == pytest.approx(reported, rel=1e-4)
    assert trained.classes == dataset.classes


def test_more_epochs_train_a_finished_run_further(dataset, tmp_path):
    folder, first = run_of(tmp_path, short("lenet5"), dataset)
    longer = dataclasses.replace(short("lenet5"), epochs=5)
    _, second = run_of(tmp_path, longer, dataset, folder.name)
    assert [row["epoch"] for row in second.history] == [1, 2, 3, 4, 5]
    assert second.history[:3] == first.history
    assert not same_weights(first.trained, second.trained)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(
    dataset, tmp_path, monkeypatch
):
    folder, _ = run_of(tmp_path, dataclasses.replace(short("lenet5"), epochs=1), dataset)
    before = load_state(folder)["model"]
    calls = []

    def poisoned(*arguments, **options):
        calls.append(1)
        loss = torch.nn.functional.nll_loss(arguments[0], arguments[1].argmax(dim=1))
        return loss * (torch.nan if len(calls) == 2 else 1)

    monkeypatch.setattr(objective.F, "cross_entropy", poisoned)
    with pytest.raises(UserError, match=r"loss is nan in epoch 2, step 2.*lower --learning-rate"):
        run_of(tmp_path, short("lenet5"), dataset, folder.name)
    after = load_state(folder)["model"]
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(torch.isfinite(v).all() for v in load_trained(folder).model.state_dict().values())
    assert len(read_history(folder)["epoch"]) == 1


def test_a_holdout_comes_from_train_and_leaves_validation_unread(dataset, tmp_path):
    unreadable = Split(None, None, ())
    blind = dataclasses.replace(dataset, validation=unreadable)
    folder, outcome = run_of(tmp_path, short("lenet5"), blind, holdout=0.25)
    assert set(outcome.evaluations) == {"train", "holdout"}
    splits = monitored_splits(Config(short("lenet5"), "", holdout=0.25), dataset)
    paths = {name: set(split.paths) for name, split in splits.items()}
    assert paths["train"] | paths["holdout"] == set(dataset.train.paths)
    assert not paths["train"] & paths["holdout"]
    assert np.bincount(splits["holdout"].labels).tolist() == [3] * 5
    best = read_history(folder)["validation_accuracy"].max()
    trained = load_trained(folder)
    seen = evaluate(trained.model, splits["holdout"], trained.mean, trained.std)
    assert seen.accuracy == best


def test_images_limits_training_evenly_and_leaves_validation_whole(dataset):
    splits = monitored_splits(Config(short("lenet5"), "", images=30), dataset)
    assert np.bincount(splits["train"].labels).tolist() == [6] * 5
    assert splits["validation"] is dataset.validation


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 10))
def test_channel_statistics_are_numpys(n, side, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)) / 255, rtol=1e-5)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)) / 255, rtol=1e-4)


def test_channel_statistics_of_one_color_stay_usable():
    _, std = channel_statistics(np.full((3, 4, 4, 3), 9, dtype=np.uint8))
    assert (std > 0).all()


def test_snapshots_are_dense_at_first_and_hold_the_last_epoch():
    kept = [epoch for epoch in range(1, 91) if is_kept(epoch, 90)]
    assert kept == [1, 2, 5, 10, 20, 40, 80, 90]
    assert [epoch for epoch in range(1, 4) if is_kept(epoch, 3)] == [1, 2, 3]


def test_a_snapshot_is_what_was_evaluated_and_survives_a_stop(dataset, tmp_path, monkeypatch):
    recipe = short("lenet5plus", average=0.5)
    options = {"snapshots": True}
    folder, outcome = run_of(tmp_path, recipe, dataset, "whole", **options)
    snapshots = load_snapshots(folder)
    assert list(snapshots) == [1, 2, 3]
    for epoch, trained in snapshots.items():
        seen = evaluate(trained.model, dataset.validation, trained.mean, trained.std)
        row = outcome.history[epoch - 1]
        assert seen.loss == pytest.approx(row["validation_loss"], rel=1e-2)  # half precision

    save_state = loop.save_state
    monkeypatch.setattr(loop, "save_state", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):  # after the first snapshot, before its state
        run_of(tmp_path, recipe, dataset, "cut", **options)
    monkeypatch.setattr(loop, "save_state", save_state)
    cut, _ = run_of(tmp_path, recipe, dataset, "cut", **options)
    for epoch, trained in load_snapshots(cut).items():
        assert same_weights(trained, snapshots[epoch])
