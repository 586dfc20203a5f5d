"""The page for everybody: axe finds nothing, nothing jumps, and all of it can be taken along."""

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy as np
import pytest
from pages import PATIENCE, hosted, settled
from PIL import Image
from playwright.sync_api import Page, expect

from convlens.escape import csv_cell
from convlens.explorer.export import write_page
from convlens.explorer.inside import Explorer
from convlens.explorer.live import Live, live_application
from convlens.explorer.server import application

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
if not AXE.is_file() and os.environ.get("CI") != "true":
    pytest.skip("needs axe-core: make node_modules/.installed", allow_module_level=True)

WIDTHS = (390, 900, 1440)
SCHEMES = ("light", "dark")
OF_COLORS = ["color-contrast", "link-in-text-block"]  # the rules that a scheme can break
VIEWS = (
    "#/image/v3",
    "#/image/v3/layer/0/map/1/row/1/column/1",
    "#/image/v3/layer/6/map/2",
    "#/image/v3/layer/7/map/2",
    "#/image/v3/beside/v4/layer/0/map/1",
    "#/image/v3/attribution/target/2",
    "#/image/v3/neighbors",
    "#/image/v3/invariance",
    "#/training",
    "#/confusion",
    "#/confusion/0",
    "#/classes",
    "#/mistakes",
    "#/embedding",
    "#/images",
    "#/tour/1",
    "#/tour/4",
    "#/tour/12",
)
OF_TWO = (
    "#/image/v3",
    "#/image/v3/beside/v4/layer/0/map/1",
    "#/image/v3/attribution/target/2",
    "#/confusion/0",
    "#/mistakes",
    "#/images",
)
OF_COPY = ("#/image/v3/layer/0/map/1", "#/image/v3/attribution", "#/mistakes", "#/tour/4")
OPENED = {  # what is opened on an image, and how
    "help": lambda page: page.keyboard.press("?"),
    "chooser": lambda page: page.keyboard.press("c"),
    "touch": lambda page: page.get_by_role("button", name="Touch it").click(),
    "tour": lambda page: page.get_by_role("button", name="Tour", exact=True).click(),
}

# What rules find, all or those of a kind, as the places and reasons that a reader of the failure
# needs.
FOUND = """(rules) => axe.run(document, { resultTypes: ["violations"],
    ...(rules && { runOnly: rules }) }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => [id, html.slice(0, 120), failureSummary])))"""


@contextlib.contextmanager
def exploring(runs: list[Path], data: Path, cache: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(cache))
        explorer = Explorer.open(runs, data)
        explorer.surveyor.run()
        explorer.surveyor.start = lambda: None  # it has seen everything already
        with hosted(application(explorer)) as base:
            yield base


@pytest.fixture(scope="module")
def base(_trained_once, toy_data, tmp_path_factory) -> Iterator[str]:
    with exploring([_trained_once], toy_data, tmp_path_factory.mktemp("cache")) as base:
        yield base


@pytest.fixture(scope="module")
def base_of_two(_trained_once, toy_weights, toy_data, tmp_path_factory) -> Iterator[str]:
    runs = [_trained_once, toy_weights]
    with exploring(runs, toy_data, tmp_path_factory.mktemp("cache")) as base:
        yield base


@pytest.fixture
def new_page(browser) -> Iterator[Callable[..., Page]]:
    """A page that nobody has opened anything in; its script runs before those of the page."""
    contexts = []

    def new(width: int, height: int = 900, script: str | None = None) -> Page:
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport))
        contexts[-1].set_default_timeout(PATIENCE)
        if script:
            contexts[-1].add_init_script(script)
        return contexts[-1].new_page()

    yield new
    for context in contexts:
        context.close()


