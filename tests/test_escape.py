"""Every name, whatever is in it, is read in every format as that name and does nothing else."""

import io
import json
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from rich.progress import Progress

from convlens import escape, files
from convlens.data import cache
from convlens.inference import Classifier
from convlens.inference.metrics import Evaluation, score
from convlens.inference.prediction import Prediction
from convlens.look.view import Table, View
from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.reporting.card import model_card
from convlens.reporting.run_pages import write_evaluation
from convlens.reporting.tables import ensembles_table, results_table
from convlens.training.config import RunConfig
from convlens.training.run_folder import RunFolder

pypandoc = pytest.importorskip("pypandoc")
nbformat = pytest.importorskip("nbformat")
from convlens.reporting.html_page import _Words, to_html  # noqa: E402
from convlens.reporting.pdf import PANDOC_MARKDOWN  # noqa: E402

HOSTILE = (
    "x`<img src=x onerror=alert(1)>`",
    "<script>alert(1)</script>",
    "![x](nofile.png)",
    "[x](javascript:alert(1))",
    '`#read("/etc/passwd")`{=typst}',
    '#import "x.typ": *',
    "a|b",
    "``",
    "`",
    "\\",
    "a\\",
    "$$x$$",
    "\\begin{x}y\\end{x}",
    "</td></table>",
    "&lt;b&gt;",
    "&",
    "\"'><b onclick=x>",
    "*a* _b_ ~c~ ^d^ ==e==",
    "@citation <label>",
    "// comment /* too */",
    "= heading",
    "- item",
    "1. item",
    "https://evil.example/x.png",
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "'=1+1",
    "'tis",
    "-5",
    'a,b;c"d',
    "two\nlines",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066isolated\u2069",
    "a\u2028b",
    "\udce9t\udce9",  # of a disk whose names are Latin-1
    "张三",
    "مرحبا",
    "🐈‍⬛",
    "café",
    "null",
    "~",
    "{{ x }} {% raw %}",
    "<!--",
    "---",
    " ",
    "",
)

_MARKS = "`|<>[]()!*_#$\\&'\"=+-@~^{}/:;.,%\x1b\x07\n\r\t\u202e\u2069 "
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.sampled_from(_MARKS + "ab1é张"), max_size=12),
    st.text(max_size=12),
    st.tuples(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)).map("".join),
)
"""Any text, most often one that means something in Markdown, HTML, typst, CSV or a terminal."""


RENDERERS = [
    lambda source: _Words()(source),  # the report's
    MarkdownIt("commonmark", {"html": True}).enable("table").render,  # as GitHub's
]


class Reader(HTMLParser):
    """Which tags and attributes stand in a page, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


@settings(deadline=None)
@given(names)
def test_visible_text_is_one_line_that_any_file_can_hold(name):
    shown = escape.visible(name)
    assert len(shown.splitlines()) <= 1
    assert shown.encode("utf-8").decode("utf-8") == shown
    if name.isprintable():
        assert shown == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\rb\x00", r"a\rb\x00"),
        ("\udce9", r"\udce9"),
        ("one\n\ttwo", "one\n\ttwo"),
        ("🐈‍⬛ café 张三", "🐈‍⬛ café 张三"),
    ],
)
def test_a_terminal_shows_what_it_would_obey(name, shown):
    assert escape.terminal(name) == shown


@settings(deadline=None)
@given(names)
def test_html_is_the_text_and_no_tag(name):
    seen = Reader(f'<p title="{escape.html_text(name)}">{escape.html_text(name)}</p>')
    assert seen.tags == {"p"}
    assert seen.text == escape.visible(name)


def paragraphs_and_table(name: str) -> str:
    text, code = escape.markdown(name), escape.markdown_code(name)
    return f"of {text} it\n\nand {code} too\n\n| a | b |\n| :- | -: |\n| {text} | {code} |\n"


def words(name: str) -> str:
    """What `paragraphs_and_table` reads as, without spaces."""
    shown = escape.visible(name)
    return re.sub(r"\s", "", f"of{shown}itand{shown}tooab{shown}{shown}")


@settings(max_examples=300, deadline=None)
@given(names)
@pytest.mark.parametrize(
    "render",
    RENDERERS,
    ids=["mistune", "commonmark"],
)
def test_markdown_is_the_text_and_no_markup(render, name):
    page = render(paragraphs_and_table(name))
    seen = Reader(page)
    assert seen.tags <= {"p", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert re.sub(r"\s", "", seen.text) == words(name)


def read(blocks: list) -> str:
    """The text of pandoc's blocks; AssertionError for anything but text, code and tables."""
    if isinstance(blocks, list):
        return "".join(map(read, blocks))
    if not isinstance(blocks, dict) or "t" not in blocks:
        return ""
    kind, content = blocks["t"], blocks.get("c", [])
    assert kind in (
        "Para",
        "Plain",
        "Table",
        "Str",
        "Code",
        "Space",
        "SoftBreak",
        "ColWidthDefault",
        "AlignLeft",
        "AlignRight",
        "AlignDefault",
    ), kind
    if kind == "Str":
        return content
    return content[1] if kind == "Code" else read(content)


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(names, min_size=40, max_size=60))
def test_pandoc_reads_the_text_and_no_markup(some):
    source = "\n\n".join(map(paragraphs_and_table, [*some, *HOSTILE]))
    tree = json.loads(
        pypandoc.convert_text(
            source, "json", format=PANDOC_MARKDOWN, extra_args=["--columns=10000"]
        )
    )
    found = re.sub(r"\s", "", read(tree["blocks"]))
    assert found == "".join(map(words, [*some, *HOSTILE]))


