"""A view draws, saves and shows itself."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from convlens import figures, look
from convlens.look import Table, View

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3, 3, 3))


def view(table: Table | None = None) -> View:
    return View("filters-a", {"filters": WEIGHTS}, lambda: figures.filters(WEIGHTS), table)


def test_it_is_drawn_anew_each_time():
    first, second = view().plot(), view().plot()
    assert isinstance(first, Figure) and first is not second
    assert "4 filters of 3×3" in first.get_suptitle()


def test_it_is_saved_under_its_name_in_a_new_folder(tmp_path):
    (written,) = view().save(tmp_path / "new" / "looks")
    assert written == tmp_path / "new" / "looks" / "filters-a.png"
    with Image.open(written) as picture:
        assert picture.format == "PNG" and picture.width > 300
    assert list(written.parent.iterdir()) == [written]


def test_its_table_is_saved_beside_it(tmp_path):
    numbers = Table(("map", "größe"), (("0", "1.5"), ("1", "2.5")))
    picture, table = view(numbers).save(str(tmp_path))
    assert (picture.name, table.name) == ("filters-a.png", "filters-a.csv")
    rows = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert rows == [["map", "größe"], ["0", "1.5"], ["1", "2.5"]]


def pictures_in(text: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_it_shows_itself_in_a_notebook():
    assert Image.open(io.BytesIO(view()._repr_png_())).format == "PNG"
    text = view()._repr_html_()
    assert len(pictures_in(text)) == 1 and "<table>" not in text
    assert repr(view()) == "View('filters-a', filters: float64[4, 3, 3, 3])"


@pytest.mark.parametrize(("rows", "open_at_first"), [(40, True), (41, False)])
def test_a_long_table_is_folded_away_and_what_it_says_is_escaped(rows, open_at_first):
    text = view(Table(("<map>", "mean"), tuple(("a&b", "1") for _ in range(rows))))._repr_html_()
    assert len(pictures_in(text)) == 1
    assert ("<details open>" in text) == open_at_first
    assert "&lt;map&gt;" in text and "a&amp;b" in text and "<map>" not in text


def test_a_figure_shows_itself_without_pyplot():
    drawn = view().plot()
    shown = Image.open(io.BytesIO(drawn._repr_png_()))
    assert shown.format == "PNG" and shown.width > 300


def test_an_image_of_a_real_run_is_looked_at_in_one_line(finished_run, toy_data, tmp_path):
    import convlens as cl

    clf = cl.load(finished_run)
    file = toy_data / "train" / "red_cross" / "image_0003.png"
    seen = cl.look.activations(clf, str(file), layer="conv1")
    assert isinstance(seen.plot(), Figure)
    assert seen.arrays["maps"].min() < 0  # what the convolution puts out, before its ReLU
    assert [path.name for path in seen.save(tmp_path)] == [
        "activations-red_cross-image_0003-conv1.png",
        "activations-red_cross-image_0003-conv1.csv",
    ]
    assert look.activations is cl.look.activations
