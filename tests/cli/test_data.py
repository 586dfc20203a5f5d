"""`convlens data`."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convlens.cli import main
from convlens.data import open_dataset
from convlens.explorer.serving import open_explorer
from convlens.files import read_csv
from convlens.inference import Classifier
from convlens.models import LeNet5
from convlens.training.config import make_config
from convlens.training.label_audit import audit_labels
from convlens.training.run_folder import RunFolder


def test_an_unsplit_data_set_is_audited_split_and_used(toy_data, toy_weights, tmp_path, tell):
    told = tell("data", "audit", "--data", toy_data / "train").splitlines()
    assert told[0] == f"data set         {toy_data / 'train'} (as given)"
    assert "problems         none" in told
    tell("data", "split", toy_data / "train", "--out", tmp_path / "new")
    told = tell("evaluate", toy_weights, "--data", tmp_path / "new", "--device", "cpu")
    assert "5 classes, 50 training and 10 validation images" in told


def test_findings_and_errors_name_options_as_they_are_typed(toy_data, tmp_path, capsys, refuse):
    data = tmp_path / "toy"
    shutil.copytree(toy_data / "train", data)
    (data / "cyan_bar" / "notes.txt").write_text("nice bars")
    sentence = f"{data}/cyan_bar/notes.txt is text, not an image; remove it or use --skip-bad"
    assert refuse("train", "lenet5", "--data", data) == sentence
    with pytest.raises(SystemExit) as stop:
        main(["data", "audit", "--data", str(data)])
    assert stop.value.code == 2
    told = capsys.readouterr()
    assert f"problems         1\n                 {sentence}\n" in told.out
    assert told.err == f"convlens: {data} is not in order; fix what is listed above\n"


def test_the_pairs_are_written_where_they_are_asked_for(toy_data, tmp_path, tell):
    data = tmp_path / "toy"
    shutil.copytree(toy_data, data)
    source = data / "train" / "cyan_bar" / "image_0003.png"
    shutil.copyfile(source, data / "validation" / "cyan_bar" / "copy.png")
    told = tell("data", "audit", "--data", data, "--out", tmp_path / "pairs").splitlines()
    assert any(line.startswith("overlap          1 validation images are also in") for line in told)
    written = [line.split(maxsplit=1)[1] for line in told if line.startswith("wrote")]
    assert sorted(written) == sorted(map(str, (tmp_path / "pairs").glob("[!.]*")))


@pytest.fixture
def broken(toy_data, tmp_path) -> Path:
    """The toy images, one of them no image any more."""
    data = Path(shutil.copytree(toy_data, tmp_path / "broken"))
    (data / "train/red_cross/image_0003.png").write_bytes(b"no image")
    return data


@pytest.mark.parametrize("verb", ["evaluate", "look"])
def test_a_verb_that_advises_to_skip_bad_files_can(
    broken, toy_weights, tmp_path, verb, tell, refuse
):
    asked = [verb, toy_weights, "--data", broken, "--out", tmp_path / "out"]
    asked += ["--device", "cpu"] if verb == "evaluate" else []
    told = refuse(*asked)
    assert told.endswith("is text, not an image; remove it or use --skip-bad")
    told = tell(*asked, "--skip-bad")
    assert "59 training and 20 validation images" in told
    assert "\nskipped    train/red_cross/image_0003.png\n" in told


def test_what_makes_eight_bits_can_skip_bad_files_too(
    broken, toy_weights, toy_data, tmp_path, tell, refuse
):
    image = toy_data / "train/red_cross/image_0001.png"
    for asked in (
        ["export", toy_weights, "--int8", "--data", broken, "--out", tmp_path / "m.onnx"],
        ["predict", toy_weights, image, "--int8", "--data", broken],
    ):
        assert refuse(*asked).endswith("remove it or use --skip-bad")
        tell(*asked, "--skip-bad")
    assert (tmp_path / "m.onnx").exists()


def test_an_audit_and_a_split_leave_out_what_is_no_image(broken, tmp_path, tell, refuse):
    (broken / "train/red_cross/notes.txt").touch()
    assert "is not in order" in refuse("data", "audit", "--data", broken)
    told = tell("data", "audit", "--data", broken, "--skip-bad")
    assert "skipped          1\n                 train/red_cross/notes.txt\n" in told
    assert "unreadable       1\n" in told
    asked = ["data", "split", broken / "train", "--out", tmp_path / "new"]
    assert refuse(*asked).endswith("notes.txt is empty, not an image; remove it or use --skip-bad")
    tell(*asked, "--skip-bad")
    assert not list((tmp_path / "new").rglob("notes.txt"))
    assert len(list((tmp_path / "new").rglob("*.png"))) == 60


def test_the_explorer_shows_what_can_be_read(broken, toy_weights, told, capsys):
    explorer = open_explorer(toy_weights, data=broken)
    assert len(explorer.dataset.train) == 59
    assert "skipped    train/red_cross/image_0003.png" in capsys.readouterr().out


def test_what_verbs_write_among_the_classes_is_no_class(
    toy_data, toy_weights, tmp_path, monkeypatch, tell
):
    """A person who works in the folder of the class folders, as many do."""
    data = Path(shutil.copytree(toy_data / "train", tmp_path / "pets"))
    monkeypatch.chdir(data)
    monkeypatch.setenv("CONVLENS_CACHE", "cache")
    tell("look", toy_weights, "red_cross/image_0001.png")
    tell("evaluate", toy_weights, "--data", ".", "--out", "evaluation", "--device", "cpu")
    tell("data", "audit", "--data", ".", "--out", "audit")
    tell("explore", toy_weights, "--data", ".", "--export", "page", "--images", "red_cross")
    tell(
        *("train", "lenet5", "--data", ".", "--epochs", "1", "--batch-size", "16"),
        *("--device", "cpu", "--precision", "fp32"),
    )
    told = tell("evaluate", toy_weights, "--data", ".", "--device", "cpu")
    assert told.startswith(
        "left out   audit, cache, evaluation, looks, page, runs: written by ConvLens\n"
        "data set   pets: 5 classes, 60 images of"
    )
    told = tell("predict", toy_weights, ".", "--format", "csv", "--device", "cpu")
    assert len([line for line in told.splitlines() if ".png" in line]) == 60


def untrained_folds(recipe, folds, *, out, **options):
    """What `cross_validate` leaves, its networks untrained but sure of themselves."""
    config = make_config(recipe, options)
    dataset = config.open_dataset()
    for fold in range(1, folds + 1):
        run = RunFolder(out / f"fold-{fold}")
        known = {"data": str(dataset.root), "digest": dataset.digest}
        run.begin(replace(config, folds=folds, fold=fold, **known))
        torch.manual_seed(fold)
        network = LeNet5(dataset.num_classes, size=16)
        last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
        torch.nn.init.normal_(last.weight, std=30)
        Classifier(network, dataset.classes, size=16).save(run.path / "last.safetensors")
        run.write_metrics({})


def test_labels_are_judged_by_folds_which_are_kept(toy_data, tmp_path, monkeypatch, tell):
    monkeypatch.setattr("convlens.training.folds.cross_validate", untrained_folds)
    monkeypatch.setattr("convlens.figures.LABELS_A_PAGE", 4)
    monkeypatch.setattr("convlens.reporting.audit_pages.MOST_PAGES", 1)
    recipe, out = tmp_path / "small.yaml", tmp_path / "labels"
    recipe.write_text("recipe: lenet5\nsize: 16\ntrain_size: 16\nearly_size: 16\n")
    asked = ["data", "audit", "--data", toy_data, "--device", "cpu", "--out", out]
    told = tell(*asked, "--folds", "2", "--recipe", recipe, "--split-seed", "3")
    assert "\nlabels           judged by the 2 networks of " in told
    assert "60 images of train/, 20 images of validation/, which no judge was trained on" in told
    rows = read_csv(out / "label-errors.csv")[1:]
    suspects = audit_labels(out / "folds", device="cpu").suspects()
    assert rows and [row[0] for row in rows] == [suspect.path for suspect in suspects]
    assert f"\nsuspected        {len(rows)} labels of these\n" in told
    assert told.splitlines()[-1].endswith(f"`convlens train … --exclude {out}/label-errors.csv`")
    assert RunFolder(out / "folds" / "fold-2").read_config().split_seed == 3

    again = tell("data", "audit", "--run", out / "folds", "--device", "cpu")  # the folds' own data
    assert again.startswith(f"data set         {toy_data} (as given)\n")
    assert f"\nsuspected        {len(rows)} labels of these\n" in again
    assert again.splitlines()[-1].split(maxsplit=1)[0] == "--out"
    rest = open_dataset(toy_data, size=16, exclude=str(out / "label-errors.csv"))
    left = {path for split in rest.splits.values() for path in split.paths}
    assert len(left) == 80 - len(rows) and not left & {row[0] for row in rows}


def test_who_judges_labels_is_said_once_and_is_there(toy_data, toy_weights, tmp_path, refuse):
    asked = ["data", "audit", "--data", toy_data]
    told = refuse(*asked, "--run", toy_weights, "--folds", "3")
    assert told.startswith("--run and --folds do not go together;")
    assert refuse(*asked, "--folds", "1") == "--folds 1 is too small; the least is 2"
    assert "holds no run and no folds" in refuse(*asked, "--run", tmp_path)
    (tmp_path / "no.safetensors").write_bytes(b"no")
    assert "no.safetensors" in refuse(*asked, "--run", tmp_path / "no.safetensors")
