import csv
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from convlens import cli
from convlens.recipes import RECIPES
from convlens.training import run as runs
from convlens.training.run_folder import load_trained, read_history, save_weights

QUICK = ("--size", "16", "--train-size", "16", "--device", "cpu", "--precision", "fp32")


def tell(capsys, *arguments):
    """What a verb that succeeds prints on stdout; its stderr stays empty."""
    cli.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def refuse(capsys, *arguments):
    """The one sentence on stderr of a verb that ends with status 2."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("convlens: ") and told.count("\n") == 1
    return told.removeprefix("convlens: ").rstrip("\n")


@pytest.fixture(scope="module")
def finished(toy_data, tmp_path_factory):
    """A run of two epochs that the command line made, and what it printed. Not to be changed."""
    folder = tmp_path_factory.mktemp("cli")
    command = [
        sys.executable, "-m", "convlens", "train", "lenet5plus", "--data", toy_data, "--out",
        folder / "run", "--epochs", "2", "--batch-size", "20", "--seed", "3", *QUICK,
    ]  # fmt: skip
    environment = {
        **os.environ, "CONVLENS_CACHE": str(folder / "cache"), "PYTHONWARNINGS": "error",
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return folder / "run", done.stdout


# help


def test_without_a_verb_all_verbs_are_told(capsys):
    told = tell(capsys)
    assert told == tell(capsys, "--help") == tell(capsys, "-h")
    for verb in cli.VERBS:
        assert re.search(rf"^  {verb} +\S", told, re.MULTILINE)
    told = tell(capsys, "data", "--help")
    assert re.search(r"^  audit +Name everything that is wrong", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("verb", "defaults"),
    [
        ("data audit", {"--size": "64"}),
        ("data split", {"--fraction": "0.9", "--seed": "0"}),
        ("data fetch", {"--out": "data/caltech101-64"}),
        ("data demo", {"--seed": "0"}),
        ("train lenet5", {"--epochs": "25", "--weight-decay": "0.0", "--augment.flip": "0.0"}),
        ("train convnet", {"--device": "auto", "--holdout": "0.0"}),
        ("train --resume RUN", {"--epochs": "None"}),
        ("evaluate", {"--device": "auto"}),
        ("predict", {"--top": "1", "--format": "text"}),
        ("look", {"--out": "looks"}),
        ("report", {"--results": "results"}),
        ("reproduce", {"--seeds": "1"}),
        ("tune", {"--trials": "30", "--holdout": "0.1", "--workers": "1"}),
    ],
)
def test_the_help_of_a_verb_shows_what_each_option_is_and_its_default(verb, defaults, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb.split(), "--help"])
    assert stop.value.code == 0
    told = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for option, default in defaults.items():
        # between the option and its default stand words, and no other option
        shown = rf"{re.escape(option)} \S+ (?:(?! --).)*\w(?:(?! --).)* ?\(default: {default}\)"
        assert re.search(shown, told), option


def test_the_version_is_told(capsys):
    assert re.fullmatch(r"convlens \d+\.\d+\.\d+\S*\n", tell(capsys, "--version"))


def test_train_without_a_recipe_tells_the_recipes(capsys):
    told = tell(capsys, "train", "--help")
    assert all(name in told for name in RECIPES)
    assert refuse(capsys, "train") == "train needs a recipe or --resume RUN"


# bad input

BAD = {
    "trian": "convlens has no verb 'trian'; did you mean train?",
    "data audti": "convlens data has no verb 'audti'; did you mean audit?",
    "train lenet": "there is no recipe 'lenet'; did you mean lenet5?",
    "reproduce convnett": "there is no recipe 'convnett'; did you mean convnet?",
    "reproduce lenet5 --seeds 0": "--seeds 0 is too small; the least is 1",
    "train lenet5 --data TOY --epochs 0": "--epochs 0 is out of range; give 1 up",
    "train lenet5 --data TOY --learning-rate nan": "--learning-rate nan is out of range",
    "train lenet5 --data TOY --momentum 1": "--momentum 1.0 is out of range; give 0 to 0.9999",
    "train lenet5 --data TOY --augment.flip 2": "--augment.flip 2.0 is out of range; give 0 to 1",
    "train lenet5 --data TOY --holdout 0.95": "--holdout 0.95 is out of range",
    "train lenet5 --data TOY --folds 1": "--folds 1 is too small; the least is 2",
    "train lenet5 --data TOY --fold 2": "--fold 2 of --folds 0 is out of range",
    "train lenet5 --data TOY --folds 3 --holdout 0.1": "--holdout and --folds do not go together",
    "train lenet5 --data TOY --folds 3 --overwrite": "--overwrite and --folds do not go together",
    "train lenet5 --data TOY --folds 3 --out FILE": "FILE is a file; give another folder",
    "train NOWHERE.yaml": "NOWHERE.yaml cannot be read (No such file or directory)",
    "tune convnett": "there is no recipe 'convnett'; did you mean convnet?",
    "tune lenet5 --data TOY --trials 0": "--trials 0 is too small; the least is 1",
    "tune lenet5 --data TOY --out FILE": "FILE is a file; give another folder with --out",
    "data audit --data TOY --out FILE": "FILE cannot be used: File exists",
    "train lenet5 --data TOY --seed -1": "--seed -1 is negative",
    "train lenet5 --data TOY --size 32": "--train-size",
    "train lenet5 --data TOY --device nonsense": "--device nonsense is not to be had here",
    "train lenet5 --data NOWHERE": "data set NOWHERE does not exist",
    "train lenet5 --data TOY --out FILE": "FILE is a file; give another folder with --out",
    "train lenet5 --data TOY --out FILE/x": "FILE/x cannot be used: Not a directory",
    "train --resume NOWHERE": "NOWHERE holds no config.yaml",
    "data audit --data NOWHERE": "data set NOWHERE does not exist",
    "data audit --data TOY --size 0": "--size 0 is too small; the least is 1",
    "data split TOY --out new": "TOY is split already",
    "data split EMPTY --out new --seed -1": "--seed -1 is too small",
    "data demo --out TOY": "TOY exists and is not empty",
    "evaluate NOWHERE": "NOWHERE does not exist; give a run folder or a .safetensors file",
    "evaluate EMPTY": "EMPTY holds no best.safetensors; give the folder of a trained run",
    "evaluate FILE": "FILE is not a weights file of ConvLens",
    "evaluate WEIGHTS --data OTHER": "WEIGHTS knows 5 classes and OTHER has 2, not the same ones",
    "evaluate WEIGHTS --data TOY --device meta": "--device meta is not to be had here",
    "evaluate WEIGHTS --data TOY --out FILE": "FILE cannot be used: File exists",
    "evaluate WEIGHTS --data EMPTY": "no images in EMPTY",
    "predict WEIGHTS": "predict needs an image or a folder",
    "predict WEIGHTS EMPTY": "EMPTY holds no image; give an image or a folder with images",
    "predict WEIGHTS NOWHERE": "NOWHERE does not exist; give an image",
    "predict WEIGHTS FILE": "FILE cannot be decoded (not an image Pillow can read)",
    "predict WEIGHTS TOY --top 0": "--top 0 is too small; the least is 1",
    "predict EMPTY TOY": "EMPTY holds no best.safetensors",
    "look WEIGHTS FILE --out new": "FILE cannot be decoded",
    "look WEIGHTS --data OTHER --out new": "WEIGHTS knows 5 classes",
    "look WEIGHTS --data TOY --out FILE": "FILE cannot be used: File exists",
    "look WEIGHTS --view growth filters --out new": "WEIGHTS holds no snapshots; train with --snap",
    "look WEIGHTS --layer relu9 --out new": "LeNet5 has no layer 'relu9'",
    "export NOWHERE": "NOWHERE does not exist; give a run folder or a .safetensors file",
    "export WEIGHTS --out new.pt2": "--out new.pt2 must end in .onnx for --format onnx",
    "export WEIGHTS --out new.onnx --layers relu9": "LeNet5 has no layer 'relu9'",
    "report --results EMPTY": "EMPTY holds no summary.json",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_told_in_one_sentence_and_leaves_nothing(
    line, toy_data, toy_weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    places = {
        "TOY": toy_data.resolve(), "WEIGHTS": toy_weights, "OTHER": (tmp_path / "other").resolve(),
        "EMPTY": (tmp_path / "empty").resolve(), "NOWHERE": (tmp_path / "nowhere").resolve(),
        "FILE": tmp_path / "file.png",
    }  # fmt: skip
    places["EMPTY"].mkdir()
    places["FILE"].write_text("no image")
    for name in ("train", "validation"):
        for label in ("blue_disc", "cyan_bar"):
            folder = places["OTHER"] / name / label
            folder.mkdir(parents=True)
            source = toy_data / name / label / "image_0001.png"
            (folder / "a.png").write_bytes(source.read_bytes())
    before = sorted(tmp_path.rglob("*"))
    arguments = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(places[m[0]]), line).split()
    expected = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(places[m[0]]), BAD[line])
    told = refuse(capsys, *arguments)
    assert told.startswith(expected), told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_is_not_resumed_on_other_classes(finished, toy_data, tmp_path, capsys):
    run = finished[0]
    before = {path: path.read_bytes() for path in run.iterdir()}
    for split in ("train", "validation"):
        for name in ("blue_disc", "red_cross"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            image = toy_data / split / name / "image_0001.png"
            (folder / "a.png").write_bytes(image.read_bytes())
    assert "not the same ones" in refuse(capsys, "train", "--resume", run, "--data", tmp_path)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


# good input


def test_train_tells_what_it_used_and_where_it_wrote(finished, toy_data):
    run, told = finished
    lines = told.splitlines()
    assert lines[0].startswith("data set   toy: 5 classes, 60 training and 20 validation images of")
    assert str(toy_data) in lines[0]
    assert lines[1] == "recipe     lenet5plus: LeNet5, 2 epochs, seed 3"
    assert re.match(r"device     cpu, \d+ threads?, fp32 \(as asked\)$", lines[2])
    assert [line.split("train")[0] for line in lines[3:5]] == ["epoch   1/2  ", "epoch   2/2  "]
    assert lines[5].startswith("train ") and lines[6].startswith("validation ")
    assert re.fullmatch(r" +± \d+\.\d and \d+\.\d points \(standard errors\)", lines[7])
    calibration = r"calibration error \d+\.\d%, \d+\.\d% at temperature 0\.90"  # the recipe's
    assert re.fullmatch(calibration, lines[8])
    assert lines[9:] == [f"wrote      {run}"]
    assert "\x1b" not in told and "\r" not in told  # no terminal, no bar


def test_evaluate_agrees_with_the_run_and_with_its_weights_in_half(finished, tmp_path, capsys):
    run, told = finished
    metrics = json.loads((run / "metrics.json").read_text())
    lines = told.splitlines()[5:7]
    again = tell(capsys, "evaluate", run, "--out", tmp_path / "out", "--device", "cpu")
    assert [line for line in again.splitlines() if "mean per class" in line] == lines
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(measured) == 6 + 3
    assert measured == pytest.approx({name: metrics[name] for name in measured}, rel=1e-6)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json", "confusion.csv", "confusion.png", "per_class.csv", "per_class.png",
        "reliability.png", "worst.png",
    }  # fmt: skip
    assert again.splitlines()[-1] == f"wrote      {tmp_path / 'out'}"
    small = tmp_path / "small.safetensors"
    save_weights(small, load_trained(run), half=True)
    data = runs.read_config(run).data
    tell(capsys, "evaluate", small, "--data", data, "--out", tmp_path / "half", "--device", "cpu")
    half = json.loads((tmp_path / "half" / "metrics.json").read_text())
    for name, value in measured.items():  # an image on the brink may change sides
        assert half[name] == pytest.approx(value, abs=0.01 if "loss" in name else 0.05)


def test_evaluate_leaves_out_what_training_saw(toy_weights, toy_data, tmp_path, capsys):
    data = tmp_path / "toy"
    shutil.copytree(toy_data, data)
    source = data / "train" / "cyan_bar" / "image_0003.png"
    shutil.copyfile(source, data / "validation" / "cyan_bar" / "image_0002.png")
    command = ("evaluate", toy_weights, "--data", data, "--device", "cpu", "--out")
    told = tell(capsys, *command, tmp_path / "out", "--without-duplicates")
    assert "\nleft out   1 of 20 validation images, which have a near duplicate in train/\n" in told
    per_class = (tmp_path / "out" / "per_class.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in per_class[1:]] == ["4", "3", "4", "4", "4"]
    shutil.rmtree(data / "validation")
    shutil.copytree(data / "train", data / "validation")
    assert "none is left" in refuse(capsys, *command, tmp_path / "none", "--without-duplicates")


def test_train_in_folds_tells_each_and_their_mean(toy_data, tmp_path, capsys):
    command = ("train", "lenet5plus", "--data", toy_data, "--epochs", "1", "--batch-size", "16",
               "--folds", "2", "--out", tmp_path / "cv", *QUICK)  # fmt: skip
    told = tell(capsys, *command).splitlines()
    folds = [line for line in told if line.startswith("fold ")]
    assert len(folds) == 4  # each begins, and is told once more in the end
    assert re.search(r"^accuracy \d+\.\d\d% ± \d+\.\d\d points$", "\n".join(told), re.MULTILINE)
    assert told[-1] == f"wrote      {tmp_path / 'cv'}"


def test_a_recipe_in_a_file_trains(toy_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("recipe: lenet5plus\nepochs: 1\naugment.rotate: 3\n")
    command = ("train", "mine.yaml", "--data", toy_data, "--batch-size", "16", *QUICK)
    assert tell(capsys, *command).endswith("wrote      runs/lenet5plus-mine-s0\n")
    metrics = json.loads(Path("runs/lenet5plus-mine-s0/metrics.json").read_text())
    assert metrics["command"].startswith("convlens train lenet5plus ")
    assert "--augment.rotate 3.0" in metrics["command"] and "--epochs 1" in metrics["command"]


def test_fast_answers_are_nearly_the_exact_ones(toy_weights, toy_data, tmp_path, capsys):
    exact, fast = (
        json.loads(tell(capsys, "predict", toy_weights, toy_data / "validation", "--device", "cpu",
                        "--format", "json", *options))
        for options in ([], ["--fast"])
    )  # fmt: skip
    same = [a["classes"] == b["classes"] for a, b in zip(exact, fast, strict=True)]
    assert sum(same) >= 0.9 * len(same)  # an image on the brink may change sides
    told = tell(capsys, "evaluate", toy_weights, "--data", toy_data, "--fast", "--device", "cpu")
    assert re.search(r"device     cpu, .*, (bf16|fp32) \(bf16 is .* as fast here", told)
    assert told.count("mean per class") == 2


def test_runs_and_views_are_averaged(toy_weights, toy_data, tmp_path, capsys):
    command = ("evaluate", toy_weights, "--data", toy_data, "--device", "cpu", "--out")
    tell(capsys, *command, tmp_path / "one")
    tell(capsys, *command, tmp_path / "same", "--also", toy_weights, toy_weights)
    told = tell(capsys, *command, tmp_path / "views", "--views")
    one, same, views = (
        json.loads((tmp_path / name / "metrics.json").read_text())
        for name in ("one", "same", "views")
    )
    assert same == pytest.approx(one, rel=1e-4)
    assert views["validation_loss"] != pytest.approx(one["validation_loss"], rel=1e-4)
    assert f"calibration error {views['calibration_error']:.1%}" in told
    image = toy_data / "validation" / "cyan_bar"
    options = ("--also", toy_weights, "--views", "--device", "cpu")
    assert tell(capsys, "predict", toy_weights, image, *options).count("cyan_bar/") == 4


def test_a_verb_that_shares_no_work_refuses_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = refuse(capsys, "reproduce", "quick")
    assert "only train shares its work among them; run `convlens reproduce` without" in told


def test_predictions_in_csv_and_json_are_the_same(toy_weights, toy_data, capsys):
    folder = toy_data / "validation" / "cyan_bar"
    command = ("predict", toy_weights, folder, "--top", "3", "--device", "cpu", "--format")
    records = json.loads(tell(capsys, *command, "json"))
    rows = list(csv.DictReader(io.StringIO(tell(capsys, *command, "csv"))))
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
    used, *lines = tell(capsys, *command, "text").splitlines()
    assert used.startswith("device     cpu")
    assert lines[0].startswith(f"{flat[0][0]}: {flat[0][2]} {flat[0][3]:.1%}, ")


def test_class_names_with_commas_and_quotes_survive_csv(toy_weights, toy_data, tmp_path, capsys):
    names = ("a,b", 'the "c"', "数", "d\ne", "f")
    trained = dataclasses.replace(load_trained(toy_weights), classes=names)
    save_weights(tmp_path / "w", trained)
    image = toy_data / "train" / "cyan_bar" / "image_0001.png"
    told = tell(capsys, "predict", tmp_path / "w", image, "--top", "5", "--format", "csv")
    assert {row["class"] for row in csv.DictReader(io.StringIO(told, newline=""))} == set(names)


def test_look_tells_what_it_used_and_every_file_it_wrote(toy_weights, toy_data, tmp_path, capsys):
    told = tell(
        capsys, "look", toy_weights, "--data", toy_data, "--view", "filters", "activations",
        "--out", tmp_path,
    ).splitlines()  # fmt: skip
    assert told[0].startswith("data set   toy: ")
    assert sorted(told[1:]) == sorted(f"wrote      {path}" for path in tmp_path.iterdir())


def test_an_unsplit_data_set_is_audited_split_and_used(toy_data, toy_weights, tmp_path, capsys):
    assert "problems   none" in tell(capsys, "data", "audit", "--data", toy_data / "train")
    tell(capsys, "data", "split", toy_data / "train", "--out", tmp_path / "new")
    told = tell(capsys, "evaluate", toy_weights, "--data", tmp_path / "new", "--device", "cpu")
    assert "5 classes, 50 training and 10 validation images" in told


@pytest.mark.parametrize(
    "options",
    [
        ("lenet5plus", "--model-options.no-batch-norm", "--model-options.dropout", "0.25"),
        ("lenet5", "--model-options.batch-norm", "--optimizer", "sgd", "--l1", "1e-05"),
        ("convnet", "--augment.mixup", "0.2", "--holdout", "0.1", "--images", "100", "--skip-bad"),
        ("resnet18", "--split-seed", "3", "--size", "96", "--epochs", "7", "--seed", "5"),
    ],
)
def test_the_recorded_command_asks_for_the_same_run(options, monkeypatch, capsys):
    asked = []

    def start(recipe, run, *, data, device, precision, overwrite, world, **rest):
        asked.append((recipe, rest))
        return {"calibration_error": 0.5, "calibrated_error": 0.25, "temperature": 2.0}

    monkeypatch.setattr(runs, "start", start)
    told = tell(capsys, "train", *options)
    assert told.startswith("calibration error 50.0%, 25.0% at temperature 2.00\n")
    recipe, rest = asked[0]
    command = runs.command_of(runs.Config(recipe=recipe, data="here", **rest))
    tell(capsys, *command.split()[1:])
    assert asked[1] == asked[0]
    assert asked[0][0] != RECIPES[options[0]]()


# a terminal's accidents


def test_a_stop_is_no_traceback(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("convlens.data.tools.audit.audit", stop)
    with pytest.raises(SystemExit) as end:
        cli.main(["data", "audit", "--data", "."])
    assert end.value.code == 130
    assert capsys.readouterr().err == "convlens: stopped\n"


def test_a_reader_that_has_seen_enough_is_no_error(toy_weights, toy_data):
    """As in `convlens predict … | head -1`."""
    command = [sys.executable, "-m", "convlens", "predict", str(toy_weights), str(toy_data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    with process.stderr as told:
        assert told.read() == ""
    assert process.wait() == 1


def test_a_name_that_is_no_text_is_shown_all_the_same(toy_weights, toy_data, tmp_path):
    image = toy_data / "train" / "cyan_bar" / "image_0001.png"
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(image.read_bytes())
    except OSError:
        pytest.skip("this file system takes names of valid text only")
    command = [sys.executable, "-m", "convlens", "predict", str(toy_weights), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert r"\udcff.png: " in done.stdout


def test_a_run_stopped_by_ctrl_c_keeps_its_last_epoch_and_goes_on(toy_data, tmp_path, capsys):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "convlens", "train", "lenet5", "--data", str(toy_data), "--out",
        str(run), "--epochs", "2000", "--batch-size", "30", *QUICK,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while process.poll() is None and not (run / "state.pt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    with process.stderr as told:
        assert told.read() == "convlens: stopped\n"
    assert process.wait() == 130
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "history.csv", "state.pt", "last.safetensors", "best.safetensors",
    }  # fmt: skip
    done = len(torch.load(run / "state.pt")["history"])
    assert 1 <= done < 2000
    told = tell(capsys, "train", "--resume", run, "--epochs", done + 1)
    assert told.count("\nepoch ") == 1
    assert len(read_history(run)["epoch"]) == done + 1
    assert json.loads((run / "metrics.json").read_text())["epochs"] == done + 1


def test_explore_serves_or_exports(toy_weights, toy_data, tmp_path, capsys, monkeypatch):
    from convlens.explorer import server

    asked = []
    monkeypatch.setattr(server, "serve", lambda explorer, *options: asked.append(options))
    tell(capsys, "explore", toy_weights, "--data", toy_data, "--port", 0)
    assert asked == [("127.0.0.1", 0, False)]
    image, page = toy_data / "train/blue_disc/image_0001.png", tmp_path / "page"
    told = tell(
        capsys, "explore", toy_weights, toy_weights, "--data", toy_data, "--export", page,
        "--images", image,
    )  # fmt: skip
    assert f"wrote      {page}" in told
    assert (page / "api" / "1" / "history.json").exists()


def test_explore_tells_what_is_missing(toy_weights, toy_data, capsys, monkeypatch):
    def refused(*arguments) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main(["explore", str(toy_weights), "--data", str(toy_data), *arguments])
        assert end.value.code == 2
        return capsys.readouterr().err

    assert "--images are chosen for --export DIR" in refused("--images", "a.png")
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "convlens.explorer.server", raising=False)
    sentence = 'explore needs uvicorn; install it with `pip install "convlens[explorer]"`'
    assert sentence in refused()
