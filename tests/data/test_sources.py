import errno
import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import Dataset, Reading, Split, open_dataset
from convlens.data.own import is_own
from convlens.data.place import cache_home
from convlens.data.sources import scan
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import make_folder, make_parent


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
    assert not listing.is_split
    assert listing.problems == ()
    stat = (tmp_path / "b/10.PNG").stat()
    assert (listing.sizes[2], listing.mtimes[2]) == (stat.st_size, stat.st_mtime_ns)


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_a_split_data_set_lists_train_first(tmp_path, validation):
    listing = scan(split_tree(tmp_path, validation))
    assert listing.counts == {"train": 4, "validation": 4}
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


def notes(root: Path, **reading) -> list[str]:
    listing = scan(root, Reading(**reading))
    assert listing.problems == ()
    return [line.removeprefix("note").strip().replace(str(root), "ROOT") for line in listing.notes]


def test_an_empty_class_folder_is_no_class_unless_it_has_images_elsewhere(tmp_path):
    split_tree(tmp_path)
    (tmp_path / "train/cow").mkdir()
    (tmp_path / "validation/emu").mkdir()
    assert scan(tmp_path).classes == ("cat", "dog")
    assert notes(tmp_path) == ["2 class folders hold no image: cow, emu"]
    image(tmp_path / "validation/cow/1.png")
    assert notes(tmp_path) == [
        "1 class has no training image, so nothing can be learned of it: cow",
        "1 class folder holds no image: emu",
    ]
    assert scan(tmp_path).classes == ("cat", "cow", "dog")


def test_a_class_missing_from_a_split_shifts_no_label(tmp_path):
    image(split_tree(tmp_path) / "train/ape/1.png")
    image(tmp_path / "test/dog/1.png")
    listing = scan(tmp_path)
    assert listing.classes == ("ape", "cat", "dog")
    found = dict(zip(listing.paths, listing.labels.tolist(), strict=True))
    assert all(listing.classes[label] == path.split("/")[1] for path, label in found.items())
    assert notes(tmp_path) == [
        "1 class has no validation image: ape",
        "2 classes have no test image: ape, cat",
    ]


def test_notes_are_said_once(tmp_path, told, capsys):
    image(split_tree(tmp_path) / "train/ape/1.png")
    for _ in range(2):
        scan(tmp_path)
    assert capsys.readouterr().out == "note       1 class has no validation image: ape\n"


def test_a_file_that_is_no_image(tmp_path):
    (split_tree(tmp_path) / "train/cat/notes.txt").write_text("nice cats")
    assert problems(tmp_path) == [
        "ROOT/train/cat/notes.txt is text, not an image; remove it or use `skip_bad`"
    ]
    allowed = scan(tmp_path, Reading(skip_bad=True))
    assert allowed.problems == ()
    assert allowed.skipped == ("train/cat/notes.txt",)


def test_classes_that_differ_only_in_case(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "Cat/1.png", "Cat/2.png")
    assert problems(tmp_path) == ["classes Cat and cat in ROOT differ only in case; rename one"]


def test_a_folder_inside_a_class(tmp_path):
    image(split_tree(tmp_path) / "train/cat/kittens/1.png")
    assert problems(tmp_path) == [
        "ROOT/train/cat/kittens is a folder inside a class folder; images must lie directly in it, "
        "or use `nested`"
    ]


def test_among_nested_classes_one_may_be_called_train(tmp_path):
    paths = (f"{c}/{color}/1.png" for c in ("bus", "car", "train") for color in ("red", "green"))
    tree(tmp_path, *paths)
    listing = scan(tmp_path, Reading(nested=True))
    assert (listing.classes, listing.is_split) == (("bus", "car", "train"), False)
    assert scan(tmp_path).classes == ("green", "red")  # of train/, beside which no class lies


