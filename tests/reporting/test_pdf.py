"""The PDF says what the notebook says, in its order and in the fonts that there are."""

import base64
import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.figures import fonts

nbformat = pytest.importorskip("nbformat")
pypdfium2 = pytest.importorskip("pypdfium2")
pytest.importorskip("typst")
pytest.importorskip("pypandoc")

from convlens.escape import markdown_code  # noqa: E402
from convlens.reporting.execution import execute  # noqa: E402
from convlens.reporting.notebook import report  # noqa: E402
from convlens.reporting.pdf import to_pdf  # noqa: E402


def pages(pdf: bytes) -> list[str]:
    document = pypdfium2.PdfDocument(pdf)
    found = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return found


def words(pdf: bytes) -> str:
    return "\n".join(pages(pdf))


def notebook(*names: str):
    cells = [nbformat.v4.new_markdown_cell(f"of {markdown_code(name)} it") for name in names]
    return nbformat.v4.new_notebook(cells=cells)


def with_picture(cell, number: int, height: int):
    """The cell with an output: a picture that a figure's caption follows."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, 900), 60, np.uint8)).save(buffer, "PNG")
    png = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    caption = {"text/markdown": f"**Figure {number}.** caption{number}"}
    cell.outputs = [nbformat.v4.new_output("display_data", data) for data in (png, caption)]
    return cell


def places(pdf: bytes, tokens: list[str]) -> tuple[dict[str, tuple[int, float]], list[float]]:
    """Page and distance from its top, in points, of words and of pictures ("picture 0", …), and of
    each page how far down it is filled, 0 to 1."""
    document, found, filled, pictures = pypdfium2.PdfDocument(pdf), {}, [], 0
    for number, page in enumerate(document):
        text, height = page.get_textpage(), page.get_height()
        content = text.get_text_range()
        for token in tokens:
            if (match := text.search(token, match_whole_word=True).get_next()) is not None:
                found.setdefault(token, (number, height - text.get_charbox(match[0])[3]))
        for thing in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
            found[f"picture {pictures}"] = (number, height - thing.get_bounds()[3])
            pictures += 1
        gray = np.asarray(page.render(scale=0.5).to_pil().convert("L"))[: int(0.93 * height / 2)]
        filled.append(np.flatnonzero((gray < 250).any(axis=1)).max() / len(gray))
        assert content
    document.close()
    return found, filled


def test_everything_stands_where_the_notebook_has_it(tmp_path):
    """No figure floats into a listing, a list, a sentence, or between a table and what names it."""
    cells, order = [], []
    for n in range(8):
        listing = [f"first{n}", *(f"line{n}_{k}()" for k in range(11 * n)), f"last{n}"]
        written = [
            f"### heading{n}\n\nopens{n} {'some words of a sentence ' * 40} closes{n}",
            f"- item{n}a\n- item{n}b",
            f"table{n}:\n\n| cell{n}a |\n| :-- |\n| cell{n}b |",
        ]
        cells += [nbformat.v4.new_markdown_cell(text) for text in written]
        cell = nbformat.v4.new_code_cell("\n".join(listing))
        cells.append(with_picture(cell, n, 300 + 60 * n))
        order += [f"heading{n}", f"opens{n}", f"closes{n}", f"item{n}a", f"item{n}b", f"table{n}"]
        order += [f"cell{n}a", f"cell{n}b", f"first{n}", f"last{n}", f"picture {n}", f"caption{n}"]
    pdf = to_pdf(nbformat.v4.new_notebook(cells=cells), "Title", tmp_path)
    # the headings stand in the contents too, which are on the first page
    found, filled = places(pdf, [word for word in order if word[:7] not in ("heading", "picture")])
    order = [word for word in order if not word.startswith("heading")]
    assert sorted(found, key=lambda word: found[word]) == order
    for n in range(8):
        assert found[f"picture {n}"][0] == found[f"caption{n}"][0]
        assert found[f"table{n}"][0] == found[f"cell{n}a"][0] == found[f"cell{n}b"][0]
    assert min(filled[:-1]) > 0.5  # of the page's height


def test_a_heading_stays_with_what_follows(tmp_path):
    """However far down the page it comes."""
    for lines in range(30, 50, 3):
        text = "\n\n".join(f"line {n}" for n in range(lines))
        cells = [f"{text}\n\n## Ahead", "```python\nfollows()\n```"]
        book = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_markdown_cell, cells)])
        told = pages(to_pdf(book, "Title", tmp_path))
        assert any("Ahead" in page and "follows()" in page for page in told)


def test_names_that_mean_something_in_typst_are_names(tmp_path):
    names = ("#emph[b]", "$x$", "= h", "@cite <label>", "// no", "/* no", "![x](nofile.png)", "~_*")
    told = words(to_pdf(notebook(*names), "Title", tmp_path))
    for name in names:
        assert f"of {name} it" in told


def test_a_picture_that_is_not_there_leaves_its_text(tmp_path):
    """As a file of results may name one: its Markdown is shown as it is."""
    picture = "![of an ![inner](b.png) loss](nofile.png)"
    cells = [nbformat.v4.new_markdown_cell(each) for each in (picture, f"before {picture} after")]
    told = words(to_pdf(nbformat.v4.new_notebook(cells=cells), "Title", tmp_path))
    assert " ".join(told.split()).count("of an inner loss") == 2
    assert "before of an inner loss after" in " ".join(told.split())


@pytest.mark.parametrize(
    "name", ["`<img src=x onerror=alert(1)>", "a`b", "../../x", "", "![x](y)", "a\nb", 3, None, []]
)
def test_a_recipe_that_has_no_name_of_one_is_refused(name, tmp_path):
    content = json.dumps([{"recipe": "lenet5"}, {"recipe": name}])
    (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"has results of a recipe .*, which is no name of one"):
        report(tmp_path, tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_report_reads_the_data_set_as_it_is_asked_to(tmp_path):
    """And what is handed over names no path of this machine."""
    out, results = tmp_path / "out", tmp_path / "results"
    results.mkdir()
    (results / "summary.json").write_text("[]", encoding="utf-8")
    source = tmp_path / "short.py"
    source.write_text(
        '# %% tags=["parameters"]\nREADING = {}\n\n# %%\nprint(sorted(READING.items()))\n',
        encoding="utf-8",
    )
    (tmp_path / "doubtful.csv").touch()
    reading = Reading(skip_bad=True, exclude=str(tmp_path / "doubtful.csv"))
    written, *_ = report(results, results, out=out, source=source, reading=reading)
    parameters, cell = nbformat.read(written, as_version=4).cells
    asked = [("exclude", str(tmp_path / "doubtful.csv")), ("skip_bad", True)]
    assert cell.outputs[0]["text"] == f"{asked}\n"
    names: dict = {}
    exec(parameters.source, names)
    assert names["READING"] == {"skip_bad": True, "exclude": "../doubtful.csv"}


def test_what_a_figure_in_the_kernel_cannot_draw_is_told(tmp_path, monkeypatch, caplog):
    code = """
from convlens.figures import fonts
fonts.tell_once(["張三"])
print("done")
"""
    caplog.set_level(logging.INFO, "convlens")
    monkeypatch.setattr(fonts, "_told", [])
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    execute(book, tmp_path)
    assert [output["text"] for output in book.cells[0].outputs] == ["done\n"]
    (told,) = caplog.messages
    assert told.startswith("not drawn  張三: ")


def test_what_no_font_has_is_told_once(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "convlens")
    monkeypatch.setattr(fonts, "_told", [])
    monkeypatch.setattr(fonts, "installed", lambda: ())
    for _ in range(2):
        to_pdf(notebook("café", "张三"), "Title", tmp_path)
    (told,) = caplog.messages
    assert "not drawn" in told and "张三" in told and "café" not in told
