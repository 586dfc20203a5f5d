import contextlib
import dataclasses
import json
import resource
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from convlens.errors import UserError
from convlens.training.run_folder import (
    load_state,
    load_trained,
    read_history,
    save_state,
    save_weights,
    write_history,
    write_json,
    write_yaml,
)

ROW = {"epoch": 1, "train_loss": 1 / 3, "validation_accuracy": 0.1}


@contextlib.contextmanager
def full_disk():
    """Files cannot grow beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_network_comes_back_exactly_with_all_that_is_needed_to_use_it(toy_weights, tmp_path):
    trained = dataclasses.replace(
        load_trained(toy_weights), classes=("é", "数", "a,b", '"', "x"), commit="abc-dirty"
    )
    save_weights(tmp_path / "best.safetensors", trained)
    again = load_trained(tmp_path)  # a run folder stands for its best weights
    plain = {"model": None, "mean": None, "std": None}
    assert dataclasses.replace(again, **plain) == dataclasses.replace(trained, **plain)
    assert torch.equal(again.mean, trained.mean) and torch.equal(again.std, trained.std)
    assert not again.model.training
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.model(x), trained.model(x))


def test_a_weights_file_can_be_read_by_whoever_may_read_its_folder(toy_weights, tmp_path):
    (tmp_path / "plain").touch()
    save_weights(tmp_path / "w.safetensors", load_trained(toy_weights))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_where_there_are_no_weights_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds no best\.safetensors; give the folder of a"):
        load_trained(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist; give a run folder or"):
        load_trained(tmp_path / "nowhere")


@pytest.mark.parametrize("lacking", ["network", "classes", "size", "mean", "recipe"])
def test_weights_without_what_is_needed_to_use_them_are_refused(lacking, toy_weights, tmp_path):
    trained = load_trained(toy_weights)
    fields = {f.name: getattr(trained, f.name) for f in dataclasses.fields(trained)[1:]}
    fields |= {"mean": trained.mean.tolist(), "std": trained.std.tolist()}
    del fields[lacking]
    save_file(load_file(toy_weights), tmp_path / "w", {"convlens": json.dumps(fields)})
    with pytest.raises(UserError, match=r"w is not a weights file of ConvLens \(KeyError\)"):
        load_trained(tmp_path / "w")


def test_weights_of_another_network_are_refused(toy_weights, tmp_path):
    trained = dataclasses.replace(load_trained(toy_weights), classes=("a", "b"))
    save_weights(tmp_path / "w", trained)
    with pytest.raises(UserError, match=r"w is not a weights file of ConvLens \(RuntimeError\)"):
        load_trained(tmp_path / "w")


def test_history_keeps_every_digit(tmp_path):
    write_history(tmp_path, [ROW, ROW | {"epoch": 2, "train_loss": np.float64(1e-17) / 3}])
    history = read_history(tmp_path)
    assert list(history) == list(ROW)
    assert history["epoch"].tolist() == [1, 2]
    assert history["train_loss"].tolist() == [1 / 3, 1e-17 / 3]


@pytest.mark.parametrize(
    "content", ["", "epoch,train_loss\n", "epoch,train_loss\n1,x\n", "a,b\n1\n"]
)
def test_a_damaged_history_is_named(content, tmp_path):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history\.csv is damaged; `convlens train --resume"):
        read_history(tmp_path)


def test_the_state_comes_back_and_is_none_where_there_is_none(tmp_path):
    assert load_state(tmp_path) is None
    save_state(tmp_path, {"history": [ROW], "model": {"w": torch.arange(3.0)}})
    state = load_state(tmp_path)
    assert state["history"] == [ROW]
    assert torch.equal(state["model"]["w"], torch.arange(3.0))


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_damaged_state_is_named(keep, tmp_path):
    save_state(tmp_path, {"history": [ROW], "model": {"w": torch.zeros(99)}})
    path = tmp_path / "state.pt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"state\.pt cannot be read .*; start a new run"):
        load_state(tmp_path)


@pytest.mark.parametrize("what", ["weights", "state", "history", "json", "yaml"])
def test_a_full_disk_is_an_error_that_leaves_the_old_file(what, toy_weights, tmp_path):
    name, write = {
        "weights": ("w", lambda: save_weights(tmp_path / "w", load_trained(toy_weights))),
        "state": ("state.pt", lambda: save_state(tmp_path, {"history": [ROW]})),
        "history": ("history.csv", lambda: write_history(tmp_path, [ROW] * 9)),
        "json": ("m.json", lambda: write_json(tmp_path / "m.json", ROW)),
        "yaml": ("c.yaml", lambda: write_yaml(tmp_path / "c.yaml", ROW)),
    }[what]
    (tmp_path / name).write_text("old")
    with pytest.raises(OSError, match="File too large"), full_disk():
        write()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_texts_are_utf8_whatever_the_locale(tmp_path):
    write_json(tmp_path / "a.json", {"класс": "数"})
    write_yaml(tmp_path / "a.yaml", {"класс": "数"})
    assert (tmp_path / "a.json").read_bytes().decode() == '{\n  "класс": "数"\n}\n'
    assert (tmp_path / "a.yaml").read_bytes().decode() == "класс: 数\n"