def test_nested_folders_belong_to_the_class_above_them(tmp_path):
    tree(tmp_path, "train/cat/1.png", "train/cat/a/b/2.png", "train/dog/c/3.png")
    tree(tmp_path, "validation/cat/4.png", "validation/dog/d/e/5.png", "validation/dog/6.png")
    (tmp_path / "train/dog/c/again").symlink_to(tmp_path / "train/dog")  # a loop
    tree(tmp_path, "far/7.png")
    (tmp_path / "train/dog/linked").symlink_to(tmp_path / "far")
    (tmp_path / "train/cat/a/.hidden").mkdir()
    image(tmp_path / "train/cat/a/.hidden/8.png")
    (tmp_path / "train/cat/looks").mkdir()
    make_folder(tmp_path / "train/cat/looks")
    image(tmp_path / "train/cat/looks/9.png")
    listing = scan(tmp_path, Reading(nested=True))
    assert listing.problems == ()
    assert [path.rpartition("/")[2] for path in listing.paths] == [
        f"{i}.png" for i in (1, 2, 3, 7, 4, 6, 5)
    ]
    assert listing.labels.tolist() == [0, 0, 1, 1, 0, 1, 1]
    assert listing.own == ("train/cat/looks",)


@pytest.mark.parametrize(
    ("inside", "asked", "meant"),
    [
        ("pets/train/cat/1.png pets/validation/cat/1.png", ".", "pets"),
        ("a/pets/cat/1.png a/pets/dog/1.png", ".", "a/pets"),
        ("pets/cat/1.png pets/dog/1.png toys/car/1.png toys/bus/1.png", ".", None),
        ("pets/train/cat/1.png pets/train/dog/1.png pets/val/cat/1.png", "pets/val/cat", "pets"),
        ("photos/a/1.png photos/b/1.png photos/c/1.png", "photos/a", None),
        ("runs/quick/config.yaml runs/quick/state.pt pets/a/1.png pets/b/1.png", ".", "pets"),
        ("a/b/c/d/pets/cat/1.png a/b/c/d/pets/dog/1.png", ".", None),
        ("cat/old/1.png cat/old/2.png dog/1.png dog/2.png", ".", None),
    ],
)
def test_the_folder_that_is_meant_is_named_or_none(tmp_path, inside, asked, meant):
    for path in inside.split():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (problem, *_) = problems(tmp_path / asked)
    hint = None if meant is None else f"(did you mean `data` {tmp_path / meant}?)"
    if hint is None:
        assert "did you mean" not in problem
    else:
        assert problem.replace("ROOT", str(tmp_path / asked)).endswith(hint)


def test_a_class_of_one_image_trains(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    assert notes(tmp_path) == ["1 class has a single image, which no hold-out takes: dog"]
    dataset = open_dataset(tmp_path, size=8)
    assert sorted(dataset.train.labels.tolist()) == [0, 1]
    assert dataset.validation.labels.tolist() == [0]


def test_a_single_class_can_be_measured_and_not_trained_on(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png")
    dataset = open_dataset(tmp_path, size=8)
    with pytest.raises(UserError, match="holds a single class, cat; telling apart needs two"):
        dataset.check_trainable()


@pytest.mark.parametrize("image", ["1.png", "images/1.png"])
def test_a_list_beside_images_without_classes_is_pointed_to(image, tmp_path):
    tree(tmp_path, image)
    (tmp_path / "labels.csv").write_text(f"file,label\n{image},cat\n")
    table = f"{tmp_path / 'labels.csv'} lies there too; if it says the classes, give that"
    assert scan(tmp_path).notes[-1] == f"note       {table}"
    tree(tmp_path, "cat/1.png", "dog/1.png")
    assert all(table not in note for note in scan(tmp_path).notes)


def test_images_that_lie_in_no_class_are_counted(tmp_path):
    split_tree(tmp_path)
    tree(tmp_path, "1.png", "train/2.png", "train/3.png", "test/4.png")
    assert notes(tmp_path) == [
        "1 image lies in no class folder of ROOT; left out",
        "2 images lie in no class folder of ROOT/train; left out",
        "ROOT/test holds no folder per class; `convlens predict` answers for its images",
    ]


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
    with pytest.raises(UserError, match=r"1\.png is a file that is no data set; give a folder"):
        scan(image(tmp_path / "1.png"))


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ("train validation", {"train": 4, "validation": 4}),
        ("Train VAL", {"train": 4, "validation": 4}),
        ("training valid", {"train": 4, "validation": 4}),
        ("TRAINING Dev TESTING", {"train": 4, "validation": 4, "test": 4}),
        ("train val test", {"train": 4, "validation": 4, "test": 4}),
        ("train test", {"train": 4, "test": 4}),
        ("train", {"train": 4}),
        ("val", {"validation": 4}),
        ("test", {"test": 4}),
        ("Validation Testing", {"validation": 4, "test": 4}),
    ],
)
def test_splits_under_any_of_their_names(tmp_path, names, counts):
    images = [f"{s}/{c}/{i}.png" for s in names.split() for c in ("cat", "dog") for i in "12"]
    listing = scan(tree(tmp_path, *images))
    assert (listing.counts, listing.problems) == (counts, ())
    assert listing.classes == ("cat", "dog")
    assert {path.split("/")[0] for path in listing.paths} == {*names.split()}


