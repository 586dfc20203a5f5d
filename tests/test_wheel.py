"""The wheel, installed into an environment outside the tree, does what the checkout does."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import convlens

ROOT = Path(__file__).resolve().parent.parent
# Short, and the same on every machine.
SHORT = ("--epochs", "1", "--device", "cpu", "--precision", "fp32")


@dataclass(frozen=True)
class Installation:
    """Somebody's project, a git repository of its own, with the wheel in its environment.

    folder: an empty folder of the project, where programs run. bin: the environment's programs.
    """

    folder: Path
    bin: Path

    def variables(self) -> dict[str, str]:
        kept = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.folder.parent),
            "CONVLENS_CACHE": str(self.folder.parent / "cache"),
            # nbconvert's templates, which lie beside the packages that are borrowed
            "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),
        }

    def start(self, program: str, *arguments: object, **options: object) -> subprocess.Popen:
        return subprocess.Popen(
            [self.bin / program, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables(),
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, program: str, *arguments: object) -> str:
        """What it wrote to standard output."""
        process = self.start(program, *arguments, stderr=subprocess.PIPE)
        out, errors = process.communicate()
        assert process.returncode == 0, f"{out}\n{errors}"
        assert "Warning" not in errors
        return out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def installation(wheel, tmp_path_factory) -> Installation:
    project = tmp_path_factory.mktemp("somebody") / "project"
    folder = project / "photos"
    folder.mkdir(parents=True)
    for command in (
        ["init"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "ours"],
    ):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)
    # What this wheel depends on is borrowed from the tests' environment, so that nothing is
    # downloaded. Its own packages come first, and the links of editable installs are not followed.
    environment = project / ".venv"
    venv.create(environment, symlinks=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    command += ["--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(command, check=True, capture_output=True)
    return Installation(folder, environment / "bin")


@pytest.fixture(scope="module")
def run(installation, toy_data) -> Path:
    """A run trained there, of one epoch."""
    installation.run(
        "convlens", "train", "lenet5", "--data", toy_data, "--out", "runs/mine", *SHORT
    )
    return Path("runs/mine")


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/convlens"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    package = {name.removeprefix("src/") for name in listed if (ROOT / name).exists()}
    assert {"convlens/py.typed", "convlens/explorer/page/index.html"} <= package <= names
    others = {name for name in names - package if ".dist-info/" not in name}
    assert "convlens/notebooks/assignment2.py" in others
    assert {Path(name).parent.as_posix() for name in others} == {
        "convlens/benchmarks/peers",
        "convlens/notebooks",
    }


def test_it_is_the_wheel_that_runs(installation):
    script = (
        "import convlens, importlib.metadata as m; print(convlens.__file__, m.version('convlens'))"
    )
    file, version = installation.run("python", "-c", script).split()
    assert Path(file).is_relative_to(installation.bin.parent)
    assert version == convlens.__version__
    assert installation.run("convlens", "--version") == f"convlens {version}\n"


def test_it_trains_and_evaluates(installation, toy_data, run):
    metrics = json.loads((installation.folder / run / "metrics.json").read_text("utf-8"))
    out = installation.run("convlens", "evaluate", run, "--data", toy_data, "--device", "cpu")
    assert f"accuracy {metrics['validation_accuracy']:.2%}" in out


def test_somebody_elses_commit_is_not_taken_for_its_own(installation, run):
    # The environment and the run lie inside a git repository, with a commit, that is not ours.
    metrics = json.loads((installation.folder / run / "metrics.json").read_text("utf-8"))
    assert metrics["commit"] == ""
    script = f"import convlens; print(repr(convlens.load('{run}').origin.commit))"
    assert installation.run("python", "-c", script) == "''\n"


def test_it_reproduces_and_reports(installation, toy_data):
    folders = ("--results", "results", "--weights", "weights")
    installation.run("convlens", "reproduce", "lenet5", "--data", toy_data, *folders, *SHORT)
    installation.run("convlens", "report", *folders, "--data", toy_data, "--out", "report")
    written = {path.name for path in (installation.folder / "report").iterdir()}
    assert written - {".convlens"} == {
        "assignment2.ipynb",
        "assignment2.html",
        "assignment2.pdf",
    }


def test_it_serves_the_explorer_until_it_is_stopped(installation, toy_data, run):
    process = installation.start(
        "convlens",
        *("explore", run, "--data", toy_data, "--port", 0),
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("explore "):
                break
        assert lines and lines[-1].startswith("explore "), "".join(lines)
        address = lines[-1].split()[1]
        for name in "", "main.js", "api/site.json":
            with urllib.request.urlopen(address + name) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 130, rest
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_is_used_from_python(installation, toy_data, run):
    script = f"""
        import convlens as cl

        other = cl.train(
            "lenet5", data={str(toy_data)!r}, out="runs/other", seed=1, epochs=1, device="cpu"
        )
        mine = cl.load("{run}")
        both = cl.ensemble([mine, other.classifier])
        print(both.evaluate({str(toy_data)!r}).accuracy)
        for prediction in mine.predict([{str(toy_data / "validation")!r}], top=2):
            print(prediction.path, *prediction.classes, *prediction.probabilities)
    """
    accuracy, *predictions = installation.run("python", "-c", textwrap.dedent(script)).splitlines()
    assert 0 <= float(accuracy) <= 1
    assert len(predictions) == 20
    classes = {path.name for path in (toy_data / "validation").iterdir()}
    for line in predictions:
        path, best, second, p, q = line.split()
        assert Path(path).is_relative_to(toy_data)
        assert {best, second} <= classes
        assert 1 >= float(p) >= float(q) >= 0
