"""`convlens data`."""

import shutil
from pathlib import Path

import pytest

from convlens.cli import main
from convlens.explorer.serving import open_explorer


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
    sentence = f"{data}/cyan_bar/notes.txt is not an image; remove it or use --skip-bad"
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
    assert told.endswith("(not an image Pillow can read); replace it or use --skip-bad")
    told = tell(*asked, "--skip-bad")
    assert "59 training and 20 validation images" in told
    assert "\nskipped    train/red_cross/image_0003.png\n" in told


def test_an_audit_and_a_split_leave_out_what_is_no_image(broken, tmp_path, tell, refuse):
    (broken / "train/red_cross/notes.txt").touch()
    assert "is not in order" in refuse("data", "audit", "--data", broken)
    told = tell("data", "audit", "--data", broken, "--skip-bad")
    assert "skipped          1\n                 train/red_cross/notes.txt\n" in told
    assert "unreadable       1\n" in told
    asked = ["data", "split", broken / "train", "--out", tmp_path / "new"]
    assert refuse(*asked).endswith("notes.txt is not an image; remove it or use --skip-bad")
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
        "data set   pets: 5 classes, 50 training and 10 validation images of"
    )
    told = tell("predict", toy_weights, ".", "--format", "csv", "--device", "cpu")
    assert len([line for line in told.splitlines() if ".png" in line]) == 60