def test_two_folders_of_one_split_are_refused(tmp_path):
    tree(tmp_path, "train/cat/1.png", "val/cat/1.png", "Validation/cat/1.png")
    with pytest.raises(UserError, match="has both Validation and val; keep one of them"):
        scan(tmp_path)


@pytest.mark.parametrize("name", ["train", "test", "dev", "Val", "testing"])
def test_a_class_may_be_called_like_a_split(tmp_path, name):
    tree(tmp_path, *(f"{folder}/{i}.png" for folder in (name, "car", "bus") for i in "12"))
    assert scan(tmp_path).classes == tuple(sorted((name, "bus", "car")))
    assert scan(tmp_path).problems == ()


@pytest.mark.parametrize("name", ["val", "test"])
def test_what_cannot_be_trained_on_can_be_opened(tmp_path, name):
    tree(tmp_path, *(f"{name}/{folder}/{i}.png" for folder in ("car", "bus") for i in "12"))
    dataset = open_dataset(tmp_path, size=8)
    assert {split: len(part) for split, part in dataset.splits.items() if len(part)} == {
        "validation" if name == "val" else "test": 4
    }
    with pytest.raises(UserError, match="has no images to train on; add train/"):
        dataset.check_trainable()


def test_without_validation_a_seeded_part_of_train_is_it(tmp_path, told, capsys):
    names = [f"{s}/{c}/{i:02}.png" for s in ("train", "test") for c in "ab" for i in range(20)]
    dataset = open_dataset(tree(tmp_path, *names), size=8)
    counts = {name: len(split) for name, split in dataset.splits.items()}
    assert counts == {"train": 36, "validation": 4, "test": 40}
    assert all(path.startswith("test/") for path in dataset.test.paths)
    assert dataset.flat is None
    line = "note       validation is 10% of train/, drawn by seed 0\n"
    assert capsys.readouterr().out == line
    other = open_dataset(tmp_path, size=8, split_seed=1)
    assert other.validation.paths != dataset.validation.paths
    assert other.test.paths == dataset.test.paths


def test_the_test_images_are_no_part_of_what_a_run_is_known_by(tmp_path):
    before = open_dataset(split_tree(tmp_path), size=8)
    tree(tmp_path, "test/cat/1.png", "test/dog/1.png")
    after = open_dataset(tmp_path, size=8)
    assert after.test is not None
    assert after.digest == before.digest


