"""`convlens train` and `tune`."""

import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.cli.train_options import parse_choices, parse_train, parse_tune
from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.fields import replace
from convlens.recipes import RECIPES
from convlens.training.config import BEGUN, RunConfig
from convlens.training.run_folder import RunFolder

# Options


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


AUGMENTS = st.builds(
    Augment,
    scale=floats(0, 0.99),
    rotate=floats(0, 180),
    flip=floats(0, 1),
    trivial_augment=floats(0, 1),
    cutmix=floats(0, 1),
)
RECIPE_OPTIONS = {
    "epochs": st.integers(1, 99),
    "batch_size": st.integers(1, 512),
    "learning_rate": floats(0, 1),
    "optimizer": st.sampled_from(["adamw", "sgd", "muon"]),
    "schedule": st.sampled_from(["constant", "cosine", "onecycle"]),
    "l1": floats(0, 1),
    "ema_decay": floats(0, 0.9999),
    "distillation": floats(0, 1),
    "augment": AUGMENTS,
}
MODEL_OPTIONS = {
    "LeNet5": {
        "padding": st.integers(0, 4),
        "batch_norm": st.booleans(),
        "dropout": floats(0, 0.9),
    },
    "ConvNet": {
        "widths": st.tuples(*[st.integers(8, 64)] * 4),
        "depths": st.tuples(*[st.integers(1, 3)] * 4),
        "stem_stride": st.sampled_from([1, 2]),
        "squeeze_excite": st.booleans(),
    },
    "ResNet18": {"conv2_stride": st.sampled_from([1, 2]), "drop_path": floats(0, 0.9)},
}
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map("/{}".format)
OPTIONS = {
    "seed": st.integers(0, 2**31),
    "split_seed": st.integers(0, 99),
    "holdout": floats(0, 0.9),
    "folds": st.integers(2, 9),
    "fold": st.integers(1, 2),
    "max_train_images": st.integers(1, 10_000),
    "teachers": st.lists(PATHS, min_size=1, max_size=3).map(tuple),
    "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    "precision": st.sampled_from(["auto", "fp32", "bf16"]),
    "skip_bad": st.booleans(),
    "snapshots": st.booleans(),
}


@st.composite
def configs(draw) -> RunConfig:
    """Any configuration, sensible or not, of which some options are a recipe's own."""
    recipe = RECIPES[draw(st.sampled_from(sorted(RECIPES)))]()
    model = draw(st.fixed_dictionaries({}, optional=MODEL_OPTIONS[recipe.model]))
    changes = draw(st.fixed_dictionaries({}, optional=RECIPE_OPTIONS))
    if not recipe.follows_weights:  # which have the network's options
        changes["model_options"] = {**recipe.model_options, **model}
    recipe = dataclasses.replace(recipe, **changes)
    return RunConfig(recipe, **draw(st.fixed_dictionaries({}, optional=OPTIONS)))


@settings(deadline=None, max_examples=150)
@given(config=configs())
def test_the_recorded_command_asks_for_the_same_run(config):
    found = dataclasses.replace(config, data="/here", digest="abc", convolutions={"a": {"b": "c"}})
    program, verb, *arguments = shlex.split(found.command())
    assert (program, verb) == ("convlens", "train")
    asked, _ = parse_train(arguments)
    assert asked.config == config


@pytest.mark.parametrize(
    "options",
    [
        ("lenet5plus", "--model-options.no-batch-norm", "--model-options.dropout", "0.25"),
        ("lenet5", "--model-options.batch-norm", "--optimizer", "sgd", "--l1", "1e-05"),
        ("convnet", "--augment.mixup", "0.2", "--holdout", "0.1", "--max-train-images", "100"),
        ("convnet", "--model-options.squeeze-excite", "--skip-bad", "--snapshots"),
        ("resnet18", "--split-seed", "3", "--size", "96", "--epochs", "7", "--seed", "5"),
        ("quick", "--teachers", "a", "b", "--distillation", "0.5", "--device", "cpu"),
    ],
)
def test_a_command_is_recorded_and_asks_for_the_same_run_again(options):
    asked, folder = parse_train(options)
    assert asked.config != RunConfig(RECIPES[options[0]]())
    assert folder == Path(f"runs/{options[0]}-s{asked.config.seed}")
    again, _ = parse_train(shlex.split(asked.config.command())[2:])
    assert again == asked


