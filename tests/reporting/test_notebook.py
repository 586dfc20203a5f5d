"""The report is made once, of three recipes trained for two epochs on the toy data set."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convlens.errors import UserError
from convlens.recipes import RECIPES
from convlens.training.run_folder import load_trained, save_weights
from convlens.training.run import SUMMARY_FIELDS, start

pytest.importorskip("nbclient")
pypdfium2 = pytest.importorskip("pypdfium2")
nbformat = pytest.importorskip("nbformat")

from convlens.reporting.notebook import make_report, notebook_source  # noqa: E402

TRAINED = ("lenet5", "convnet", "resnet18")  # the other two are missing from the results
HEADINGS = (
    "1.2.1 Implement and improve a CNN model",
    "1.2.2 Visualize layer activation",
    "1.2.3 ResNet Implementation",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory, toy_data) -> Path:
    """A folder with results/, weights/ and the report in notebooks/."""
    root = tmp_path_factory.mktemp("project")
    (root / "weights").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        records = []
        for name in TRAINED:
            run = root / "results" / name
            recipe = replace(RECIPES[name](), epochs=2)
            metrics = start(recipe, run, data=toy_data, device="cpu", precision="fp32")
            records.append({field: metrics[field] for field in SUMMARY_FIELDS})
            save_weights(root / "weights" / f"{name}.safetensors", load_trained(run), half=True)
        (root / "results" / "summary.json").write_text(json.dumps(records))
        make_report(root / "results", root / "weights", toy_data, root / "notebooks")
    return root


@pytest.fixture(scope="module")
def notebook(project):
    return nbformat.read(project / "notebooks" / "assignment2.ipynb", as_version=4)


@pytest.fixture(scope="module")
def text(notebook) -> str:
    """Everything a reader of the notebook reads, with plain spaces."""
    words = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words.append(cell.source)
        for output in cell.get("outputs", ()):
            words.append(output.get("data", {}).get("text/markdown", ""))
    return "\n".join(words).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def pages(project):
    """Of each PDF page its gray values, uint8, (height, width) at a point a pixel, and its text."""
    document = pypdfium2.PdfDocument(project / "notebooks" / "assignment2.pdf")
    found = []
    for page in document:
        text_page = page.get_textpage()
        bitmap = page.render(scale=1)
        found.append((np.asarray(bitmap.to_pil().convert("L")), text_page.get_text_range()))
        bitmap.close()
        text_page.close()
        page.close()
    document.close()
    return found


def test_notebook_is_valid_and_every_cell_ran_silently(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds == {"display_data"}  # no stream, so no warning either, and no error


def test_the_three_questions_stand_in_order(text):
    places = [text.index(f"## {heading}") for heading in HEADINGS]
    assert places == sorted(places)


def test_numbers_in_the_text_are_those_of_the_summary(project, text):
    for record in json.loads((project / "results" / "summary.json").read_text()):
        accuracy = record["validation_accuracy"]
        error = (accuracy * (1 - accuracy) / 20) ** 0.5  # 5 classes of 4 validation images
        row = (
            f"| `{record['recipe']}` | {record['train_loss']:.3f} "
            f"| {100 * record['train_accuracy']:.1f} % | {record['validation_loss']:.3f} "
            f"| {100 * accuracy:.1f} ± {100 * error:.1f} % "
            f"| {100 * record['validation_mean_class_accuracy']:.1f} % |"
        )
        assert row in text


def test_missing_recipes_are_said_to_be_missing(text):
    assert "no record of `lenet5plus`" in text
    assert "no record of `resnet18_stride2`" in text


def test_caveats_of_caltech_stand_only_where_they_belong(text):
    assert "This is Caltech-101" not in text


def test_final_code_is_shown(text):
    for definition in ("class LeNet5(nn.Module)", "class ConvNet(nn.Module)", "def train(",
                       "class ResNet18(nn.Module)", "def activations("):  # fmt: skip
        assert definition in text


def test_one_figure_for_each_image_and_layer(text):
    for image in ("train/blue_disc/image_0001", "train/cyan_bar/image_0001"):
        assert f"The 32 activations of the first convolution, for `{image}`" in text
        assert f"The 64 activations of the second convolution, for `{image}`" in text


def test_notebook_names_no_path_of_this_machine(project, toy_data):
    written = (project / "notebooks" / "assignment2.ipynb").read_text()
    for path in (project, toy_data, Path.home(), Path(sys.prefix)):
        assert str(path) not in written


def test_parameters_lead_from_the_notebook_to_the_results(notebook):
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    assert cell.source == "RESULTS = '../results'\nWEIGHTS = '../weights'\nDATA = None"


def test_page_loads_nothing(project):
    page = (project / "notebooks" / "assignment2.html").read_text()
    assert "<script" not in page
    assert "<link" not in page
    sources = re.findall(r'<\w+[^>]*\bsrc="(.{5})', page)
    assert len(sources) > 5
    assert set(sources) == {"data:"}
    assert not re.findall(r"url\(|@import", page)
    for heading in HEADINGS:
        assert heading in page


def test_no_pdf_page_is_blank_or_cut(pages):
    for gray, _ in pages:
        height, width = gray.shape
        assert (width, height) == (596, 842)  # A4 in points
        assert (gray < 128).sum() > 200
        for margin in (gray[:, :50], gray[:, -50:], gray[:20], gray[-20:]):
            assert margin.min() == 255


def test_pdf_holds_the_words_and_no_markup(pages):
    words = "\n".join(text for _, text in pages)
    for heading in HEADINGS:
        assert heading in words
    assert "Figure 1." in words
    for markup in ("<div", "$$", "\x1b", "**Figure", "![", "| ---", "| :--"):
        assert markup not in words


def test_a_failing_cell_is_named_and_the_old_report_stays(project, toy_data, tmp_path):
    out = project / "notebooks"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    source = tmp_path / "assignment2.py"
    source.write_text(
        '# %% tags=["parameters"]\nRESULTS = WEIGHTS = DATA = None\n\n'
        '# %%\nlimit = 3\nraise ValueError("above the limit")\n'
    )
    with pytest.raises(UserError, match=r"'limit = 3' failed: ValueError: above the limit"):
        make_report(project / "results", project / "weights", toy_data, out, source=source)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_results_without_a_summary(tmp_path):
    with pytest.raises(UserError, match=r"holds no summary\.json; `convlens reproduce`"):
        make_report(tmp_path, tmp_path, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["jupytext", "nbclient", "nbconvert", "pypandoc", "typst"])
def test_a_missing_extra_is_named(project, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    source = tmp_path / "short.py"
    source.write_text('# %% tags=["parameters"]\nRESULTS = None\n')
    with pytest.raises(UserError, match=rf"needs {package}: pip install 'convlens\[report\]'"):
        make_report(project / "results", project / "weights", None, tmp_path / "out", source)


def test_the_notebook_source_is_found():
    assert notebook_source().name == "assignment2.py"
    assert notebook_source().exists()
