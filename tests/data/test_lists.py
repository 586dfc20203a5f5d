"""Lists: CSV, TSV and JSONL that name images and say their classes."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import Reading, open_dataset
from convlens.data.listing import Listing
from convlens.data.lists import read_list
from convlens.data.sources import scan
from convlens.errors import UserError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images, a.png to f.png; two of them once more below photos/."""
    for name in "abcdef":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "photos" / "old").mkdir(parents=True)
    for name in "photos/x.png", "photos/old/y.png":
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    return tmp_path


def listed(folder: Path, text: str | bytes, name: str = "list.csv", **reading) -> Listing:
    content = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(content)
    return scan(folder / name, Reading(**reading))


def told(listing: Listing) -> dict[str, tuple[str, str]]:
    """From each path to its class and its split."""
    splits = [("train", "validation", "test")[number] for number in listing.splits]
    labels = [listing.classes[label] for label in listing.labels]
    return dict(zip(listing.paths, zip(labels, splits, strict=True), strict=True))


PLAIN = {"a.png": ("cat", "train"), "b.png": ("dog", "train")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "file,label\na.png,cat\nb.png,dog\n"),
        ("list.CSV", "\ufefffile,label\r\na.png,cat\r\nb.png,dog\r\n"),
        ("list.csv", '"image_path","Class"\n"a.png","cat"\n\n"b.png","dog"\n'),
        ("list.csv", "file;label\na.png;cat\nb.png;dog\n"),
        ("list.csv", "sep=;\nfile;label\na.png;cat\nb.png;dog\n"),
        ("list.tsv", "label\tFile Name\tnote\ncat\ta.png\t1,2\ndog\tb.png\t\n"),
        ("list.txt", "path | category\na.png | cat\nb.png | dog\n"),
        ("list.csv", "file,label\n./a.png,cat\nphotos/../b.png,dog\n"),
        ("list.csv", "id,breed\na.png,cat\nb.png,dog\n"),
        ("list.csv", "file,label\na.png,cat\nb.png,dog\n".encode("utf-16")),
        ("list.csv", "caf\u00e9,file,label\n1,a.png,cat\n2,b.png,dog\n"),
        (
            "list.jsonl",
            '{"file_name": "a.png", "label": "cat"}\n\n{"label": "dog", "file_name": "b.png"}',
        ),
    ],
)
def test_the_same_list_in_many_forms(name, content, folder):
    listing = listed(folder, content, name)
    assert told(listing) == PLAIN
    assert (listing.problems, listing.is_split, listing.classes) == ((), False, ("cat", "dog"))
    assert (listing.source, listing.root) == (folder / name, folder)


def test_a_list_is_opened_as_a_data_set(folder, monkeypatch):
    monkeypatch.chdir(folder)
    rows = "".join(f"{name}.png,{'xyz'[i % 2]}\n" for i, name in enumerate("abcdef"))
    (folder / "list.csv").write_text(f"file,label\n{rows}", encoding="utf-8")
    dataset = open_dataset("list.csv", size=8)
    assert (dataset.place, dataset.root) == (folder / "list.csv", folder)
    assert sorted([*dataset.train.paths, *dataset.validation.paths]) == [
        f"{n}.png" for n in "abcdef"
    ]
    assert dataset.classes == ("x", "y")


def test_columns_can_be_named(folder):
    text = "where,what,file,label,part\na.png,cat,z,z,VAL\nb.png,dog,z,z,train\n"
    listing = listed(folder, text, file_column="where", label_column="What", split_column="part")
    assert told(listing) == {"a.png": ("cat", "validation"), "b.png": ("dog", "train")}


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("split", ("train", "Valid", "TEST"), ("train", "validation", "test")),
        ("Subset", ("training", "dev", "testing"), ("train", "validation", "test")),
        ("is_valid", ("False", "True", "0"), ("train", "validation", "train")),
        ("fold", ("train", "val", "test"), ("train", "validation", "test")),
    ],
)
def test_a_column_says_the_split(column, values, splits, folder):
    rows = [f"{n}.png,{'uv'[n == 'b']},{v}\n" for n, v in zip("abc", values, strict=True)]
    listing = listed(folder, f"file,label,{column}\n{''.join(rows)}")
    assert [told(listing)[f"{name}.png"][1] for name in "abc"] == list(splits)
    assert listing.is_split


def test_a_guessed_column_that_names_no_split_is_not_used(folder):
    listing = listed(folder, "file,label,fold\na.png,cat,0\nb.png,dog,3\n")
    assert not listing.is_split and told(listing) == PLAIN
    assert "note       column fold names no split; not used" in listing.notes


