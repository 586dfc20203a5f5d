"""The report is made once, of three recipes trained for two epochs on the toy data set.

What its sentences claim is tested on numbers made up, by the functions of the notebook's own cells.
"""

import html
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from convlens import open_dataset
from convlens.errors import UserError
from convlens.files import MARKER, read_csv, write_csv
from convlens.inference import Classifier
from convlens.training.record import SUMMARY_FIELDS
from convlens.training.run import train

pytest.importorskip("nbclient")
jupytext = pytest.importorskip("jupytext")
pypdfium2 = pytest.importorskip("pypdfium2")
nbformat = pytest.importorskip("nbformat")

from convlens.reporting.notebook import notebook_source, report  # noqa: E402

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
            out = root / "results" / name
            run = train(
                name,
                out=out,
                data=toy_data,
                epochs=2,
                batch_size=16,  # with which algorithms are measured sooner
                device="cpu",
                precision="fp32",
            )
            records.append({field: run.metrics.get(field) for field in SUMMARY_FIELDS})
            run.classifier.save(root / "weights" / f"{name}.safetensors", half=True)
        (root / "results" / "summary.json").write_text(json.dumps(records), encoding="utf-8")
        report(root / "results", root / "weights", toy_data, root / "notebooks")
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
    for record in json.loads((project / "results" / "summary.json").read_text(encoding="utf-8")):
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
    for definition in (
        "class LeNet5(nn.Module)",
        "class ConvNet(nn.Module)",
        "class ResNet18(nn.Module)",
        "def fit(",
        "def train_step(",
        "class Criterion",
        "def make_optimizers(",
        "class ModelEma",
        "def augment(",
        "def activations(",
    ):
        assert f"\n{definition}" in text


def test_one_figure_for_each_image_and_layer(text):
    for image in ("train/blue_disc/image_0001", "train/cyan_bar/image_0001"):
        assert f"The 32 activations of the first convolution, for `{image}`" in text
        assert f"The 64 activations of the second convolution, for `{image}`" in text


def test_notebook_names_no_path_of_this_machine(project, toy_data):
    for suffix in ("ipynb", "html"):
        written = (project / "notebooks" / f"assignment2.{suffix}").read_text(encoding="utf-8")
        for path in (project, toy_data, Path.home(), Path(sys.prefix)):
            assert str(path) not in written


def test_parameters_lead_from_the_notebook_to_the_results(notebook):
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    assert cell.source == (
        "RESULTS = '../results'\nWEIGHTS = '../weights'\nDATA = None\nREADING = {}"
    )


def test_page_loads_nothing(project):
    page = (project / "notebooks" / "assignment2.html").read_text(encoding="utf-8")
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
        '# %% tags=["parameters"]\nRESULTS = WEIGHTS = DATA = READING = None\n\n'
        '# %%\nlimit = 3\nraise ValueError("above the limit")\n'
    )
    with pytest.raises(UserError, match=r"'limit = 3' failed: ValueError: above the limit"):
        report(project / "results", project / "weights", toy_data, out, source=source)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_results_without_a_summary(tmp_path):
    with pytest.raises(UserError, match=r"holds no summary\.json; `convlens reproduce`") as caught:
        report(tmp_path, tmp_path, out=tmp_path / "out")
    assert caught.value.options == ("results",)
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file(project, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"out cannot be a folder .*with `out`") as caught:
        report(project / "results", project / "weights", out=tmp_path / "out")
    assert caught.value.options == ("out",)


