"""A data set that is copied into train/ and validation/."""

import errno
import shutil

import pytest
from PIL import Image

from convlens.data import Reading, load
from convlens.data.sources import scan
from convlens.data.tools.split import write_split
from convlens.errors import UserError


@pytest.fixture
def unsplit(tmp_path):
    for name, count in ("cat", 20), ("dog", 11):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"pets/{name}/{i:02d}.png")
    return tmp_path / "pets"


def test_the_written_split_is_the_one_an_unsplit_data_set_is_opened_with(unsplit, tmp_path):
    out = write_split(unsplit, tmp_path / "out", seed=3)
    written, opened = load(out, size=8), load(unsplit, 8, Reading(split_seed=3))
    assert written.validation.paths == tuple(f"validation/{p}" for p in opened.validation.paths)
    assert written.train.paths == tuple(f"train/{p}" for p in opened.train.paths)
    for path in opened.train.paths:
        assert (out / "train" / path).read_bytes() == (unsplit / path).read_bytes()


def test_what_cannot_be_split_is_refused(unsplit, tmp_path):
    out = write_split(unsplit, tmp_path / "out")
    for source, target, fraction, sentence in (
        (out, tmp_path / "again", 0.9, "out is split already"),
        (unsplit, out, 0.9, "out exists and is not empty"),
        (unsplit, unsplit / "inner", 0.9, "lies inside the data set it is made from"),
        (unsplit, tmp_path / "again", 1.0, "`fraction` 1.0 must lie between 0 and 1"),
        (tmp_path / "none", tmp_path / "again", 0.9, "none does not exist"),
    ):
        with pytest.raises(UserError, match=sentence):
            write_split(source, target, fraction)
    with pytest.raises(UserError, match="`seed` -1 is too small; the least is 0") as problem:
        write_split(unsplit, tmp_path / "again", seed=-1)
    assert problem.value.options == ("seed",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pets"]


def test_images_whose_metadata_say_their_class_come_into_its_folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = []
    for number in range(8):
        Image.new("RGB", (8, 8)).save(photos / f"{number}.png")
        rows.append(f"{number}.png,{'cat' if number % 2 else 'dog'}\n")
    (photos / "metadata.csv").write_text(f"file_name,label\n{''.join(rows)}", encoding="utf-8")
    write_split(photos, tmp_path / "out", fraction=0.5)
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/*/*/*"))
    assert len(written) == 8
    assert {(p.split("/")[1] == "cat") == (int(p[-5]) % 2 == 1) for p in written} == {True}


@pytest.mark.parametrize("nested", [False, True])
def test_a_split_inside_another_data_set_is_no_class_of_it(toy_data, tmp_path, nested):
    other = shutil.copytree(toy_data / "train", tmp_path / "other")
    out = write_split(toy_data / "validation", other / "split", 0.5)
    assert len(scan(out, Reading()).paths) == 20
    listing = scan(other, Reading(nested=nested))
    assert (len(listing.classes), len(listing.paths)) == (5, 60)
    listing.check()


def test_what_a_list_says_can_be_opened_again_whatever_its_classes_are_called(tmp_path):
    """A class whose folder would be passed over, and images that lie deeper than a class does."""
    photos = tmp_path / "photos"
    lines = ["file,label"]
    for number in range(4):
        for path, label in (f"{number}.png", ".hidden"), (f"a/2020/{number}.png", "a"):
            (photos / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(photos / path)
            lines.append(f"{path},{label}")
    (photos / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    out = write_split(photos / "list.csv", tmp_path / "out", fraction=0.5)
    listing = scan(out)
    assert listing.problems == () and listing.counts == {"train": 4, "validation": 4}
    assert listing.classes == ("_.hidden", "a")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EACCES, r"0\d\.png cannot be read; give"),
        (errno.ENOSPC, r"out cannot be written \(full\); make room"),
    ],
)
def test_what_cannot_be_copied_is_named_and_a_full_disk_is_the_target_s(
    code, sentence, unsplit, tmp_path, monkeypatch
):
    def refused(source, target):
        raise OSError(code, "full", str(source))

    monkeypatch.setattr(shutil, "copy2", refused)
    with pytest.raises(UserError, match=sentence):
        write_split(unsplit, tmp_path / "out")
    assert not (tmp_path / "out").exists()
