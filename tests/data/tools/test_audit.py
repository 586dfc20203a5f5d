import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data.tools.audit import audit
from convlens.errors import UserError
from convlens.reporting.audit_pages import write_pairs

RANDOM = np.random.default_rng(0)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def pets(tmp_path) -> Path:
    """Two classes, 3 training and 2 validation images of 32×32 each, nothing wrong."""
    for split, count in ("train", 3), ("validation", 2):
        for name in "cat", "dog":
            for i in range(count):
                array = RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                save(tmp_path / split / name / f"{i}.png", array)
    return tmp_path


def test_a_data_set_in_order(pets):
    found = audit(pets, size=32)
    assert (found.classes, found.counts.tolist()) == (("cat", "dog"), [5, 5])
    assert found.splits == {"train": 6, "validation": 4}
    assert (found.gray, found.enlarged) == (0, 0)
    for findings in (
        found.problems,
        found.unreadable,
        found.tiny,
        found.constant,
        found.duplicates,
        found.leaks,
        found.clashes,
        found.near_duplicates,
        found.overlap,
    ):
        assert findings == ()
    assert (
        found.render()
        == """\
classes          2
images           6 in train/, 4 in validation/
per class        5 (cat) to 5 (cat), median 5
gray             0 images without color
enlarged         0 images with a side below 32 pixels
problems         none
unreadable       none
tiny             none
constant         none
duplicates       none
near-duplicates  none"""
    )


def test_all_problems_and_all_unreadable_files_are_listed(pets):
    (pets / "train/cat/notes.txt").touch()
    (pets / "train/cow").mkdir()
    for name in "train/cat/bad.png", "validation/dog/worse.png":
        (pets / name).write_bytes(b"no image")
    found = audit(pets)
    (problem,) = found.problems
    assert problem.startswith(f"{pets}/train/cat/notes.txt is ")
    assert "note             1 class folder holds no image: cow" in found.render()
    assert [line.split(" ")[0] for line in found.unreadable] == [
        f"{pets}/train/cat/bad.png",
        f"{pets}/validation/dog/worse.png",
    ]
    for line in found.problems + found.unreadable:
        assert line in found.render()


def test_tiny_constant_gray_and_small_images(pets):
    noise = RANDOM.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    save(pets / "train/cat/tiny.png", noise[:15])
    save(pets / "train/cat/just.png", noise[:16])
    save(pets / "train/cat/flat.png", np.full((40, 40, 3), (9, 8, 7), np.uint8))
    save(pets / "train/cat/gray.png", noise[..., 0])
    found = audit(pets, size=32)
    assert found.tiny == ("train/cat/tiny.png",)
    assert found.constant == ("train/cat/flat.png",)
    assert found.gray == 1
    assert found.enlarged == 2


def test_duplicates_are_found_by_pixels_and_told_apart(pets):
    with Image.open(pets / "train/cat/0.png") as image:
        image.save(pets / "train/cat/same.bmp")  # other bytes, the same pixels
    with Image.open(pets / "train/cat/1.png") as image:
        image.save(pets / "validation/cat/leak.png")
    with Image.open(pets / "train/cat/2.png") as image:
        image.save(pets / "train/dog/clash.png")
    found = audit(pets)
    within = ("train/cat/0.png", "train/cat/same.bmp")
    leak = ("train/cat/1.png", "validation/cat/leak.png")
    clash = ("train/cat/2.png", "train/dog/clash.png")
    assert found.duplicates == (within, leak, clash)
    assert found.leaks == (leak,)
    assert found.clashes == (clash,)
    assert "of these, 1 groups lie in several splits and 1 in several classes" in found.render()


def test_near_duplicates_are_counted_listed_and_drawn(pets, tmp_path_factory):
    scene = RANDOM.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    whole = Image.fromarray(scene).resize((64, 64), Image.Resampling.BICUBIC)
    save(pets / "train/cat/whole.png", np.asarray(whole))
    save(pets / "validation/dog/crop.png", np.asarray(whole.crop((8, 10, 56, 60))))
    with Image.open(pets / "train/cat/0.png") as image:
        image.save(pets / "train/cat/same.bmp")
    found = audit(pets)
    (first, second, similarity), *others = found.near_duplicates
    assert (first, second, others) == ("train/cat/whole.png", "validation/dog/crop.png", [])
    assert 0.9 <= similarity <= 1
    assert found.overlap == ("validation/dog/crop.png",)
    told = found.render()
    assert "near-duplicates  1 pairs show one photograph" in told
    assert "of these, 1 lie in two splits and 1 in two classes" in told
    assert "cat and dog: 1" in told
    assert "overlap          1 validation images are also in train/" in told

    out = tmp_path_factory.mktemp("pairs")
    (out / "pairs-07.png").touch()  # of an earlier audit that found more
    written = write_pairs(found, out)
    assert written == [out / "near-duplicates.csv", out / "pairs-01.png"] == sorted(out.iterdir())
    rows = list(csv.DictReader(written[0].read_text().splitlines()))
    assert [(row["first"], row["kind"], row["splits"], row["classes"]) for row in rows] == [
        ("train/cat/whole.png", "near", "2", "2"),
        ("train/cat/0.png", "same pixels", "1", "1"),
    ]


def test_pairs_that_may_be_chance_are_said_and_do_not_count(pets):
    found = audit(pets, size=32)
    assert found.unsure == ()
    pair = ("train/cat/0.png", "validation/cat/0.png", 0.95)
    told = replace(found, unsure=(pair,)).render()
    assert "near-duplicates  cannot tell\n" in told  # 2 of 10 images
    assert "1 pairs of 2 images resemble each other as copies do, but no more than diff" in told
    assert "overlap" not in told
    told = replace(found, unsure=(pair,), splits={"train": 600, "validation": 400}).render()
    assert "near-duplicates  none\n" in told
    told = replace(found, near_duplicates=(pair,), unsure=(pair,)).render()
    assert "near-duplicates  1 pairs show one photograph\n" in told
    assert "they do not count" in told


def test_an_unsplit_data_set_has_no_leaks(pets):
    with Image.open(pets / "train/cat/0.png") as image:
        image.save(pets / "train/dog/clash.png")
    found = audit(pets / "train")
    assert found.splits == {"": 7}
    assert found.leaks == ()
    assert found.clashes == (("cat/0.png", "dog/clash.png"),)
    assert "images           7, not split" in found.render()


def test_an_empty_folder(tmp_path):
    found = audit(tmp_path)
    assert found.problems[0].startswith("no images in")
    assert "problems         1" in found.render()


def test_a_root_that_is_missing(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        audit(tmp_path / "nowhere")
