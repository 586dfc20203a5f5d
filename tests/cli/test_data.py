"""`convlens data`."""

import shutil

import pytest

from convlens.cli import main


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
    assert sorted(written) == sorted(map(str, (tmp_path / "pairs").iterdir()))
