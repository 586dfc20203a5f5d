import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import convlens
from convlens import version

PACKAGE = Path(convlens.__file__).parent


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )


def told_by(folder):
    """The version and the commit that the package in `folder` says it is of."""
    code = (
        "import convlens; from convlens import version\n"
        "print(convlens.__file__); print(version.source_commit()); print(version.described())"
    )
    told = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, sys.argv[1]); {code}",
            str(folder),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    file, commit, described = told.stdout.splitlines()
    assert file.startswith(str(folder))
    return commit, described


def copied(target):
    """The part of the package that knows its version, elsewhere."""
    target.mkdir(parents=True)
    for name in "__init__.py", "version.py":
        shutil.copy(PACKAGE / name, target / name)


def committed(project):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "mine")


@pytest.mark.parametrize(
    "where", [".venv/lib/python3.12/site-packages", "src", ".", "vendor/src", "lib/src"]
)
def test_inside_somebody_elses_project_no_commit_is_told(where, tmp_path):
    """However deep, and also where the project has a pyproject.toml of its own."""
    copied(tmp_path / where / "convlens")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "thesis"\n')
    committed(tmp_path)
    assert told_by(tmp_path / where) == ("", convlens.__version__)


def test_in_its_own_checkout_the_commit_is_told_and_whether_it_was_changed(tmp_path):
    copied(tmp_path / "src" / "convlens")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "convlens"\n')
    committed(tmp_path)
    commit, described = told_by(tmp_path / "src")
    assert re.fullmatch(r"[0-9a-f]{12}", commit)
    assert described == f"{convlens.__version__} ({commit})"
    with open(tmp_path / "src" / "convlens" / "version.py", "a", encoding="utf-8") as file:
        file.write("\n")
    assert told_by(tmp_path / "src")[0] == f"{commit}-dirty"


def test_this_very_checkout_knows_its_commit():
    if not (PACKAGE.parents[1] / ".git").exists():
        pytest.skip("the tests do not run from a checkout")
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    version.source_commit.cache_clear()
    assert version.source_commit() in (head, f"{head}-dirty")


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    version.source_commit.cache_clear()
    try:
        assert version.source_commit() == ""
        assert version.described() == convlens.__version__
    finally:
        version.source_commit.cache_clear()
