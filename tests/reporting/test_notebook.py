"""The report is made once, of three recipes trained for two epochs on a small data set.

Its classes, files and folders are named by somebody who means no good; what its sentences claim is
tested beside this file, in test_sentences.py.
"""

import html
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens import models
from convlens.data import DEMO
from convlens.errors import UserError
from convlens.files import MARKER
from convlens.inference import Classifier
from convlens.inference.metrics import score
from convlens.recipes import lenet5plus
from convlens.reporting import sentences
from convlens.training.criterion import Criterion

pytest.importorskip("nbclient")
jupytext = pytest.importorskip("jupytext")
pypdfium2 = pytest.importorskip("pypdfium2")
nbformat = pytest.importorskip("nbformat")
Markdown = pytest.importorskip("IPython.display").Markdown

from convlens.reporting.notebook import notebook_source, report  # noqa: E402

HEADINGS = (
    "1.2.1 Implement and improve a CNN model",
    "1.2.2 Visualize layer activation",
    "1.2.3 ResNet Implementation",
)


@pytest.fixture(scope="module")
def notebook(made):
    return nbformat.read(made / "assignment2.ipynb", as_version=4)


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
def page(made) -> str:
    return (made / "assignment2.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(made):
    """Of each PDF page its gray values, uint8, (height, width) at a point a pixel, and its text."""
    document = pypdfium2.PdfDocument(made / "assignment2.pdf")
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


def test_the_first_page_says_what_the_numbers_rest_on(pages, text):
    assert "5 classes; 60 training images and 20 validation images of 16×16 pixels" in text
    assert "60 training images" in pages[0][1].replace("\N{NO-BREAK SPACE}", " ")
    assert "This is the demo" not in text
    assert "This is Caltech-101" not in text


def test_missing_recipes_are_said_to_be_missing(text):
    assert "no record of `lenet5plus`" in text
    assert "no record of `resnet18_stride2`" in text


def test_short_trainings_stand_beside_the_full_ones(project, text):
    assert text.count("Trained here for 3 epochs on 60 images:") == 3  # two of LeNet5, ResNet-18
    for name in ("lenet5", "convnet", "resnet18"):
        (record,) = (
            r
            for r in json.loads((project / "results" / "summary.json").read_text(encoding="utf-8"))
            if r["recipe"] == name
        )
        right = 100 * record["validation_accuracy"]
        assert f"The stored run of `{name}`: 2 epochs" in text
        # half precision, and an image that is cut out elsewhere: at most one of 20 differs
        found = re.search(
            rf"stored run of `{name}`: .*?network of the cell above: ([\d.]+) %", text, re.DOTALL
        )
        assert float(found[1]) == pytest.approx(right, abs=5)


def test_settings_say_of_every_network_whether_it_normalizes_its_batches(text):
    (row,) = (line for line in text.splitlines() if line.startswith("| `batch norm` |"))
    assert row == "| `batch norm` | – | yes | yes |"  # lenet5, convnet, resnet18


def test_the_packages_code_is_the_appendix(text):
    appendix = text[text.index("## Appendix: the package's code") :]
    for definition in (
        "class LeNet5(nn.Module)",
        "class ConvNet(nn.Module)",
        "class ResNet18(nn.Module)",
        "class Conv2d(nn.Conv2d)",
        "class DropPath(nn.Module)",
        "def pool_rectified(",
        "class TrivialAugment",
        "def fit(",
        "def train_step(",
        "class Criterion",
        "def make_optimizers(",
        "class ModelEma",
        "def augment(",
        "def activations(",
    ):
        assert f"\n{definition}" in appendix


def test_one_figure_for_each_image_and_layer(text, hostile_data):
    for maps, which in (32, "first"), (64, "second"):
        captions = re.findall(
            rf"The {maps} activations of the {which} convolution, for (.*)\.", text
        )
        assert len(set(captions)) == 2
        assert all("image_0001" in html.unescape(caption) for caption in captions)


def test_notebook_names_no_path_of_this_machine(made, project, hostile_data):
    for suffix in ("ipynb", "html"):
        written = (made / f"assignment2.{suffix}").read_text(encoding="utf-8")
        for path in (project, hostile_data.parent.parent, Path.home(), Path(sys.prefix)):
            assert written.count(str(path)) == (path in hostile_data.parents)  # in its command


def test_parameters_lead_from_the_notebook_to_the_results(notebook):
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    assert cell.source == (
        "RESULTS = '../results'\nWEIGHTS = '../weights'\nDATA = None\nREADING = {}"
    )


def test_page_loads_nothing_and_links_to_itself_alone(page):
    assert "Content-Security-Policy\" content=\"default-src 'none'" in page
    assert "<script" not in page
    assert "<link" not in page
    sources = re.findall(r'<\w+[^>]*\bsrc="(.{5})', page)
    assert len(sources) > 5
    assert set(sources) == {"data:"}
    assert not re.findall(r"url\(|@import", page)


def test_the_contents_of_the_page_lead_to_its_headings(page):
    contents = page[page.index("<nav>") : page.index("</nav>")]
    links = re.findall(r'<a href="#([^"]*)">(.*?)</a>', contents)
    for heading in (*HEADINGS, "(a) LeNet5", "Appendix: the package's code"):
        assert heading in [html.unescape(text) for _, text in links]
    names = re.findall(r'<h\d id="([^"]*)"', page)
    assert len(set(names)) == len(names)
    assert {name for name, _ in links} <= set(names)


def test_a_page_of_hostile_names_runs_nothing(page):
    body = page[page.index("<main>") :]
    tags = re.findall(r"<(\w+)((?:[^>\"]|\"[^\"]*\")*)>", body)
    assert {tag for tag, _ in tags} <= {
        "main",
        "nav",
        "a",
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
            assert name in ("class", "id", "style", "src", "alt", "tabindex", "href"), tag
        if tag == "img":
            assert re.search(r"\ssrc=\"data:image/png;base64,", attributes)
        if tag == "a":
            assert re.fullmatch(r' href="#[a-z0-9-]+"', attributes)


def test_hostile_names_are_read_as_they_are(pages, page):
    words = "".join(text for _, text in pages)
    for shown in (words, html.unescape(re.sub(r"<[^>]*>", "", page))):
        shown = re.sub(r"\s", "", shown)
        assert "train/![x](nofile.png)/![image_0001`](x)<b>" in shown


def test_what_the_notebook_of_hostile_names_says_is_plain_markdown(text):
    assert "&#91;x&#93;(nofile.png)" in text
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "<img" not in prose and "](" not in prose and "{=typst}" not in prose


def test_no_pdf_page_is_blank_or_cut(pages):
    for number, (gray, _) in enumerate(pages, 1):
        height, width = gray.shape
        assert (width, height) == (596, 842)  # A4 in points
        least = 200 if number < len(pages) else 50  # the last may end anywhere
        assert (gray < 128).sum() > least
        for margin in (gray[:, :50], gray[:, -50:], gray[:20], gray[-20:]):
            assert margin.min() == 255


def test_pdf_holds_the_words_and_no_markup(pages):
    words = "\n".join(text for _, text in pages)
    for heading in HEADINGS:
        assert words.count(heading) == 2  # in the contents and in its place
    assert "Figure 1." in words
    for markup in ("<div", "$$", "\x1b", "**Figure", "| ---", "| :--"):
        assert markup not in words


# What stops a report


def test_a_failing_cell_is_named_and_the_old_report_stays(project, made, tmp_path):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    source = tmp_path / "assignment2.py"
    source.write_text(
        '# %% tags=["parameters"]\nRESULTS = WEIGHTS = DATA = READING = None\n\n'
        '# %%\nlimit = 3\nraise ValueError("above the limit")\n'
    )
    with pytest.raises(UserError, match=r"'limit = 3' failed: ValueError: above the limit"):
        report(project / "results", project / "weights", None, made, source=source)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_what_a_cell_tells_the_user_is_told_as_it_is(project, tmp_path):
    source = tmp_path / "short.py"
    source.write_text(
        '# %% tags=["parameters"]\nRESULTS = WEIGHTS = DATA = READING = None\n\n'
        "# %%\nfrom convlens.errors import UserError\n"
        'raise UserError("these are other classes; give others with `data`")\n'
    )
    with pytest.raises(UserError, match=r"^these are other classes; give others with `d") as caught:
        report(project / "results", project / "weights", None, tmp_path / "out", source=source)
    assert "data" in caught.value.options
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MARKER]


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
    with pytest.raises(
        UserError, match=rf"needs {package}; install it with `pip install .* typst`"
    ):
        report(project / "results", project / "weights", out=tmp_path / "out", source=source)


def test_the_notebook_source_is_found():
    assert notebook_source().name == "assignment2.py"
    assert notebook_source().exists()


def code_cells() -> list:
    return [cell for cell in jupytext.read(notebook_source()).cells if cell.cell_type == "code"]


def test_a_notebook_without_the_package_says_in_a_sentence_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "convlens", None)
    with pytest.raises(ImportError, match=r"needs .* the package ConvLens and") as told:
        exec(code_cells()[0].source, {})
    assert told.value._render_traceback_() == [str(told.value)]  # which is all that Jupyter shows


