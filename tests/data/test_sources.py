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

from convlens.data import Reading, open_dataset, sources
from convlens.data.own import is_own
from convlens.data.sources import scan
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import make_folder


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
    allowed = scan(tmp_path, Reading(skip_bad=True))
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
    assert "ROOT/data/up/cat is a folder inside" in problems(tmp_path / "data")[0].replace(
        "ROOT", "ROOT/data"
    )


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
            assert len(listing.classes) > 1
            assert np.bincount(listing.labels).all()
            for path in listing.paths:
                assert not is_own((root / path).parent)
                path.encode("utf-8")
            for name in listing.classes:
                assert name == unicodedata.normalize("NFC", name)
                assert visible(name) == name
        else:
            with pytest.raises(UserError):
                listing.check()
