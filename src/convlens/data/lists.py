"""A data set as a list: a CSV, TSV or JSONL that names image files and says the class of each.

Files are named relative to the folder that the list lies in. `metadata.csv` and `metadata.jsonl`
beside the images are such lists too, with the files in a column `file_name`, as Hugging Face's
image folders have them: https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

import csv
import io
import json
import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from convlens.data.decode import open_file
from convlens.data.listing import File, Listing, known_by, make_listing, regular_file
from convlens.data.names import (
    CONTROL,
    IMAGE_SUFFIXES,
    NOT_UTF8,
    TEST,
    TRAIN,
    VALIDATION,
    class_name,
    is_hidden,
    split_called,
    subfolders,
)
from convlens.data.reading import Reading
from convlens.data.walk import files_below
from convlens.errors import UserError
from convlens.escape import from_csv_cell, visible
from convlens.files import as_unicode, on_disk

TABLES = (".csv", ".tsv", ".tab", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
LISTS = (*TABLES, *JSON_LINES)
METADATA = ("metadata.csv", "metadata.jsonl")
MOST_LABEL_BYTES = 255  # what a class's folder could be called

# What the columns are called, in any case; names of a later row count where there is none of the
# rows before.
FILE_COLUMNS = (
    (
        *("file", "file_name", "filename", "path", "file_path", "filepath"),
        *("image", "image_path", "image_name", "image_file", "img", "img_path", "img_name"),
    ),
    ("id", "image_id", "img_id", "name"),
)
LABEL_COLUMNS = (("label", "class", "category", "target", "label_name", "class_name"),)
# Those that say yes or no, and to which splits that leads.
_YES, _NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no", "")
_QUESTIONS = {
    "is_train": (TRAIN, VALIDATION),
    "is_training": (TRAIN, VALIDATION),
    "is_valid": (VALIDATION, TRAIN),
    "is_val": (VALIDATION, TRAIN),
    "is_validation": (VALIDATION, TRAIN),
    "is_test": (TEST, TRAIN),
    "is_training_image": (TRAIN, VALIDATION),
    "is_test_image": (TEST, TRAIN),
}
SPLIT_COLUMNS = (("split", "subset", "set", "partition", "fold"), tuple(_QUESTIONS))
_OF_MORE = SPLIT_COLUMNS[0][1:]  # may also number parts, or name where all is from
_THAT_COUNT = {*FILE_COLUMNS[0], *LABEL_COLUMNS[0], *SPLIT_COLUMNS[0], *SPLIT_COLUMNS[1]}

_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# What is below its folder as it stands: no part of it is "." or "..", or nothing.
_PLAIN = re.compile(r"[^/.][^/]*(/[^/.][^/]*)*")
_DRIVE = re.compile(r"[a-zA-Z]:[\\/]")


class Row(NamedTuple):
    """A line of a list: its number, and what it says in the three columns."""

    line: int
    file: str
    label: str
    split: str


@dataclass(frozen=True)
class Table:
    """A list that is being read. header: its columns. lines: their values, with the line's number;
    a value is a text, or what JSON has in its place."""

    path: Path
    header: tuple[str, ...]
    lines: Iterator[tuple[int, Sequence[object]]]


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """A list, to be read line by line. Raises UserError for what is none, also while it is read."""
    try:
        with open_file(path) as file:
            start = file.read(2)
            file.seek(0)
            encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
                lower = path.name.lower()
                read = _json_lines if lower.endswith(JSON_LINES) else _delimited
                yield read(path, text)
    except UnicodeDecodeError:
        raise _refused(f"{path} is not text in UTF-8; save it as UTF-8") from None
    except csv.Error as problem:
        raise _refused(f"{path} cannot be read as a table ({problem}); mend it") from None
    except OSError as problem:
        reason = problem.strerror or problem
        raise _refused(
            f"{path} cannot be read ({reason}); try again or name another list"
        ) from None


def _refused(sentence: str) -> UserError:
    return UserError(sentence, option="data")


def _delimited(path: Path, text: io.TextIOWrapper) -> Table:
    first = text.readline()
    told = re.fullmatch(r"sep=(.)\r?\n?", first)  # so Excel says it
    if told:
        first = text.readline()
    delimiter = told[1] if told else _delimiter(path, first)
    reader = csv.reader(  # strict: a quote that does not end would take all lines after it
        _chain(first, text), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    skipped = 1 if told else 0
    header = tuple(name.strip() for name in next(reader, []))

    def lines() -> Iterator[tuple[int, Sequence[object]]]:
        for cells in reader:
            if cells:
                yield reader.line_num + skipped, [from_csv_cell(cell) for cell in cells]

    return Table(path, header, lines())


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(path: Path, first: str) -> str:
    if path.name.lower().endswith((".tsv", ".tab")):
        return "\t"
    bare = re.sub(r'"[^"]*"', "", first)
    return max(",;\t|", key=bare.count)  # a comma where there is none of them


def _json_lines(path: Path, text: io.TextIOWrapper) -> Table:
    def objects() -> Iterator[tuple[int, dict[str, object]]]:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                raise _refused(f"line {number} of {path} is not a JSON object; mend it")
            yield number, found

    found = objects()
    first = next(found, None)
    header = () if first is None else tuple(first[1])

    def lines() -> Iterator[tuple[int, Sequence[object]]]:
        if first is not None:
            yield first[0], list(first[1].values())
        for number, each in found:
            if late := [n for n in each if n not in header and n.casefold() in _THAT_COUNT]:
                raise _refused(
                    f"line {number} of {path} has {visible(late[0])!r}, which its first line has "
                    "not; name the same things in all lines"
                )
            yield number, [each.get(name, "") for name in header]

    return Table(path, header, lines())


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say the file, the label and the split, None where no column is
    called so. split_guessed: whether the last was found by its name and not asked for."""

    file: int
    label: int
    split: int | None
    split_guessed: bool


