"""One pass finds what the separate views find, and is made again only where something changed."""

import contextlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import until

from convlens.data import batches, open_dataset
from convlens.explorer import survey as survey_module
from convlens.explorer.answers import answer
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.survey import NotThere, NotYet, Survey, Surveyor
from convlens.look import arrays


def test_one_pass_finds_what_the_separate_views_find(own, unet):
    explorer = own(unet)
    explorer.surveyor.run()
    survey, network = explorer.surveys[0], explorer.networks[0]
    classifier = network.classifier
    for split in "train", "validation":
        images = explorer.dataset.split(split).images
        seen = survey.seen(split)
        np.testing.assert_allclose(seen.logits, classifier.logits(images), rtol=1e-4, atol=1e-5)
        features = arrays.features(classifier, images)
        np.testing.assert_allclose(seen.features, features, rtol=1e-4, atol=1e-6)
    for number, stage in enumerate(network.stages[:-1]):
        images = explorer.dataset.train.images
        apart = arrays.top_activating_patches(classifier, images, stage.name)
        found = survey.top_patches(number)
        np.testing.assert_allclose(found.values, apart.values, rtol=1e-4, atol=1e-6)
        same = found.rows == apart.rows  # but where two are as strong to the last digit
        assert same.mean() > 0.95
        np.testing.assert_array_equal(found.boxes[same], apart.boxes[same])
    of_classes = survey.top_patches(len(network.stages) - 1)  # of a linear layer: whole images
    assert of_classes.values.shape == (5, 9)
    assert (of_classes.boxes == [0, 0, 24, 24]).all()


def test_nothing_is_known_before_and_the_progress_is_told(explorer: Explorer):
    survey = explorer.surveys[0]
    for ask in (lambda: survey.seen("train"), lambda: survey.top_patches(0)):
        with pytest.raises(NotYet, match="toy: train images: 0 of 60"):
            ask()
    told = []

    def between() -> None:
        told.append({split: task.done for split, task in survey.tasks.items()})

    explorer.surveyor.give_way = between
    explorer.surveyor.run()
    assert told[0] == {"validation": 0, "train": 0}  # what is kept is looked for first
    assert next(done for done in told if done["validation"]) == {"validation": 16, "train": 0}
    assert told[-1] == {"validation": 20, "train": 48}, "not all, before the answer is to be had"
    assert {split: task.done for split, task in survey.tasks.items()} == {
        "validation": 20,
        "train": 60,
    }
    assert survey.done


def test_a_network_is_copied_before_anybody_asks_it(explorer: Explorer):
    """Else the survey would take over the hooks of a question that is being answered."""
    network, entered = explorer.networks[0], []
    layer = network.model.get_submodule("relu1")
    explorer.surveyor.give_way = lambda: entered.append(threading.get_ident())
    explorer.surveyor.start()
    calls = []
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    until(lambda: explorer.surveys[0].done)
    explorer.surveyor.stop()
    hook.remove()
    assert entered and calls == []


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_a_split_without_images_is_told_and_the_other_is_answered(missing, toy_weights, toy_data):
    dataset = open_dataset(toy_data, size=16)
    nothing = dataset.split(missing).slice(0, 0)
    explorer = Explorer([Network.of_run(toy_weights)], [replace(dataset, **{missing: nothing})])
    explorer.surveyor.run()
    survey = explorer.surveys[0]
    assert survey.done
    (other,) = {"train", "validation"} - {missing}
    assert len(survey.seen(other).logits) == len(dataset.split(other))
    said = "the data set has no (training|validation) images"
    with pytest.raises(NotThere, match=said):
        survey.seen(missing)
    for path in (
        *("api/0/evaluation.json", "api/0/dead.json", "api/0/embedding.json", "api/0/marks.json"),
        *("api/0/patches-0.json", f"api/0/{other[0]}0/neighbors.json", "api/site.json"),
    ):
        with contextlib.suppress(NotThere):
            answer(explorer, path)


