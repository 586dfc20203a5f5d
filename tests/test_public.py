"""The names of `import convlens`: there when they are asked for, and not before."""

import ast
import subprocess
import sys
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
