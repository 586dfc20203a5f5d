"""What every test needs: a cache of its own, and a small data set that can be learned."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convlens import figures, logs
from convlens.data.normalize import Normalize
from convlens.inference import Classifier, Origin
from convlens.models import LeNet5
from convlens.reporting import run_pages
from convlens.training import autotune, threads
from convlens.training.measuring import Watch
from convlens.training.run import train
from convlens.tune import search

# Hundreds of processes are started, of which each would compile the whole package again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Tests that run side by side share the cores, and so do the processes that they start: threads
    # for every core in each would wait for one another all the time.
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())

# The files that take longest, in that order.
LONGEST = (
    "explorer/test_page_everybody.py",
    "docs/test_examples.py",
    "explorer/test_page.py",
    "training/test_distributed.py",
    "bench/test_bench.py",
    "cli/test_look.py",
    "test_reproduce.py",
    "inference/test_export.py",
    "test_wheel.py",
    "training/test_run.py",
    "explorer/test_runs.py",
    "cli/test_train.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first, so that none is left over when all others end."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


TOY_COLORS = {
    "blue_disc": (40, 70, 220),
    "cyan_bar": (40, 200, 210),
    "green_square": (40, 180, 60),
    "red_cross": (220, 50, 40),
    "yellow_ring": (230, 200, 40),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """No test reads or writes the user's cache or data set."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CONVLENS_CACHE", str(folder))
    monkeypatch.delenv("CONVLENS_DATA", raising=False)
    return folder


_others = Watch.others
_draw = search.draw


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Tests run beside each other; what they measure, once, is kept all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "others", lambda self: 0.0)
        patch.setattr(autotune, "ROUNDS", 1)
        patch.setattr(threads, "TWO", 10**6)  # a run here is repeated bit by bit on any machine
        yield


@pytest.fixture
def real_watch(monkeypatch) -> None:
    """What other programs use is told as it is."""
    monkeypatch.setattr(Watch, "others", _others)


class Undrawn:
    """In the place of `figures`: draws nothing, and writes a picture of one pixel."""

    def __getattr__(self, name: str):
        assert callable(getattr(figures, name))
        return lambda *arguments, **options: None

    @staticmethod
    def save(figure: None, path: Path) -> Path:
        Image.new("RGB", (1, 1)).save(path)
        return path


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[None]:
    """What finished runs and searches show is not drawn, which takes longer than they do.

    `drawn` has it drawn; so does every process of its own, and `finished_run` was.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_pages, "figures", Undrawn())
        patch.setattr(search, "figures", Undrawn())
        patch.setattr(search, "draw", lambda search: None)
        yield


@pytest.fixture
def drawn(monkeypatch) -> None:
    """The pictures of finished runs and searches are drawn."""
    monkeypatch.setattr(run_pages, "figures", figures)
    monkeypatch.setattr(search, "figures", figures)
    monkeypatch.setattr(search, "draw", _draw)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """A pre-split data set: 5 classes, 12 training and 4 validation images each, 64×64 RGB PNG.

    A class is a shape in a color of its own at a random place on a dark noisy ground, so a small
    network learns it within a few epochs.
    """
    root = tmp_path_factory.mktemp("toy") / "toy"
    random = np.random.default_rng(0)
    for name in TOY_COLORS:
        for split, count in ("train", 12), ("validation", 4):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(_toy_image(name, random)).save(folder / f"image_{i + 1:04d}.png")
    return root


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory) -> Path:
    """A weights file for `toy_data`: an untrained LeNet5 for images of 16×16, quick to run."""
    torch.manual_seed(0)
    classifier = Classifier(
        LeNet5(len(TOY_COLORS), size=16).eval(),
        tuple(TOY_COLORS),
        Normalize([0.2, 0.25, 0.3], [0.25, 0.2, 0.3]),
        size=16,
        origin=Origin("LeNet5", {}, "lenet5"),
    )
    return classifier.save(tmp_path_factory.mktemp("weights") / "toy.safetensors")


@pytest.fixture(scope="session")
def _trained_once(toy_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(folder / "cache"))
        patch.setattr(run_pages, "figures", figures)
        train(
            "lenet5plus",
            out=folder / "run",
            data=toy_data,
            epochs=2,
            batch_size=16,
            device="cpu",
            precision="fp32",
        )
    return folder / "run"


@pytest.fixture
def finished_run(_trained_once, tmp_path) -> Path:
    """A copy of a finished run of lenet5plus on `toy_data`, two epochs: trained once, for all."""
    return Path(shutil.copytree(_trained_once, tmp_path / "run"))


@pytest.fixture
def told():
    """Has the library's log go to standard output, as the command line does."""
    logs.to_stdout()
    yield
    logs.to_nowhere()


def _toy_image(name: str, random: np.random.Generator) -> np.ndarray:
    """uint8, shape (64, 64, 3)."""
    y, x = np.mgrid[:64, :64] - random.integers(22, 42, (2, 1, 1))
    radius = np.hypot(x, y)
    shape = {
        "blue_disc": radius < 14,
        "cyan_bar": (abs(y) < 5) & (abs(x) < 18),
        "green_square": np.maximum(abs(x), abs(y)) < 13,
        "red_cross": (np.minimum(abs(x), abs(y)) < 4) & (np.maximum(abs(x), abs(y)) < 16),
        "yellow_ring": (radius > 9) & (radius < 16),
    }[name]
    image = random.integers(0, 60, (64, 64, 3))
    image[shape] = np.array(TOY_COLORS[name]) + random.integers(-25, 25, (shape.sum(), 3))
    return image.clip(0, 255).astype(np.uint8)
