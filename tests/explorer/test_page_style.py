"""The page's scripts and its style sheet are formatted and linted as biome.jsonc says."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIOME = ROOT / "node_modules" / ".bin" / "biome"
PACKAGE = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))


def test_biome_finds_nothing_to_mend():
    if not (BIOME.exists() and shutil.which("node")):
        missing = "needs Node.js and Biome: npm ci"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    _, *arguments = shlex.split(PACKAGE["scripts"]["lint"])
    done = subprocess.run(
        [BIOME, *arguments, "--colors=off"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pinned_packages_come_from_any_registry():
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    _, *packages = lock["packages"].values()  # the first is the project itself
    assert packages
    assert all(package.keys() & {"integrity", "resolved"} == {"integrity"} for package in packages)
    pinned = PACKAGE["devDependencies"]
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in pinned} == pinned
