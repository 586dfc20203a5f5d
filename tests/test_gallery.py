"""The gallery's page and the script that draws it speak of the same pictures."""

import importlib.util
import re
import typing
from pathlib import Path

import numpy as np
from PIL import Image

from convlens.cli.look import ViewName

DOCS = Path(__file__).parent.parent / "docs"


def script():
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_of_the_page_is_drawn_by_the_script_and_is_there():
    gallery = script()
    drawn = {name for kept in (gallery.LOOKS | gallery.GROWTH).values() for name in kept.values()}
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[.+?\]\(pictures/(.+?)\.png\)", page)
    assert sorted(shown) == sorted(drawn)
    sizes = [(gallery.PICTURES / f"{name}.png").stat().st_size for name in shown]
    assert sum(sizes) < 3e6


def test_every_view_has_its_place_on_the_page():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for view in typing.get_args(ViewName):
        assert f"--view {view}" in page


def test_a_picture_is_kept_as_it_is(tmp_path):
    ramp = np.linspace(0, 255, 150 * 30 * 3).reshape(30, 150, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.png", compress_level=0)
    script().keep(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as kept:
        np.testing.assert_array_equal(np.asarray(kept), ramp)
    assert (tmp_path / "b.png").stat().st_size < (tmp_path / "a.png").stat().st_size