def test_images_are_left_out_by_a_table(tmp_path, told, capsys):
    root = split_tree(tmp_path / "pets")
    table = tmp_path / "doubtful.csv"
    gone = ["train/cat/0.png", str(root / "validation/dog/1.png"), "train/nowhere.png"]
    table.write_text("path,given\n" + "".join(f"{path},cat\n" for path in gone))
    listing = scan(root, Reading(exclude=str(table)))
    assert listing.paths == tuple(
        path for path in scan(root).paths if path not in ("train/cat/0.png", "validation/dog/1.png")
    )
    line = f"excluded   2 images, by the 3 names in {table}; no image here: train/nowhere.png\n"
    assert capsys.readouterr().out == line
    dataset = open_dataset(root, size=8, exclude=str(table))
    assert (len(dataset.train), len(dataset.validation)) == (3, 3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"name,label\na,b\n", "has no column `path`"),
        (b"", "has no column `path`"),
        (b"path\n\xff\xfe\n", "is not text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_table_of_what_to_leave_out_that_is_none(tmp_path, content, sentence):
    root = split_tree(tmp_path / "pets")
    table = tmp_path / "table.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as problem:
        scan(root, Reading(exclude=str(table)))
    assert problem.value.options == ("exclude",)


def test_the_first_problem_is_raised_with_the_number_of_others(tmp_path):
    split_tree(tmp_path)
    for name in "abc":
        (tmp_path / f"train/cat/{name}.txt").write_text("")
    with pytest.raises(UserError) as error:
        open_dataset(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/train/cat/a.txt is empty, not an image; remove it or use `skip_bad` "
        "(and 2 more; `convlens data audit` lists them)"
    )
    assert error.value.options == ("skip_bad",)  # the command in backticks is none


def test_the_cache_home_without_the_variable(monkeypatch):
    monkeypatch.delenv("CONVLENS_CACHE")
    assert cache_home().name == "convlens"


OWN = {  # what lies in a folder that ConvLens wrote
    "a run": ("config.yaml", "history.csv", "curves.png"),
    "a run that has just begun": ("config.yaml", ".lock"),
    "runs": ("quick-s0/config.yaml", "quick-s0/state.pt", "quick-s0/batch.png"),
    "folds": ("quick-folds/fold-1/config.yaml", "quick-folds/fold-1/state.pt"),
    "a search": ("config.yaml", "study.journal", "search.png", "trials/000/config.yaml"),
    "an evaluation": ("metrics.json", "confusion.csv", "confusion.png"),
    "an audit": ("near-duplicates.csv", "pairs-01.png"),
    "results": ("summary.json", "summary.md", "profile.png"),
    "a page": ("index.html", "api/site.json", "api/a.png"),
    "a cache": ("toy-64-01234567/manifest.json", "toy-64-01234567/lock"),
    "a marked folder": (".convlens", "activations-cat-1-conv1.png"),
}


@pytest.mark.parametrize("paths", OWN.values(), ids=OWN.keys())
@pytest.mark.parametrize("place", ["", "cat/", "train/", "validation/cat/"])
def test_what_convlens_wrote_is_no_class(tmp_path, paths, place, told, capsys):
    if "/" in place and place != "cat/":
        split_tree(tmp_path)
    else:
        tree(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(2)))
    before = scan(tmp_path)
    for path in paths:
        file = tmp_path / f"{place}whatever" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for _ in range(2):
        found = scan(tmp_path)
        assert (found.paths, found.classes, found.problems) == (before.paths, ("cat", "dog"), ())
        assert found.own == (f"{place}whatever",)
    assert capsys.readouterr().out == f"left out   {place}whatever: written by ConvLens\n"


@pytest.mark.parametrize("name", ["looks", "runs", "results", "evaluation", "weights", "api"])
def test_a_class_is_not_known_by_its_name(tmp_path, name):
    tree(tmp_path, f"{name}/1.png", f"{name}/2.png", "dog/1.png", "dog/2.png")
    assert scan(tmp_path).classes == tuple(sorted((name, "dog")))
    assert scan(tmp_path).own == ()


def test_what_a_single_file_was_written_into_is_no_class(tmp_path, capsys):
    tree(tmp_path, "cat/1.png", "dog/1.png")
    for file in tmp_path / "exported/deep/m.onnx", tmp_path / "dog/page.html":
        make_parent(file)
    assert is_own(tmp_path / "exported") and not is_own(tmp_path / "dog")  # which was there
    (tmp_path / "exported/deep/m.onnx").touch()
    assert scan(tmp_path).classes == ("cat", "dog") and scan(tmp_path).problems == ()


def test_folders_that_were_there_are_not_marked(tmp_path):
    tree(tmp_path, "looks/1.png", "looks/2.png", "dog/1.png", "dog/2.png")
    make_folder(tmp_path / "looks")
    make_folder(tmp_path / "new/deep")
    assert not is_own(tmp_path / "looks")
    assert is_own(tmp_path / "new/deep")
    assert is_own(tmp_path / "new")
    assert not is_own(tmp_path)
    assert not is_own(tmp_path / "nowhere")


