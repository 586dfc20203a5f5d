"""A data set whose names are not ASCII works under any locale, from training to its tables."""

import json
import os
import shutil
from pathlib import Path

import pytest
from processes import told_by

from convlens.files import read_csv
from convlens.training.run_folder import RunFolder

NAMES = {"blue_disc": "café", "red_cross": "狗", "green_square": "ёж 🦔"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}


@pytest.fixture
def data(toy_data, tmp_path) -> Path:
    """Three of the toy classes, in folders of such names."""
    for split in "train", "validation":
        for old, new in NAMES.items():
            (tmp_path / "dàtà" / split).mkdir(parents=True, exist_ok=True)
            folder = shutil.copytree(toy_data / split / old, tmp_path / "dàtà" / split / new)
            for image in folder.iterdir():
                image.rename(image.with_name(f"é{image.name}"))
    return tmp_path / "dàtà"


def convlens(locale: dict[str, str], *commands: tuple[object, ...]) -> list[str]:
    """What each command prints, as bytes that are read as UTF-8; one process runs them all."""
    environment = {name: value for name, value in os.environ.items() if name != "LANG"}
    told, errors = told_by(commands, environment | {"PYTHONWARNDEFAULTENCODING": "1"} | locale)
    complaints = errors.decode("utf-8").splitlines()
    own = [line for line in complaints if "EncodingWarning" in line and "convlens" in line]
    assert [line for line in own if "site-packages" not in line] == []
    return [each.decode("utf-8") for each in told]


def test_a_run_is_made_continued_and_used_under_any_locale(data, tmp_path):
    run, classes = tmp_path / "rün", sorted(NAMES.values())
    plain = ("--batch-size", 16, "--device", "cpu", "--precision", "fp32")
    made = ("train", "lenet5", "--data", data, "--out", run, "--epochs", 1, *plain)
    convlens(ASCII, (*made, "--holdout", "0.25"))
    assert list(RunFolder(run).classifier().class_names) == classes
    assert read_csv(run / "confusion.csv")[0][1:] == classes
    assert "café" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    (told,) = convlens(UTF8, ("train", "--resume", run, "--epochs", 2))
    assert "dàtà: 3 classes" in told
    assert RunFolder(run).read_history()["epoch"].tolist() == [1, 2]

    looks = ("--view", "activations", "--layer", "conv1", "--map", 0, "--out", tmp_path / "lóoks")
    taught = ("train", "lenet5", "--data", data, "--out", tmp_path / "gelehrt", "--epochs", 1)
    _, measured, predicted, _, audited = convlens(
        ASCII,
        ("look", run, data / "train/狗/éimage_0001.png", *looks),
        ("evaluate", run, "--out", tmp_path / "évaluation", "--device", "cpu"),
        ("predict", run, data / "validation/café", "--format", "json", "--device", "cpu"),
        (*taught, *plain, "--distillation", "0.5", "--teachers", run),
        ("data", "audit", "--data", data, "--out", tmp_path / "pâirs"),
    )
    assert (tmp_path / "lóoks/activations-狗-éimage_0001-conv1-map0.png").exists()
    assert r"d\xe0t\xe0: 3 classes" in measured
    _, *rows = read_csv(tmp_path / "évaluation/per_class.csv")
    assert [row[0] for row in rows] == classes
    assert [Path(each["path"]).name for each in json.loads(predicted)] == [
        f"éimage_{number:04d}.png" for number in (1, 2, 3, 4)
    ]
    # the teacher's place is kept as it is read by any locale
    assert RunFolder(tmp_path / "gelehrt").read_config().teachers == (str(run),)
    assert "unreadable       none" in audited
    assert (tmp_path / "pâirs/near-duplicates.csv").exists()


def test_a_split_is_written_under_an_ascii_locale(data, tmp_path):
    convlens(ASCII, ("data", "split", data / "train", "--out", tmp_path / "geteilt"))
    written = {path.parent.name for path in (tmp_path / "geteilt").glob("*/*/*.png")}
    assert written == set(NAMES.values())