@pytest.mark.parametrize("package", ["jupytext", "nbclient", "nbconvert", "pypandoc", "typst"])
def test_a_missing_extra_is_named(project, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    source = tmp_path / "short.py"
    source.write_text('# %% tags=["parameters"]\nRESULTS = None\n', encoding="utf-8")
    with pytest.raises(UserError, match=rf"needs {package}: pip install 'convlens\[report\]'"):
        report(project / "results", project / "weights", out=tmp_path / "out", source=source)


def test_the_notebook_source_is_found():
    assert notebook_source().name == "assignment2.py"
    assert notebook_source().exists()


# Text and figures are of one data set


def executed(last: str, results: Path, weights: Path, data: Path | None) -> dict:
    """The notebook's names after its cells up to the one that defines the function `last`."""
    names: dict = {}
    threads = torch.get_num_threads()
    try:
        for cell in jupytext.read(notebook_source()).cells:
            if "parameters" in cell.metadata.get("tags", ()):
                names |= {"RESULTS": str(results), "WEIGHTS": str(weights), "DATA": data}
                names["READING"] = {}
            elif cell.cell_type == "code":
                exec(cell.source, names)
                names["display"] = lambda *shown: None
                if f"def {last}(" in cell.source:
                    return names
    finally:
        torch.set_num_threads(threads)  # the notebook sets it
    raise AssertionError(f"the notebook defines no {last}")


@pytest.fixture
def other_data(toy_data, tmp_path) -> Path:
    """The toy data set with one of its classes under another name."""
    root = Path(shutil.copytree(toy_data, tmp_path / "other"))
    for split in ("train", "validation"):
        (root / split / "blue_disc").rename(root / split / "violet_disc")
    return root


def test_a_report_on_data_of_other_classes_stops_with_a_sentence(project, other_data, tmp_path):
    sentence = r"lenet5 are of 5 classes \(blue_disc, …\) and .*other has 5 \(cyan_bar, …\); give"
    with pytest.raises(UserError, match=sentence) as caught:
        report(project / "results", project / "weights", other_data, tmp_path / "out")
    assert "`data`" in str(caught.value)
    assert "data" in caught.value.options
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MARKER]


def test_the_same_classes_with_other_images_are_other_data(project, toy_data, tmp_path):
    fewer = Path(shutil.copytree(toy_data, tmp_path / "fewer"))
    next((fewer / "validation" / "red_cross").iterdir()).unlink()
    with pytest.raises(UserError, match=r"of 20 validation images and .*fewer has 19"):
        executed("check_data", project / "results", project / "weights", fewer)


def test_results_without_tables_are_known_by_their_number_of_images(project, toy_data, tmp_path):
    shutil.copy(project / "results" / "summary.json", tmp_path)
    executed("check_data", tmp_path, project / "weights", toy_data)
    fewer = Path(shutil.copytree(toy_data, tmp_path / "fewer"))
    next((fewer / "validation" / "red_cross").iterdir()).unlink()
    with pytest.raises(UserError, match=r"of 20 validation images and .*fewer has 19"):
        executed("check_data", tmp_path, project / "weights", fewer)


def test_without_data_a_report_on_the_demo_set_is_about_the_demo_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no data/caltech101-64
    demo = open_dataset(progress=False)
    counts = np.bincount(demo.validation.labels)
    (tmp_path / "lenet5").mkdir()
    rows = [["true", *demo.classes]]
    rows += [[name, *row] for name, row in zip(demo.classes, np.diag(counts), strict=True)]
    table = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "lenet5" / "confusion.csv").write_text(table, encoding="utf-8")
    record = {"recipe": "lenet5", "seed": 0, "validation_accuracy": 0.5}
    (tmp_path / "summary.json").write_text(json.dumps([record]), encoding="utf-8")
    names = executed("check_data", tmp_path, tmp_path, None)
    assert names["DATASET"].name == "demo"
    assert names["CLASSES"] == demo.classes
    assert names["N"] == len(demo.validation)


def test_weights_of_other_classes_stop_the_notebook(project, toy_data, tmp_path):
    network = Classifier.load(project / "weights" / "lenet5.safetensors")
    other = network.with_model(network.model, class_names=[*"abcde"])
    other.save(tmp_path / "lenet5.safetensors")
    names = executed("check_data", project / "results", tmp_path, toy_data)
    with pytest.raises(UserError, match=r"lenet5\.safetensors knows other classes"):
        names["trained"]("lenet5")


def test_a_notebook_without_its_results_says_so(tmp_path):
    with pytest.raises(UserError, match=r"holds no summary\.json; `convlens reproduce`"):
        executed("check_data", tmp_path, tmp_path, None)


# Sentences claim what the numbers show