def test_an_accent_is_one_character_or_two(tmp_path):
    """A Mac's tools write the second."""
    one, two = "caf\u00e9", "cafe\u0301"
    tree(tmp_path, f"train/{two}/1.png", f"validation/{one}/1.png")
    tree(tmp_path, "train/tea/1.png", "validation/tea/1.png")
    listing = scan(tmp_path)
    assert listing.classes == (one, "tea")
    assert listing.problems == ()
    assert listing.paths[0] == f"train/{two}/1.png"  # by which it is opened
    assert listing.labels.tolist() == [0, 1, 0, 1]
    image(tmp_path / f"train/{one}/2.png")
    (problem,) = problems(tmp_path)
    assert "is there twice, its name written in one and in several characters" in problem


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x7fb", "a\u2028b", "\x01"])
def test_control_characters_in_a_class_are_refused_and_not_obeyed(tmp_path, name):
    tree(split_tree(tmp_path), f"train/{name}/1.png", f"validation/{name}/1.png")
    for problem in problems(tmp_path):
        assert "has a control character in its name; rename it" in problem
        assert name not in problem


def test_names_that_are_not_utf8_are_refused(tmp_path):
    tree(split_tree(tmp_path), *(f"{split}/x/1.png" for split in ("train", "validation")))
    latin = os.fsdecode(b"caf\xe9")
    for split in "train", "validation":
        (tmp_path / split / "x").rename(tmp_path / split / latin)
    for problem, split in zip(problems(tmp_path), ("train", "validation"), strict=True):
        assert problem == f"class folder ROOT/{split}/caf\\udce9 has a name that is not UTF-8; " + (
            "rename it"
        )
    for split in "train", "validation":
        (tmp_path / split / latin).rename(tmp_path / split / "x")
    image(tmp_path / "train/x/2.png").rename(tmp_path / f"train/x/{latin}.png")
    (problem,) = problems(tmp_path)
    assert problem.endswith("has a name that is not UTF-8; rename it or use `skip_bad`")
    assert scan(tmp_path, Reading(skip_bad=True)).skipped == (f"train/x/{latin}.png",)


def test_what_is_no_file_is_no_image(tmp_path):
    folder = split_tree(tmp_path) / "train/cat"
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    assert problems(tmp_path) == [
        f"ROOT/train/cat/{name}.png is not an image; remove it or use `skip_bad`"
        for name in ("gone", "loop", "pipe", "zero")
    ]
    (tmp_path / "train/self").symlink_to(tmp_path / "train/self")
    assert scan(tmp_path, Reading(skip_bad=True)).classes == ("cat", "dog")


def test_links_to_folders_are_classes(tmp_path):
    tree(tmp_path, "far/1.png", "far/2.png", "data/dog/1.png", "data/dog/2.png")
    (tmp_path / "data/cat").symlink_to(tmp_path / "far")
    assert scan(tmp_path / "data").classes == ("cat", "dog")
    (tmp_path / "data/up").symlink_to(tmp_path / "data")
    assert "ROOT/up/cat is a folder inside" in problems(tmp_path / "data")[0]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_folder_that_cannot_be_read_now(tmp_path, monkeypatch, code):
    split_tree(tmp_path)
    real = os.scandir

    def failing(path):
        if str(path).endswith("train/dog"):
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(UserError, match=rf"train/dog cannot be read .{os.strerror(code)}.; try ag"):
        scan(tmp_path)


NAMES = st.sampled_from(
    [
        "train",
        "validation",
        "val",
        "test",
        "cat",
        "Cat",
        "caf\u00e9",
        "cafe\u0301",
        "looks",
        "runs",
        "a\nb",
        "\x1b[1m",
        ".hidden",
        ".convlens",
        "config.yaml",
        "state.pt",
        "api",
        "site.json",
        "manifest.json",
        "lock",
        "1.png",
        "2.PNG",
        "3.jpg",
        "notes.txt",
        os.fsdecode(b"\xff.png"),
        os.fsdecode(b"\xff"),
        "'; rm",
        "=1+1",
        "a" * 200,
        " ",
        "~",
    ]
)
LEAVES = st.sampled_from(["file", "pipe", "link to itself", "link to nothing", "link up", "zero"])
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda trees: st.dictionaries(NAMES, trees | LEAVES, max_size=5),
    max_leaves=25,
)