def choose_columns(path: Path, header: Sequence[str], reading: Reading) -> Columns:
    """Find the columns by the options of `reading`, else by what such columns are called.

    Raises UserError, which lists the columns, where there is none or more than one.
    """
    named = ", ".join(map(visible, header)) if any(header) else "none"
    lower = list(map(_asked, header))

    def find(what: str, option: str, usual: Sequence[Sequence[str]]) -> int | None:
        wanted = getattr(reading, option)
        if wanted is not None:
            found = [i for i, name in enumerate(header) if name == wanted] or [
                i for i, name in enumerate(header) if name.casefold() == wanted.casefold()
            ]
            if len(found) == 1:
                return found[0]
            raise UserError(
                f"{path} has {'several columns' if found else 'no column'} {visible(wanted)!r}; "
                f"its columns are {named}; choose the one of the {what} with `{option}`",
                option=option,
            )
        for names in usual:
            found = [i for i, name in enumerate(lower) if name in names]
            if len(found) > 1:
                alike = ", ".join(visible(header[i]) for i in found)
                raise UserError(
                    f"{path} has several columns that may be that of the {what} ({alike}); choose "
                    f"one with `{option}`",
                    option=option,
                )
            if found:
                return found[0]
        return None

    file = find("files", "file_column", FILE_COLUMNS)
    label = find("labels", "label_column", LABEL_COLUMNS)
    split = find("splits", "split_column", SPLIT_COLUMNS)
    rest = [i for i in range(len(header)) if i not in (file, label, split)]
    if file is not None and label is None and len(rest) == 1:  # Kaggle's id,breed
        label = rest[0]
    if file is None or label is None:
        what, option = ("files", "file_column") if file is None else ("labels", "label_column")
        if any(name.lower().endswith(IMAGE_SUFFIXES) for name in header):
            raise _refused(
                f"{path} has no line that names its columns; begin it with one such as file,label"
            )
        raise UserError(
            f"{path} has no column that is known to be that of the {what}; its columns are "
            f"{named}; choose one with `{option}`",
            option=option,
        )
    if len({file, label, split}) < 3:
        raise UserError(
            f"{path} has one column for two things; choose others with `file_column`, "
            "`label_column` and `split_column`",
            option=("file_column", "label_column", "split_column"),
        )
    return Columns(file, label, split, split is not None and reading.split_column is None)


