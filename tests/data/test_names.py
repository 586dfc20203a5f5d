"""A data set whose names are not ASCII works under any locale, from training to its tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convlens.files import read_csv
from convlens.training.run import train
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


def convlens(locale: dict[str, str], *arguments: object) -> str:
    """What the command prints, as bytes that are read as UTF-8."""
    environment = {name: value for name, value in os.environ.items() if name != "LANG"}
    done = subprocess.run(
        [sys.executable, "-m", "convlens", *map(str, arguments)],
        env=environment | {"PYTHONWARNDEFAULTENCODING": "1"} | locale,
        capture_output=True,
        check=False,
    )
    errors = done.stderr.decode("utf-8")
    assert done.returncode == 0, errors
    own = [line for line in errors.splitlines() if "EncodingWarning" in line and "convlens" in line]
    assert [line for line in own if "site-packages" not in line] == []
    return done.stdout.decode("utf-8")


def test_a_run_under_an_ascii_locale_is_one_under_any(data, tmp_path):
    run, classes = tmp_path / "rün", sorted(NAMES.values())
    convlens(
        ASCII,
        "train",
        "lenet5",
        "--data",
        data,
        "--out",
        run,
        "--epochs",
        1,
        "--batch-size",
        16,
        "--holdout",
        "0.25",
        "--device",
        "cpu",
        "--precision",
        "fp32",
    )
    assert list(RunFolder(run).classifier().class_names) == classes
    assert read_csv(run / "confusion.csv")[0][1:] == classes
    assert "café" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "dàtà: 3 classes" in convlens(UTF8, "train", "--resume", run, "--epochs", 2)
    assert RunFolder(run).read_history()["epoch"].tolist() == [1, 2]
    convlens(ASCII, "look", run, data / "train/狗/éimage_0001.png", "--out", tmp_path / "lóoks")
    assert (tmp_path / "lóoks/activations-狗-éimage_0001-conv1.png").exists()


def test_a_run_is_used_under_an_ascii_locale(data, tmp_path):
    run, classes = tmp_path / "rün", sorted(NAMES.values())
    train("lenet5", data=data, out=run, epochs=1, batch_size=16, device="cpu", precision="fp32")
    told = convlens(ASCII, "evaluate", run, "--out", tmp_path / "évaluation", "--device", "cpu")
    assert r"d\xe0t\xe0: 3 classes" in told
    _, *rows = read_csv(tmp_path / "évaluation/per_class.csv")
    assert [row[0] for row in rows] == classes
    images = data / "validation/café"
    told = convlens(ASCII, "predict", run, images, "--format", "json", "--device", "cpu")
    assert [Path(each["path"]).name for each in json.loads(told)] == [
        f"éimage_{number:04d}.png" for number in (1, 2, 3, 4)
    ]
    options = ("--out", tmp_path / "gelehrt", "--epochs", 1, "--batch-size", 16, "--device", "cpu")
    student = ("lenet5", "--data", data, *options, "--distillation", "0.5", "--teachers", run)
    convlens(ASCII, "train", *student)  # the teacher's place is kept as it is read by any locale
    assert RunFolder(tmp_path / "gelehrt").read_config().teachers == (str(run),)
    told = convlens(ASCII, "data", "audit", "--data", data, "--out", tmp_path / "pâirs")
    assert "unreadable       none" in told
    assert (tmp_path / "pâirs/near-duplicates.csv").exists()


def test_a_split_is_written_under_an_ascii_locale(data, tmp_path):
    convlens(ASCII, "data", "split", data / "train", "--out", tmp_path / "geteilt")
    written = {path.parent.name for path in (tmp_path / "geteilt").glob("*/*/*.png")}
    assert written == set(NAMES.values())
