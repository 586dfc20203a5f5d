"""Help, bad input and a terminal's accidents, whatever the verb."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convlens import cli
from convlens.cli.main import VERBS
from convlens.cli.options import spell, spelled, tell
from convlens.errors import UserError
from convlens.recipes import RECIPES

# Help


def test_without_a_verb_all_verbs_are_told(tell):
    told = tell()
    assert told == tell("--help") == tell("-h")
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", told, re.MULTILINE)
    told = tell("data", "--help")
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
        ("explore", {"--port": "8765", "--host": "127.0.0.1"}),
        ("export", {"--format": "onnx"}),
        ("report", {"--results": "results"}),
        ("reproduce", {"--seeds": "1"}),
        ("tune lenet5", {"--trials": "30", "--holdout": "0.1", "--workers": "1"}),
        ("bench", {"--tolerance": "0.15"}),
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


def test_the_version_is_told(tell):
    assert re.fullmatch(r"convlens \d+\.\d+\.\d+\S*\n", tell("--version"))


def test_train_without_a_recipe_tells_the_recipes(tell, refuse):
    told = tell("train", "--help")
    assert all(name in told for name in RECIPES)
    needed = "train needs a recipe, --time TIME to choose one in, or --resume RUN"
    assert refuse("train") == needed
    assert "convlens tune RECIPE --help shows" in tell("tune", "--help")
    assert refuse("tune") == "tune needs a recipe"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["predict", "--help"], ["trian"], ["evaluate", "--top"], ["explore", "--port"]],
)
def test_help_and_bad_options_do_not_wait_for_torch(arguments):
    program = (
        "import sys\nfrom convlens.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)


# Bad input

BAD = {
    "trian": "convlens has no verb 'trian'; did you mean train?",
    "data audti": "convlens data has no verb 'audti'; did you mean audit?",
    "train lenet": "there is no recipe 'lenet'; did you mean lenet5?",
    "reproduce convnett": "there is no recipe 'convnett'; did you mean convnet?",
    "reproduce lenet5 --seeds 0": "--seeds 0 is out of range; give 1 up",
    "reproduce lenet5 --workers 0": "--workers 0 is out of range; give 1 up",
    "train lenet5 --data TOY --epochs 0": "--epochs 0 is out of range; give 1 up",
    "train lenet5 --data TOY --learning-rate nan": "--learning-rate nan is out of range",
    "train lenet5 --data TOY --momentum 1": "--momentum 1.0 is out of range; give 0 to 0.9999",
    "train lenet5 --data TOY --augment.flip 2": "--augment.flip 2.0 is out of range; give 0 to 1",
    "train lenet5 --data TOY --augment.mixup 0.6 --augment.cutmix 0.6": (
        "--augment.mixup and --augment.cutmix are probabilities of which only one applies"
    ),
    "train lenet5 --data TOY --max-train-images 0": "--max-train-images 0 is out of range",
    "train lenet5 --data TOY --holdout 0.95": "--holdout 0.95 is out of range",
    "train lenet5 --data TOY --folds 1": "--folds 1 is too small; the least is 2",
    "train lenet5 --data TOY --fold 2": "--fold 2 of --folds 0 is out of range",
    "train lenet5 --data TOY --folds 3 --fold 4": "--fold 4 of --folds 3 is out of range",
    "train lenet5 --data TOY --folds 3 --holdout 0.1": "--holdout and --folds do not go together",
    "train lenet5 --data TOY --folds 3 --overwrite": "--overwrite and --folds do not go together",
    "train lenet5 --data TOY --folds 3 --out FILE": "FILE is a file; give another folder with",
    "train lenet5 --data TOY --distillation 0.5": "--distillation and --teachers go together",
    "train NOWHERE.yaml": "NOWHERE.yaml cannot be read (No such file or directory)",
    "tune convnett": "there is no recipe 'convnett'; did you mean convnet?",
    "tune lenet5 --data TOY --trials 0": "--trials 0 is too small; the least is 1",
    "tune lenet5 --data TOY --out FILE": "FILE is a file; give another folder with --out",
    "bench --pairs 0": "--pairs 0 is out of range; give 1 up",
    "data audit --data TOY --out FILE": "FILE cannot be used: File exists",
    "train lenet5 --data TOY --seed -1": "--seed -1 is out of range; give 0 up",
    "train lenet5 --data TOY --size 32 --train-size 64": (
        "--train-size and --early-size must be 32 as --size is"
    ),
    "train lenet5 --data TOY --device nonsense": (
        "--device nonsense is not available on this machine; use auto or cpu"
    ),
    "train lenet5 --data NOWHERE": "data set NOWHERE does not exist; give a folder with --data",
    "train lenet5 --data TOY --out FILE": "FILE is a file; give another folder with --out",
    "train lenet5 --data TOY --out FILE/x --size 16 --train-size 16 --early-size 16": (
        "FILE/x cannot be used: Not a directory"
    ),
    "train lenet5 --data TOY --out OTHER": (
        "OTHER exists; --resume OTHER continues it, --out names another folder and --overwrite "
        "starts it anew"
    ),
    "train lenet5 --data TOY --out OTHER --overwrite": (
        "OTHER is no run folder, so it is not overwritten; give another --out"
    ),
    "train --resume NOWHERE": "NOWHERE holds no config.yaml",
    "data audit --data NOWHERE": "data set NOWHERE does not exist",
    "data audit --data TOY --size 0": "--size 0 is too small; the least is 1",
    "data split TOY --out new": "TOY is split already",
    "data split EMPTY --out new --seed -1": "--seed -1 is too small; the least is 0",
    "data split TOY --out new --fraction 1": "--fraction 1.0 must lie between 0 and 1",
    "data demo --out TOY": "TOY exists and is not empty",
    "data demo --out new --seed -1": "--seed -1 is too small; the least is 0",
    "data fetch caltech101 --out new --size 0": "--size 0 is too small; the least is 1",
    "evaluate NOWHERE": "NOWHERE does not exist; give a run folder or a .safetensors file",
    "evaluate EMPTY": "EMPTY holds no best.safetensors; give the folder of a trained run",
    "evaluate FILE": "FILE is not a weights file of ConvLens",
    "evaluate WEIGHTS --data OTHER": (
        "WEIGHTS was not trained on the class ape of OTHER; give a data set of its classes with "
        "--data"
    ),
    "evaluate WEIGHTS --data TOY --device meta": "--device meta is not available on this machine",
    "evaluate WEIGHTS --data TOY --ensemble EMPTY": "EMPTY holds no best.safetensors",
    "evaluate WEIGHTS --data TOY --out FILE": "FILE cannot be used: File exists",
    "evaluate WEIGHTS --data EMPTY": "no images in EMPTY",
    "predict WEIGHTS": "predict needs an image or a folder",
    "predict WEIGHTS EMPTY": "EMPTY holds no image; give an image or a folder with images",
    "predict WEIGHTS NOWHERE": "NOWHERE does not exist; give an image",
    "predict WEIGHTS FILE": "FILE is text, not an image; remove it",
    "predict WEIGHTS TOY --top 0": "--top 0 is too small; the least is 1",
    "predict EMPTY TOY": "EMPTY holds no best.safetensors",
    "look WEIGHTS FILE --out new": "FILE is text, not an image",
    "look WEIGHTS --data OTHER --out new": "WEIGHTS was not trained on the class ape of OTHER",
    "look WEIGHTS --data TOY --out FILE": "FILE cannot be used: File exists",
    "look WEIGHTS --view growth filters --out new": "WEIGHTS holds no snapshots; train with --snap",
    "look WEIGHTS --layer relu9 --out new": "LeNet5 has no layer 'relu9'",
    "look WEIGHTS --layer conv1 --map 99 --out new": "layer conv1 has no map 99",
    "look WEIGHTS --target cyan_bra --out new": (
        "LeNet5 was not trained on a class 'cyan_bra'; did you mean cyan_bar?"
    ),
    "export NOWHERE": "NOWHERE does not exist; give a run folder or a .safetensors file",
    "export WEIGHTS --out new.pt2": "--out new.pt2 must end in .onnx for --format onnx",
    "export WEIGHTS --out new.onnx --layers relu9": "LeNet5 has no layer 'relu9'",
    "explore WEIGHTS --images a.png": "--images are chosen for --export; the page itself takes",
    "explore WEIGHTS --data OTHER --export new": "WEIGHTS was not trained on the class ape",
    "report --results EMPTY": "EMPTY holds no summary.json",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_told_in_one_sentence_and_leaves_nothing(
    line, toy_data, toy_weights, tmp_path, monkeypatch, refuse
):
    monkeypatch.chdir(tmp_path)
    places = {
        "TOY": toy_data.resolve(),
        "WEIGHTS": toy_weights,
        "OTHER": (tmp_path / "other").resolve(),
        "EMPTY": (tmp_path / "empty").resolve(),
        "NOWHERE": (tmp_path / "nowhere").resolve(),
        "FILE": tmp_path / "file.png",
    }
    places["EMPTY"].mkdir()
    places["FILE"].write_text("no image")
    for name in ("train", "validation"):
        for label, like in (("ape", "blue_disc"), ("bee", "cyan_bar")):
            folder = places["OTHER"] / name / label
            folder.mkdir(parents=True)
            source = toy_data / name / like / "image_0001.png"
            (folder / "a.png").write_bytes(source.read_bytes())
    before = sorted(tmp_path.rglob("*"))
    arguments = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(places.get(m[0], m[0])), line).split()
    expected = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(places.get(m[0], m[0])), BAD[line])
    told = refuse(*arguments)
    assert told.startswith(expected), told
    assert "`" not in told or "`convlens " in told or "`pip " in told  # no name of a parameter
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("data", "--data"),
        ("split_seed", "--split-seed"),
        ("recipe.learning_rate", "--learning-rate"),
        ("recipe.augment.trivial_augment", "--augment.trivial-augment"),
        ("model_options.drop_path", "--model-options.drop-path"),
        ("path", "--out"),
        ("maps", "--map"),
        ("members", "--ensemble"),
    ],
)
def test_options_are_spelled_as_a_person_types_them(option, shown):
    assert spelled(option) == shown
    assert spell(f"give `{option}` once more", [option]) == f"give {shown} once more"


def test_only_the_words_that_are_options_are_spelled_anew():
    problem = UserError(
        "`skip_bad` in `my_skip_bad`: `convlens data audit` lists `data`", option="skip_bad"
    )
    assert tell(problem) == (
        "convlens: --skip-bad in `my_skip_bad`: `convlens data audit` lists `data`"
    )


def test_a_verb_that_shares_no_work_refuses_torchrun(monkeypatch, refuse):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = refuse("reproduce", "quick")
    assert "only train shares its work among them; run `convlens reproduce` without" in told


# A terminal's accidents


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


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["predict", "runs/q", ""], "runs/q"),
        (["train", "quick", "--data", ""], "--data"),
        (["evaluate", ""], "evaluate"),
    ],
)
def test_what_is_empty_is_not_the_working_folder(arguments, after, refuse):
    told = refuse(*arguments)
    assert f"what stands after {after} is empty, as of a shell variable that is not set" in told