def examine(page: Page, what: str) -> None:
    """No rule finds anything at any width, nor one about colors, which a scheme changes, in it."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            rules = None if scheme == SCHEMES[0] else OF_COLORS
            assert page.evaluate(FOUND, rules) == [], (what, width, scheme)
    page.emulate_media(color_scheme="light")


def test_axe_finds_nothing_in_any_view(base, new_page):
    page = new_page(1440)
    page.goto(base)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for view in VIEWS:
        page.evaluate("fragment => { location.hash = fragment }", view)
        examine(settled(page), view)


@pytest.mark.parametrize("what", OPENED)
def test_axe_finds_nothing_in_what_opens_over_an_image(what, base, new_page):
    page = new_page(1440)
    page.goto(f"{base}#/image/v3")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    OPENED[what](settled(page))
    examine(settled(page), what)


def test_axe_finds_nothing_where_two_runs_are_compared(base_of_two, new_page):
    page = new_page(1440)
    page.goto(base_of_two)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for view in OF_TWO:
        page.evaluate("fragment => { location.hash = fragment }", view)
        examine(settled(page), view)


def test_axe_finds_nothing_in_the_page_of_runs(_trained_once, new_page):
    live = Live([_trained_once])
    with hosted(live_application(live), live) as base:
        page = new_page(1440)
        page.goto(base)
        page.locator(".chart").first.wait_for()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        examine(settled(page), "runs")


def test_axe_finds_nothing_in_the_page_as_a_file(_trained_once, toy_data, tmp_path, new_page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
        file = write_page(Explorer.open([_trained_once], toy_data), tmp_path / "page.html")
    page = new_page(1440)
    page.goto(file.as_uri())
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for view in ("", *OF_COPY):
        page.evaluate("fragment => { location.hash = fragment }", view)
        examine(settled(page), view)


def test_axe_would_find_something(base, new_page):
    """A picture without a name, gray on gray in one scheme: the examination sees both."""
    page = new_page(1440)
    page.goto(f"{base}#/training")
    settled(page).evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("document.querySelector('main h1').append(new Image())")
    assert [found[0] for found in page.evaluate(FOUND)] == ["image-alt"]
    page.evaluate("document.querySelector('main h1').style.color = '#888'")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = {found[0] for found in page.evaluate(FOUND)}
        assert found == {"image-alt", *(["color-contrast"] if scheme == "light" else [])}
    page.evaluate("document.querySelector('main h1').style.color = '#333'")  # on what is dark
    assert [found[0] for found in page.evaluate(FOUND, OF_COLORS)] == ["color-contrast"]


SHIFTS = """
  window.shifted = 0;
  const add = (entries) => {
    for (const { value } of entries) window.shifted += value;
  };
  window.shifts = new PerformanceObserver((list) => add(list.getEntries()));
  window.shifts.observe({ type: "layout-shift", buffered: true });
  window.total = () => new Promise((resolve) => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
      add(window.shifts.takeRecords());
      resolve(window.shifted);
    })));
  });
