import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import open_dataset
from convlens.data.sources import scan
from convlens.data.tools import demo
from convlens.data.tools.demo import GLYPHS, make_demo
from convlens.errors import UserError


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo") / "demo")


def test_it_is_a_data_set_like_caltech101(demo_set):
    listing = scan(demo_set)
    assert listing.problems == ()
    assert len(listing.classes) == 101
    sizes = np.bincount(listing.labels)
    assert (sizes.min(), sizes.max(), sizes.sum()) == (30, 400, 9076)
    train = np.bincount(listing.labels[listing.rows("train")])
    assert (train == sizes * 9 // 10).all()
    assert all((demo_set / "train" / name / "image_0001.jpg").exists() for name in listing.classes)


def test_images_are_64_by_64_and_a_few_gray(demo_set):
    modes = []
    for path in scan(demo_set).paths:
        with Image.open(demo_set / path) as image:
            assert image.size == (64, 64)
            modes.append(image.mode)
    assert set(modes) == {"RGB", "L"}
    assert 0.03 < modes.count("L") / len(modes) < 0.05


def test_glyphs_are_distinct_in_name_and_shape():
    assert len({name.casefold() for name in GLYPHS}) == len(set(GLYPHS.values())) == 101
    assert all(name.isascii() and name.isidentifier() for name in GLYPHS)
    bank, first = demo._render_glyphs(list(GLYPHS.values()))
    assert (np.diff(first) > 0).all()
    regular = bank[first[:-1], 0]
    assert (regular.amax((1, 2)) > 0.9).all()
    # No glyph is another's double or mirror image.
    flat = regular.flatten(1)
    mirrored = regular.flip(2).flatten(1)
    for others in flat, mirrored:
        overlap = flat[:, None].minimum(others[None]).sum(2) / flat[:, None].maximum(
            others[None]
        ).sum(2)
        overlap.fill_diagonal_(0)
        assert overlap.max() < 0.85


def small(monkeypatch) -> None:
    monkeypatch.setattr(demo, "GLYPHS", {"star": "★", "heart": "♥"})
    monkeypatch.setattr(demo, "class_sizes", lambda n, _: np.full(n, 10))


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(bytes(path.relative_to(folder)) + path.read_bytes() for path in files)
    ).hexdigest()


def test_a_seed_gives_the_same_files(tmp_path, monkeypatch):
    small(monkeypatch)
    first, again, other = (
        digest(make_demo(tmp_path / name, seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other


def test_a_target_in_use_is_refused(tmp_path, monkeypatch):
    small(monkeypatch)
    make_demo(tmp_path / "a")
    before = digest(tmp_path / "a")
    with pytest.raises(UserError, match="exists and is not empty"):
        make_demo(tmp_path / "a")
    assert digest(tmp_path / "a") == before


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    small(monkeypatch)
    monkeypatch.setattr(demo, "_draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_demo(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_without_any_data_the_demo_set_is_opened(tmp_path, monkeypatch, own_cache):
    small(monkeypatch)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset()
    assert (dataset.name, dataset.classes) == ("demo", ("heart", "star"))
    assert (len(dataset.train), len(dataset.validation)) == (18, 2)
    assert dataset.root == own_cache / f"demo-{demo.VERSION}"