def test_of_what_was_kept_the_last_stay(explorer: Explorer, own_cache: Path, monkeypatch):
    monkeypatch.setattr(survey_module, "KEPT", 2)
    (own_cache / "explorer").mkdir(parents=True)
    for age, name in enumerate("abc"):
        (own_cache / "explorer" / f"{name}.npz").touch()
        os.utime(own_cache / "explorer" / f"{name}.npz", (1e9 - age, 1e9 - age))
    explorer.surveyor.run()
    left = {path.name for path in (own_cache / "explorer").glob("*.npz")}
    assert left == {"a.npz", explorer.surveys[0].file().name}


def test_a_second_start_reads_what_the_first_kept(toy_weights, toy_data, monkeypatch):
    first = Explorer.open([toy_weights], toy_data)
    first.surveyor.run()
    monkeypatch.setattr(Survey, "_read", lambda *_: pytest.fail("read again"))
    second = Explorer.open([toy_weights], toy_data)
    second.surveyor.run()
    for split in "train", "validation":
        for what in "logits", "features":
            np.testing.assert_array_equal(
                getattr(second.surveys[0].seen(split), what),
                getattr(first.surveys[0].seen(split), what),
            )
    for one, other in zip(first.surveys[0].patches, second.surveys[0].patches, strict=True):
        for what in "values", "rows", "positions", "boxes":
            np.testing.assert_array_equal(getattr(one, what), getattr(other, what))


def test_other_weights_and_other_images_are_other_surveys(explorer, own, toy_data):
    survey = explorer.surveys[0]
    path = survey.file()
    assert survey.file() == path
    weight = next(explorer.networks[0].model.parameters())
    with torch.no_grad():
        weight[0] += 1e-3
    assert survey.file() != path
    with torch.no_grad():
        weight[0] -= 1e-3
    images = np.array(explorer.dataset.validation.images)
    images[0, 0, 0, 0] ^= 1
    object.__setattr__(explorer.dataset.validation, "images", images)
    assert survey.file() != path


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK"])
def test_a_damaged_file_is_made_anew(explorer: Explorer, toy_weights, toy_data, damage):
    explorer.surveyor.run()
    path = explorer.surveys[0].file()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = Explorer.open([toy_weights], toy_data)
    again.surveyor.run()
    assert again.surveys[0].done
    with np.load(path) as kept:
        assert "train-logits" in kept


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(explorer, own_cache: Path, caplog):
    (own_cache / "explorer").write_text("a file in the folder's place", encoding="utf-8")
    explorer.surveyor.run()
    assert explorer.surveys[0].done
    assert "not kept" in caplog.text


def test_another_temperature_is_the_same_survey(explorer: Explorer):
    """Logits are kept, from which probabilities are made when they are asked for."""
    path = explorer.surveys[0].file()
    explorer.networks[0].classifier.temperature = 2.0
    assert explorer.surveys[0].file() == path


def test_a_large_data_set_is_read_a_batch_ahead(explorer: Explorer, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(batches, "will_need", lambda images, rows: asked.extend(rows.tolist()))
    survey, done = explorer.surveys[0], []

    def between() -> None:
        done.append(survey.tasks["train"].done)
        assert asked == list(range(min(16 * len(done) + 16, 60)))

    survey.read_training(explorer.networks[0].copy, between)
    assert done == [16, 32, 48, 48]
    assert survey.tasks["train"].done == 60


def test_the_thread_ends_within_a_batch(explorer: Explorer):
    surveyor = explorer.surveyor
    seen = []

    def once() -> None:
        seen.append(1)
        surveyor._stop.set()

    surveyor.give_way = once
    surveyor.start()
    surveyor._thread.join(20)
    assert not surveyor._thread.is_alive()
    assert (len(seen), surveyor.failure) == (1, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_told_and_not_waited_for(explorer: Explorer, monkeypatch):
    monkeypatch.setattr(Survey, "file", lambda *_: 1 / 0)
    surveyor: Surveyor = explorer.surveyor
    surveyor.start()
    surveyor._thread.join(20)
    assert surveyor.failure == "the data set could not be read through (division by zero)"