def lists_in(folder: Path) -> list[Path]:
    """The lists that lie in a folder, sorted by name."""
    endings = tuple(ending for ending in LISTS if ending != ".txt")
    names = sorted(os.listdir(folder))
    return [folder / n for n in names if n.lower().endswith(endings) and not is_hidden(n)]


def metadata_in(folder: Path, reading: Reading) -> dict[Path, str | None]:
    """The metadata that say the classes of the images in a folder: from each to the split that it
    is about, None where it says that itself; nothing where there are none."""
    if (found := _metadata(folder, reading)) is not None:
        return {found: None}
    parts: dict[Path, str | None] = {}
    for name in subfolders(folder):
        split = split_called(name)
        if split is not None and (found := _metadata(folder / name, reading)) is not None:
            parts[found] = split
    return parts


def _metadata(folder: Path, reading: Reading) -> Path | None:
    """Metadata that name files in `file_name` and say their classes; others hold captions."""
    for path in (folder / name for name in METADATA):
        if not path.is_file():
            continue
        with open_table(path) as table:
            called = [name.casefold() for name in table.header]
        labels = (
            LABEL_COLUMNS[0] if reading.label_column is None else (reading.label_column.casefold(),)
        )
        if "file_name" in called and any(name in labels for name in called):
            return path
    return None


def read_list(source: Path, reading: Reading) -> Listing:
    """The listing of the images that a list names, as `sources.scan` gives it.

    What is wrong with single lines goes to `problems`, or with `skip_bad` what they name to
    `skipped`. Raises UserError where nothing can be listed.
    """
    return read_lists(source, source.parent, {source: None}, reading)


def read_lists(
    source: Path, root: Path, parts: Mapping[Path, str | None], reading: Reading
) -> Listing:
    """As `read_list`, of several lists below `root`. parts: each one's split, None where it says
    that itself. source: what a person named."""
    collected = _Collected(source, root, reading)
    is_split = False
    rows: list[tuple[Path, Row]] = []
    for path, split in parts.items():
        part, says_split = _read(path, reading, collected.notes)
        is_split |= says_split or split is not None
        rows += [(path, row if split is None else row._replace(split=split)) for row in part]
    if not rows:
        raise _refused(f"{source} names no image; give a list with a line for each")
    paths = [collected.normal(path, row) for path, row in rows]
    if not is_split and (splits := _split_folders(paths)):
        is_split = True
        rows = [(path, row._replace(split=s)) for (path, row), s in zip(rows, splits, strict=True)]
        said = ", ".join(f"{name}/" for name in sorted({p.split("/")[0] for p in paths if p}))
        collected.notes.append(f"note       split as the folders {said} are called")
    elsewhere = not any(path and _is_file(root, path) for path in paths[:1000])
    for (path, row), name in zip(rows, paths, strict=True):
        if name is not None:
            collected.add(path, row, name, elsewhere=elsewhere, is_split=is_split)
    return collected.listing(is_split)