def grow(folder: Path, content: dict) -> None:
    folder.mkdir()
    for name, what in content.items():
        path = folder / name
        match what:
            case "file":
                path.touch()
            case "pipe":
                os.mkfifo(path)
            case "link to itself":
                path.symlink_to(path)
            case "link to nothing":
                path.symlink_to(folder / "nothing")
            case "link up":
                path.symlink_to(folder)
            case "zero":
                path.symlink_to("/dev/zero")
            case _:
                grow(path, what)


TWO = {"1.png": "file", "2.PNG": "file"}
WITH_CLASSES = st.builds(lambda tree: tree | {"cat": TWO, "dog": TWO}, TREES)
SPLIT = st.builds(
    lambda train, validation: {"train": train, "validation": validation}, WITH_CLASSES, WITH_CLASSES
)


@settings(max_examples=100, deadline=None)
@given(tree=TREES | WITH_CLASSES | SPLIT, skip_bad=st.booleans(), nested=st.booleans())
def test_any_folder_is_listed_or_refused_in_a_sentence(tree, skip_bad, nested):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        grow(root, tree)
        try:
            listing = scan(root, Reading(skip_bad=skip_bad, nested=nested))
        except UserError:
            return
        if not listing.problems:
            listing.check()
            assert np.bincount(listing.labels).all()
            if len(listing.classes) < 2:  # which can be measured, and not trained on
                all_of_it = Split(np.zeros((1, 8, 8, 3)), listing.labels, listing.paths)
                whole = Dataset("root", root, listing.classes, 8, all_of_it, all_of_it)
                with pytest.raises(UserError, match="holds a single class"):
                    whole.check_trainable()
            for path in listing.paths:
                assert not is_own((root / path).parent)
                path.encode("utf-8")
            for name in listing.classes:
                assert name == unicodedata.normalize("NFC", name)
                assert visible(name) == name
        else:
            with pytest.raises(UserError):
                listing.check()


def test_a_table_of_what_to_leave_out_is_read_as_a_list_is(tmp_path):
    """As a spreadsheet has saved it; a quote that does not end is told."""
    root = split_tree(tmp_path / "pets")
    table = tmp_path / "doubtful.csv"
    for content in (
        b"path;given\ntrain/cat/0.png;dog\n",
        "path\ntrain/cat/0.png\n".encode("utf-16"),
    ):
        table.write_bytes(content)
        assert len(scan(root, Reading(exclude=str(table))).paths) == 7
    table.write_text('path,why\n"train/cat/0.png,blurred\ntrain/cat/1.png,dark\n')
    with pytest.raises(UserError, match="cannot be read as a table") as problem:
        scan(root, Reading(exclude=str(table)))
    assert problem.value.options == ("exclude",)


@pytest.mark.parametrize(
    "written",
    ["train\\cat\\0.png", "train//cat/0.png ", "./train/cat/0.png", "train/x/../cat/0.png"],
)
def test_what_to_leave_out_may_be_written_otherwise(written, tmp_path):
    root = split_tree(tmp_path / "pets")
    tree(root, "train/caf\u00e9/1.png", "train/caf\u00e9/2.png")
    (tmp_path / "table.csv").write_text(f"path\n{written}\ntrain/cafe\u0301/1.png\n", "utf-8")
    left = scan(root, Reading(exclude=str(tmp_path / "table.csv"))).paths
    assert set(scan(root).paths) - set(left) == {"train/cat/0.png", "train/caf\u00e9/1.png"}


def test_a_split_that_lost_a_class_to_the_table_is_told(tmp_path):
    root = split_tree(tmp_path / "pets")
    gone = [path for path in scan(root).paths if path.startswith("validation/cat")]
    (tmp_path / "table.csv").write_text("path\n" + "\n".join(gone))
    listing = scan(root, Reading(exclude=str(tmp_path / "table.csv")))
    assert "note       1 class has no validation image: cat" in listing.notes


