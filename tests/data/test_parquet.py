"""Parquet: the bytes of images and their labels, as the large data sets use it."""

import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import Reading, open_dataset
from convlens.data.sources import scan
from convlens.errors import UserError


def encoded(color: str, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, form)
    return file.getvalue()


IMAGES = [encoded("red"), encoded("blue", "JPEG"), encoded("green", "WEBP"), encoded("red", "GIF")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(path: Path, names: list[str] | None = None, **columns: list[Any]) -> Path:
    """A Parquet file of such columns. names: those of the labels, in Hugging Face's metadata."""
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        said = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": said})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def structs(images: list[bytes | None]) -> list[dict[str, Any] | None]:
    return [{"bytes": image, "path": "where/it/was.png"} for image in images]


def told(path: Path, **reading: Any) -> list[tuple[bytes, str, int]]:
    """What each image is, its class and its split, in the order of the rows."""
    listing = scan(path, Reading(**reading))
    listing.check()
    rows = sorted(zip(listing.paths, listing.labels, listing.splits, strict=True))
    return [((listing.root / p).read_bytes(), listing.classes[c], int(s)) for p, c, s in rows]


def test_images_and_the_names_of_labels_are_as_hugging_face_has_them(tmp_path):
    path = written(
        tmp_path / "a.parquet", ["cat", "dog"], image=structs(IMAGES), label=[0, 1, 1, 0]
    )
    expected = [(i, c, 0) for i, c in zip(IMAGES, ("cat", "dog", "dog", "cat"), strict=True)]
    assert told(path) == expected
    listing = scan(path)
    assert (listing.source, listing.is_split) == (path, False)
    assert {Path(name).suffix for name in listing.paths} == {".png", ".jpg", ".webp", ".gif"}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 10, 9], ("9", "10")),
        (["b", "a ", "b", "a"], ("a", "b")),
        (pa.array(["b", "a", "b", "a"]).dictionary_encode(), ("a", "b")),
    ],
)
def test_plain_columns_of_bytes_and_labels(labels, classes, tmp_path):
    path = written(tmp_path / "a.parquet", img=IMAGES, label=labels, url=["x"] * 4)
    assert scan(path).classes == classes


def test_shards_of_a_folder_say_their_split(tmp_path, cache):
    for number in range(2):
        name = f"data/train-0000{number}-of-00002.parquet"
        written(tmp_path / "set" / name, ["u", "v"], image=structs(IMAGES[:2]), label=[0, 1])
    name = "data/test-00000-of-00001-0123456789abcdef.parquet"
    written(tmp_path / "set" / name, ["u", "v"], image=structs(IMAGES[2:]), label=[1, 0])
    listing = scan(tmp_path / "set")
    assert listing.counts == {"train": 4, "test": 2} and listing.classes == ("u", "v")
    assert listing.source == tmp_path / "set" and listing.root.is_relative_to(cache)
    dataset = open_dataset(tmp_path / "set", size=8)
    assert dataset.test is not None and len(dataset.test) == 2
    assert dataset.place == tmp_path / "set"
    name = "data/extra-00000-of-00001.parquet"
    written(tmp_path / "set" / name, ["u", "v"], image=structs(IMAGES[2:]), label=[1, 0])
    again = scan(tmp_path / "set")
    assert again.counts == listing.counts
    assert any(note.endswith("is of no split by its name; left out") for note in again.notes)


def test_files_in_folders_of_splits_or_called_like_them(tmp_path):
    for name in "train/0000.parquet", "validation/0000.parquet":
        written(tmp_path / "a" / name, image=IMAGES, label=[1, 2, 1, 2])
    assert scan(tmp_path / "a").counts == {"train": 4, "validation": 4}
    for name in "train.parquet", "test.parquet":
        written(tmp_path / "b" / name, image=IMAGES, label=[1, 2, 1, 2])
    assert scan(tmp_path / "b").counts == {"train": 4, "test": 4}
    assert scan(tmp_path / "b" / "test.parquet").counts == {"": 4}  # alone it is one flat set


def test_broken_rows_are_counted_and_left_out_on_request(tmp_path):
    images = [IMAGES[0], None, b"", b"no image", IMAGES[1], IMAGES[2], IMAGES[3], IMAGES[0]]
    labels = [0, 0, 0, 0, None, -1, 7, 1]
    path = written(tmp_path / "a.parquet", ["u", "v"], image=structs(images), label=labels)
    broken = ["no image", "no image", "no image that can be read", *["no label"] * 3]
    expected = [
        f"row {row} of {path} has {why}; mend the file or use `skip_bad`"
        for row, why in enumerate(broken, 1)
    ]
    listing = scan(path)
    assert list(listing.problems) == expected
    with pytest.raises(UserError, match=r"row 1 of .* has no image; .* \(and 5 more; "):
        listing.check()
    kept = scan(path, Reading(skip_bad=True))
    assert kept.problems == () and len(kept.paths) == 2 and len(kept.skipped) == 6


def test_columns_are_chosen_or_asked_for(tmp_path):
    path = written(tmp_path / "a.parquet", image=IMAGES, fine=[1, 2, 3, 4], coarse=[1, 1, 2, 2])
    with pytest.raises(UserError, match=r"columns that may be that of the labels \(fine, coarse\)"):
        scan(path)
    coarse = scan(path, Reading(label_column="coarse"))
    assert coarse.classes == ("1", "2")
    assert scan(path, Reading(label_column="fine")).classes == ("1", "2", "3", "4")
    assert all((coarse.root / name).exists() for name in coarse.paths)  # who has it open keeps it
    with pytest.raises(UserError, match="no column 'x'; its columns are image, fine, coarse"):
        scan(path, Reading(label_column="x"))
    with pytest.raises(UserError, match="no column of images; its columns are text, label"):
        scan(written(tmp_path / "b.parquet", text=["a"], label=[1]))
    with pytest.raises(UserError, match="no column of labels; its columns are image"):
        scan(written(tmp_path / "c.parquet", image=IMAGES))
    with pytest.raises(UserError, match="has no image with a label"):
        scan(written(tmp_path / "d.parquet", image=[b"x"], label=[1]))


