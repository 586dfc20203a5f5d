"""The names of `import convlens`: there when they are asked for, and not before."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import convlens


def test_importing_convlens_imports_nothing_that_takes_its_time():
    script = (
        "import sys; before = set(sys.modules); import convlens; print(*set(sys.modules) - before)"
    )
    command = [sys.executable, "-c", script]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    packages = {name.partition(".")[0] for name in names}
    assert packages - set(sys.stdlib_module_names) == {"convlens"}
    assert [name for name in names if name.startswith("convlens")] == ["convlens"]


def test_every_public_name_is_there_and_listed():
    for name in convlens.__all__:
        assert getattr(convlens, name) is not None
    assert dir(convlens) == sorted(convlens.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = convlens.trian


def test_type_checkers_see_the_names_where_they_are():
    tree = ast.parse(Path(convlens.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert {*seen, "__version__"} == set(convlens.__all__)
    for name, module in seen.items():
        found = getattr(convlens, name)
        assert found is getattr(sys.modules[module], name)


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ("report", "reporting/notebook.py"),
        ("explorer", "explorer/serving.py"),
        ("explorer", "bench/command.py"),
        ("export", "inference/export.py"),
        ("tune", "tune/__init__.py"),
        ("parquet", "data/parquet.py"),
        ("track", "training/loggers.py"),
    ],
)
def test_what_is_missing_is_named_by_names_that_an_index_knows(extra, place):
    """convlens itself is on none, so `pip install 'convlens[…]'` may not work."""
    source = (Path(convlens.__file__).parent / place).read_text("utf-8")
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # strings that go on in the next line
    (advice,) = set(re.findall(r"`pip install ([^`]+)`", source))
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))
    assert advice.split() == project["project"]["optional-dependencies"][extra]