@settings(deadline=None)
@given(names)
def test_a_cell_is_no_formula_and_gives_the_name_again(name):
    cell = escape.csv_cell(name)
    assert escape.from_csv_cell(cell) == name
    assert not cell.startswith(("=", "@", "\t", "\r", "\n"))
    if cell.startswith(("+", "-")):
        float(cell)


def test_what_needs_no_apostrophe_has_none():
    for name in ("cat", "'tis", "-5", "+1.5e-3", "a=b", ""):
        assert escape.csv_cell(name) == name
    for name in ("=1", "-1+1", "+a", "@x", "\t=1", "\uff1d1"):
        assert escape.csv_cell(name) == f"'{name}"


@settings(deadline=None)
@given(st.lists(st.lists(names, min_size=1), max_size=5))
def test_csv_gives_its_cells_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    files.write_csv(path, rows)
    again = [[cell.encode("utf-8", "backslashreplace").decode() for cell in row] for row in rows]
    assert files.read_csv(path) == again


def test_csv_without_the_apostrophes_of_today_is_read_too(tmp_path):
    (tmp_path / "old.csv").write_text("=a,b,-1\n", encoding="utf-8")
    assert files.read_csv(tmp_path / "old.csv") == [["=a", "b", "-1"]]


# Every file that has names in it. What UTF-8 cannot write is refused before anything is trained.

FOLDER_NAMES = names.filter(lambda name: not re.search("[\ud800-\udfff]", name))
CLASSES = st.lists(FOLDER_NAMES, min_size=3, max_size=3, unique=True).map(tuple)
COUNTS = np.array([[2, 1, 0], [3, 0, 1], [0, 2, 0]])


def evaluation(classes: tuple[str, ...]) -> Evaluation:
    """Of nine images with those classes."""
    labels = np.repeat(np.arange(3), COUNTS.sum(axis=1))
    predicted = np.concatenate([np.repeat(np.arange(3), row) for row in COUNTS])
    return score(4 * np.eye(3)[predicted], labels, classes)


RECORD = {
    "recipe": "lenet5",
    "model": "LeNet5",
    "seed": 0,
    "epochs": 1,
    "train_images": 12,
    "train_loss": 1.0,
    "train_accuracy": 0.5,
    "validation_loss": 1.0,
    "validation_accuracy": 0.2,
    "validation_mean_class_accuracy": 0.2,
    "validation_images": 9,
    "validation_standard_error": 0.1,
    "validation_mean_class_standard_error": 0.1,
    "validation_near_duplicates": 0,
    "validation_accuracy_without_near_duplicates": 0.2,
    "validation_mean_class_accuracy_without_near_duplicates": 0.2,
    "calibration_error": 0.1,
    "calibrated_error": 0.1,
    "temperature": 1.0,
    "seconds": 60,
    "precision": "fp32",
    "torch": "2.13.0",
    "commit": "c2da7c196a5b",
    "device": "cpu",
}
ALLOWED = {"p", "code", "table", "thead", "tbody", "tr", "th", "td", "h1", "h2", "ul", "li"}


@settings(max_examples=60, deadline=None)
@given(CLASSES, FOLDER_NAMES)
@pytest.mark.parametrize("render", RENDERERS, ids=["mistune", "commonmark"])
def test_a_model_card_says_the_names_and_nothing_else(render, classes, folder):
    classifier = Classifier(LeNet5(3, size=16), classes, size=16)
    config = RunConfig(RECIPES["lenet5"](), f"/data/{folder.replace('/', '')}x")
    record = {**RECORD, "command": f"convlens train lenet5 --data {folder}"}
    seen = Reader(render(model_card([record], classifier, config, COUNTS)))
    assert seen.tags <= ALLOWED
    shown = re.sub(r"\s", "", seen.text)
    for name in (*classes, folder):
        assert re.sub(r"\s", "", escape.visible(name)) in shown