@pytest.fixture(scope="module")
def cells(project, toy_data, tmp_path_factory) -> dict:
    """The notebook's names, up to the functions that judge a step from one recipe to the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(project / "cache"))
        return executed("gaps", project / "results", project / "weights", toy_data)


@pytest.fixture
def made_up(cells, monkeypatch):
    """Sets the numbers of recipes: training and validation accuracy, and mean confidence."""

    def set_numbers(**recipes: tuple[float, float, float | None]) -> None:
        runs = {
            name: {"train_accuracy": training, "validation_accuracy": validation}
            for name, (training, validation, _) in recipes.items()
        }
        answers = {
            name: confidence
            and SimpleNamespace(probabilities=np.full((4, 1), confidence), accuracy=validation)
            for name, (_, validation, confidence) in recipes.items()
        }
        monkeypatch.setitem(cells, "RUNS", runs)
        monkeypatch.setitem(cells, "seen", answers.get)
        monkeypatch.setitem(cells, "N", 900)

    return set_numbers


RISING = {
    "validation_loss": np.array([2.0, 1.0, 1.5]),
    "validation_accuracy": np.array([0.2, 0.3, 0.4]),
}


def plain(sentence: str) -> str:
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def test_what_a_network_is_sure_of_is_measured_on_the_validation_images(cells):
    seen = cells["seen"]("lenet5")
    assert seen.temperature == 1
    assert len(seen.probabilities) == 20
    assert seen.accuracy == pytest.approx(cells["RUNS"]["lenet5"]["validation_accuracy"], abs=0.05)


def test_more_measures_are_those_of_the_record_else_of_the_weights(cells, monkeypatch):
    record = cells["RUNS"]["lenet5"]
    known = cells["measures"]("lenet5")
    assert known["macro_f1"] == record["validation_macro_f1"]
    assert "top5_accuracy" not in known  # of five classes it says nothing
    older = {name: value for name, value in record.items() if "macro" not in name}
    monkeypatch.setitem(cells["RUNS"], "lenet5", older)
    again = cells["measures"]("lenet5")  # of weights in half precision
    assert again["macro_f1"] == pytest.approx(known["macro_f1"], abs=0.1)
    monkeypatch.setitem(cells, "seen", lambda recipe: None)
    assert cells["measures"]("lenet5") == {}


def test_a_network_surer_than_right_is_over_fitted(cells, made_up):
    made_up(lenet5=(0.99, 0.63, 0.87))
    told = plain(cells["after_lowest"]("lenet5", RISING))
    assert "lowest after epoch 2 (1.000 nats) and rose to 1.500" in told
    assert "the validation accuracy went from 30.0 % to 40.0 %" in told
    assert "confidence on these images is 87.0 %, its accuracy 63.0 %" in told
    assert "over-fitting that accuracy alone does not show" in told


def test_where_accuracy_falls_it_shows_the_over_fitting(cells, made_up):
    made_up(lenet5=(0.99, 0.63, 0.87))
    falling = {**RISING, "validation_accuracy": np.array([0.4, 0.4, 0.3])}
    told = cells["after_lowest"]("lenet5", falling)
    assert told.endswith("That is over-fitting.")


def test_a_network_less_sure_than_right_is_not_called_over_confident(cells, made_up):
    made_up(convnet=(0.999, 0.90, 0.74))
    told = plain(cells["after_lowest"]("convnet", RISING))
    assert "no over-confidence: its mean confidence on these images is 74.0 %" in told
    assert "over-fitting" not in told
    assert "surer" not in told


def test_a_network_that_has_learned_nothing_is_not_called_over_fitted(cells, made_up):
    made_up(convnet=(0.04, 0.04, 0.15))
    told = cells["after_lowest"]("convnet", RISING)
    assert "surer than it is right" in told
    assert "over-fitting" not in told


def test_without_weights_nothing_is_said_of_confidence(cells, made_up):
    made_up(convnet=(0.99, 0.6, None))
    told = cells["after_lowest"]("convnet", RISING)
    assert "rose to 1.500" in told
    assert "confidence" not in told
    assert "over-fitting" not in told


def test_a_loss_that_hardly_rose_says_what_became_of_the_accuracy(cells, made_up):
    curves = {**RISING, "validation_loss": np.array([2.0, 1.0, 1.04])}
    told = plain(cells["after_lowest"]("convnet", curves))
    assert "ended within 5 % of that, while the validation accuracy went from 30.0 %" in told


def test_a_network_that_is_always_right_has_no_standard_error(cells, made_up):
    made_up(convnet=(0.99, 1.0, None), lenet5=(0.99, 0.75, None))
    assert cells["in_errors"](0.29, "convnet") == ""
    assert cells["in_errors"](0.0289, "lenet5") == ", 2.0 standard errors"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((0.99, 0.63), (0.995, 0.78), "fitted no less closely"),
        ((0.99, 0.63), (0.90, 0.70), "less is learned by heart"),
        ((0.80, 0.70), (0.95, 0.75), "fitted more closely"),
        ((0.95, 0.75), (0.95, 0.65), "fewer of the others"),
        ((0.95, 0.75), (0.97, 0.77), "stays at about 20"),
        ((0.30, 0.25), (0.99, 0.60), "says little"),
    ],
)
def test_a_gap_between_the_splits_is_explained_by_the_side_that_moved(
    cells, made_up, first, second, words
):
    made_up(lenet5=(*first, None), convnet=(*second, None))
    assert words in cells["gaps"]("lenet5", "convnet")


# Names may be anything

HOSTILE = (
    "x`<img src=x onerror=alert(1)>`",
    "![x](nofile.png)",
    '`#read("report-page.typ")`{=typst}',
    "=1+1|$x$ [y](javascript:alert(1))",
    "张三",
)


@pytest.fixture(scope="module")
def hostile(project, toy_data, tmp_path_factory) -> Path:
    """The folder of the report on lenet5's results, its classes, files and folders so named."""
    root = tmp_path_factory.mktemp("hostile")
    plain = sorted(path.name for path in (toy_data / "train").iterdir())
    names = dict(zip(plain, sorted(HOSTILE), strict=True))
    data = root / "d`a`ta<b>"
    for image in toy_data.glob("*/*/*.png"):
        split, name = image.parts[-3:-1]
        target = data / split / names[name] / f"![{image.stem}`](x)<b>.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    (root / "results").mkdir()
    shutil.copytree(project / "results" / "lenet5", root / "results" / "lenet5")
    (root / "results" / "lenet5" / "state.pt").unlink()
    table = root / "results" / "lenet5" / "confusion.csv"
    header, *rows = read_csv(table)
    renamed = [[names[row[0]], *map(int, row[1:])] for row in rows]
    write_csv(table, [[header[0], *sorted(HOSTILE)], *renamed])
    (record, *_) = json.loads((project / "results" / "summary.json").read_text(encoding="utf-8"))
    record["command"] = f"convlens train lenet5 --data '{data}\n```\n<b>'"
    (root / "results" / "summary.json").write_text(json.dumps([record]), encoding="utf-8")
    network = Classifier.load(project / "weights" / "lenet5.safetensors")
    (root / "weights").mkdir()
    network.with_model(network.model, class_names=sorted(HOSTILE)).save(
        root / "weights" / "lenet5.safetensors"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        report(root / "results", root / "weights", data, root / "notebooks")
    return root / "notebooks"


def test_a_page_of_hostile_names_runs_and_loads_nothing(hostile):
    page = (hostile / "assignment2.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy\" content=\"default-src 'none'" in page
    body = page[page.index("<main>") :]
    tags = re.findall(r"<(\w+)((?:[^>\"]|\"[^\"]*\")*)>", body)
    assert {tag for tag, _ in tags} <= {
        "main",
        "div",
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "span",
        "pre",
        "code",
        "em",
        "strong",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "img",
    }
    for tag, attributes in tags:
        for name in re.findall(r"(\w+)=\"", re.sub(r"\"[^\"]*\"", '""', attributes)):
            assert name in ("class", "id", "style", "src", "alt", "tabindex"), (tag, attributes)
        if tag == "img":
            assert re.search(r"\ssrc=\"data:image/png;base64,", attributes)


def test_hostile_names_are_read_as_they_are(hostile):
    document = pypdfium2.PdfDocument(hostile / "assignment2.pdf")
    words = "".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    page = (hostile / "assignment2.html").read_text(encoding="utf-8")
    for text in (words, html.unescape(re.sub(r"<[^>]*>", "", page))):
        text = re.sub(r"\s", "", text)
        assert "train/![x](nofile.png)/![image_0001`](x)<b>" in text
        assert any(f"{re.sub(chr(32), '', name)}takenfor" in text for name in HOSTILE)


def test_what_the_notebook_of_hostile_names_says_is_plain_markdown(hostile):
    notebook = nbformat.read(hostile / "assignment2.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    told = "\n".join(out.data.get("text/markdown", "") for out in outputs)
    assert "&#91;x&#93;(nofile.png)" in told
    prose = re.sub(r"```.*?```", "", told, flags=re.DOTALL)
    assert "<img" not in prose and "](" not in prose and "{=typst}" not in prose