@pytest.mark.parametrize(
    ("column", "values"), [("split", "AB"), ("split", ("treino", "teste")), ("is_valid", "xy")]
)
def test_a_column_of_splits_whose_words_are_not_known_is_refused(column, values, folder):
    rows = f"a.png,cat,{values[0]}\nb.png,dog,{values[1]}\n"
    words = "it must say (train, validation or test|true or false)"
    with pytest.raises(UserError, match=words) as problem:
        listed(folder, f"file,label,{column}\n{rows}")
    assert problem.value.options == ("split_column",)


def test_a_blank_column_of_splits_is_not_used(folder):
    listing = listed(folder, "file,label,split\na.png,cat,\nb.png,dog,\n")
    assert not listing.is_split and told(listing) == PLAIN


def test_folders_called_like_splits_say_the_split(folder):
    for name in "train/1.png", "Test/2.png", "train/3.png":
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / "a.png").rename(folder / name) if name == "train/1.png" else Image.new(
            "RGB", (8, 8)
        ).save(folder / name)
    listing = listed(folder, "file,label\ntrain/1.png,u\nTest/2.png,u\ntrain/3.png,v\n")
    assert [told(listing)[n][1] for n in ("train/1.png", "Test/2.png")] == ["train", "test"]
    assert "note       split as the folders Test/, train/ are called" in listing.notes


def test_numbers_are_classes_in_their_order(folder):
    rows = "".join(f"{n}.png,{v}\n" for n, v in zip("abc", (10, 9, -1), strict=True))
    assert listed(folder, f"file,label\n{rows}").classes == ("-1", "9", "10")
    mixed = "".join(f"{n}.png,{v}\n" for n, v in zip("abc", (10, 9, "x"), strict=True))
    assert listed(folder, f"file,label\n{mixed}").classes == ("10", "9", "x")
    lines = [{"file": f"{n}.png", "label": v} for n, v in zip("abc", (10, 9.0, 2), strict=True)]
    text = "\n".join(map(json.dumps, lines))
    assert listed(folder, text, "list.jsonl").classes == ("2", "9", "10")


def test_files_are_found_below_where_none_is_where_the_list_says(folder):
    listing = listed(folder, "id,label\nx,cat\ny,dog\n")
    assert told(listing) == {"photos/x.png": ("cat", "train"), "photos/old/y.png": ("dog", "train")}
    assert f"note       2 files were found by name below {folder}" in listing.notes
    (folder / "photos/old/x.png").write_bytes((folder / "a.png").read_bytes())
    (problem,) = listed(folder, "id,label\nx,cat\ny,dog\n").problems
    assert "names x, which is not there (it may be photos/" in problem
    # but not where others are: it may be another image of that name
    (problem,) = listed(folder, "file,label\na.png,cat\ny.png,dog\n").problems
    assert "line 3" in problem and "names y.png, which is not there; mend" in problem


def test_the_folders_own_path_may_be_before_the_names(folder):
    text = f"file,label\n{folder}/a.png,cat\n{folder}/photos/../b.png,dog\n"
    assert told(listed(folder, text)) == PLAIN


BAD_LINES = {
    "gone.png,cat": "names gone.png, which is not there",
    "/etc/passwd,cat": "names /etc/passwd, which is outside of ",
    "../a.png,cat": "names ../a.png, which is outside of ",
    "photos/../../a.png,cat": "names photos/../../a.png, which is outside of ",
    "C:\\photos\\a.png,cat": "names C:/photos/a.png, which is outside of ",
    "https://example.org/a.png,cat": "names an address, https://example.org/a.png, and not a file",
    "a\x1b[31m.png,cat": "names a file with a control character, a\\x1b[31m.png",
    ".,cat": "names ., which is outside of ",
    "photos,cat": "names photos, which is not there",
    "c.png,": "has no label",
    "c.png": "has no label",
    ",cat": "names no file",
    "c.png,a\x07b": "has a label with a control character",
    f"c.png,{'ü' * 128}": "has a label of more than 255 bytes",
    "a.png,dog": "gives a.png the label dog and line 2 cat",
}


@pytest.mark.parametrize(("line", "why"), BAD_LINES.items())
def test_a_bad_line_is_a_problem_and_left_out_on_request(line, why, folder):
    text = f"file,label\na.png,cat\nb.png,dog\nf.png,dog\n{line}\n"
    (problem,) = listed(folder, text).problems
    assert problem.startswith(f"line 5 of {folder}/list.csv {why}")
    assert problem.endswith("; mend or remove the line or use `skip_bad`")
    skipped = listed(folder, text, skip_bad=True)
    assert skipped.problems == () and len(skipped.skipped) == 1
    kept = {"b.png", "f.png"} if line.startswith("a.png") else {"a.png", "b.png", "f.png"}
    assert set(skipped.paths) == kept


