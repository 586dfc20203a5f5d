import dataclasses

import numpy as np
import pytest
import torch

from convlens.data import open_dataset
from convlens.data.dataset import Split
from convlens.errors import Diverged, UserError
from convlens.inference import Classifier
from convlens.recipes import RECIPES
from convlens.training import criterion
from convlens.training.config import RunConfig
from convlens.training.device import Machine
from convlens.training.distributed import World
from convlens.training.epochs import best_epoch, is_kept
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits
from convlens.training.trainer import Trainer

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")
TIMED = ("seconds", "images_per_second")
SMALL = {"size": 24, "train_size": 24, "early_size": 16}


@pytest.fixture
def dataset(toy_data):
    return open_dataset(toy_data)


def short(name, **changes):
    """A recipe cut to what a test can afford."""
    return dataclasses.replace(RECIPES[name](), **{"epochs": 3, "batch_size": 16, **changes})


def run_of(folder, recipe, dataset, on_epoch=lambda stats: None, **options):
    """Train, or train on, in that folder; the trainer and the state that it ends with."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(RunConfig(recipe, str(dataset.root), **options), dataset, FP32)
    saved = RunFolder(folder).read_state()
    state = trainer.start() if saved is None else trainer.restore(saved)
    return trainer, trainer.fit(state, RunFolder(folder), on_epoch)


def same_weights(a, b):
    mine, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine.keys() | theirs.keys())


class Stop(Exception):
    pass


# but for finetune, of which test_pretrained.py says the same
@pytest.mark.parametrize("name", [n for n, make in RECIPES.items() if not make().follows_weights])
def test_a_run_stopped_after_any_epoch_ends_bit_identical(name, toy_data, tmp_path):
    dataset = open_dataset(toy_data, size=SMALL["size"])
    recipe = short(name, batch_size=30, **SMALL)
    _, whole = run_of(tmp_path / "whole", recipe, dataset)

    def stop(stats):
        if stats.epoch < 3:
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            run_of(tmp_path / "cut", recipe, dataset, stop)
    _, cut = run_of(tmp_path / "cut", recipe, dataset, stop)
    assert same_weights(whole.model, cut.model)
    assert same_weights(whole.ema.module, cut.ema.module)
    assert same_weights(whole.ema.module, Classifier.load(tmp_path / "cut").model)
    for mine, theirs in zip(whole.history, cut.history, strict=True):
        assert {k: v for k, v in mine.items() if k not in TIMED} == {
            k: v for k, v in theirs.items() if k not in TIMED
        }


def test_the_seed_decides_the_weights(dataset):
    models = []
    for seed in (0, 0, 1):
        trainer = Trainer(RunConfig(short("lenet5plus", epochs=1), seed=seed), dataset, FP32)
        models.append(trainer.fit(trainer.start()).model)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_begins_by_whitening_where_its_recipe_says_so(asked, dataset):
    recipe = short("quick", size=24, crop_pct=1.0, whitening=asked)
    trainer = Trainer(RunConfig(recipe), dataset, FP32)
    began, drawn = trainer.start().model, trainer.untrained().model
    filters = began.conv1.weight.detach()
    assert torch.equal(filters[16:], -filters[:16]) == asked
    assert torch.equal(filters, drawn.conv1.weight.detach()) != asked
    assert torch.equal(began.conv2.weight, drawn.conv2.weight)


def test_it_learns_and_reports_what_the_saved_weights_do(dataset, tmp_path):
    trainer, state = run_of(tmp_path, short("lenet5", epochs=20, batch_size=10), dataset)
    seen = trainer.evaluate(trainer.classifier(state))
    assert list(seen) == ["train", "validation"]
    assert seen["train"].accuracy == 1.0
    assert seen["validation"].accuracy > 0.6
    classifier = Classifier.load(tmp_path)
    reported = seen["validation"].loss
    assert RunFolder(tmp_path).read_history()["validation_loss"][-1] == reported
    # to rounding: a loaded network computes by the library, whatever was fastest in training
    assert classifier.evaluate(dataset).loss == pytest.approx(reported, rel=1e-4)
    assert classifier.class_names == dataset.classes


def test_each_epoch_is_told_as_it_is_kept(dataset, tmp_path):
    told = []
    folder = RunFolder(tmp_path)

    def look(stats):
        assert folder.read_history()["epoch"][-1] == stats.epoch
        assert folder.read_state()["history"][-1] == stats.row
        told.append(stats)

    _, state = run_of(tmp_path, short("lenet5"), dataset, look)
    assert [stats.row for stats in told] == state.history
    assert [stats.epoch for stats in told] == [1, 2, 3]
    for stats in told:
        assert stats.monitored == "validation"
        assert stats.accuracy == stats.row["validation_accuracy"]
        assert 0 < stats.data_seconds < stats.train_seconds < stats.row["seconds"]


def test_without_a_folder_nothing_is_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(RunConfig(short("lenet5", epochs=1), snapshots=True), dataset, FP32)
    assert len(trainer.fit(trainer.start()).history) == 1
    assert not list(tmp_path.iterdir())


def test_more_epochs_train_a_finished_run_further(dataset, tmp_path):
    _, first = run_of(tmp_path, short("lenet5"), dataset)
    _, second = run_of(tmp_path, short("lenet5", epochs=5), dataset)
    assert [row["epoch"] for row in second.history] == [1, 2, 3, 4, 5]
    assert second.history[:3] == first.history
    assert not same_weights(first.model, second.model)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(
    dataset, tmp_path, monkeypatch
):
    run_of(tmp_path, short("lenet5", epochs=1), dataset)
    folder = RunFolder(tmp_path)
    before = folder.read_state()["model"]
    calls = []

    def poisoned(*arguments, **options):
        calls.append(1)
        loss = torch.nn.functional.nll_loss(arguments[0], arguments[1].argmax(dim=1))
        return loss * (torch.nan if len(calls) == 2 else 1)

    monkeypatch.setattr(criterion.F, "cross_entropy", poisoned)
    with pytest.raises(
        Diverged, match=r"loss is nan in epoch 2, step 2.*lower `learning_rate`.*keeps the last"
    ) as stopped:
        run_of(tmp_path, short("lenet5"), dataset)
    assert stopped.value.options == ("learning_rate",)
    after = folder.read_state()["model"]
    assert all(torch.equal(before[k], after[k]) for k in before)
    weights = Classifier.load(tmp_path).model.state_dict().values()
    assert all(torch.isfinite(v).all() for v in weights)
    assert len(folder.read_history()["epoch"]) == 1


class Blind(World):
    """Finds no number for the monitored split, though every weight is one."""

    def evaluate(self, classifier, split):
        seen = super().evaluate(classifier, split)
        return dataclasses.replace(seen, losses=seen.losses * np.nan)


def test_an_epoch_whose_figures_are_no_numbers_is_not_kept(dataset, tmp_path):
    config = RunConfig(short("lenet5"), str(dataset.root))
    trainer = Trainer(config, dataset, FP32, Blind())
    with pytest.raises(
        Diverged, match=r"epoch 1, step 3: training has diverged.*no epoch was kept"
    ):
        trainer.fit(trainer.start(), RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_weights_that_become_no_numbers_are_not_kept(dataset, tmp_path):
    """In the last step of an epoch, whose loss was a number still."""
    trainer = Trainer(RunConfig(short("lenet5"), str(dataset.root)), dataset, FP32)
    folder, state = RunFolder(tmp_path), trainer.start()
    criterion, steps = state.criterion, []

    def loss(logits, targets, images):
        steps.append(1)
        if len(steps) == 2 * state.pace.steps:
            state.model.fc3.weight.register_hook(lambda g: torch.full_like(g, torch.inf))
        return criterion(logits, targets, images)

    state.criterion = loss
    with pytest.raises(Diverged, match="no number in epoch 2, step 3: training has diverged"):
        trainer.fit(state, folder)
    kept = folder.read_state()
    assert len(kept["history"]) == 1
    assert all(torch.isfinite(v).all() for v in kept["model"].values())
    for name in "last", "best":
        folder.classifier(name)  # which refuses what is not finite


@pytest.mark.parametrize("recipe", ["lenet5", "lenet5plus"])
@pytest.mark.parametrize("learning_rate", [1e4, 1e9, 1e30])
def test_a_far_too_high_rate_ends_in_a_sentence_and_keeps_no_such_weights(
    recipe, learning_rate, dataset, tmp_path
):
    asked = short(recipe, epochs=8, learning_rate=learning_rate, schedule="constant")
    try:
        run_of(tmp_path, asked, dataset)
    except Diverged as stopped:
        assert "training has diverged; lower `learning_rate` and start again" in str(stopped)
    else:
        assert learning_rate == 1e4 or recipe == "lenet5plus"  # batch norm bears much
    state = RunFolder(tmp_path).read_state()
    for content in (state or {}).get("model", {}), (state or {}).get("ema", {}).get("model") or {}:
        assert all(torch.isfinite(value).all() for value in content.values())
    for path in tmp_path.glob("*.safetensors"):
        Classifier.load(path)  # which refuses what is not finite
    assert (tmp_path / "history.csv").exists() == (state is not None)


def test_a_holdout_comes_from_train_and_leaves_validation_unread(dataset, tmp_path):
    unreadable = Split(None, np.zeros(1, np.int64), ("not there",))
    blind = dataclasses.replace(dataset, validation=unreadable)
    trainer, state = run_of(tmp_path, short("lenet5"), blind, holdout=0.25)
    assert list(trainer.evaluate(trainer.classifier(state))) == ["train", "holdout"]
    splits = monitored_splits(RunConfig(short("lenet5"), holdout=0.25), dataset)
    paths = {name: set(split.paths) for name, split in splits.named().items()}
    assert paths["train"] | paths["holdout"] == set(dataset.train.paths)
    assert not paths["train"] & paths["holdout"]
    assert np.bincount(splits.monitored.labels).tolist() == [3] * 5
    history = RunFolder(tmp_path).read_history()
    assert "holdout_mean_class_accuracy" in history
    assert not any("validation" in name for name in history)
    best = history["holdout_accuracy"].max()
    assert Classifier.load(tmp_path).evaluate(splits.monitored).accuracy == best


def test_the_best_epoch_is_the_last_of_the_best():
    def history(*accuracies):
        return [{"holdout_accuracy": accuracy} for accuracy in accuracies]

    assert best_epoch(history(0.5)) == 1
    assert best_epoch(history(0.5, 0.7, 0.7, 0.6)) == 3


def test_max_train_images_limits_training_evenly_and_leaves_validation_whole(dataset):
    splits = monitored_splits(RunConfig(short("lenet5"), max_train_images=30), dataset)
    assert np.bincount(splits.train.labels).tolist() == [6] * 5
    assert splits.monitored is dataset.validation
    plenty = monitored_splits(RunConfig(short("lenet5"), max_train_images=10**9), dataset)
    assert plenty.train is dataset.train


def test_nothing_is_held_out_in_vain(dataset):
    one = dataclasses.replace(dataset, train=dataset.train.take(np.arange(0, 60, 12)))
    with pytest.raises(UserError, match=r"`holdout` 0\.1 of 5 training images leaves none"):
        monitored_splits(RunConfig(short("lenet5"), holdout=0.1), one)
    with pytest.raises(UserError, match="`folds` 61 is more than there are training images, 60"):
        monitored_splits(RunConfig(short("lenet5"), folds=61, fold=1), dataset)


def test_a_batch_of_one_image_is_refused(dataset):
    with pytest.raises(UserError, match="a batch of 1 images is too small for 1 process;") as told:
        Trainer(RunConfig(short("lenet5", batch_size=1)), dataset, FP32)
    assert told.value.options == ("batch_size",)


def test_snapshots_are_dense_at_first_and_hold_the_last_epoch():
    kept = [epoch for epoch in range(1, 91) if is_kept(epoch, 90)]
    assert kept == [1, 2, 5, 10, 20, 40, 80, 90]
    assert [epoch for epoch in range(1, 4) if is_kept(epoch, 3)] == [1, 2, 3]


def test_a_snapshot_is_what_was_evaluated_and_survives_a_stop(dataset, tmp_path, monkeypatch):
    recipe = short("lenet5plus", ema_decay=0.5)
    _, state = run_of(tmp_path / "whole", recipe, dataset, snapshots=True)
    snapshots = RunFolder(tmp_path / "whole").snapshots()
    assert list(snapshots) == [1, 2, 3]
    for epoch, classifier in snapshots.items():
        seen = classifier.evaluate(dataset)
        row = state.history[epoch - 1]
        assert seen.loss == pytest.approx(row["validation_loss"], rel=1e-2)  # half precision

    def full(*_):
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_epoch", full)
        with pytest.raises(OSError, match="full"):  # after the first snapshot, before its state
            run_of(tmp_path / "cut", recipe, dataset, snapshots=True)
    run_of(tmp_path / "cut", recipe, dataset, snapshots=True)
    for epoch, classifier in RunFolder(tmp_path / "cut").snapshots().items():
        assert same_weights(classifier.model, snapshots[epoch].model)
