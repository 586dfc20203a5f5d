"""Files and folders that are either the old one or the new one, never half of it."""

import contextlib
import csv
import errno
import functools
import glob
import hashlib
import io
import json
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from convlens.errors import UserError
from convlens.escape import csv_rows, from_csv_cell

TEMPORARY = re.compile(r"\..*\.(?P<process>\d+)\.(?P<where>[0-9a-f]{4})?[0-9a-f]{8}\.tmp(\.[^.]*)?")
# What version 0.1 left of files, and of folders after their names; it gives no process away there.
_OLD_FILE = re.compile(r"\..+\.(?P<process>\d+)(?P<where>)\.tmp(\.[^.]*)?")
_OLD_FOLDER = re.compile(r"\.[0-9a-f]{12}\.tmp")
_OLD = 86_400  # seconds after which such a folder or file is swept, and what is of another machine
MARKER = ".convlens"  # in folders that ConvLens has made and filled
LONGEST = 215  # bytes of a name without its suffix; file systems take 255 with all that is added

# What not every file system takes in a name, and what a name may not begin or end with.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]|^ |[. ]$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# What PyYAML writes as it is and cannot read again, unless it escapes all that is not ASCII.
_YAML_LOSES = re.compile("[\x85\u2028\u2029\ufeff\ud800-\udfff]")
_STRAY = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


def as_unicode(name: str | os.PathLike[str]) -> str:
    """A file's name as text, whatever the locale: its bytes are taken for UTF-8.

    A byte that is none stays a lone surrogate, as Python has it.
    """
    text = _STRAY.sub("?", os.fspath(name))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def on_disk(name: str) -> str:
    """A name as files are opened by it, so that it is written in UTF-8 whatever the locale."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def safe_name(text: str) -> str:
    """`text` as the name of a file, without a suffix: itself where every file system takes it.

    Else what may not stand in a name becomes "_", the middle of what is too long is left out, and a
    hash of `text` keeps it apart from what would come to the same.
    """
    plain = as_unicode(text)
    name = _FORBIDDEN.sub("_", plain)
    if _RESERVED.fullmatch(name) or not name:
        name = f"_{name}"
    return name if name == plain and len(name.encode()) <= LONGEST else marked(name, text)


def marked(name: str, text: str) -> str:
    """`name` with a hash of `text`: at its end, or in the place of its middle where it is long."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    room = LONGEST - len(digest) - 2
    if len(name.encode()) <= room:
        return f"{name}-{digest}"
    tail = room // 4
    end = name.encode()[-tail:].decode("utf-8", "ignore")
    return f"{_cut(name, room - tail)}-{digest}-{end}"


def make_folder(folder: Path) -> None:
    """Make a folder for what ConvLens writes, and mark it: what is in it is no data set's class.

    One that is there and holds something stays unmarked: it is somebody else's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        mark(folder)


def make_parent(file: Path) -> None:
    """Make the folder for one file that ConvLens writes; marked where it was not there before."""
    if not file.parent.is_dir():
        make_folder(file.parent)


def mark(folder: Path) -> None:
    """Leave in a folder the marker that says who has written it."""
    (folder / MARKER).write_text("Written by ConvLens.\n", encoding="utf-8")


def temporary_name(name: str) -> str:
    """A name for what will become `name`: hidden, with this process' number and a mark of the
    machine where that counts, never used before.

    It keeps the suffix, because writers choose the format by it, and is short enough for any name
    that a file system takes.
    """
    stem, suffix = os.path.splitext(name)
    ending = f".{os.getpid()}.{_here()}{uuid.uuid4().hex[:8]}.tmp{suffix}"
    return on_disk(f".{_cut(as_unicode(stem), LONGEST - len(ending))}{ending}")


def _cut(text: str, most: int) -> str:
    """The beginning of it: as many whole characters as fit into so many bytes."""
    return text.encode("utf-8", "ignore")[: max(most, 1)].decode("utf-8", "ignore")


def is_temporary(path: Path) -> bool:
    """Whether `replacing` or `whole_folder` made it, and was cut before it could be renamed."""
    return TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path, beginning: str = "") -> None:
    """Remove from `folder` the temporary files and folders of processes that are dead.

    Those of another machine or container, which may share the folder, go after a day, for nobody
    here can ask whether their processes live. beginning: of their names, where the folder is
    everybody's.
    """
    for path in folder.glob(f"{glob.escape(beginning)}*") if folder.is_dir() else ():
        found = TEMPORARY.fullmatch(path.name) or _OLD_FILE.fullmatch(path.name)
        if found is None or _is_alive(int(found["process"])):
            continue
        if found["where"] == _here() or _is_old(path):
            _remove(path)


@functools.cache
def _here() -> str:
    """Of the machine, and the container in it, in which a process' number counts."""
    place = platform.node()
    with contextlib.suppress(OSError):
        place += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(place.encode()).hexdigest()[:4]


