"""`convlens evaluate`, `predict` and `export`."""

import csv
import io
import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import told_by

import convlens as cl
from convlens.cli import main
from convlens.files import MARKER, read_csv
from convlens.formats import FORMAT
from convlens.inference import Classifier
from convlens.inference.metrics import score
from convlens.training.run_folder import RunFolder

FORMS = ("text", "csv", "json")  # of what predict says


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_evaluate_agrees_with_the_run_and_with_its_weights_in_half(finished, tmp_path, tell):
    run, told = finished
    metrics = RunFolder(run).read_metrics()
    lines = told.splitlines()[5:7]
    again = tell("evaluate", run, "--out", tmp_path / "out", "--device", "cpu")
    assert [line for line in again.splitlines() if "mean per class" in line] == lines
    measured = read(tmp_path / "out" / "metrics.json")
    assert measured.pop("format") == FORMAT
    more = score(np.eye(2, dtype=np.float32), np.arange(2)).measures()
    train = {f"train_{name}" for name in more}  # a finished run tells less of these
    assert measured.keys() - metrics.keys() == train - {"train_accuracy"}
    assert measured.keys() >= {f"validation_{name}" for name in more} | {"train_loss"}
    for name in measured.keys() & metrics.keys():
        assert numbers(measured[name]) == pytest.approx(numbers(metrics[name]), rel=1e-6), name
    assert {path.name for path in (tmp_path / "out").iterdir()} - {MARKER} == {
        "metrics.json",
        "confusion.csv",
        "confusion.png",
        "per_class.csv",
        "per_class.png",
        "reliability.png",
        "worst.png",
    }
    assert again.splitlines()[-1] == f"wrote      {tmp_path / 'out'}"
    small = Classifier.load(run).save(tmp_path / "small.safetensors", half=True)
    data = RunFolder(run).read_config().data
    tell("evaluate", small, "--data", data, "--out", tmp_path / "half", "--device", "cpu")
    half = read(tmp_path / "half" / "metrics.json")
    for name, value in measured.items():  # an image on the brink may change sides
        assert numbers(half[name]) == pytest.approx(numbers(value), abs=tolerance(name)), name


def numbers(value: Any) -> list[float]:
    """A figure, or the two ends of an interval; none where it is null."""
    return [] if value is None else np.ravel(value).tolist()


def tolerance(name: str) -> float:
    """What an image on the brink may change; a precision has a class's few in its denominator."""
    return 0.01 if "loss" in name else 0.1 if "macro" in name or "interval" in name else 0.05


def test_where_the_data_of_a_run_have_changed_it_is_said(finished_run, toy_data, tmp_path, tell):
    """What is validation now may have been trained on then."""
    folder = RunFolder(finished_run)
    data = shutil.copytree(toy_data / "train", tmp_path / "photos")
    dataset = cl.open_dataset(data, size=64)
    config = replace(folder.read_config(), data=str(data), digest=dataset.digest)
    folder.write_config(config)

    def noted(*options) -> list[str]:
        told = tell("evaluate", finished_run, "--device", "cpu", *options).splitlines()
        return [line for line in told if "may be among those trained on" in line]

    assert noted() == []
    (line,) = noted("--split-seed", 3)
    assert "is split by another seed than in training" in line
    shutil.copy(data / "red_cross" / "image_0001.png", data / "red_cross" / "image_0099.png")
    for options in (), ("--data", data):  # it is the run's own, named or not
        (line,) = noted(*options)
        assert f"the data set has changed since {finished_run} was trained on it" in line
    other = shutil.copytree(data, tmp_path / "other")
    inside = shutil.copytree(other, data / "red_cross" / "inside")
    (line,) = noted("--data", inside)
    assert f"lies in the one that {finished_run} was trained on: its images may be" in line
    assert noted("--data", other) == []


def test_classes_of_the_network_that_a_folder_lacks_are_named(
    toy_weights, toy_data, tell, tmp_path
):
    data = tmp_path / "some"
    shutil.copytree(toy_data / "train", data)
    gone = sorted(path for path in data.iterdir())[:2]
    for folder in gone:
        shutil.rmtree(folder)
    told = tell("evaluate", toy_weights, "--data", data, "--device", "cpu").splitlines()
    names = ", ".join(folder.name for folder in gone)
    line = f"note       2 classes have no image here, of those that the network knows: {names}"
    assert line in told


def test_a_folder_per_class_alone_is_measured_as_one(toy_weights, toy_data, tell):
    data = toy_data / "train"
    told = tell("evaluate", toy_weights, "--data", data, "--device", "cpu").splitlines()
    assert (
        told[0]
        == f"data set   train: 5 classes, 60 images of 16×16, squashed if not square ({data})"
    )
    assert told[2] == "note       a folder per class alone, measured as one"
    (figures,) = (line for line in told if "mean per class" in line)
    assert figures.startswith("all        loss ")
    (split,) = (
        line
        for line in tell(
            "evaluate", toy_weights, "--data", toy_data, "--device", "cpu"
        ).splitlines()
        if line.startswith("train ")
    )
    assert figures.split()[1:] == split.split()[1:]