def _read(path: Path, reading: Reading, notes: list[str]) -> tuple[list[Row], bool]:
    """The rows of one list, and whether it says which split they belong to."""
    with open_table(path) as table:
        columns = choose_columns(path, table.header, reading)
        width = len(table.header)
        rows = []
        others = set(range(width)) - {columns.file, columns.label}
        speaking = {i: Said() for i in others} if columns.split is None else {}
        for line, cells in table.lines:
            if len(cells) > width:
                raise _refused(
                    f"line {line} of {path} has {len(cells):,} values for {width:,} columns; put "
                    "what has the delimiter in it into quotes"
                )
            values = [*cells, *[""] * (width - len(cells))] if len(cells) < width else cells
            split = "" if columns.split is None else _text(values[columns.split])
            if not any(values):
                continue
            rows.append(Row(line, _text(values[columns.file]), _text(values[columns.label]), split))
            for i in [i for i, said in speaking.items() if not said.hears(_text(values[i]))]:
                del speaking[i]
    found = [i for i, said in speaking.items() if said.tells]
    if len(found) == 1:  # called like nothing that is known, and every word of it names a split
        called, words = table.header[found[0]], speaking[found[0]].splits
        notes.append(f"note       split as column {visible(called)} says")
        rows = [row._replace(split=s) for row, s in zip(rows, words, strict=True)]
        return rows, True
    if columns.split is None:
        return rows, False
    called = table.header[columns.split]
    known = splits_said(path, called, {row.split for row in rows}, asked=not columns.split_guessed)
    if not known:
        notes.append(f"note       column {visible(called)} names no split; not used")
        return [row._replace(split="") for row in rows], False
    return [row._replace(split=known[row.split] or "") for row in rows], True


class Said:
    """The splits that the words of a column name, as long as all of them name one."""

    def __init__(self) -> None:
        self.splits: list[str] = []

    def hears(self, word: str) -> bool:
        """Whether the next word, too, names a split."""
        if (split := split_called(word)) is not None:
            self.splits.append(split)
        return split is not None

    @property
    def tells(self) -> bool:
        """Whether they tell a split from training."""
        return TRAIN in self.splits and len(set(self.splits)) > 1


def _text(value: object) -> str:
    """A cell as text; JSON's numbers are written as whole numbers where they are whole."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False)


def no_split(path: Path, column: str, word: str) -> UserError:
    """What to say of a word that names no split, in a column that is to say it."""
    must = "true or false" if _asked(column) in _QUESTIONS else "train, validation or test"
    return UserError(
        f"{path} says {visible(word)!r} in column {visible(column)}; it must say {must}, or choose "
        "another with `split_column`",
        option="split_column",
    )


def _asked(column: str) -> str:
    """A column's name as the names above are written."""
    return column.casefold().replace(" ", "_").replace("-", "_")


def splits_said(
    path: Path, column: str, words: Iterable[str], *, asked: bool
) -> dict[str, str | None]:
    """From each word in a column of a table to the split it names; None for "", which names none.

    Empty for a column that was not `asked` for and is not about splits: where all is blank, or no
    word names one and the column may be called so for another reason. Raises UserError for a word
    that names none in a column that is.
    """
    called = _asked(column)
    question = _QUESTIONS.get(called)
    if question is None:
        known = {word: split_called(word) for word in words}
    else:
        answers = dict.fromkeys(_NO, question[1]) | dict.fromkeys(_YES, question[0])
        known = {word: answers.get(word.casefold()) for word in words}
    if not asked and not any(known.values()) and (called in _OF_MORE or not any(known)):
        return {}
    if unknown := sorted(word for word, split in known.items() if split is None and word):
        raise no_split(path, column, unknown[0])
    return known


def _split_folders(paths: Sequence[str | None]) -> list[str] | None:
    """The split of each file, where all lie in folders called like splits, train among them."""
    tops = {path.split("/")[0] for path in paths if path is not None and "/" in path}
    called = {top: split_called(top) for top in tops}
    splits = set(called.values())
    if None in splits or TRAIN not in splits or len(splits) < 2:
        return None
    if any(path is not None and "/" not in path for path in paths):
        return None
    return [TRAIN if path is None else called[path.split("/")[0]] or "" for path in paths]


def _stat(root: str | Path, path: str) -> os.stat_result | None:
    """Of a regular file; None for what is none, or is not there."""
    return regular_file(f"{root}/{path if path.isascii() else on_disk(path)}")


def _is_file(root: Path, path: str) -> bool:
    return _stat(root, path) is not None


