"""One small report for all tests: a notebook is executed once, on 60 images of 16×16 pixels."""

import json
import shutil
from pathlib import Path

import pytest

from convlens.training.measuring import Measurements
from convlens.training.record import SUMMARY_FIELDS
from convlens.training.run import train

TRAINED = ("lenet5", "convnet", "resnet18")  # the other recipes are missing from the results
# What classes, files and folders may be called; the names stand in the order of toy_data's classes.
HOSTILE = (
    "=1+1|$x$ [y](javascript:alert(1))",
    '`#read("report-page.typ")`{=typst}',
    "![x](nofile.png)",
    "x`<img src=x onerror=alert(1)>`",
    "张三",
)


@pytest.fixture(scope="session")
def hostile_data(toy_data, tmp_path_factory) -> Path:
    """`toy_data`, everything in it named by somebody who means no good."""
    root = tmp_path_factory.mktemp("hostile") / "d`a`ta<b>"
    plain = sorted(path.name for path in (toy_data / "train").iterdir())
    names = dict(zip(plain, sorted(HOSTILE), strict=True))
    for image in toy_data.glob("*/*/*.png"):
        split, name = image.parts[-3:-1]
        target = root / split / names[name] / f"![{image.stem}`](x)<b>.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    return root


@pytest.fixture(scope="session")
def project(tmp_path_factory, hostile_data) -> Path:
    """A folder with results/ and weights/ of short trainings on `hostile_data`, and a cache/."""
    root = tmp_path_factory.mktemp("project")
    (root / "weights").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        patch.setattr(Measurements, "get", lambda self, what, *_: _quickly(what))
        records = []
        for name in TRAINED:
            run = train(
                name,
                out=root / "results" / name,
                data=hostile_data,
                size=16,
                epochs=2,
                device="cpu",
                precision="fp32",
            )
            records.append({field: run.metrics.get(field) for field in SUMMARY_FIELDS})
            run.classifier.save(root / "weights" / f"{name}.safetensors", half=True)
    records[0]["command"] = f"convlens train lenet5 --data '{hostile_data}\n```\n<b>'"
    (root / "results" / "summary.json").write_text(json.dumps(records), encoding="utf-8")
    return root


def _quickly(what: str) -> float | str:
    """What this machine is fastest at does not matter here, and takes seconds to measure."""
    return 1.0 if what == "bf16 gain" else "library"


@pytest.fixture(scope="session")
def made(project, hostile_data) -> Path:
    """The folder of the report on `project`: notebook, web page and PDF."""
    pytest.importorskip("nbclient")
    from convlens.reporting.notebook import report

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(project / "cache"))
        report(project / "results", project / "weights", hostile_data, project / "notebooks")
    return project / "notebooks"