"""
ADDRESSES = (
    "",
    "#/image/v3/layer/0/map/1",
    "#/image/v3/layer/1/map/1/row/1/column/1",
    "#/image/v3/attribution/target/2",
    "#/image/v3/neighbors",
    "#/training",
    "#/confusion/0",
    "#/classes",
    "#/mistakes",
    "#/embedding",
    "#/images",
)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
def test_nothing_jumps_while_an_address_opens(width, height, base, new_page):
    """All layout shifts together, which is stricter than the worst five seconds of them."""
    total = {}
    for address in ADDRESSES:
        page = new_page(width, height, SHIFTS)
        page.goto(base + address)
        total[address] = settled(page).evaluate("total()")
    assert {address: shift for address, shift in total.items() if shift > 0.1} == {}
    page.evaluate("document.querySelector('.top').style.height = '300px'")
    assert page.evaluate("total()") > 0.1  # it is seen where there is one


def answer(base: str, path: str):
    with urlopen(base + path) as response:
        return json.load(response)


def saved(page: Page, of: str, kind: str) -> tuple[str, bytes]:
    """The name and the content of what a button saves."""
    with page.expect_download() as saving:
        page.get_by_role("button", name=f"Save {of} as {kind}", exact=True).first.click()
    return saving.value.suggested_filename, saving.value.path().read_bytes()


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8"))))


PICTURES = {  # by view: what is saved there, and the element whose picture it is
    "#/image/v3/layer/0/map/1": {
        "the map": ".panel .stack",
        "the heat": ".panel .stack:has(.heat)",
        "the filter": ".panel .kernels",
        "the deconvolution": ".panel .slot > figure:has(canvas.large)",
        "the patches": ".panel .patches",
        "the sum": ".panel .sum .slot > div",
    },
    "#/image/v3/attribution/target/2": {"Grad-CAM": ".attribution .slot:has(.heat)"},
    "#/image/v3/neighbors": {"the neighbors": ".neighbors ol"},
    "#/image/v3/invariance": {"the curves of moved: distance": ".curves:nth-child(2) > div"},
    "#/training": {"the curves of loss": ".curves > div"},
    "#/confusion": {"the confusion matrix": ".plane canvas"},
    "#/confusion/0": {"these images": ".cell .gallery"},
    "#/mistakes": {"the list": ".gallery"},
    "#/embedding": {"the embedding": ".plane canvas"},
    "#/image/v3": {"the diagram": ".diagram-inner", "the prediction": ".prediction > div"},
}


@pytest.mark.parametrize("view", PICTURES)
def test_every_picture_is_saved_as_it_stands(view, base, new_page):
    page = new_page(1440)
    page.goto(base + view)
    settled(page)
    for of, selector in PICTURES[view].items():
        name, content = saved(page, of, "PNG")
        assert name.startswith("run-") or "of-run" in name
        with Image.open(io.BytesIO(content)) as image:
            box = page.locator(selector).first.bounding_box()
            assert image.size == pytest.approx((2 * box["width"], 2 * box["height"]), abs=2)
            assert len(np.unique(np.array(image).reshape(-1, 4), axis=0)) > 4, of  # not empty
        if page.get_by_role("button", name=f"Save {of} as SVG").count():
            name, content = saved(page, of, "SVG")
            root = ElementTree.fromstring(content)
            assert name.endswith(".svg")
            assert float(root.get("width", 0)) == pytest.approx(box["width"], abs=1)
            words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
            expected = {"epoch", "train"}, {"softmax", "image"}, {"pixels down", "relu1"}
            assert any(each <= words for each in expected)


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_sum_is_the_sum_in_its_colors_and_no_button(scheme, base, new_page):
    page = new_page(1440)
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{base}#/image/v3/layer/1/map/1/row/1/column/1")
    grid = settled(page).locator(".sum .grid").first
    before = pixels_of(saved(page, "the sum", "PNG")[1])
    page.evaluate(
        """() => {
          const one = document.querySelector(".sum .slot .saver").cloneNode(true);
          const two = document.querySelector(".quiet").cloneNode(true);
          for (const each of one.children) each.setAttribute("aria-label", "not this one");
          document.querySelector(".sum .slot > div").append(one, two);
        }"""
    )
    np.testing.assert_array_equal(pixels_of(saved(page, "the sum", "PNG")[1]), before)
    expect(page.locator(".sum .slot > div .saver")).to_be_visible()  # where it was

    frame = page.locator(".sum .slot > div").bounding_box()
    for cell in grid.locator("span").all()[:6]:
        box = cell.bounding_box()
        color = cell.evaluate("cell => getComputedStyle(cell).backgroundColor")
        expected = [int(part) for part in re.findall(r"\d+", color)[:3]]
        y, x = (round(2 * (box[a] - frame[a] + 3)) for a in "yx")
        np.testing.assert_allclose(before[y, x], expected, atol=1)
    ground = {"light": 255, "dark": 0}[scheme]
    assert abs(int(before[-1, -1].mean()) - ground) < 40


def test_a_saved_list_of_images_has_each_picture_at_its_place(base, new_page):
    page = new_page(1440)
    page.goto(f"{base}#/images")
    settled(page)
    name, content = saved(page, "the list", "PNG")
    assert name == "run-images.png"
    found = pixels_of(content)
    with urlopen(f"{base}images/validation.png") as response:
        sprite = pixels_of(response.read())
    frame = page.locator(".gallery").bounding_box()
    first = page.locator(".gallery .thumbnail").first
    box, row = first.bounding_box(), int(first.get_attribute("data-row"))
    y, x = (round(2 * (box[a] - frame[a])) for a in "yx")
    side = round(2 * box["width"])
    shown = Image.fromarray(found[y : y + side, x : x + side]).resize(
        (32, 32), Image.Resampling.BOX
    )
    tile = sprite[row // 32 * 32 : row // 32 * 32 + 32, row % 32 * 32 : row % 32 * 32 + 32]
    assert np.abs(np.asarray(shown, float) - tile).mean() < 12  # scaled there and back

    seen = answer(base, "api/0/evaluation.json")
    head, *rows = cells(saved(page, "the list", "CSV")[1])
    assert head[:4] == ["path", "class", "predicted", "probability"]
    assert [float(row[3]) for row in rows] == sorted(seen["probability"], reverse=True)
    page.get_by_label("Answer").select_option("right")
    right = sum(a == b for a, b in zip(seen["labels"], seen["predicted"], strict=True))
    assert len(cells(saved(page, "the list", "CSV")[1])) == right + 1


def test_a_prediction_is_saved_with_all_classes(base, new_page):
    page = new_page(1440)
    page.goto(f"{base}#/image/v3")
    name, content = saved(settled(page), "the prediction", "CSV")
    assert name == "run-prediction-v3.csv"
    told = answer(base, "api/0/v3/prediction.json")
    classes = answer(base, "api/site.json")["runs"][0]["classes"]
    order = np.argsort(-np.array(told["probabilities"]), kind="stable")
    assert cells(content)[1:] == [
        [classes[c], str(told["probabilities"][c]), str(int(c == told["label"]))] for c in order
    ]


def test_where_two_runs_disagree_is_saved(base_of_two, new_page):
    page = new_page(1440)
    page.goto(f"{base_of_two}#/mistakes")
    _, content = saved(settled(page), "the disagreements", "CSV")
    runs = answer(base_of_two, "api/site.json")["runs"]
    seen = [answer(base_of_two, f"api/{r}/evaluation.json") for r in (0, 1)]
    said = [[runs[r]["classes"][c] for c in seen[r]["predicted"]] for r in (0, 1)]
    head, *rows = cells(content)
    assert head[2::2] == [run["name"] for run in runs]
    assert len(rows) == sum(a != b for a, b in zip(*said, strict=True)) > 0
    assert all(row[2] != row[4] for row in rows)
    _, content = saved(page, "the disagreements", "PNG")
    box = page.locator(".gallery").first.bounding_box()
    assert pixels_of(content).shape[:2] == pytest.approx(
        (2 * box["height"], 2 * box["width"]), abs=2
    )


def test_a_layer_s_maps_are_saved_with_their_numbers(base, new_page):
    page = new_page(1440)
    page.goto(f"{base}#/image/v3")
    layer = answer(base, "api/site.json")["runs"][0]["layers"][0]["name"]
    name, content = saved(settled(page), f"the maps of {layer}", "CSV")
    assert name == f"run-{layer}-maps-v3.csv"
    told = answer(base, "api/0/v3/layers.json")[0]
    found = np.array(cells(content)[1:], float)
    expected = np.stack(
        [np.arange(len(told["mean"])), told["mean"], told["max"], told["active"]], axis=1
    )
    np.testing.assert_array_equal(found, expected)
    _, content = saved(page, f"the maps of {layer}", "PNG")
    with Image.open(io.BytesIO(content)) as image:
        box = page.locator(".tiles").first.bounding_box()
        assert image.size == pytest.approx((2 * box["width"], 2 * box["height"]), abs=2)


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("layer/0/map/1/row/2/column/3", "unit-0-1-2-3"),
        ("layer/2/map/4/row/1/column/0", "unit-2-4-1-0"),
        ("layer/6/map/3", "unit-6-3"),
    ],
)
def test_a_sum_is_saved_with_every_number_that_it_is_made_of(unit, path, base, new_page):
    page = new_page(1440)
    page.goto(f"{base}#/image/v3/{unit}")
    name, content = saved(settled(page), "the sum", "CSV")
    assert name.endswith("-sum-v3.csv")
    head, *rows = cells(content)
    assert head == ["step", "of", "row", "column", "value", "weight", "product"]
    told = answer(base, f"api/0/v3/{path}.json")
    assert float(rows[-1][4]) == told["value"]
    step = rows[0][0]  # the convolution or the linear layer: its products, bias, and what they make
    made = [row for row in rows if row[0] == step]
    products = [float(row[6]) for row in made[:-1]]
    assert made[-1][1] == "result"
    assert sum(products) == pytest.approx(float(made[-1][4]), abs=1e-4)
    pairs = [row for row in made if row[5]]
    assert [float(r[4]) * float(r[5]) for r in pairs] == pytest.approx(
        [float(r[6]) for r in pairs], rel=1e-5, abs=1e-9
    )


def test_tables_are_saved_with_the_numbers_of_the_server(base, new_page):
    page = new_page(1440)
    classes = answer(base, "api/site.json")["runs"][0]["classes"]
    seen = answer(base, "api/0/evaluation.json")
    history = answer(base, "api/0/history.json")
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (seen["labels"], seen["predicted"]), 1)

    page.goto(f"{base}#/confusion")
    name, content = saved(settled(page), "the confusion matrix", "CSV")
    head, *rows = cells(content)
    assert name == "run-confusion.csv"
    assert head[1:] == [row[0] for row in rows] == classes
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], int), counts)

    page.goto(f"{base}#/training")
    epochs = [row[history["columns"].index("epoch")] for row in history["rows"]]
    _, content = saved(settled(page), "the curves of loss", "CSV")
    head, *rows = cells(content)
    train = [row[history["columns"].index("train_loss")] for row in history["rows"]]
    assert [float(row[0]) for row in rows] == epochs
    assert [float(row[head.index("train")]) for row in rows] == train
    page.locator("summary").click()
    _, content = saved(page, "all numbers", "CSV")
    assert cells(content)[0] == history["columns"]
    assert [[float(cell) for cell in row if cell] for row in cells(content)[1:]] == [
        [value for value in row if value is not None] for row in history["rows"]
    ]

    page.goto(f"{base}#/classes")
    _, content = saved(settled(page), "the table", "CSV")
    for row in cells(content)[1:]:
        c = classes.index(row[0])
        assert float(row[2]) == counts[c, c] / counts[c].sum()
        assert float(row[5]) == seen["per_class"]["roc_auc"][c]

    page.goto(f"{base}#/mistakes")
    _, content = saved(settled(page), "the list", "CSV")
    wrong = [i for i, label in enumerate(seen["labels"]) if label != seen["predicted"][i]]
    found = [float(row[3]) for row in cells(content)[1:]]
    assert found == sorted((seen["probability"][i] for i in wrong), reverse=True)


def test_no_name_becomes_a_formula(base, new_page):
    """As `convlens.escape` writes CSV, which is read by whoever opens it."""
    page = new_page(1440)
    page.goto(base)
    texts = ["=1+1", "-5", "-x", "@a", "'=1", "'it", "+1e3", "\uff1d1", 'a,"b"', "é"]
    written = page.evaluate(
        "async (row) => (await import('./save.js')).table([row, [-5, 0.5, null]]).text()", texts
    )
    rows = list(csv.reader(io.StringIO(written)))
    assert rows == [list(map(csv_cell, texts)), ["-5", "0.5", ""]]
