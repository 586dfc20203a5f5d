from pathlib import Path

import pytest
from PIL import Image

from convlens.data import open_dataset, sources
from convlens.data.sources import scan
from convlens.errors import UserError


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(path)
    return path


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        image(root / path)
    return root


def split_tree(root: Path, validation: str = "validation") -> Path:
    return tree(
        root,
        *(
            f"{split}/{name}/{i}.png"
            for split in ("train", validation)
            for name in ("cat", "dog")
            for i in range(2)
        ),
    )


def test_an_unsplit_data_set(tmp_path):
    listing = scan(tree(tmp_path, "b/2.png", "b/10.PNG", "a/x.jpg", "a/y.bmp"))
    assert listing.classes == ("a", "b")
    assert listing.paths == ("a/x.jpg", "a/y.bmp", "b/10.PNG", "b/2.png")
    assert listing.labels.tolist() == [0, 0, 1, 1]
    assert listing.num_train is None
    assert listing.problems == ()
    stat = (tmp_path / "b/10.PNG").stat()
    assert (listing.sizes[2], listing.mtimes[2]) == (stat.st_size, stat.st_mtime_ns)


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_a_split_data_set_lists_train_first(tmp_path, validation):
    listing = scan(split_tree(tmp_path, validation))
    assert listing.num_train == 4
    assert listing.paths[3:6] == (
        "train/dog/1.png",
        f"{validation}/cat/0.png",
        f"{validation}/cat/1.png",
    )
    assert listing.labels.tolist() == [0, 0, 1, 1] * 2


def test_classes_are_sorted_as_plain_text(tmp_path):
    assert scan(tree(tmp_path, *(f"{c}/{i}.png" for c in "bBa" for i in "12"))).classes == (
        "B",
        "a",
        "b",
    )


def test_hidden_files_and_clutter_are_ignored(tmp_path):
    split_tree(tmp_path)
    for name in (
        ".DS_Store",
        "train/.DS_Store",
        "train/cat/Thumbs.db",
        "train/cat/._0.png",
        "README.md",
        "train/labels.csv",
    ):
        (tmp_path / name).write_bytes(b"clutter")
    (tmp_path / "train/.git").mkdir()
    (tmp_path / "test/cat").mkdir(parents=True)
    assert scan(tmp_path).problems == ()
    assert len(scan(tmp_path).paths) == 8


def test_a_class_may_be_called_train(tmp_path):
    listing = scan(tree(tmp_path, "train/1.png", "train/2.png", "car/1.png", "car/2.png"))
    assert listing.classes == ("car", "train")
    assert listing.problems == ()


def problems(root: Path) -> list[str]:
    return [problem.replace(str(root), "ROOT") for problem in scan(root).problems]


def test_an_empty_class(tmp_path):
    split_tree(tmp_path)
    (tmp_path / "train/cow").mkdir()
    image(tmp_path / "validation/cow/1.png")
    assert problems(tmp_path) == ["class folder ROOT/train/cow holds no image; fill or remove it"]


def test_a_class_missing_from_one_split(tmp_path):
    image(split_tree(tmp_path) / "train/cow/1.png")
    assert problems(tmp_path) == [
        "class cow is missing from ROOT/validation; add it there or remove it elsewhere"
    ]


def test_a_file_that_is_no_image(tmp_path):
    (split_tree(tmp_path) / "train/cat/notes.txt").write_text("nice cats")
    assert problems(tmp_path) == [
        "ROOT/train/cat/notes.txt is not an image; remove it or use `skip_bad`"
    ]
    allowed = scan(tmp_path, skip_bad=True)
    assert allowed.problems == ()
    assert allowed.skipped == ("train/cat/notes.txt",)


def test_classes_that_differ_only_in_case(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "Cat/1.png", "Cat/2.png")
    assert problems(tmp_path) == ["classes Cat and cat in ROOT differ only in case; rename one"]


def test_a_folder_inside_a_class(tmp_path):
    image(split_tree(tmp_path) / "train/cat/kittens/1.png")
    assert problems(tmp_path) == [
        "ROOT/train/cat/kittens is a folder inside a class folder; images must lie directly in it"
    ]


def test_the_folder_above_the_data_set_is_recognized(tmp_path):
    split_tree(tmp_path / "pets")
    assert problems(tmp_path)[0].endswith("(did you mean `data` ROOT/pets?)")


def test_a_class_of_one_image_cannot_be_split(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    assert problems(tmp_path) == [
        "class folder ROOT/dog holds a single image; a split needs two or more"
    ]


def test_a_single_class(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png")
    assert problems(tmp_path) == ["ROOT holds a single class, cat; telling apart needs two"]


def test_no_images_at_all(tmp_path):
    assert problems(tmp_path) == ["no images in ROOT; it must hold a folder per class"]
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "validation/cat").mkdir(parents=True)
    assert problems(tmp_path) == ["no images in ROOT; it must hold a folder per class"]


def test_loose_images_are_mentioned(tmp_path):
    image(tmp_path / "1.png")
    assert "that lie loose in it belong into such folders" in problems(tmp_path)[0]


def test_roots_that_are_no_folder(tmp_path):
    with pytest.raises(
        UserError, match="nowhere does not exist; give a folder with `data`"
    ) as problem:
        scan(tmp_path / "nowhere")
    assert problem.value.options == ("data",)
    with pytest.raises(UserError, match=r"1\.png is a file; give a folder"):
        scan(image(tmp_path / "1.png"))


@pytest.mark.parametrize(
    ("present", "sentence"),
    [
        (["train"], "has train/ but no validation/, val/ or valid/; add it"),
        (["val"], "has val/ but no train/; add it"),
        (["train", "val", "validation"], "has both validation and val; keep one of them"),
    ],
)
def test_half_or_double_splits(tmp_path, present, sentence):
    tree(tmp_path, *(f"{split}/cat/1.png" for split in present))
    with pytest.raises(UserError, match=sentence):
        scan(tmp_path)


def test_the_first_problem_is_raised_with_the_number_of_others(tmp_path):
    split_tree(tmp_path)
    for name in "abc":
        (tmp_path / f"train/cat/{name}.txt").write_text("")
    with pytest.raises(UserError) as error:
        open_dataset(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/train/cat/a.txt is not an image; remove it or use `skip_bad` "
        "(and 2 more; `convlens data audit` lists them)"
    )
    assert error.value.options == ("skip_bad",)  # the command in backticks is none


def test_the_cache_home_without_the_variable(monkeypatch):
    monkeypatch.delenv("CONVLENS_CACHE")
    assert sources.cache_home().name == "convlens"
