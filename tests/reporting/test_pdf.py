"""The PDF says what the notebook says, in the fonts that there are."""

import json
import logging

import pytest

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


def words(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    found = "\n".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    return found


def notebook(*names: str):
    cells = [nbformat.v4.new_markdown_cell(f"of {markdown_code(name)} it") for name in names]
    return nbformat.v4.new_notebook(cells=cells)


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
