"""What the command line prints of names: a terminal shows them and obeys nothing in them."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convlens.cli import main
from convlens.escape import from_csv_cell
from convlens.files import read_csv
from convlens.inference import Classifier

NAMES = ("\x1b[31mred", "=1+1", "\u202egnp", "张三", "two\nlines")  # of a file somebody sends
FOLDERS = ("+1-1", "=1+1", "@x", "\u202egnp", "张三")  # a class folder has no control characters


@pytest.fixture
def named(toy_weights, tmp_path) -> Path:
    """A weights file whose classes have such names."""
    network = Classifier.load(toy_weights)
    return network.with_model(network.model, class_names=NAMES).save(tmp_path / "w.safetensors")


@pytest.fixture
def data(toy_data, tmp_path) -> Path:
    """The toy images in class folders of such names."""
    for split in ("train", "validation"):
        folders = sorted((toy_data / split).iterdir())
        for folder, name in zip(folders, FOLDERS, strict=True):
            (tmp_path / "\x1b]0;data" / split / name).mkdir(parents=True)
            for image in folder.iterdir():
                target = tmp_path / "\x1b]0;data" / split / name / image.name
                target.write_bytes(image.read_bytes())
    return tmp_path / "\x1b]0;data"


def test_predictions_on_a_terminal_obey_no_name(named, toy_data, tell):
    image = toy_data / "train" / "red_cross" / "image_0001.png"
    told = tell("predict", named, image, "--top", "5", "--device", "cpu")
    for shown in (r"\x1b[31mred", r"\u202egnp", "张三", "=1+1"):
        assert f" {shown} " in told
    assert "\x1b" not in told and "\u202e" not in told


def test_csv_of_predictions_gives_the_names_again(named, toy_data, tell):
    image = toy_data / "train" / "red_cross" / "image_0001.png"
    told = tell("predict", named, image, "--top", "5", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(told, newline="")))
    assert "'=1+1" in {row["class"] for row in rows}
    assert {from_csv_cell(row["class"]) for row in rows} == set(NAMES)


def test_csv_is_utf_8_whatever_the_system_writes(named, toy_data, own_cache):
    image = toy_data / "train" / "red_cross" / "image_0001.png"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "convlens", "predict", str(named), str(image)),
            *("--top", "5", "--format", "csv", "--device", "cpu"),
        ],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert "张三" in done.stdout.decode("utf-8")


def test_tables_of_an_evaluation_give_the_names_again(named, data, tmp_path, tell):
    trained = Classifier.load(named)
    weights = trained.with_model(trained.model, class_names=FOLDERS).save(tmp_path / "s")
    told = tell("evaluate", weights, "--data", data, "--device", "cpu", "--out", tmp_path / "out")
    assert r"\x1b]0;data" in told and "\x1b" not in told
    header, *rows = read_csv(tmp_path / "out" / "confusion.csv")
    assert tuple(header[1:]) == tuple(row[0] for row in rows) == FOLDERS
    assert tuple(row[0] for row in read_csv(tmp_path / "out" / "per_class.csv")[1:]) == FOLDERS


def test_an_error_is_one_line_that_commands_nothing(tmp_path, refuse):
    told = refuse("predict", tmp_path / "no\x1b[2J\nsuch\u202erun", tmp_path)
    assert r"no\x1b[2J\nsuch\u202erun" in told


def test_an_audit_of_such_names_commands_nothing(data, tell):
    told = tell("data", "audit", "--data", data)
    assert r"\x1b]0;data" in told
    assert "\x1b" not in told and "\u202e" not in told


def test_an_audit_that_finds_fault_commands_nothing(data, capsys):
    (data / "train" / "\x1b[2Jsixth").mkdir()
    with pytest.raises(SystemExit):
        main(["data", "audit", "--data", str(data)])
    for told in capsys.readouterr():
        assert r"\x1b" in told and "\x1b" not in told and "\u202e" not in told