# Text and figures are of one data set


def executed(last: str, results: Path, weights: Path, data: Path | None) -> dict:
    """The notebook's names after its cells up to the one that defines the function `last`, and what
    they showed as SHOWN."""
    shown: list = []
    names: dict = {"SHOWN": shown}
    for cell in code_cells():
        if "parameters" in cell.metadata.get("tags", ()):
            names |= {"RESULTS": str(results), "WEIGHTS": str(weights), "DATA": data}
            names["READING"] = {}
        else:
            exec(cell.source, names)
            names["display"] = lambda *told: shown.extend(told)
            if f"def {last}(" in cell.source:
                return names
    raise AssertionError(f"the notebook defines no {last}")


@pytest.fixture
def copied(hostile_data, tmp_path) -> Path:
    """The data set, to be changed."""
    return Path(shutil.copytree(hostile_data, tmp_path / "copied"))


def test_a_notebook_on_data_of_other_classes_stops_with_a_sentence(project, copied):
    for split in ("train", "validation"):
        (copied / split / "张三").rename(copied / split / "a class")
    sentence = r"lenet5 are of 5 classes \(!\[x\].*copied has 5 \(!\[x\].*give .* with `data`"
    with pytest.raises(UserError, match=sentence):
        executed("check_data", project / "results", project / "weights", copied)