def test_every_option_of_a_run_and_a_recipe_is_one_of_the_command(capsys):
    with pytest.raises(SystemExit):
        parse_train(["lenet5plus", "--help"])
    told = capsys.readouterr().out
    hidden = {"recipe", "digest", "convolutions", "usual_threads", *BEGUN}
    hidden |= {"name", "model", "follows_weights"}
    names = {f.name for f in dataclasses.fields(RunConfig)} - {"weights"} | {"from"}
    names |= {f.name for f in dataclasses.fields(RECIPES["lenet5plus"]())} - {"augment"}
    names |= {f"augment.{f.name}" for f in dataclasses.fields(Augment)}
    names |= {f"model_options.{name}" for name in ("padding", "no_batch_norm", "dropout")}
    for name in names - hidden - {"model_options"}:
        assert f" --{name.replace('_', '-')} " in told, name
    assert not re.search(rf"--({'|'.join(hidden)}) ", told)


def test_who_looks_for_balance_finds_logit_adjustment():
    asked, _ = parse_train(["lenet5", "--balance", "0.5"])
    assert asked.config.recipe.logit_adjust_tau == 0.5
    assert "--logit-adjust-tau 0.5" in asked.config.command()  # one name in what is kept


def test_the_run_folder_is_called_after_the_recipe_and_the_seed(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: lenet5\nepochs: 3\n")
    for arguments, folder in (
        (["lenet5"], "runs/lenet5-s0"),
        (["lenet5", "--seed", "7"], "runs/lenet5-s7"),
        (["lenet5", "--folds", "5"], "runs/lenet5-s0-folds"),
        (["lenet5", "--folds", "5", "--fold", "2"], "runs/lenet5-s0"),
        (["lenet5", "--out", "there"], "there"),
        ([str(path)], "runs/lenet5-mine-s0"),
    ):
        assert parse_train(arguments)[1] == Path(folder)
    assert parse_tune(["lenet5"], 0.1)[1] == Path("runs/tune-lenet5")


def test_what_a_search_is_not_asked_for_is_the_recipes_own():
    asked, _ = parse_tune(["convnet", "--trials", "5", "--epochs", "3"], 0.1)
    recipe = replace(RECIPES["convnet"](), {"epochs": 3})
    assert asked.config == RunConfig(recipe, holdout=0.1)
    assert (asked.trials, asked.workers) == (5, 1)
    assert parse_tune(["convnet", "--holdout", "0.2"], 0.1)[0].config.holdout == 0.2


def test_an_option_that_a_network_does_not_have_is_refused():
    asked, _ = parse_train(["convnet", "--model-options.widths", "(8, 16)"])
    with pytest.raises(UserError, match="`model_options` do not fit ConvNet"):
        asked.config.check()


# Runs


def test_train_tells_what_it_used_and_where_it_wrote(finished, toy_data):
    run, told = finished
    lines = told.splitlines()
    assert lines[0].startswith("data set   toy: 5 classes, 60 training and 20 validation images of")
    assert str(toy_data) in lines[0]
    assert lines[1] == "recipe     lenet5plus: LeNet5, 2 epochs, seed 3"
    assert re.match(r"device     cpu, \d+ threads?, fp32 \(as asked\)$", lines[2])
    assert [line.split("train")[0] for line in lines[3:5]] == ["epoch   1/2  ", "epoch   2/2  "]
    assert lines[5].startswith("train ") and lines[6].startswith("validation ")
    more = r" +macro precision .*  F1 .*  ROC-AUC .*; accuracy within .* to .* \(95% interval\)"
    assert re.fullmatch(more, lines[7])
    assert re.fullmatch(r" +± \d+\.\d and \d+\.\d points \(standard errors\)", lines[8])
    temperature = RECIPES["lenet5plus"]().temperature
    calibration = rf"calibration error \d+\.\d%, \d+\.\d% at temperature {temperature:.2f}"
    assert re.fullmatch(calibration, lines[9])
    assert lines[10:] == [f"wrote      {run}"]
    assert "\x1b" not in told and "\r" not in told  # no terminal, no bar


def test_a_run_with_a_holdout_tells_what_its_weights_score(toy_data, tmp_path, tell, quick):
    command = ("train", "lenet5", "--data", toy_data, "--epochs", "2", "--batch-size", "16")
    told = tell(*command, "--holdout", "0.25", "--out", tmp_path / "run", *quick)
    metrics = RunFolder(tmp_path / "run").read_metrics()
    holdout = re.search(r"^holdout    loss (.*)  accuracy (.*)  mean", told, re.MULTILINE)
    assert holdout[1] == f"{metrics['holdout_loss']:.4f}"
    assert holdout[2] == f"{metrics['holdout_accuracy']:.2%}"
    assert told.count("mean per class") == 2


def test_train_in_folds_tells_each_and_their_mean(toy_data, tmp_path, tell, quick):
    command = ("train", "lenet5plus", "--data", toy_data, "--epochs", "1", "--batch-size", "16")
    told = tell(*command, "--folds", "2", "--out", tmp_path / "cv", *quick).splitlines()
    folds = [line for line in told if line.startswith("fold ")]
    assert len(folds) == 4  # each begins, and is told once more in the end
    assert re.search(r"^accuracy \d+\.\d\d% ± \d+\.\d\d points$", "\n".join(told), re.MULTILINE)
    assert told[-1] == f"wrote      {tmp_path / 'cv'}"


def test_a_recipe_in_a_file_trains(toy_data, tmp_path, monkeypatch, tell, quick):
    monkeypatch.chdir(tmp_path)
    content = "recipe: lenet5plus\nepochs: 1\naugment.rotate: 3\n"
    Path("mine.yaml").write_text(content, encoding="utf-8")
    command = ("train", "mine.yaml", "--data", toy_data, "--batch-size", "16", *quick)
    assert tell(*command).endswith("wrote      runs/lenet5plus-mine-s0\n")
    metrics = RunFolder("runs/lenet5plus-mine-s0").read_metrics()
    assert metrics["command"].startswith("convlens train lenet5plus ")
    assert "--augment.rotate 3.0" in metrics["command"] and "--epochs 1" in metrics["command"]


def test_a_run_is_not_resumed_on_other_classes(finished, toy_data, tmp_path, refuse):
    run = finished[0]
    before = {path: path.read_bytes() for path in run.iterdir()}
    for split in ("train", "validation"):
        for name in ("blue_disc", "red_cross"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            image = toy_data / split / name / "image_0001.png"
            (folder / "a.png").write_bytes(image.read_bytes())
    told = refuse("train", "--resume", run, "--data", tmp_path)
    assert "not the same ones" in told and told.endswith("with --data")
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_finished_run_is_not_made_shorter(finished, refuse):
    told = refuse("train", "--resume", finished[0], "--epochs", "1")
    assert told == f"--epochs 1 is less than the 2 that {finished[0]} has finished"


def test_a_run_stopped_by_ctrl_c_keeps_its_last_epoch_and_goes_on(toy_data, tmp_path, tell, quick):
    run = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "convlens", "train", "lenet5", "--data", str(toy_data)),
        *("--out", str(run), "--epochs", "2000", "--batch-size", "30", *quick),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not (run / "state.pt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    with process.stderr as told:
        assert told.read() == "convlens: stopped\n"
    assert process.wait() == 130
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "history.csv",
        "state.pt",
        "last.safetensors",
        "best.safetensors",
    }
    done = len(torch.load(run / "state.pt")["history"])
    assert 1 <= done < 2000
    told = tell("train", "--resume", run, "--epochs", done + 1)
    assert told.count("\nepoch ") == 1
    assert len(RunFolder(run).read_history()["epoch"]) == done + 1
    assert json.loads((run / "metrics.json").read_text())["epochs"] == done + 1


def test_a_search_tells_its_best_setting(toy_data, tmp_path, tell, quick):
    command = ("tune", "lenet5", "--data", toy_data, "--trials", "1", "--epochs", "1", *quick)
    told = tell(*command, "--out", tmp_path / "search").splitlines()
    best = [line for line in told if line.startswith("best ")]
    assert len(best) == 1
    assert re.fullmatch(
        r"best       \d+\.\d\d% \(trial 0; standard error \d+\.\d points\); the recipe's own "
        r"setting \d+\.\d\d%",
        best[0],
    )
    assert "           learning_rate 0.001" in told
    recipe = tmp_path / "search" / "best.yaml"
    assert told[-1] == (
        f"wrote      {tmp_path / 'search'}; train it with `convlens train {recipe}`"
    )
    assert recipe.exists()


def test_the_best_setting_of_a_search_is_trained_with_what_the_search_was_asked_for(
    toy_data, toy_weights, tmp_path, tell
):
    asked = ("--from", toy_weights, "--data", toy_data, "--device", "cpu", "--epochs", "1")
    others = ("--augment.flip", "0.25", "--trials", "1", "--out", tmp_path / "my search")
    told = tell("tune", "finetune", *asked, *others)
    command = shlex.split(told.rpartition("train it with `convlens ")[2].rstrip("`\n"))
    tell(*command, *asked[2:], "--out", tmp_path / "run")
    recipe = RunFolder(tmp_path / "run").read_config().recipe
    assert recipe.model == "LeNet5"
    assert recipe.size == 16
    assert recipe.augment.flip == 0.25


def test_a_time_takes_the_place_of_a_recipe_and_all_choices_have_the_options():
    arguments = ["--time", "90s", "--seed", "3", "--learning-rate", "0.01"]
    asked, folder = parse_train(arguments)
    assert folder == Path("runs/1m30s-s3")
    choices = parse_choices(arguments, asked)
    assert [choice.config.recipe.name for choice in choices] == [*["quick"] * 5, "convnet"]
    for choice in choices:
        assert (choice.config.seed, choice.config.time) == (3, "90s")
        assert choice.config.recipe.learning_rate == 0.01
    named = ["lenet5", "--time", "90s"]
    asked, folder = parse_train(named)
    assert folder == Path("runs/lenet5-s0")
    (choice,) = parse_choices(named, asked)
    assert choice.config is asked.config and choice.why == "as asked"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quick", "--time", "soon"], "--time soon is no time; write it as 90s, 5m or 1h30m"),
        (["--time", "5m", "--epochs", "3"], "--time and --epochs do not go together"),
        (["quick", "--steps-per-epoch=9", "--time=5m"], "--time and --steps-per-epoch do not"),
        (["quick", "--time", "5m", "--pretraining", "2"], "--time and --pretraining do not"),
        (["--seed", "3"], "train needs a recipe, --time TIME to choose one in, or --resume RUN"),
        (["quick", "--replanned", "4:6"], "--replanned 4:6 is no change of plan; 4:6x50 means"),
    ],
)
def test_what_does_not_go_with_a_time_is_told(arguments, told, refuse):
    assert refuse("train", *arguments).startswith(told)


def test_a_search_is_told_in_trials_and_not_in_time(refuse):
    assert "give --trials" in refuse("tune", "quick", "--time", "5m")
