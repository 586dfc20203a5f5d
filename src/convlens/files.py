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


def is_temporary(path: Path) -> bool:
    """Whether `replacing` made the file, and was cut before it could rename it."""
    return re.fullmatch(r"\..*\.\d+\.tmp(\.[^.]*)?", path.name) is not None


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, else removed.

    The temporary name keeps the suffix, because writers choose the format by it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well.

    When the block raises, nothing is left. When another process made the same target meanwhile,
    that one stays. Raises UserError when target is there already, unless as an empty folder, or
    cannot be written.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty; remove it or name another folder")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; name a folder")
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
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
