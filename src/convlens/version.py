"""Which ConvLens this is: the package's version and, from its own checkout, the commit."""

import subprocess
from functools import cache
from pathlib import Path

import convlens


@cache
def source_commit() -> str:
    """Commit of the source this program runs from, "-dirty" if it was changed; "" if unknown.

    Only ConvLens' own checkout has one: an installed package may well lie inside somebody else's.
    """
    package = Path(__file__).resolve().parent
    project = package.parent.parent
    if package != project / "src" / "convlens" or not _is_own(project):
        return ""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(
            command, cwd=project, capture_output=True, text=True, encoding="utf-8", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()


def _is_own(project: Path) -> bool:
    """Whether the folder is a checkout of ConvLens itself, not of what has it among its sources."""
    try:
        about = (project / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return '\nname = "convlens"\n' in about and (project / ".git").exists()


def described() -> str:
    """For people: the version, and the commit where it is known."""
    commit = source_commit()
    return f"{convlens.__version__} ({commit})" if commit else convlens.__version__
