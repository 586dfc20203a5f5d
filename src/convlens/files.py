"""Files and folders that are either the old one or the new one, never half of it."""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from convlens.errors import UserError

TEMPORARY = re.compile(r"\..*\.(\d+)\.[0-9a-f]{8}\.tmp(\.[^.]*)?")


def temporary_name(name: str) -> str:
    """A name for what will become `name`: hidden, with this process' number, never used before.

    It keeps the suffix, because writers choose the format by it, and is short enough for any name
    that a file system takes.
    """
    stem, suffix = os.path.splitext(name)
    ending = f".{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp{suffix}"
    return f".{_cut(stem, 200 - len(ending))}{ending}"


def _cut(text: str, most: int) -> str:
    """At most so many bytes of it."""
    return os.fsencode(text)[: max(most, 1)].decode("utf-8", "ignore")


def is_temporary(path: Path) -> bool:
    """Whether `replacing` or `whole_folder` made it, and was cut before it could be renamed."""
    return TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove from `folder` the temporary files and folders of processes that are dead."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = TEMPORARY.fullmatch(path.name)
        if found is None or _is_alive(int(found[1])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


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
    """A temporary path beside `path`, renamed to it when the block ends well, else removed."""
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well.

    When the block raises, nothing is left; what a killed process left is removed by the next one.
    When another process made the same target meanwhile, that one stays. Raises UserError when
    target is there already, unless as an empty folder, or cannot be written.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty; remove it or name another folder")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; name a folder")
    temporary = target.with_name(temporary_name(target.name))
    try:
        sweep(target.parent)
        temporary.mkdir(parents=True)
        yield temporary
        try:
            os.replace(temporary, target)
        except OSError:
            if not (target.is_dir() and any(target.iterdir())):
                raise
    except OSError as problem:
        reason = problem.strerror or problem
        raise UserError(
            f"{target} cannot be written ({reason}); make room or name another folder"
        ) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write YAML, atomically, in the order of the dictionary."""
    with replacing(path) as temporary:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write JSON, atomically, indented. Raises ValueError for numbers that JSON has no word for."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