def test_a_damaged_file_leaves_nothing_behind(tmp_path, cache):
    path = written(tmp_path / "a.parquet", image=IMAGES, label=[1, 2, 1, 2])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[20:200] = bytes(180)
    for content in b"", b"PAR1", whole[:-20], b"no parquet at all", bytes(damaged):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.parquet is damaged|has no image with a label"):
            scan(path)
    assert [name for name in os.listdir(cache) if not name.endswith(".lock")] == []


def test_without_pyarrow_it_is_told_what_to_install(tmp_path, monkeypatch):
    path = written(tmp_path / "a.parquet", image=IMAGES, label=[1, 2, 1, 2])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError) as problem:
        scan(path)
    told = "is Parquet, which needs pyarrow; install it with `pip install pyarrow`"
    assert str(problem.value) == f"{path} {told}"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_damaged_file_does_more_than_be_refused(data):
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        root = Path(made)
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        path = written(root / "a.parquet", ["u", "v"], image=structs(IMAGES), label=[0, 1, 1, 0])
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            scan(path, Reading(skip_bad=True))
        except UserError as problem:
            assert "\n" not in str(problem)


@pytest.mark.parametrize(
    "names",
    [
        ("cifar_train", "cifar_test"),
        ("train-0", "test-0"),
        ("my-train-00000-of-00001", "my-test-00000-of-00001"),
        ("train00", "test00"),
        ("train.snappy", "test.snappy"),
        ("train-part1", "test-part1"),
        ("plain_text/train-00000-of-00001", "plain_text/test-00000-of-00001"),
        ("default/train/0000", "default/test/0000"),
        ("data/train/a", "data/test/a"),
    ],
)
def test_a_part_says_its_split_in_a_word_of_its_name_or_by_its_folder(names, tmp_path):
    for name, images in zip(names, (IMAGES[:2], IMAGES[2:]), strict=True):
        path = tmp_path / "set" / f"{name}.parquet"
        written(path, image=structs(images), label=["a", "b"])
    found = {image: split for image, _, split in told(tmp_path / "set")}
    assert found == dict(zip(IMAGES, (0, 0, 2, 2), strict=True))


@pytest.mark.parametrize(
    ("column", "words"),
    [("is_test", [False, False, True, True]), ("phase", ["train", "train", "test", "Test"])],
)
def test_a_column_that_plainly_says_the_split_is_not_passed_over(column, words, tmp_path):
    columns = {"image": structs(IMAGES), "label": ["a", "b", "a", "b"], column: words}
    found = told(written(tmp_path / "a.parquet", **columns))
    assert sorted(split for *_, split in found) == [0, 0, 2, 2]


def test_a_row_that_says_no_split_is_broken(tmp_path):
    columns = {"image": structs(IMAGES), "label": ["a", "b", "a", "b"]}
    path = written(tmp_path / "a.parquet", **columns, split=["train", "test", None, "train"])
    with pytest.raises(UserError, match=r"row 2 of .*a\.parquet says no split; mend the file or"):
        told(path)
    assert len(told(path, skip_bad=True)) == 3


@pytest.mark.parametrize("asked", [None, "split"])
def test_a_column_says_the_split(asked, tmp_path):
    path = written(
        tmp_path / "a.parquet",
        image=structs(IMAGES),
        label=["a", "b", "a", "b"],
        split=["train", "train", "Test", "val"],
    )
    found = {image: split for image, _, split in told(path, split_column=asked)}
    assert found == dict(zip(IMAGES, (0, 0, 2, 1), strict=True))


def test_a_question_in_a_column_says_the_split(tmp_path):
    path = written(
        tmp_path / "a.parquet",
        image=structs(IMAGES),
        label=["a", "b", "a", "b"],
        is_test=[True, False, False, True],
    )
    found = {image: split for image, _, split in told(path, split_column="is_test")}
    assert found == dict(zip(IMAGES, (2, 0, 0, 2), strict=True))


def test_a_column_that_says_no_split_is_passed_over_unless_it_was_asked_for(tmp_path):
    columns = {"image": structs(IMAGES), "label": ["a", "b", "a", "b"], "fold": [0, 1, 2, 3]}
    path = written(tmp_path / "a.parquet", **columns)
    assert {split for *_, split in told(path)} == {0}
    with pytest.raises(UserError, match="it must say train, validation or test") as problem:
        scan(path, Reading(split_column="fold"))
    assert problem.value.options == ("split_column",)
    with pytest.raises(UserError, match="has no column 'nope'") as problem:
        scan(path, Reading(split_column="nope"))
    assert problem.value.options == ("split_column",)


def test_files_that_are_missing_are_missed(tmp_path):
    columns = {"image": structs(IMAGES), "label": ["a", "b", "a", "b"]}
    written(tmp_path / "data" / "train-00000-of-00002.parquet", **columns)
    written(tmp_path / "data" / "test-00000-of-00001.parquet", **columns)
    (said,) = (line for line in scan(tmp_path).notes if "missing" in line)
    assert "of train" in said and "has 1 of 2 files" in said


def test_a_label_that_is_none_is_told_by_its_row(tmp_path):
    path = written(tmp_path / "a.parquet", image=structs(IMAGES), label=["a", "b", "a\x07", "b"])
    (problem,) = scan(path).problems
    assert problem.startswith(
        f"row 2 of {path} has a label with a control character; mend the file"
    )
