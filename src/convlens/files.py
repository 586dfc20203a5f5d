"""Files and folders that are either the old one or the new one, never half of it."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from convlens.errors import UserError


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