def test_a_line_without_a_split_beside_others_is_a_problem(folder):
    text = "file,label,split\na.png,cat,train\nb.png,dog,\n"
    (problem,) = listed(folder, text).problems
    assert "line 3" in problem and "says no split" in problem


def test_a_file_in_two_splits_is_a_problem(folder):
    text = "file,label,split\na.png,cat,train\na.png,cat,test\nb.png,dog,train\n"
    (problem,) = listed(folder, text).problems
    assert "gives a.png the split test and line 2 train" in problem


def test_a_file_that_is_named_again_alike_is_taken_once(folder):
    listing = listed(folder, "file,label\na.png,cat\nb.png,dog\n./a.png,cat\na.png,cat\n")
    assert told(listing) == PLAIN and listing.problems == ()
    assert "note       2 lines name a file once more; each file is taken once" in listing.notes


REFUSED = {
    "": "no column that is known to be that of the files; its columns are none",
    "a.png,cat\nb.png,dog\n": "no line that names its columns; begin it with one",
    "foo,bar,baz\n1,2,3\n": "that of the files; its columns are foo, bar, baz; choose one",
    "file,path,label\na,b,c\n": "columns that may be that of the files (file, path); choose",
    "file,label,class\na,b,c\n": "several columns that may be that of the labels (label, class)",
    "file,a,b\na.png,1,2\n": "that of the labels; its columns are file, a, b; choose",
    "file,label\n": "names no image; give a list with a line for each",
    "file,label\na.png,x,y\n": "line 2 of",
    "file,label,split\na.png,x,train\nb.png,y,maybe\n": "says 'maybe' in column split; it must say",
    'file,label\n"a.png,cat\n' + "x" * 200_000: "cannot be read as a table (field larger than",
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items())
def test_what_is_no_list_is_refused_in_a_sentence(text, sentence, folder):
    with pytest.raises(UserError) as problem:
        listed(folder, text)
    assert sentence in str(problem.value) and "\n" not in str(problem.value)


def test_files_that_are_no_text_are_refused(folder):
    for content in (folder / "a.png").read_bytes(), b"file,label\ncaf\xe9.png,x\n", b"\xff\xfe\0":
        with pytest.raises(UserError, match=r"list\.csv .*(UTF-8|as a table|known to be)"):
            listed(folder, content)
    with pytest.raises(UserError, match=r"line 2 of .*list\.jsonl is not a JSON object; mend it"):
        listed(folder, '{"file": "a.png", "label": 1}\n[1, 2]\n', "list.jsonl")
    with pytest.raises(UserError, match=r"list\.jsonl names no image that can be read"):
        listed(folder, '{"file": "gone.png", "label": 1}\n', "list.jsonl", skip_bad=True)
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe\.csv cannot be read \(a pipe or a device"):
        scan(folder / "pipe.csv")
    with pytest.raises(UserError, match="no column 'x'; its columns are file, label; choose"):
        listed(folder, "file,label\na.png,1\n", file_column="x")


def test_a_list_of_labels_is_no_label(folder):
    text = '{"file": "a.png", "label": ["x", "y"]}\n{"file": "b.png", "label": "z"}\n'
    (problem,) = listed(folder, text, "list.jsonl").problems
    assert "line 1" in problem and "has no single label" in problem


def test_metadata_beside_the_images_is_a_list_if_it_says_classes(folder):
    listed(folder, "file_name,label\na.png,cat\nb.png,dog\n", "metadata.csv")
    listing = scan(folder)
    assert told(listing) == PLAIN and listing.source == listing.root == folder
    left = "c.png, d.png, e.png, f.png, photos/old/y.png, …"
    unnamed = f"note       6 images are not named in the metadata and left out: {left}"
    assert unnamed in listing.notes
    listed(folder, "file_name,caption\na.png,a cat\nb.png,a dog\n", "metadata.csv")
    assert scan(folder).classes == ("photos",)  # a folder as any other
    captioned = scan(folder, Reading(label_column="caption"))
    assert captioned.classes == ("a cat", "a dog")


def test_metadata_in_the_folders_of_splits(folder):
    for split, files in ("train", "ab"), ("test", "c"):
        (folder / split).mkdir()
        lines = []
        for name in files:
            (folder / f"{name}.png").rename(folder / split / f"{name}.png")
            lines.append(json.dumps({"file_name": f"{name}.png", "label": "uv"[name == "b"]}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert told(scan(folder)) == {
        "train/a.png": ("u", "train"),
        "train/b.png": ("v", "train"),
        "test/c.png": ("u", "test"),
    }


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["list.csv", "list.tsv", "list.jsonl"]),
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='file,label\n\t;"{}:[]a.png/\\\0é0', max_size=120).map(str.encode),
        st.lists(
            st.sampled_from(["file,label", "a.png,x", "b.png,y", '"', "a.png", ",,,", "../x,y"])
        ).map(lambda lines: "\n".join(lines).encode()),
    ),
    st.booleans(),
)
def test_any_file_is_listed_or_refused_in_a_sentence(name, content, skip_bad):
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for each in "a.png", "b.png":
            root.joinpath(each).touch()
        root.joinpath(name).write_bytes(content)
        try:
            listing = read_list(root / name, Reading(skip_bad=skip_bad))
        except UserError as problem:
            assert "\n" not in str(problem)
            return
        assert set(listing.paths) <= {"a.png", "b.png"} or listing.paths == (name,)
        assert all("\n" not in problem for problem in listing.problems)