def test_evaluate_does_not_write_into_a_run(finished, refuse):
    run, _ = finished
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    told = refuse("evaluate", run, "--out", run, "--device", "cpu")
    assert f"{run} is a run, whose own record would be replaced; give another folder" in told
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_evaluate_leaves_out_what_training_saw(toy_weights, toy_data, tmp_path, tell, refuse):
    data = tmp_path / "toy"
    shutil.copytree(toy_data, data)
    source = data / "train" / "cyan_bar" / "image_0003.png"
    shutil.copyfile(source, data / "validation" / "cyan_bar" / "image_0002.png")
    command = ("evaluate", toy_weights, "--data", data, "--device", "cpu", "--out")
    told = tell(*command, tmp_path / "out", "--without-near-duplicates")
    assert "\nleft out   1 of 20 validation images, which have a near-duplicate in train/\n" in told
    header, *per_class = read_csv(tmp_path / "out" / "per_class.csv")
    assert [row[1] for row in per_class] == ["4", "3", "4", "4", "4"]
    classes = [dict(zip(header, row, strict=True)) for row in per_class]
    _, *matrix = read_csv(tmp_path / "out" / "confusion.csv")
    for number, (found, row) in enumerate(zip(classes, matrix, strict=True)):
        assert float(found["recall"]) == int(row[number + 1]) / int(found["images"])
        named = sum(int(other[number + 1]) for other in matrix)
        assert int(found["predicted"]) == named
        precision = int(row[number + 1]) / named if named else math.nan
        assert float(found["precision"] or "nan") == pytest.approx(precision, nan_ok=True)
        assert float(found["recall_low"]) <= float(found["recall"]) <= float(found["recall_high"])
    shutil.rmtree(data / "validation")
    shutil.copytree(data / "train", data / "validation")
    told = refuse(*command, tmp_path / "none", "--without-near-duplicates")
    assert told == "every validation image has a near-duplicate in train/; none is left"
    assert not (tmp_path / "none").exists()


def test_fast_answers_are_nearly_the_exact_ones(toy_weights, toy_data, tmp_path, tell):
    command = ("predict", toy_weights, toy_data / "validation", "--device", "cpu")
    exact, fast = (
        json.loads(tell(*command, "--format", "json", *options)) for options in ([], ["--fast"])
    )
    same = [a["classes"] == b["classes"] for a, b in zip(exact, fast, strict=True)]
    assert sum(same) >= 0.9 * len(same)  # an image on the brink may change sides
    told = tell("evaluate", toy_weights, "--data", toy_data, "--fast", "--device", "cpu")
    why = "bf16 is .* as fast here|this processor has no"
    assert re.search(rf"device     cpu, .*, (bf16|fp32) \(({why})", told)
    assert told.count("mean per class") == 2


def test_runs_and_views_are_averaged(toy_weights, toy_data, tmp_path, tell):
    command = ("evaluate", toy_weights, "--data", toy_data, "--device", "cpu", "--out")
    tell(*command, tmp_path / "one")
    tell(*command, tmp_path / "same", "--ensemble", toy_weights, toy_weights)
    told = tell(*command, tmp_path / "tta", "--tta")
    one, same, tta = (read(tmp_path / name / "metrics.json") for name in ("one", "same", "tta"))
    for name, value in one.items():
        assert numbers(same[name]) == pytest.approx(numbers(value), rel=1e-4), name
    assert tta["validation_loss"] != pytest.approx(one["validation_loss"], rel=1e-4)
    assert f"calibration error {tta['calibration_error']:.1%}" in told
    image = toy_data / "validation" / "cyan_bar"
    options = ("--ensemble", toy_weights, "--tta", "--device", "cpu")
    assert tell("predict", toy_weights, image, *options).count("cyan_bar/") == 4


@pytest.mark.parametrize("options", [(), ("--fast",), ("--tta",), ("--tta", "--fast")])
def test_what_is_asked_runs_on_the_device_that_was_chosen(
    options, toy_weights, toy_data, monkeypatch, tell
):
    seen = []
    monkeypatch.setattr(
        Classifier, "to", lambda self, device: seen.append(device) or self, raising=True
    )
    tell("evaluate", toy_weights, "--data", toy_data, "--device", "cpu", *options)
    tell("predict", toy_weights, toy_data / "validation", "--device", "cpu", *options)
    assert seen == [torch.device("cpu")] * 2