@settings(max_examples=60, deadline=None)
@given(FOLDER_NAMES)
@pytest.mark.parametrize("render", RENDERERS, ids=["mistune", "commonmark"])
def test_tables_of_results_say_the_names_and_nothing_else(render, name):
    ensemble = {**RECORD, "seeds": [0], "tta": True, "command": f"convlens evaluate {name}"}
    table = results_table([{**RECORD, "device": name}]) + "\n" + ensembles_table([ensemble])
    seen = Reader(render(table))
    assert seen.tags <= ALLOWED
    assert re.sub(r"\s", "", seen.text).count(re.sub(r"\s", "", escape.visible(name))) >= 2


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(CLASSES)
def test_tables_of_a_run_give_the_names_again(tmp_path_factory, classes):
    folder = tmp_path_factory.mktemp("run")
    write_evaluation(evaluation(classes), np.zeros((9, 16, 16, 3), np.uint8), folder)
    header, *rows = files.read_csv(folder / "confusion.csv")
    assert tuple(header[1:]) == tuple(row[0] for row in rows) == classes
    assert (RunFolder(folder).read_confusion() == COUNTS).all()
    assert tuple(row[0] for row in files.read_csv(folder / "per_class.csv")[1:]) == classes


@settings(max_examples=30, deadline=None)
@given(CLASSES, FOLDER_NAMES)
def test_objects_show_the_names_in_a_notebook_and_nothing_else(classes, name):
    shares = (0.5, 0.3, 0.2)
    view = View(name, {"a": np.zeros(1)}, lambda: None, Table(("class",), tuple(zip(classes))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "_repr_png_", lambda self: b"")
        pages = (
            evaluation(classes)._repr_html_(),
            Prediction(f"/none/{name}", classes, shares)._repr_html_(),
            view._repr_html_(),
        )
    for page in pages:
        tags = ALLOWED | {"div", "span", "img", "details", "summary"}
        assert Reader(page).tags <= tags
        assert Reader(page).attributes <= {"style", "src", "alt", "width", "open"}
    for shown in map(escape.visible, classes):
        assert all(shown in Reader(page).text for page in pages)


@settings(max_examples=50, deadline=None)
@given(CLASSES)
def test_json_and_yaml_give_the_names_again(tmp_path_factory, classes):
    folder = tmp_path_factory.mktemp("files")
    files.write_json(folder / "a.json", {"names": classes})
    assert json.loads((folder / "a.json").read_text(encoding="utf-8"))["names"] == [*classes]
    files.write_yaml(folder / "a.yaml", {"names": [*classes], "data": classes[0]})
    read = yaml.safe_load((folder / "a.yaml").read_text(encoding="utf-8"))
    assert read == {"names": [*classes], "data": classes[0]}


def test_no_table_has_a_minus_zero(tmp_path):
    row = [-0.0, np.float32(-0.0), np.float64(-0.0), -0.5, 0, False, "-0.0", None]
    files.write_csv(tmp_path / "a.csv", [row])
    assert files.read_csv(tmp_path / "a.csv") == [
        ["0.0", "0.0", "0.0", "-0.5", "0", "False", "-0.0", ""]
    ]


@settings(max_examples=10, deadline=None)
@given(names)
def test_a_page_has_its_title_and_no_more(name):
    page = to_html(nbformat.v4.new_notebook(), name)
    assert Reader(page.split("</title>")[0]).text.strip() == escape.visible(name).strip()
    assert "default-src 'none'" in page


@settings(max_examples=30, deadline=None)
@given(names, st.booleans())
def test_a_heading_is_its_name_where_it_stands_and_in_the_contents(name, raw):
    heading = " ".join(name.split()) if raw else escape.markdown(name)
    cell = nbformat.v4.new_markdown_cell(f"# Title\n\n## {heading}")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    seen = Reader(to_html(notebook, "plain").split("</style>")[-1])
    assert not {"script", "img", "table", "iframe"} & seen.tags or raw
    assert not {attribute for attribute in seen.attributes if attribute.startswith("on")}
    assert "script" not in seen.tags


def test_what_is_logged_commands_no_terminal(told, capsys):
    logging.getLogger("convlens.test").info("data set   %s", "a\x1b[2J\u202eb\nc")
    assert capsys.readouterr().out == "data set   a\\x1b[2J\\u202eb\nc\n"


def test_a_bar_shows_the_name_of_a_data_set_and_obeys_nothing_in_it(
    toy_data, tmp_path, monkeypatch
):
    root = Path(shutil.copytree(toy_data, tmp_path / "[b] [ b]\x1b[2J"))
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(cache, "progress_bar", lambda wanted: Progress(console=screen))
    cache.load(root, size=16)
    assert r"Decoding [b] [ b]\x1b[2J" in re.sub(r"\x1b\[[\d;]*m", "", screen.file.getvalue())
