import base64
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convlens.html import Picture, bars, picture, table, to_png

HOSTILE = '"><script>alert(1)</script>'


def test_a_table_has_a_header_and_a_row_each_with_numbers_to_the_right():
    shown = table(("", "value"), [("loss", 1.5), ("images", "1,000")])
    assert shown.count("<tr>") == 3
    assert '<td style="text-align: left">loss</td><td style="text-align: right">1.5</td>' in shown
    assert '<th style="text-align: right">value</th>' in shown


def test_a_picture_is_inside_the_page_and_is_what_was_given():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    shown = picture(to_png(pixels), "noise", 640)
    assert shown.startswith('<img src="data:image/png;base64,') and ' width="640">' in shown
    data = base64.b64decode(shown.partition("base64,")[2].partition('"')[0])
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert "width" not in picture(b"", "")


def test_a_bar_is_as_long_as_its_share():
    shown = bars([("cat", 0.75), ("dog", 0.25), ("none", 0.0)])
    for width in "width: 75.0%", "width: 25.0%", "width: 0.0%":
        assert width in shown
    assert "<span>75.0%</span>" in shown


def test_a_picture_on_disk_shows_itself(tmp_path):
    path = tmp_path / "curves.png"
    path.write_bytes(b"\x89PNG, as it is")
    assert Picture(path)._repr_png_() == b"\x89PNG, as it is"
    assert repr(Picture(path)) == f"Picture({str(path)!r})"


@given(text=st.text(alphabet="<>&\"'ab /=", max_size=30))
def test_no_text_is_markup(text):
    plain = "x" * len(text)
    for made in (
        lambda word: table((word, ""), [(word, word)]),
        lambda word: picture(b"", word),
        lambda word: bars([(word, 0.5)]),
    ):
        shown, harmless = made(text), made(plain)
        for sign in "<", ">", '"':
            assert shown.count(sign) == harmless.count(sign)


def test_a_script_is_shown_as_text():
    for shown in table((HOSTILE,), []), picture(b"", HOSTILE), bars([(HOSTILE, 1.0)]):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