def test_predictions_in_csv_and_json_are_the_same(toy_weights, toy_data, tell):
    folder = toy_data / "validation" / "cyan_bar"
    command = ("predict", toy_weights, folder, "--top", "3", "--device", "cpu", "--format")
    records = json.loads(tell(*command, "json"))
    rows = list(csv.DictReader(io.StringIO(tell(*command, "csv"))))
    assert [record["path"] for record in records] == [str(p) for p in sorted(folder.iterdir())]
    flat = [
        (record["path"], rank, name, share)
        for record in records
        for rank, (name, share) in enumerate(
            zip(record["classes"], record["probabilities"], strict=True), 1
        )
    ]
    assert len(flat) == len(rows) == 4 * 3
    for row, (path, rank, name, share) in zip(rows, flat, strict=True):
        assert (row["image"], int(row["rank"]), row["class"]) == (path, rank, name)
        assert float(row["probability"]) == pytest.approx(share, abs=1e-6)
    used, *lines = tell(*command, "text").splitlines()
    assert used.startswith("device     cpu")
    assert lines[0].startswith(f"{flat[0][0]}: {flat[0][2]} {flat[0][3]:.1%}, ")


def test_class_names_with_commas_and_quotes_survive_csv(toy_weights, toy_data, tmp_path, tell):
    names = ("a,b", 'the "c"', "数", "d\ne", "f")
    trained = Classifier.load(toy_weights)
    named = trained.with_model(trained.model, class_names=names).save(tmp_path / "w")
    image = toy_data / "train" / "cyan_bar" / "image_0001.png"
    told = tell("predict", named, image, "--top", "5", "--format", "csv")
    assert {row["class"] for row in csv.DictReader(io.StringIO(told, newline=""))} == set(names)


def test_the_probabilities_told_are_the_classifiers_at_its_temperature(
    toy_weights, toy_data, tmp_path, tell
):
    image = toy_data / "validation" / "red_cross" / "image_0001.png"
    classifier = Classifier.load(toy_weights)
    classifier.temperature = 0.4
    sharp = classifier.save(tmp_path / "sharp.safetensors")
    (expected,) = classifier.probabilities(classifier.logits(classifier.decode(image)[None]))
    (record,) = json.loads(tell("predict", sharp, image, "--top", "5", "--format", "json"))
    assert record["probabilities"] == pytest.approx(np.sort(expected)[::-1], rel=1e-6)
    plain = json.loads(tell("predict", toy_weights, image, "--format", "json"))
    assert record["probabilities"][0] > plain[0]["probabilities"][0] + 0.01


