"""Files and folders that are either the old one or the new one."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from convlens.errors import UserError
from convlens.files import (
    append_csv,
    as_unicode,
    on_disk,
    read_csv,
    replacing,
    safe_name,
    scratch,
    whole_folder,
    write_csv,
    write_json,
    write_yaml,
)


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old", encoding="utf-8")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path  # a rename must not cross file systems
        assert temporary.suffix == ".csv"
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_goes_with_the_next_that_writes_there(tmp_path):
    cut = (
        "import os, sys; from convlens.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        " temporary.write_text('half')\n"
        " os._exit(9)"
    )
    path = tmp_path / "measured" / "metrics.json"
    path.parent.mkdir()
    subprocess.run([sys.executable, "-c", cut, path], check=False)
    (left,) = path.parent.iterdir()
    living = path.parent / left.name.replace(left.name.split(".")[-4], str(os.getppid()))
    living.write_text("of a process that is alive", encoding="utf-8")
    *_, process, mark, _, suffix = left.name.split(".")
    elsewhere, old = (
        path.parent / f".metrics.{process}.{ours:04x}{mark[4:]}.tmp.{suffix}"
        for ours in (int(mark[:4], 16) ^ 1, int(mark[:4], 16) ^ 2)
    )
    for each in elsewhere, old:
        each.write_text("of another machine, where that number may live", encoding="utf-8")
    os.utime(old, (0, 0))
    write_json(path, {})
    assert set(path.parent.iterdir()) == {path, living, elsewhere}


@pytest.mark.parametrize("shared", [False, True])
def test_a_scratch_folder_goes_with_its_block_and_after_a_kill_with_the_next(
    shared, tmp_path, monkeypatch
):
    """In a folder of one's own, and among everybody's temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    within = None if shared else tmp_path
    cut = (
        "import os, sys, pathlib; from convlens.files import scratch\n"
        "within = None if sys.argv[1] == 'None' else pathlib.Path(sys.argv[1])\n"
        "with scratch('convlens-work', within) as folder:\n"
        " (folder / 'half').write_text('half')\n"
        " os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", cut, str(within)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    other = tmp_path / left.name.replace("convlens-work", "other")  # maybe another program's
    other.mkdir()
    with scratch("convlens-work", within) as folder:
        assert folder.parent == tmp_path
        assert not left.exists()
        assert other.exists() == shared
        if os.name != "nt":
            assert folder.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [other] * shared


@pytest.mark.parametrize("stop", [ValueError, OSError, KeyboardInterrupt])
def test_a_block_that_does_not_end_leaves_the_old_file_and_nothing_else(stop, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(stop), replacing(path) as temporary:
        temporary.write_bytes(b"ha")
        raise stop
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_was_there_and_none_is_left(tmp_path):
    with pytest.raises(ValueError), replacing(tmp_path / "a.json"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []


CONTENT = {"b": 1, "a": ["ü", None, 0.1], "c": {"é": True}}


@pytest.mark.parametrize(
    ("write", "read"), [(write_json, json.loads), (write_yaml, yaml.safe_load)]
)
def test_content_is_written_in_its_order_as_text_that_a_person_reads(write, read, tmp_path):
    path = tmp_path / "a.txt"
    write(path, CONTENT)
    text = path.read_text(encoding="utf-8")
    assert read(text) == CONTENT
    assert list(read(text)) == ["b", "a", "c"]
    assert "ü" in text and text.count("\n") >= 5
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_json_has_no_word_for_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "data"
    with whole_folder(target) as folder:
        (folder / "a").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["a"]
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "other") as folder:
        (folder / "a").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "precious").write_text("old", encoding="utf-8")
    for target, sentence in (
        (tmp_path, "exists and is not empty; remove it or name another folder"),
        (tmp_path / "precious", "is a file; name a folder"),
        (tmp_path / "precious" / "x", "cannot be written"),
    ):
        with pytest.raises(UserError, match=sentence), whole_folder(target):
            raise AssertionError("the block is not entered")
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["old"]


@given(st.text(st.characters(codec=None)))
@example("a/b")
@example("CON")
@example("nul.tar.gz")
@example("...")
@example(" x")
@example("激" * 90)
@example("\udcff\ud800")
def test_a_safe_name_is_one_that_every_file_system_takes(text):
    name = safe_name(text)
    assert 0 < len(name.encode("utf-8")) <= 215
    assert not re.search(r'[\x00-\x1f\x7f<>:"/\\|?*]|^ |[. ]$', name)
    assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")
    assert safe_name(text) == safe_name(name) == name  # always the same, and nothing is left to do


@given(st.sets(st.text("a/\\:?*. \0\udcff", max_size=4), min_size=2))
def test_other_texts_have_other_safe_names(texts):
    assert len(set(map(safe_name, texts))) == len(texts)


@pytest.mark.parametrize("name", ["cats-1", "a.b", "数", "cafe\u0301", "x" * 215])
def test_what_a_file_system_takes_stays_as_it_is(name, tmp_path):
    assert safe_name(name) == name
    with replacing(tmp_path / f"{on_disk(name)}.png") as temporary:
        temporary.touch()
    assert os.fsencode(next(tmp_path.iterdir()).name) == f"{name}.png".encode()


def test_the_bytes_of_a_files_name_are_taken_for_utf_8():
    assert as_unicode("数.jpg") == "数.jpg"
    assert as_unicode("数.jpg".encode().decode("ascii", "surrogateescape")) == "数.jpg"
    assert as_unicode("\udce9.jpg") == "\udce9.jpg"  # Latin-1: no text in UTF-8


def test_what_version_0_1_left_is_swept_after_a_day(tmp_path):
    dead = 2**22 + 1  # more than a system's processes are counted to
    folder, file = tmp_path / "split.0123456789ab.tmp", tmp_path / f".history.{dead}.tmp.csv"
    other = tmp_path / "other.0123456789ab.tmp"  # of another target, perhaps somebody else's
    alive = tmp_path / f".history.{os.getpid()}.tmp.csv"
    for path in folder, other:
        path.mkdir()
        (path / "a.png").touch()
    for path in file, alive:
        path.touch()
    with whole_folder(tmp_path / "split"):
        assert folder.exists() and file.exists()  # whose process may be at work
    shutil.rmtree(tmp_path / "split")
    for path in folder, file, other, alive:
        os.utime(path, (1e9, 1e9))
    with whole_folder(tmp_path / "split"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"split", other.name, alive.name}


def test_rows_are_added_to_a_table(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, [["name", "count"]])
    append_csv(path, [["=1+1", 2], ["café\udc80", 0.5]])
    append_csv(path, [])
    assert read_csv(path) == [["name", "count"], ["=1+1", "2"], ["café\\udc80", "0.5"]]
    with pytest.raises(OSError) as problem:
        append_csv(tmp_path / "nowhere" / "a.csv", [[1]])
    assert problem.value.filename == str(tmp_path / "nowhere" / "a.csv")