def test_a_quote_that_does_not_end_swallows_no_line(folder):
    with pytest.raises(UserError, match="cannot be read as a table"):
        listed(folder, 'file,label,note\na.png,cat,"a note\nb.png,dog,\nc.png,dog,\n')
    with pytest.raises(UserError, match="cannot be read as a table"):
        listed(folder, 'file\tlabel\tlength\na.png\tcat\t"0 inch\nb.png\tdog\t1\n', "list.tsv")


@pytest.mark.parametrize("late", ["split", "label", "file_name"])
def test_what_only_later_lines_of_json_say_is_not_passed_over(late, folder):
    first, second = (
        {"file": "a.png", "class": "cat"},
        {"file": "b.png", "class": "dog", late: "test"},
    )
    lines = "\n".join(map(json.dumps, (first, second)))
    with pytest.raises(UserError, match=f"line 2 of .* has '{late}', which its first line has not"):
        listed(folder, lines, "list.jsonl")
    other = "\n".join(map(json.dumps, (first, {**second, late: "", "note": "x"})))
    with pytest.raises(UserError, match="which its first line has not"):
        listed(folder, other, "list.jsonl")
    noted = "\n".join(map(json.dumps, (first, {"file": "b.png", "class": "dog", "note": "x"})))
    assert told(listed(folder, noted, "list.jsonl")) == PLAIN


@pytest.mark.parametrize(
    ("column", "yes", "no"),
    [
        ("is_train", "train", "validation"),
        ("is_test", "test", "train"),
        ("is_valid", "validation", "train"),
        ("Is Validation", "validation", "train"),
    ],
)
def test_a_question_is_answered_as_it_was_asked(column, yes, no, folder):
    text = f"file,label,{column}\na.png,cat,True\nb.png,dog,0\nc.png,dog,1\n"
    splits = {
        path: split for path, (_, split) in told(listed(folder, text, split_column=column)).items()
    }
    assert splits == {"a.png": yes, "b.png": no, "c.png": yes}


@pytest.mark.parametrize("column", ["is_test", "Is Training Image", "type", "data set"])
def test_a_column_that_plainly_says_the_split_is_not_passed_over(column, folder):
    yes, no = ("1", "0") if column.lower().startswith("is") else ("test", "train")
    rows = f"a.png,cat,{yes},x\nb.png,dog,{no},train\nc.png,dog,{no},train\n"
    text = f"file,label,{column},of\n{rows}"
    listing = listed(folder, text)
    assert len({split for _, split in told(listing).values()}) == 2
    noted = [note for note in listing.notes if "split as column" in note]
    assert len(noted) == (not column.lower().startswith("is"))


def test_a_label_may_look_like_json(folder):
    lines = '{"file": "a.png", "label": "[red]x"}\n{"file": "b.png", "label": ["x"]}'
    listing = listed(folder, lines, "l.jsonl")
    assert listing.classes == ("[red]x",) and "has no single label" in listing.problems[0]


def test_another_question_is_refused(folder):
    text = "file,label,is_blurred\na.png,cat,true\nb.png,dog,false\n"
    with pytest.raises(UserError, match="it must say train, validation or test"):
        listed(folder, text, split_column="is_blurred")


def test_a_number_that_is_none_is_no_label(folder):
    listing = listed(
        folder, '{"file": "a.png", "label": NaN}\n{"file": "b.png", "label": 1e400}', "l.jsonl"
    )
    assert len(listing.problems) == 2 and all("has no label" in each for each in listing.problems)