def test_what_is_left_out_takes_its_class_along_and_never_all(tmp_path):
    root = tree(tmp_path / "pets", *(f"{c}/{i}.png" for c in ("ant", "bee", "cat") for i in (1, 2)))
    table = tmp_path / "table.csv"
    table.write_text("path\nant/1.png\nant/2.png\n")
    listing = scan(root, Reading(exclude=str(table)))
    assert (listing.classes, listing.labels.tolist()) == (("bee", "cat"), [0, 0, 1, 1])
    assert "note       1 class has no image left: ant" in listing.notes
    table.write_text("path\n" + "".join(f"{path}\n" for path in scan(root).paths[:4]))
    with pytest.raises(UserError, match="holds a single class, cat"):
        open_dataset(root, size=8, exclude=str(table)).check_trainable()
    table.write_text("path\n" + "".join(f"{path}\n" for path in scan(root).paths))
    with pytest.raises(UserError, match="names every image") as problem:
        scan(root, Reading(exclude=str(table)))
    assert problem.value.options == ("exclude",)


def test_folders_that_are_no_split_are_left_out_in_so_many_words(tmp_path):
    root = split_tree(tmp_path)
    tree(root, "evaluation/cat/1.png", "holdout/1.png")
    (root / "docs").mkdir()
    (root / "docs" / "about.txt").write_text("about")
    found = [line for line in notes(root) if "is called like no split" in line]
    assert [line.split()[0] for line in found] == ["ROOT/evaluation", "ROOT/holdout"]
    assert scan(root).counts == {"train": 4, "validation": 4}


def test_an_empty_folder_of_test_images_is_not_said_to_hold_some(tmp_path):
    (split_tree(tmp_path) / "test").mkdir()
    assert notes(tmp_path) == ["ROOT/test holds no image; left out"]


def test_images_of_train_and_test_without_classes_are_no_two_classes(tmp_path):
    """As a competition has them, with a list of the training images' classes."""
    root = tree(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png")
    (root / "labels.csv").write_text("id,breed\ntrain/1.png,cat\ntrain/2.png,dog\n")
    listing = scan(root)
    (problem,) = listing.problems
    assert problem.startswith(f"test and train in {root} hold images and no folder per class")
    assert any(str(root / "labels.csv") in note for note in listing.notes)
    assert scan(root / "labels.csv").classes == ("cat", "dog")


def test_links_to_what_is_above_bring_no_other_class_in(tmp_path):
    root = tree(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    (root / "a" / "all").symlink_to("..")
    (root / "c").symlink_to(".")
    listing = scan(root, Reading(nested=True))
    assert dict(zip(listing.paths, listing.labels.tolist(), strict=True)) == {
        "a/1.png": 0,
        "b/2.png": 1,
        "b/3.png": 1,
    }
    assert not any("did you mean" in problem for problem in scan(root).problems)


def test_an_image_without_an_ending_is_told_to_be_one(tmp_path):
    root = split_tree(tmp_path)
    (root / "train/cat/0.png").rename(root / "train/cat/0")
    (problem,) = scan(root).problems
    assert "is an image, and its name does not end as one's does; rename it" in problem


def test_a_split_whose_class_folders_are_empty_is_told(tmp_path):
    root = split_tree(tmp_path, "test")
    for path in (root / "test").glob("*/*"):
        path.unlink()
    listing = scan(root)
    assert "test" not in listing.counts
    assert "test/ holds no image, as if it were not there" in notes(root)


def test_metadata_of_one_split_say_that_the_others_have_none(tmp_path):
    root = split_tree(tmp_path, "test")
    lines = "".join(f"{c}/{i}.png,{c}\n" for c in ("cat", "dog") for i in range(2))
    (root / "train" / "metadata.csv").write_text(f"file_name,label\n{lines}")
    assert any(line.startswith("ROOT/test has no metadata") for line in notes(root))


@pytest.mark.parametrize(
    ("options", "name"), [({"split_seed": -1}, "split_seed"), ({"fit": "x"}, "fit")]
)
def test_options_that_make_no_sense_open_nothing(tmp_path, options, name):
    with pytest.raises(UserError) as problem:
        open_dataset(split_tree(tmp_path), size=8, **options)
    assert problem.value.options == (name,)