@functools.cache
def _sweep_once(folder: Path) -> None:
    """`sweep`, for the first file that this process writes into a folder."""
    with contextlib.suppress(OSError):  # a folder that may be written to, and not be listed
        sweep(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_old(path: Path) -> bool:
    """Whether nothing has been written to a file or folder for a day."""
    try:
        return time.time() - path.lstat().st_mtime > _OLD
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where asking by a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, else removed.

    What killed processes have left in that folder is removed before.
    """
    path = Path(path)
    _sweep_once(path.parent.absolute())
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as problem:
        # a full disk is met while writing, which knows no name; nobody knows the temporary one
        if problem.filename in (None, str(temporary)):
            problem.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch(name: str, within: Path | None = None) -> Iterator[Path]:
    """A folder that is gone when the block ends; those of killed processes go before it is made.

    within: where it lies, hidden; by default among the system's temporary files, where only those
    of the same `name` are swept.
    """
    if within is None:
        within = Path(tempfile.gettempdir())
        sweep(within, f".{name}.")
    else:
        sweep(within)
    folder = within / temporary_name(name)
    folder.mkdir(mode=0o700)  # the system's folder is everybody's
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well.

    When the block raises, nothing is left; what a killed process left is removed by the next one.
    When another process made the same target meanwhile, that one stays. Raises UserError when
    target is there already, unless as an empty folder, or cannot be written; an OSError of a file
    elsewhere, as of one that is copied from there, is raised as it is.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty; remove it or name another folder")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; name a folder")
    temporary = target.with_name(temporary_name(target.name))
    try:
        sweep(target.parent)
        for path in target.parent.glob(f"{glob.escape(target.name)}.*.tmp"):
            if _OLD_FOLDER.fullmatch(path.name.removeprefix(target.name)) and _is_old(path):
                _remove(path)
        temporary.mkdir(parents=True)
        yield temporary
        try:
            os.replace(temporary, target)
        except OSError:
            if not (target.is_dir() and any(target.iterdir())):
                raise
    except OSError as problem:
        if is_elsewhere(problem, target.parent):
            raise
        reason = problem.strerror or problem
        raise UserError(
            f"{target} cannot be written ({reason}); make room or name another folder"
        ) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_elsewhere(problem: OSError, folder: Path) -> bool:
    """Whether it is about a file that is not in that folder.

    A full disk is met where something is written, even if it names what was copied.
    """
    name = problem.filename
    if problem.errno in (errno.ENOSPC, errno.EDQUOT) or not isinstance(name, str | bytes):
        return False
    return not Path(os.fsdecode(name)).absolute().is_relative_to(folder.absolute())


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write YAML, atomically, in the order of the dictionary."""
    with replacing(path) as temporary:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if _YAML_LOSES.search(text):
            text = yaml.safe_dump(content, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write JSON, atomically, indented. Raises ValueError for numbers that JSON has no word for."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write CSV, atomically, in which no name is a formula; `read_csv` gives the names again.

    What UTF-8 cannot write, as the name of a file from a disk of another encoding, is `\\udc80`.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file).writerows(csv_rows(rows))


def append_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Add rows to the end of what `write_csv` wrote, at once: a kill tears the last at most."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(csv_rows(rows))
    try:
        with open(path, "ab") as file:
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        raise


def read_csv(path: Path) -> list[list[str]]:
    """The rows of a file that `write_csv` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        return [[from_csv_cell(cell) for cell in row] for row in csv.reader(file)]