def test_the_same_classes_with_other_images_are_other_data(project, copied):
    next((copied / "validation" / "张三").iterdir()).unlink()
    with pytest.raises(UserError, match=r"of 20 validation images and .*copied has 19"):
        executed("check_data", project / "results", project / "weights", copied)


def test_results_without_tables_are_known_by_their_number_of_images(project, copied, tmp_path):
    shutil.copy(project / "results" / "summary.json", tmp_path)
    executed("check_data", tmp_path, project / "weights", copied)
    next((copied / "validation" / "张三").iterdir()).unlink()
    with pytest.raises(UserError, match=r"of 20 validation images and .*copied has 19"):
        executed("check_data", tmp_path, project / "weights", copied)


def test_weights_of_other_classes_stop_the_notebook(project, hostile_data, tmp_path):
    network = Classifier.load(project / "weights" / "lenet5.safetensors")
    other = network.with_model(network.model, class_names=[*"abcde"])
    other.save(tmp_path / "lenet5.safetensors")
    names = executed("check_data", project / "results", tmp_path, hostile_data)
    with pytest.raises(UserError, match=r"lenet5\.safetensors knows other classes"):
        names["trained"]("lenet5")


def test_without_data_a_notebook_is_about_the_demo_set(project, hostile_data, monkeypatch):
    monkeypatch.setattr("convlens.data.opening.resolve", lambda data: (hostile_data, DEMO))
    names = executed("check_data", project / "results", project / "weights", None)
    assert names["DATASET"].name == "demo"


def test_a_notebook_without_its_results_says_so(tmp_path):
    with pytest.raises(UserError, match=r"holds no summary\.json; `convlens reproduce`"):
        executed("check_data", tmp_path, tmp_path, None)


def test_measures_are_those_of_the_record_else_of_the_weights(project, hostile_data, monkeypatch):
    names = executed("check_data", project / "results", project / "weights", hostile_data)
    record = names["RUNS"]["lenet5"]
    seen = names["seen"]("lenet5")
    assert (seen.temperature, len(seen.probabilities)) == (1, 20)
    known = names["measures"]("lenet5")
    assert known["macro_f1"] == record["validation_macro_f1"]
    assert known["balanced_accuracy"] == record["validation_mean_class_accuracy"]
    assert "top5_accuracy" not in known  # of five classes it says nothing
    names["RUNS"]["lenet5"] = {name: value for name, value in record.items() if "macro" not in name}
    again = names["measures"]("lenet5")  # of weights in half precision
    assert again["macro_f1"] == pytest.approx(known["macro_f1"], abs=0.1)
    monkeypatch.setitem(names, "seen", lambda recipe: None)
    assert names["measures"]("lenet5") == {}


