import contextlib
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from convlens import formats
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.files import temporary_name, write_json, write_yaml
from convlens.inference import Classifier
from convlens.recipes import RECIPES
from convlens.training.config import RunConfig
from convlens.training.distributed import World
from convlens.training.run_folder import LOCK, RunFolder

ROW = {"epoch": 1, "train_loss": 1 / 3, "validation_accuracy": 0.1}
CONTENT = {"model": {"w": torch.arange(3.0)}, "convolutions": {}}


@contextlib.contextmanager
def full_disk():
    """Files cannot grow beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def classifier(toy_weights):
    return Classifier.load(toy_weights)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_history_keeps_every_digit(folder):
    folder.write_history([ROW, ROW | {"epoch": 2, "train_loss": np.float64(1e-17) / 3}])
    history = folder.read_history()
    assert list(history) == list(ROW)
    assert history["epoch"].tolist() == [1, 2]
    assert history["train_loss"].tolist() == [1 / 3, 1e-17 / 3]


@pytest.mark.parametrize(
    "content", ["", "epoch,train_loss\n", "epoch,train_loss\n1,x\n", "a,b\n1\n"]
)
def test_a_damaged_history_is_named(content, folder):
    (folder.path / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history\.csv is damaged; `convlens train --resume"):
        folder.read_history()


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "null"])
def test_damaged_metrics_are_named(content, folder):
    with pytest.raises(UserError, match=r"no metrics\.json; .* finishes it"):
        folder.read_metrics()
    (folder.path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json is damaged; `convlens train --resume"):
        folder.read_metrics()


def test_the_state_comes_back_and_is_none_where_there_is_none(folder, classifier):
    assert folder.read_state() is None
    assert not folder.has_state
    folder.save_epoch(classifier, [ROW], CONTENT, best=True)
    state = folder.read_state()
    assert folder.has_state and not folder.is_finished
    assert (state["history"], state["format"]) == ([ROW], formats.FORMAT)
    assert torch.equal(state["model"]["w"], torch.arange(3.0))


@pytest.mark.parametrize("best", [True, False])
def test_an_epoch_leaves_its_weights_and_the_best_ones_where_they_are_the_best(
    best, folder, classifier
):
    before = classifier.with_model(classifier.model, temperature=2.0)
    folder.save_epoch(before, [ROW], CONTENT, best=True)
    folder.save_epoch(classifier, [ROW, ROW], CONTENT, best=best)
    assert {path.name for path in folder.path.iterdir()} == {
        "last.safetensors",
        "best.safetensors",
        "history.csv",
        "state.pt",
    }
    assert folder.classifier("last").temperature == 1.0
    assert folder.classifier().temperature == (1.0 if best else 2.0)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_truncated_state_is_named(keep, folder, classifier):
    folder.save_epoch(classifier, [ROW], CONTENT, best=False)
    path = folder.path / "state.pt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"state\.pt cannot be read .*; start a new run"):
        folder.read_state()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        None,
        torch.zeros(3),
        {},
        {"format": 2},
        {"format": 2, "history": {}, "convolutions": {}},
        {"format": 2, "history": [1], "convolutions": {}},
        {"format": 2, "history": []},
        {"format": 2, "history": [], "convolutions": []},
        {"format": 2, "history": [], "convolutions": {"conv1": "dense"}},
        {"format": 2, "history": [], "convolutions": {"conv1": {"2x2": ["dense"]}}},
        {"history": [], "model": {}, "average": {}, "optimisers": [], "plan": []},
        {"history": [], "model": {}, "average": {}, "optimisers": [], "plan": {"conv1": 3}},
        {"history": [], "model": {}, "average": {}},
    ],
    ids=range(14),
)
def test_a_state_of_something_else_is_named(content, folder):
    torch.save(content, folder.path / "state.pt")
    with pytest.raises(UserError, match=r"state\.pt cannot be read .*; start a new run"):
        folder.read_state()


@pytest.mark.parametrize("what", ["weights", "state", "history", "json", "yaml"])
def test_a_full_disk_is_an_error_that_leaves_the_old_file(what, classifier, folder, monkeypatch):
    path = folder.path
    name, write = {
        "weights": ("w", lambda: classifier.save(path / "w")),
        "state": ("state.pt", lambda: folder.save_epoch(classifier, [ROW], CONTENT, best=False)),
        "history": ("history.csv", lambda: folder.write_history([ROW] * 9)),
        "json": ("m.json", lambda: write_json(path / "m.json", ROW)),
        "yaml": ("c.yaml", lambda: write_yaml(path / "c.yaml", ROW)),
    }[what]
    (path / name).write_text("old")
    if what == "state":  # what is written before it finds room
        monkeypatch.setattr(Classifier, "save", lambda *_: None)
        monkeypatch.setattr(folder, "write_history", lambda *_: None)
    with pytest.raises(OSError, match="File too large"), full_disk():
        write()
    assert [path.name for path in path.iterdir()] == [name]
    assert (path / name).read_text() == "old"


def test_what_asks_for_a_run_and_finds_none_says_what_to_do(folder):
    with pytest.raises(UserError, match=r"holds no config\.yaml; give the folder of a run"):
        folder.read_config()
    with pytest.raises(UserError, match="holds no snapshots; train with `snapshots`") as told:
        folder.snapshots()
    assert told.value.options == ("snapshots",)
    with pytest.raises(UserError, match=r"holds no best\.safetensors"):
        folder.classifier()


def test_a_weights_file_stands_for_a_run_where_no_run_is_needed(toy_weights, toy_data):
    folder = RunFolder(toy_weights)
    classifier = folder.classifier()
    assert classifier.size == 16
    assert folder.open_for(classifier, toy_data).size == 16


def test_the_data_set_of_a_run_is_found_again_or_named(finished_run, toy_data, tmp_path):
    folder = RunFolder(finished_run)
    classifier = folder.classifier()
    dataset = folder.open_for(classifier)
    assert (dataset.root, dataset.size) == (toy_data, 64)
    assert folder.open_dataset(*classifier.loading).loading == classifier.loading
    gone = f"{tmp_path}/gone"
    text = (finished_run / "config.yaml").read_text()
    (finished_run / "config.yaml").write_text(text.replace(str(toy_data), gone))
    with pytest.raises(UserError, match=f"the data set {gone} of .* is not there") as told:
        folder.open_for(classifier)
    assert told.value.options == ("data",)
    assert folder.open_for(classifier, toy_data).root == toy_data


def test_what_a_run_left_out_of_its_own_data_is_left_out_of_no_other(
    finished_run, toy_data, tmp_path
):
    folder = RunFolder(finished_run)
    table = tmp_path / "doubtful.csv"
    table.write_text("path\nvalidation/red_cross/image_0001.png\n", encoding="utf-8")
    folder.write_config(replace(folder.read_config(), exclude=str(table)))
    other = shutil.copytree(toy_data, tmp_path / "other")
    counts = [
        len(folder.open_dataset(64, "squash", data, reading).validation)
        for data, reading in (
            (None, None),
            (toy_data, None),
            (other, None),
            (other, Reading(exclude=str(table))),
        )
    ]
    assert counts == [19, 19, 20, 19]


def test_the_columns_of_a_run_s_own_list_are_asked_of_no_other(finished_run, toy_data, tmp_path):
    folder = RunFolder(finished_run)
    rows = [
        (path.relative_to(toy_data).as_posix(), path.parent.name)
        for path in sorted(toy_data.glob("*/*/*.png"))
    ]
    own, other = tmp_path / "own", tmp_path / "other"
    for root, column in (own, "what"), (other, "label"):
        shutil.copytree(toy_data, root)
        lines = "".join(f"{path},{name}\n" for path, name in rows)
        (root / "list.csv").write_text(f"file,{column},more\n{lines}", encoding="utf-8")
    config = replace(folder.read_config(), data=str(own / "list.csv"), label_column="what")
    folder.write_config(config)
    for data in None, own / "list.csv", other / "list.csv":
        assert len(folder.open_dataset(64, "squash", data).validation) == 20
    shutil.move(own, tmp_path / "moved")  # so that it may be this one
    assert len(folder.open_dataset(64, "squash", tmp_path / "moved/list.csv").validation) == 20


class Counting(World):
    """A world of which it is known how often its processes spoke to each other."""

    exchanges = 0

    def first(self, function, *arguments):
        Counting.exchanges += 1
        return super().first(function, *arguments)


def test_the_first_process_may_use_the_folder_while_the_others_wait(finished_run, monkeypatch):
    """A second exchange inside the first would be one that the other processes never join."""
    monkeypatch.setattr(Counting, "exchanges", 0)
    folder = RunFolder(finished_run, Counting())

    def use():
        folder.read_config(), folder.read_metrics(), folder.classifier(), folder.read_state()
        folder.first(folder.first, folder.read_history)
        return folder.is_finished, folder.has_state

    assert folder.first(use) == (True, True)
    assert Counting.exchanges == 1

    def fail():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        folder.first(fail)
    folder.read_config()  # and outside, the others take part again
    assert Counting.exchanges == 3


def begin(folder, **changes):
    folder.begin(RunConfig(RECIPES["lenet5"](), **changes))


def test_a_run_begins_where_nothing_is(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "mine")
    folder.check_free()
    begin(folder, seed=3)
    assert folder.read_config().seed == 3
    with pytest.raises(UserError, match=r"exists; `resume` .* continues it") as told:
        folder.check_free()
    assert told.value.options == ("resume", "out", "overwrite")
    folder.check_free(overwrite=True)


def test_nothing_of_an_overwritten_run_is_left_that_could_pass_for_the_new_ones(finished_run):
    (finished_run / "snapshots").mkdir()
    (finished_run / "snapshots/epoch-0001.safetensors").touch()
    (finished_run / "test").mkdir()
    (finished_run / "test/confusion.csv").touch()
    folder = RunFolder(finished_run)
    begin(folder)
    assert not folder.is_finished and not folder.has_state
    left = {path.name for path in finished_run.iterdir()}
    assert left == {"config.yaml"}


def test_a_start_that_was_cut_in_its_first_file_is_no_run(tmp_path):
    (tmp_path / ".config.4194304.0123abcd.tmp.yaml").write_text("form")
    (tmp_path / LOCK).touch()
    RunFolder(tmp_path).check_free()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="exists"):
        RunFolder(tmp_path).check_free()
    with pytest.raises(UserError, match="no run folder, so it is not overwritten"):
        RunFolder(tmp_path).check_free(overwrite=True)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; give another folder with `out`"):
        RunFolder(tmp_path / "file").check_free(overwrite=True)


def test_one_program_at_a_time_writes_to_a_run(tmp_path):
    left = tmp_path / temporary_name("state.pt").replace(f".{os.getpid()}.", ".4194304.")  # is dead
    left.touch()
    with RunFolder(tmp_path).held():
        assert not left.exists()
        with (
            pytest.raises(UserError, match="another program is writing to") as told,
            RunFolder(tmp_path).held(),
        ):
            pass
        assert told.value.options == ("out",)
        code = (
            "import sys; from convlens.training.run_folder import RunFolder\n"
            "with RunFolder(sys.argv[1]).held(): print('got it')"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
        )
        assert "another program is writing to" in other.stderr
    with RunFolder(tmp_path).held():
        assert os.listdir(tmp_path) == [LOCK]
    assert not os.listdir(tmp_path)


def test_texts_are_utf8_whatever_the_locale(folder):
    folder.write_metrics({"класс": "数"})
    assert (folder.path / "metrics.json").read_bytes().decode() == '{\n  "класс": "数"\n}\n'
    begin(folder, data="/数")
    assert "data: /数" in (folder.path / "config.yaml").read_bytes().decode()