@pytest.fixture
def holiday(toy_data, tmp_path) -> Path:
    """A folder of 19 photographs, one that is cut, one of a telephone, and a note."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number, image in enumerate(sorted((toy_data / "train").rglob("*.png"))[:19]):
        shutil.copy(image, folder / f"{number:02d}.png")
    (folder / "10x.png").write_bytes((folder / "10.png").read_bytes()[:999])
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_predict_answers_for_what_it_can_and_names_the_rest(form, toy_weights, holiday, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(toy_weights), str(holiday), "--format", form, "--device", "cpu"])
    assert stop.value.code == 1
    told = capsys.readouterr()
    match form:
        case "json":
            paths = [record["path"] for record in json.loads(told.out)]
        case "csv":
            paths = [row["image"] for row in csv.DictReader(io.StringIO(told.out))]
        case "text":
            paths = [line.split(": ")[0] for line in told.out.splitlines()[1:]]
    assert paths == [str(holiday / f"{number:02d}.png") for number in range(19)]
    cut, heic, left_out = told.err.splitlines()
    assert cut.startswith(f"convlens: {holiday}/10x.png cannot be decoded (")
    assert heic == (
        f"convlens: {holiday}/IMG_1.HEIC cannot be decoded (not an image Pillow can read); replace "
        "it"
    )
    assert left_out == f"left out: 1 file that is no image (1 text): {holiday}/notes.txt"


def test_what_is_no_image_in_a_folder_is_told_and_no_failure(
    toy_weights, toy_data, tmp_path, capsys
):
    folder = Path(shutil.copytree(toy_data / "validation" / "cyan_bar", tmp_path / "photos"))
    for number in range(7):
        (folder / f"{number}.txt").write_bytes(b"no image" if number else b"")
    main(["predict", str(toy_weights), str(folder), "--device", "cpu"])
    told = capsys.readouterr()
    assert told.out.count("image_000") == 4
    names = ", ".join(f"{folder}/{number}.txt" for number in range(5))
    assert told.err == f"left out: 7 files that are no images (6 text, 1 empty): {names}, …\n"


@pytest.mark.parametrize("form", FORMS)
def test_without_any_answer_the_status_is_2_and_the_output_valid(
    form, toy_weights, tmp_path, capsys
):
    names = [str(tmp_path / name) for name in ("gone.png", "also\x1b[31m.png")]
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(toy_weights), *names, "--format", form, "--device", "cpu"])
    assert stop.value.code == 2
    told = capsys.readouterr()
    empty = {"text": "", "csv": "image,rank,class,probability\n", "json": "[]\n"}
    assert told.out == empty[form]
    assert told.err.count("does not exist; give an image") == told.err.count("\n") == 2
    assert "\x1b" not in told.err and "also\\x1b[31m.png" in told.err


def test_a_pipe_is_not_waited_for(toy_weights, tmp_path, refuse):
    os.mkfifo(tmp_path / "pipe")
    told = refuse("predict", toy_weights, tmp_path / "pipe", "--device", "cpu")
    assert told.endswith("pipe cannot be decoded (a pipe or a device, not a file); replace it")
    assert "a pipe or a device" in refuse("predict", toy_weights, "/dev/zero", "--device", "cpu")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_that_are_no_utf_8_are_answered_in_every_format_and_locale(
    locale, toy_weights, toy_data, tmp_path
):
    image = toy_data / "train" / "cyan_bar" / "image_0001.png"
    for name in b"caf\xe9.png", "數.png".encode(), b"\x1b[31m.png":
        shutil.copy(image, os.fsencode(tmp_path) + b"/" + name)
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONWARNINGS"] = "error"
    command = ("predict", toy_weights, tmp_path, "--device", "cpu", "--format")
    told, complaints = told_by([(*command, form) for form in FORMS], environment)
    assert complaints == b""
    out = dict(zip(FORMS, (each.decode("utf-8") for each in told), strict=True))
    names = sorted(["caf\udce9.png", "數.png", "\x1b[31m.png"])
    assert sorted(os.path.basename(r["path"]) for r in json.loads(out["json"])) == names
    table = csv.DictReader(io.StringIO(out["csv"]))
    assert sorted(os.path.basename(row["image"]) for row in table) == [
        "\x1b[31m.png",
        "caf\\udce9.png",
        "數.png",
    ]
    assert "\x1b" not in out["text"] and "\\x1b[31m.png: " in out["text"]
    assert ("數.png: " if locale == "C.UTF-8" else "\\u6578.png: ") in out["text"]


@pytest.mark.parametrize(("form", "suffix"), [("torch", ".pt2"), ("onnx", ".onnx")])
def test_export_tells_what_it_checked_and_wrote(form, suffix, toy_weights, tmp_path, tell):
    weights = Path(shutil.copy(toy_weights, tmp_path / "toy.safetensors"))
    told = tell("export", weights, "--format", form).splitlines()
    assert told[0].startswith("outputs    logits, probabilities, ")
    assert re.match(r"checked    in \w+ .*: at most \S+ of an output's largest value", told[1])
    assert told[2] == f"wrote      {tmp_path / 'toy'}{suffix}"
    assert (tmp_path / f"toy{suffix}").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("predict", "x.png", "--int8", "--fast"), "--int8 and --fast are two ways to be faster"),
        (("evaluate", "--int8", "--device", "mps"), "--int8 is for a CPU, not for --device mps"),
        (("export", "--int8", "--format", "torch"), "--int8 is for --format onnx without --layers"),
        (("export", "--int8", "--layers", "conv1"), "--int8 is for --format onnx without --layers"),
    ],
)
def test_what_does_not_go_with_int8_is_told(arguments, told, toy_weights, refuse):
    verb, *rest = arguments
    assert refuse(verb, toy_weights, *rest).startswith(told)


def test_a_network_in_eight_bits_says_what_that_costs(
    toy_weights, toy_data, tmp_path, tell, refuse, monkeypatch
):
    monkeypatch.setattr("convlens.inference.int8.ALLOWED", 1.0)  # it has learned nothing
    weights = Path(shutil.copy(toy_weights, tmp_path / "toy.safetensors"))
    told = tell("export", weights, "--int8", "--data", toy_data).splitlines()
    assert told[0] == "outputs    logits, probabilities"
    accuracies = r"accuracy [\d.]+% in int8, [\d.]+% in fp32, on 20 validation images"
    assert re.fullmatch(rf"checked    in onnxruntime \S+: {accuracies}", told[1])
    assert told[2] == f"wrote      {tmp_path / 'toy-int8.onnx'}"
    told = tell("evaluate", weights, "--int8", "--data", toy_data)
    assert re.search(rf"\nint8       {accuracies}\n", told)
    monkeypatch.setattr("convlens.inference.int8.ALLOWED", -1.0)
    assert refuse("evaluate", weights, "--int8", "--data", toy_data).startswith("--int8 costs more")