def test_what_was_measured_on_test_is_shown_beside_validation(project, hostile_data, tmp_path):
    shutil.copytree(project / "results", tmp_path / "results")
    path = tmp_path / "results" / "summary.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    records[0] |= {
        "test_accuracy": 0.75,
        "test_mean_class_accuracy": 0.5,
        "test_macro_f1": 0.4375,
        "test_images": 16,
    }
    path.write_text(json.dumps(records), encoding="utf-8")
    names = executed("tensors", path.parent, project / "weights", hostile_data)
    told = "\n".join(thing.data for thing in names["SHOWN"] if isinstance(thing, Markdown))
    told = told.replace("\N{NO-BREAK SPACE}", " ")
    assert "20 validation images of 16×16 pixels, and 16 test images, on which nothing was" in told
    assert "| test accuracy | test mean per class |" in told
    assert "on the validation images and the test images:" in told
    assert "| `lenet5` | test | 50.0 % | – | 43.8 % | – |" in told
    assert "| `convnet` | test |" not in told


# The cells' networks are the package's


@pytest.fixture(scope="module")
def cells() -> dict:
    """What the assignment's own cells define: plain torch, on two images' worth of noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    split = type("Split", (), {"images": images, "labels": np.arange(4), "__len__": lambda self: 4})
    names = {
        "DATASET": type("Data", (), {"train": split(), "validation": split()}),
        "C": 5,
        "SIZE": 16,
        "TRAIN": 1,
        "BEST": "convnet",
        "np": np,
        "torch": torch,
        "table": sentences.table,
        "stem_stride": lambda recipe: 1,
        "text": lambda *told: None,
        "report_training": lambda *told: None,
    }
    for cell in code_cells():
        tags = cell.metadata.get("tags", ())
        if "hide-input" not in tags and re.search("^(class|def|import torch)", cell.source, re.M):
            exec(cell.source, names)
    return names


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("LeNet5", models.LeNet5(5, size=16), {"size": 16}),
        (
            "LeNet5",
            models.LeNet5(5, size=16, batch_norm=True, dropout=0.25),
            {"size": 16, "improved": True},
        ),
        ("ConvNet", models.ConvNet(5), {}),
        ("ConvNet", models.ConvNet(5, stem_stride=2), {"stem_stride": 2}),
        ("ResNet18", models.ResNet18(5), {}),
        ("ResNet18", models.ResNet18(5, conv2_stride=2), {"conv2_stride": 2}),
    ],
)
def test_the_cells_networks_give_the_packages_logits(cells, name, theirs, options):
    ours = cells[name](5, **options)
    ours.load_state_dict(theirs.state_dict())  # strictly: the same names and shapes
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)
    shares = [
        [m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p] for net in (ours, theirs)
    ]
    assert shares[0] == shares[1]


def test_the_cells_loss_is_the_packages(cells):
    logits, labels = torch.randn(7, 5), torch.arange(7) % 5
    targets = F.one_hot(labels, 5).float()
    recipe = lenet5plus()
    criterion = Criterion(recipe, np.ones(5))
    ours = cells["cross_entropy"](logits, targets, recipe.label_smoothing)
    torch.testing.assert_close(ours, criterion(logits, targets, torch.empty(0)))
    x = torch.randn(7, 3, 16, 16)
    network = cells["LeNet5"](5, 16)
    loss, accuracy = cells["score"](network, x, targets)
    theirs = score(network(x).detach().numpy(), labels.numpy())
    assert (loss, accuracy) == pytest.approx((theirs.loss, theirs.accuracy), rel=1e-5)


def test_the_cells_loop_lowers_the_loss_and_tells_every_epoch(cells):
    torch.manual_seed(0)
    network = cells["initialize"](cells["LeNet5"](5, 16, improved=True))
    rows = cells["fit"](network, 6, change=cells["change"])
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1][1] < rows[0][1]


def test_the_cells_hook_catches_what_a_layer_puts_out_and_is_removed(cells):
    network, x = cells["LeNet5"](5, 16), torch.randn(2, 3, 16, 16)
    maps = cells["activation"](network, network.relu1, x)
    torch.testing.assert_close(maps, F.relu(network.conv1(x)))
    assert not network.relu1._forward_hooks