def wrong_label(path: Path, label: str) -> str:
    """What is wrong with a label in the file `path`, as the end of a sentence; "" where nothing."""
    if not label:
        return "has no label"
    if CONTROL.search(label) or NOT_UTF8.search(label):
        return "has a label with a control character"
    if len(label.encode()) > MOST_LABEL_BYTES:
        return f"has a label of more than {MOST_LABEL_BYTES} bytes"
    if label.startswith(("[", "{")) and path.name.lower().endswith(JSON_LINES):
        with suppress(ValueError, RecursionError):  # what only begins so is a text
            json.loads(label)
            return "has no single label"
    return ""


@dataclass
class _Collected:
    """What has been read of a list, or of several below `root`.

    files: by path, with the line that named each first.
    """

    source: Path
    root: Path
    reading: Reading
    files: dict[str, tuple[File, Path, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    again: int = 0
    found_below: int = 0
    _starts: dict[Path, str] = field(default_factory=dict)  # a list's folder, relative to root
    _labels: dict[str, tuple[str, str]] = field(default_factory=dict)  # the class, what is wrong

    def _bad(self, path: Path, row: Row, name: str, what: str) -> None:
        """A line that is left out on request, and a problem else."""
        if self.reading.skip_bad:
            self.skipped.add(name or f"line {row.line} of {path.name}")
        else:
            self.problems.append(
                f"line {row.line} of {path} {what}; mend or remove the line or use `skip_bad`"
            )

    def normal(self, path: Path, row: Row) -> str | None:
        """The file that a line names, relative to root; None where it may not be named so."""
        name = row.file
        if not name:
            self._bad(path, row, "", "names no file")
        elif ":" in name and _ADDRESS.match(name):
            self._bad(path, row, name, f"names an address, {visible(name)}, and not a file")
        elif not name.isprintable() and (NOT_UTF8.search(name) or CONTROL.search(name)):
            self._bad(path, row, name, f"names a file with a control character, {visible(name)}")
        else:
            if "\\" in name and not _is_file(path.parent, name):
                name = name.replace("\\", "/")
            inside = self._relative(path, name)
            if inside is not None:
                return inside
            self._bad(
                path,
                row,
                name,
                f"names {visible(name)}, which is outside of {visible(as_unicode(self.root))}",
            )
        return None

    def _relative(self, path: Path, name: str) -> str | None:
        """The file's name relative to root; None where it is not below root."""
        if _DRIVE.match(name):
            return None
        if name.startswith("/"):
            whole = posixpath.normpath(name)
            tops = {os.path.abspath(self.root), os.path.realpath(self.root)}
            starts = [f"{as_unicode(top)}/" for top in tops]
            return next((whole[len(s) :] for s in starts if whole.startswith(s)), None)
        start = self._starts.get(path)
        if start is None:
            folder = as_unicode(path.parent.relative_to(self.root))
            start = self._starts[path] = "" if folder == "." else f"{folder}/"
        inside = start + name
        if _PLAIN.fullmatch(name):
            return inside
        inside = posixpath.normpath(inside)
        return None if inside == "." or f"{inside}/".startswith("../") else inside

    def add(self, path: Path, row: Row, name: str, *, elsewhere: bool, is_split: bool) -> None:
        """Take a line. elsewhere: whether files may lie below the folder that they are named in."""
        if why := self._unfit(path, row, is_split):
            self._bad(path, row, name, why)
            return
        label, split = self._labels[row.label][0], row.split or TRAIN
        known = self.files.get(name)
        if known is not None:
            self._add_again(path, row, known, label, split)
            return
        where, found = name, _stat(self._top, name)
        if found is None:
            where, found = self._find(name, elsewhere)
        if found is None:
            several = f" (it may be {where})" if where else ""
            self._bad(path, row, name, f"names {visible(name)}, which is not there{several}")
            return
        known = self.files.get(where)
        if known is not None:
            self._add_again(path, row, known, label, split)
            return
        self.files[where] = File(where, label, split, *known_by(found)), path, row.line

    def _unfit(self, path: Path, row: Row, is_split: bool) -> str:
        """What is wrong with the label or the split of a line; "" where nothing is."""
        known = self._labels.get(row.label)
        if known is None:
            known = self._labels[row.label] = class_name(row.label), wrong_label(path, row.label)
        return known[1] or ("says no split" if is_split and not row.split else "")

    @cached_property
    def _top(self) -> str:
        return os.fspath(self.root)

    def _add_again(
        self, path: Path, row: Row, known: tuple[File, Path, int], label: str, split: str
    ) -> None:
        file, other, line = known
        same = file.class_name == label, file.split == split
        if all(same):
            self.again += 1
            return
        what = (
            f"split {split} and line {line}{'' if other == path else f' of {other}'} {file.split}"
            if same[0]
            else f"label {label} and line {line}{'' if other == path else f' of {other}'} "
            f"{file.class_name}"
        )
        self._bad(path, row, file.path, f"gives {file.path} the {what}")

    def _find(self, name: str, elsewhere: bool) -> tuple[str, os.stat_result | None]:
        """A file that is not there by that name: it may be written otherwise, or lie below.

        Returns where it is and what it is known by; what it may be and None where that is open.
        """
        for form in "NFC", "NFD":
            other = unicodedata.normalize(form, name)
            if other != name and (found := _stat(self.root, other)):
                return other, found
        if not elsewhere:
            return "", None
        candidates = [
            path
            for path in self._below.get(posixpath.basename(name), ())
            if f"/{path}".endswith(f"/{name}") or f"/{_stem(path)}".endswith(f"/{name}")
        ]
        if len(candidates) != 1:
            return " or ".join(candidates[:2]), None
        self.found_below += 1
        return candidates[0], _stat(self.root, candidates[0])

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        """The images anywhere below root, by their names with and without the ending."""
        found: dict[str, list[str]] = {}
        for path in images_below(self.root):
            name = posixpath.basename(path)
            for key in {name, _stem(name)}:
                found.setdefault(key, []).append(path)
        return found

    def listing(self, is_split: bool) -> Listing:
        """All that was read, with what is to be said of it."""
        if self.reading.skip_bad:  # of a file with two labels nobody knows which is right
            files = [file for file, _, _ in self.files.values() if file.path not in self.skipped]
        else:
            files = [file for file, _, _ in self.files.values()]
        if not files and not self.problems:
            raise _refused(f"{self.source} names no image that can be read; mend it")
        classes = sorted({file.class_name for file in files}, key=_in_order(files))
        made = make_listing(
            self.source,
            self.root,
            files,
            is_split=is_split,
            classes=classes,
            problems=self.problems,
        )
        notes = [*self.notes]
        if self.again:
            lines = "1 line names" if self.again == 1 else f"{self.again:,} lines name"
            notes.append(f"note       {lines} a file once more; each file is taken once")
        if self.found_below:
            files_were = (
                "1 file was" if self.found_below == 1 else f"{self.found_below:,} files were"
            )
            notes.append(f"note       {files_were} found by name below {self.root}")
        return replace(made, skipped=tuple(sorted(self.skipped)), remarks=tuple(notes))


def images_below(folder: Path) -> Iterator[str]:
    """The files anywhere below a folder that are called like images, relative to it."""

    def skip(_: object) -> None: ...

    start = len(os.fspath(folder)) + 1
    for each in files_below(folder, skip, skip):
        if each.lower().endswith(IMAGE_SUFFIXES):
            yield as_unicode(each[start:]).replace(os.sep, "/")


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def _in_order(files: Sequence[File]) -> Callable[[str], tuple[int, str]]:
    """Classes that are all whole numbers go by these; else they go as text."""
    if all(map(_WHOLE_NUMBER.fullmatch, {file.class_name for file in files})):
        return lambda name: (int(name), name)
    return lambda name: (0, name)
