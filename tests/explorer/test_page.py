"""The page in a real browser, served by the explorer; `test_copy` has the one that is a file.

Whatever a test does, its page may write nothing to the console and ask no other host.
"""

import contextlib
import dataclasses
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from pages import PATIENCE, hosted, settled, until
from PIL import Image
from playwright.sync_api import Page, Route, expect
from small_runs import small_run

from convlens.data import open_dataset
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.server import application
from convlens.look.arrays import receptive_field

VIEWS = [
    "#/",
    "#/image/v3/layer/0/map/1",
    "#/image/v3/beside/v4",
    "#/image/v3/attribution/target/2",
    "#/image/v3/neighbors",
    "#/image/v3/invariance",
    "#/training",
    "#/confusion",
    "#/confusion/0",
    "#/classes",
    "#/mistakes",
    "#/embedding",
]
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


# Runs, servers, a browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Where this module keeps its things, its cache included."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        yield root


@pytest.fixture(scope="module")
def data(folder, toy_data) -> Path:
    """The toy data, and two discs among the crosses, which a network that learns gets wrong."""
    shutil.copytree(toy_data, folder / "toy")
    for number in (1, 2):
        disc = folder / "toy" / "validation" / "blue_disc" / f"image_{number:04d}.png"
        shutil.copy(disc, disc.parents[1] / "red_cross" / f"image_{number + 4:04d}.png")
    return folder / "toy"


@pytest.fixture(scope="module")
def run(folder, data) -> Path:
    options = {"epochs": 4, "learning_rate": 0.002, "snapshots": True}
    return small_run(folder / "taught", data, side=32, **options)


def surveyed(base: str) -> str:
    while any(task["done"] < task["total"] for task in answer(base, "api/progress.json")["tasks"]):
        time.sleep(0.05)
    while True:  # the last task's numbers are full a moment before its answers are there
        with contextlib.suppress(OSError):
            answer(base, "api/0/patches-0.json")
            return base


@pytest.fixture(scope="module")
def served(run, data) -> Iterator[str]:
    with hosted(application(Explorer.open([run], data))) as base:
        yield surveyed(base)


@pytest.fixture(scope="module")
def served_two(run, toy_weights, data) -> Iterator[str]:
    """Beside the run a network of another size that nobody trained."""
    with hosted(application(Explorer.open([run, toy_weights], data))) as base:
        yield surveyed(base)


@pytest.fixture
def base(served) -> str:
    return served


@dataclass
class Watch:
    """What a page wrote to its console and whom it asked; `allowed`: what it may have written."""

    console: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    allowed: list[str] = field(default_factory=list)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def show(browser, watch) -> Iterator[Callable[..., Page]]:
    """Opens a page at an address and waits until it has drawn everything."""
    contexts, own = [], set()

    def show(base: str, fragment: str = "", *, before: Callable | None = None, **options) -> Page:
        context = browser.new_context(viewport=options.pop("viewport", DESK), **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: watch.console.append(message.text))
        page.on("pageerror", lambda error: watch.console.append(str(error)))
        page.on("request", lambda request: watch.hosts.add(urlsplit(request.url).netloc))
        own.add(urlsplit(base).netloc)
        if before:
            before(page)
        page.goto(base + fragment)
        return settled(page) if before is None else page

    yield show
    for context in contexts:
        context.close()
    assert [line for line in watch.console if not any(a in line for a in watch.allowed)] == []
    assert watch.hosts - {""} <= own


def answer(base: str, path: str):
    with urlopen(base + path) as response:
        body = response.read()
    return np.array(Image.open(io.BytesIO(body))) if path.endswith(".png") else json.loads(body)


def pixels(page: Page, selector: str) -> np.ndarray:
    """Of a canvas, uint8, (h, w, 3)."""
    address = page.locator(selector).first.evaluate("canvas => canvas.toDataURL()")
    with urlopen(address) as response:
        return np.array(Image.open(io.BytesIO(response.read())).convert("RGB"))


def maps_of(page: Page, layer: int) -> list[int]:
    tiles = page.locator(f".tile[data-layer='{layer}']")
    return [int(m) for m in tiles.evaluate_all("tiles => tiles.map((t) => t.dataset.map)")]


def box_of(page: Page, selector: str) -> np.ndarray:
    box = page.locator(selector).first.bounding_box()
    return np.array([box["y"], box["x"], box["y"] + box["height"], box["x"] + box["width"]])


def site_of(base: str) -> dict:
    return answer(base, "api/site.json")


# The image and the network


def test_the_image_stands_with_its_classes_as_bars(base, show):
    site = site_of(base)
    image = site["examples"][0]
    page = show(base)
    said = answer(base, f"api/0/{image}/prediction.json")
    best = np.argsort(said["probabilities"])[::-1]
    names = page.locator(".bars a .name").all_inner_texts()
    assert [name.split("true class")[0].strip() for name in names] == [
        site["runs"][0]["classes"][c] for c in best
    ]
    shares = page.locator(".bars .share").all_inner_texts()
    assert shares[0] == f"{100 * said['probabilities'][best[0]]:.1f}\N{NO-BREAK SPACE}%"
    widths = page.locator(".bars .bar").evaluate_all(
        "bars => bars.map((b) => b.getBoundingClientRect().width"
        " / b.parentElement.getBoundingClientRect().width)"
    )
    assert widths == pytest.approx([said["probabilities"][c] for c in best], abs=0.02)
    expect(page.locator(".bars li.true .tag")).to_have_text("true class")


def test_the_layers_stand_in_the_order_of_the_data_and_show_their_maps(base, show):
    site = site_of(base)
    image, layers = site["examples"][0], site["runs"][0]["layers"]
    page = show(base)
    headings = page.locator(".layer h3").evaluate_all("all => all.map((h) => h.firstChild.data)")
    assert headings == [*(layer["name"] for layer in layers), "softmax"]
    statistics = answer(base, f"api/0/{image}/layers.json")
    closed = page.locator(".layer .more[aria-expanded=false]:visible")
    while closed.count():
        closed.first.click()
    for number, layer in enumerate(layers):
        if layer["field"] is None:
            continue
        assert maps_of(page, number) == statistics[number]["order"]  # strongest first
        sheet = answer(base, f"api/0/{image}/layer-{number}.png")
        _, height, width = layer["shape"]
        for map_ in (0, layer["shape"][0] - 1):
            row, column = divmod(map_, statistics[number]["columns"])
            expected = sheet[row * height :, column * width :][:height, :width]
            drawn = pixels(page, f".tile[data-layer='{number}'][data-map='{map_}'] canvas")
            np.testing.assert_array_equal(drawn, np.repeat(expected[..., None], 3, axis=2))
    last = statistics[-1]["mean"]
    strongest = site["runs"][0]["classes"][int(np.argmax(last))]
    words = page.locator(".strip").nth(-2).get_attribute("aria-label")
    _, name, value, *_ = words.split()
    assert (name, float(value.rstrip(","))) == (strongest, pytest.approx(max(last), rel=0.006))
    page.get_by_label("channel").check()
    assert maps_of(page, 0) == list(range(layers[0]["shape"][0]))


def test_dead_maps_are_marked(served, show):
    """A map that nothing excites: its layer's patches are said to be dead."""

    def kill(route: Route) -> None:
        content = route.fetch().json()
        content["dead"][0] = [2]
        route.fulfill(json=content)

    page = show(served, before=lambda page: page.route("**/dead.json", kill))
    tile = settled(page).locator(".tile.dead")
    expect(tile).to_have_count(1)
    expect(tile).to_have_attribute("data-map", "2")
    assert "dead" in tile.get_attribute("aria-label")
    expect(page.locator(".layer .counts").first).to_contain_text("1 dead")


def test_a_map_opens_with_all_that_explains_it(base, show):
    site = site_of(base)
    image = site["examples"][0]
    statistics = answer(base, f"api/0/{image}/layers.json")[0]
    strongest = statistics["order"][0]
    page = show(base)
    page.locator(f".tile[data-map='{strongest}']").first.click()
    settled(page)
    expect(page).to_have_url(f"{base}#/image/{image}/layer/0/map/{strongest}")
    panel = page.locator(".panel")
    name = site["runs"][0]["layers"][0]["name"]
    expect(panel.locator("h2")).to_have_text(f"{name}, map {strongest}")
    expect(panel.locator(".facts")).to_contain_text("rank 1 of 32")

    tile = pixels(page, f".tile[data-map='{strongest}'] canvas")
    np.testing.assert_array_equal(pixels(page, ".panel .stack > canvas.large"), tile)
    projected = answer(base, f"api/0/{image}/deconvolution-0-{strongest}.png")
    np.testing.assert_array_equal(pixels(page, ".panel .slot canvas.large"), projected)

    parts = answer(base, f"api/0/filter-0-{strongest}.json")["inputs"]
    weights = np.array([part["weights"] for part in parts])
    color = 127.5 * (1 + weights / abs(weights).max()).transpose(1, 2, 0)
    expect(panel.locator(".kernels canvas")).to_have_count(4)  # in color, and each color alone
    assert abs(pixels(page, ".kernels canvas").astype(float) - color).max() <= 1

    patches = answer(base, "api/0/patches-0.json")["maps"][strongest]
    names = [site["runs"][0]["classes"][patch["label"]] for patch in patches]
    assert panel.locator(".patches figcaption").all_inner_texts() == names
    top, left, bottom, right = patches[0]["box"]
    seen = answer(base, f"images/0/{patches[0]['image']}.png")
    drawn = pixels(page, ".patches canvas")
    assert drawn.shape == (bottom - top, right - left, 3)
    inside = np.s_[max(-top, 0) : 32 - top, max(-left, 0) : 32 - left]
    np.testing.assert_array_equal(drawn[inside], seen[max(top, 0) : bottom, max(left, 0) : right])

    page.get_by_label("Over the image").fill("20")
    assert page.locator(".panel .heat").evaluate("heat => heat.style.opacity") == "0.2"
    page.get_by_label("Close (Escape)").click()
    expect(panel).to_be_hidden()
    expect(page).to_have_url(f"{base}#/image/{image}")


def test_pointing_at_a_unit_frames_what_it_sees(served, show, run):
    model = Network.of_run(run).model
    site = site_of(served)
    layers = site["runs"][0]["layers"]
    page = show(served, "#/image/v3/layer/2/map/1")
    height = layers[2]["shape"][1]
    name = layers[2]["name"]
    box = receptive_field(model, name, 32).box(1, 0)
    area = box_of(page, ".panel canvas.large")
    unit = (area[2] - area[0]) / height
    page.mouse.move(area[1] + unit / 2, area[0] + 1.5 * unit)
    for picture in (".panel .stack:has(.heat)", ".input .stack"):
        whole = box_of(page, picture)
        scale = (whole[2] - whole[0]) / 32
        expected = np.clip(box, 0, 32) * scale + np.tile(whole[:2], 2)
        assert abs(box_of(page, f"{picture} .frame") - expected).max() < 1
    assert page.locator(".panel .readout").inner_text().startswith("Unit 1, 0 is")
    page.locator(".panel canvas.large").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".panel .readout").inner_text().startswith("Unit 2, 0 ")
    page.mouse.move(5, 5)  # the unit that was chosen stays
    assert page.locator(".panel .readout").inner_text().startswith("Unit 2, 0 ")
    page.get_by_label("Close (Escape)").click()
    expect(page.locator(".input .frame")).to_be_hidden()

    tile = page.locator(".tile[data-layer='0']").first
    tile.hover(position={"x": 1, "y": 1})  # thumbnails point as well
    expect(page.locator(".input .frame")).to_be_visible()


def test_attribution_stands_side_by_side_for_any_class(base, show):
    site = site_of(base)
    image, methods = site["examples"][0], site["runs"][0]["methods"]
    page = show(base, f"#/image/{image}/attribution")
    settled(page)
    predicted = int(np.argmax(answer(base, f"api/0/{image}/prediction.json")["probabilities"]))
    expect(page.get_by_label("What speaks for", exact=True)).to_have_value(str(predicted))
    expect(page.locator(".attribution figure")).to_have_count(len(methods))
    for number, method in enumerate(methods):
        expected = answer(base, f"api/0/{image}/{method}-{predicted}.png")
        drawn = pixels(page, f".attribution figure:nth-of-type({number + 1}) canvas")
        if expected.shape[2] == 3:
            np.testing.assert_array_equal(drawn, expected)
        assert drawn.shape[:2] == expected.shape[:2]

    shares = answer(base, f"api/0/{image}/prediction.json")["probabilities"]
    whole = f"{100 * shares[predicted]:.1f}\N{NO-BREAK SPACE}%"
    facts = f"What speaks for {site['runs'][0]['classes'][predicted]}, {whole}"
    expect(page.locator(".attribution .facts")).to_have_text(facts)
    expect(page.locator(".attribution .note").last).to_contain_text(f", from {whole}")
    page.locator(".attribution canvas").last.hover()  # the occlusion map tells what is left
    expect(page.locator(".attribution .note").last).to_contain_text("This hidden: ")
    offered = page.locator("#target option").evaluate_all("all => all.map((o) => Number(o.value))")
    assert sorted(offered) == list(range(5))
    other = offered[-1]
    page.get_by_label("What speaks for", exact=True).select_option(str(other))
    settled(page)
    expect(page).to_have_url(f"{base}#/image/{image}/attribution/target/{other}")
    assert site["runs"][0]["classes"][other] in page.locator(".attribution .facts").inner_text()


def test_a_bar_leads_to_what_speaks_for_its_class(served, show):
    page = show(served, "#/image/v3")
    page.locator(".bars a").nth(2).click()
    settled(page)
    order = np.argsort(answer(served, "api/0/v3/prediction.json")["probabilities"])[::-1]
    expect(page).to_have_url(f"{served}#/image/v3/attribution/target/{order[2]}")


def test_neighbors_are_the_training_images_that_the_server_names(base, show):
    site = site_of(base)
    image = site["examples"][0]
    page = show(base, f"#/image/{image}/neighbors")
    found = answer(base, f"api/0/{image}/neighbors.json")
    sources = page.locator(".neighbors img").evaluate_all("all => all.map((i) => i.src)")
    assert sources == [f"{base}images/0/{near['image']}.png" for near in found]
    names = page.locator(".neighbors b").all_inner_texts()
    assert names == [site["runs"][0]["classes"][near["label"]] for near in found]


# Whole runs


def test_how_the_answer_changes_as_the_image_moves_is_read_step_by_step(served, show):
    said = answer(served, "api/0/v3/prediction.json")["probabilities"]
    target = int(np.argmax(said))
    found = answer(served, f"api/0/v3/invariance-{target}.json")
    page = show(served, "#/image/v3/invariance")
    parts = page.locator(".change")
    expect(parts).to_have_count(3)
    for part, seen in zip(parts.all(), found.values(), strict=True):
        probability, distance = part.locator(".curves").all()
        expect(probability.locator("path.curve")).to_have_count(1)
        expect(distance.locator("path.curve")).to_have_count(len(seen["distances"]))
    turned, seen = parts.nth(2), found["rotation"]
    photograph = turned.locator(".stack img")
    turned.get_by_role("img", name="Probability").focus()
    page.keyboard.press("End")
    last = f"{seen['values'][-1]:g}"
    share = f"{100 * seen['probability'][-1]:.1f}".replace("0.0", "<0.1")
    expect(turned.locator(".readout").first).to_contain_text(f"Turned by {last}°")
    expect(turned.locator(".readout").first).to_contain_text(share)
    assert photograph.evaluate("img => img.style.transform") == f"rotate(-{last}deg)"
    page.keyboard.press("Home")
    assert photograph.evaluate("img => img.style.transform") == "rotate(0deg)"


def test_an_image_is_made_for_a_map_and_its_growth_is_shown_when_asked(served, show):
    page = show(served, "#/image/v3/layer/0/map/4")
    studies = page.locator(".studies")
    studies.get_by_role("button", name="Make an image").click()
    expect(studies.locator("figcaption")).to_contain_text("Gives a mean of ")
    said = studies.locator("figcaption").inner_text().removeprefix("Gives a mean of ")
    value = answer(served, "api/0/visualization-0-4.json")["value"]
    assert float(said) == pytest.approx(value, rel=0.01)
    made = answer(served, "api/0/visualization-0-4.png")
    np.testing.assert_array_equal(pixels(page, ".studies figure canvas"), made)

    studies.get_by_role("button", name="Show its epochs").click()
    epochs = answer(served, "api/0/v3/growth-0-4.json")["epochs"]
    assert len(epochs) > 1
    expect(studies.locator(".grown-map b")).to_have_text([f"epoch {epoch}" for epoch in epochs])
    row = answer(served, "api/0/v3/growth-0-4.png")
    for place in range(len(epochs)):
        shown = pixels(page, f".grown-map li:nth-child({place + 1}) canvas")
        np.testing.assert_array_equal(shown[..., 0], row[:, 32 * place : 32 * (place + 1)])

    page.keyboard.press("n")  # of another image the map grew otherwise; what it likes is the same
    expect(page).to_have_url(f"{served}#/image/v4/layer/0/map/4")
    expect(studies.get_by_role("button", name="Show its epochs")).to_be_visible()
    expect(studies.locator("figure canvas")).to_be_visible()
    page.get_by_role("button", name="Next map").click()
    expect(studies.get_by_role("button", name="Make an image")).to_be_visible()
    page.goto(f"{served}#/image/v3/layer/7/map/2")  # a class
    settled(page).locator(".studies").get_by_role("button", name="Make an image").click()
    expect(studies.locator("figcaption")).to_contain_text("Gives a logit of")
    expect(studies.get_by_role("button", name="Show its epochs")).to_be_hidden()


def test_curves_can_be_read_epoch_by_epoch(base, show):
    page = show(base, "#/training")
    history = answer(base, "api/0/history.json")
    first = dict(zip(history["columns"], history["rows"][0], strict=True))
    chart = page.get_by_role("img", name="Loss of taught")
    expect(chart.locator("path.curve")).to_have_count(2)
    chart.focus()
    page.keyboard.press("Home")
    readout = page.locator(".curves .readout").first
    expect(readout).to_contain_text("Epoch 1: ")
    told = {
        name: float(value)
        for name, value in (part.split() for part in readout.inner_text()[9:].split(", "))
    }
    assert told == pytest.approx(
        {"train": first["train_loss"], "validation": first["validation_loss"]}, rel=0.006
    )
    page.keyboard.press("End")
    expect(readout).to_contain_text("Epoch 4: ")


def test_a_hold_out_is_called_by_its_name(holdout_run, show):
    with hosted(application(Explorer([Network.of_run(holdout_run)]))) as base:
        history = answer(base, "api/0/history.json")
        summary = site_of(base)["runs"][0]["summary"]
        page = show(base, "#/training")
        for legend in page.locator(".curves .legend").all():
            assert legend.locator(".key").all_inner_texts() == ["train", "hold-out"]
        chart = page.get_by_role("img", name="Accuracy of held")
        chart.focus()
        page.keyboard.press("Home")
        accuracy = history["rows"][0][history["columns"].index("holdout_accuracy")]
        share = f"{100 * accuracy:.1f}\N{NO-BREAK SPACE}%"
        expect(page.locator(".curves .readout").last).to_contain_text(f"hold-out {share}")
        terms = (page.locator(f".run-facts {e}").all_text_contents() for e in ("dt", "dd"))
        facts = dict(zip(*terms, strict=True))
        share = f"{100 * summary['holdout_accuracy']:.1f}\N{NO-BREAK SPACE}%"
        assert facts["hold-out"].startswith(f"{share}, loss ")
        best = f"of epoch {summary['best_epoch']} of 2, the best on the hold-out"
        assert facts["Weights"] == best
        assert "validation" not in facts
        page.locator("summary").click()
        assert "hold-out accuracy" in page.locator("thead th").all_inner_texts()


def test_the_confusion_matrix_leads_to_the_images_of_a_cell(base, show):
    classes = site_of(base)["runs"][0]["classes"]
    seen = answer(base, "api/0/evaluation.json")
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (seen["labels"], seen["predicted"]), 1)
    truth, predicted = np.unravel_index(counts.argmax(), counts.shape)

    page = show(base, "#/confusion")
    matrix = page.get_by_role("application")
    matrix.focus()
    page.keyboard.press("ArrowDown")  # to the first cell
    for key, times in (("ArrowDown", truth), ("ArrowRight", predicted)):
        for _ in range(times):
            page.keyboard.press(key)
    readout = page.locator(".plane .readout")
    expect(readout).to_contain_text(f"{counts[truth, predicted]} of {counts[truth].sum()} images")
    page.keyboard.press("Enter")
    expect(page.locator(".cell h2")).to_contain_text(classes[truth])
    expect(page).to_have_url(f"{base}#/confusion/{truth}/{predicted}")
    expect(page.locator(".gallery li")).to_have_count(int(counts[truth, predicted]))

    page.get_by_role("button", name="Close the images").click()
    expect(page.locator(".cell")).to_be_hidden()
    inset = 100  # the names' margin at this width
    side = (matrix.bounding_box()["width"] - inset) / 5
    x, y = (inset + (c + 0.5) * side for c in (predicted, truth))
    matrix.click(position={"x": x, "y": y})
    expect(page.locator(".cell")).to_be_visible()
    expect(page).to_have_url(f"{base}#/confusion/{truth}/{predicted}")


def test_the_table_of_classes_is_sorted_by_any_column(served, show):
    classes = site_of(served)["runs"][0]["classes"]
    seen = answer(served, "api/0/evaluation.json")
    labels, right = np.array(seen["labels"]), np.equal(seen["labels"], seen["predicted"])
    accuracy = {name: right[labels == c].mean() for c, name in enumerate(classes)}
    page = show(served, "#/classes")
    row = page.locator("tbody tr")

    def told() -> dict[str, str]:
        columns = (row.locator(each).all_inner_texts() for each in ("th", "td:nth-of-type(2)"))
        return dict(zip(*columns, strict=True))

    first = told()
    assert list(first.values()) == [f"{100 * accuracy[n]:.0f}\N{NO-BREAK SPACE}%" for n in first]
    assert [accuracy[name] for name in first] == sorted(accuracy.values())
    page.get_by_role("button", name="Accuracy").click()
    assert [accuracy[name] for name in told()] == sorted(accuracy.values(), reverse=True)
    page.get_by_role("button", name="Class", exact=True).click()
    assert list(told()) == sorted(classes)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Class")
    page.get_by_role("button", name="AUC").click()
    areas = dict(zip(classes, seen["per_class"]["roc_auc"], strict=True))
    assert [areas[name] for name in told()] == sorted(areas.values())
    cell = page.locator("tbody tr").first.locator("td:nth-of-type(2)")
    assert "95 % interval: " in str(cell.get_attribute("title"))
    overall = page.locator(".measures").inner_text()
    assert f"F1 {100 * seen['measures']['macro_f1']:.1f}\N{NO-BREAK SPACE}%, AUC" in overall


def test_the_surest_mistake_stands_first_and_opens(base, show):
    seen = answer(base, "api/0/evaluation.json")
    wrong = [i for i in range(22) if seen["labels"][i] != seen["predicted"][i]]
    worst = max(wrong, key=lambda i: seen["probability"][i])
    page = show(base, "#/mistakes")
    expect(page.locator(".gallery li")).to_have_count(len(wrong))
    page.locator(".gallery a").first.click()
    settled(page)
    expect(page).to_have_url(f"{base}#/image/v{worst}/among/mistakes")


def test_the_embedding_is_enlarged_moved_and_opened_by_keys(served, show):
    page = show(served, "#/embedding")
    plane = page.get_by_role("application")

    def drawn() -> str:
        return plane.evaluate("canvas => canvas.toDataURL()")

    until(lambda: plane.evaluate("canvas => canvas.width === canvas.clientWidth"))
    plane.focus()
    expect(page.locator(".preview .words")).to_be_visible()  # of the image in the middle
    whole = drawn()
    page.keyboard.press("+")
    until(lambda: drawn() != whole)
    enlarged = drawn()
    page.keyboard.press("ArrowRight")
    until(lambda: drawn() != enlarged)
    page.keyboard.press("0")
    until(lambda: drawn() == whole)

    area = plane.bounding_box()
    page.mouse.move(area["x"] + 200, area["y"] + 200)
    page.mouse.wheel(0, -300)
    page.mouse.down()
    page.mouse.move(area["x"] + 260, area["y"] + 230, steps=4)
    page.mouse.up()  # moved, not opened
    until(lambda: drawn() != whole)
    expect(page).to_have_url(f"{served}#/embedding")
    page.get_by_label("Show all (0)").click()
    page.mouse.move(0, 0)
    plane.focus()
    until(lambda: drawn() == whole)
    middle = page.locator(".plane .readout").inner_text().split(":")[0]
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator(".what h1").inner_text().startswith(f"{middle}/")


# Addresses


def test_back_forward_and_reload_lead_to_the_same_views(served, show):
    page = show(served, "#/image/v3")
    page.locator(".tile").nth(2).click()
    opened = page.url
    page.get_by_role("link", name="Attribution").click()
    page.get_by_role("link", name="Confusion").click()
    expect(page.locator("h1")).to_have_text("Confusion matrix")
    page.go_back()
    expect(page.locator(".attribution")).to_be_visible()
    page.go_back()
    expect(page.locator(".panel")).to_be_visible()
    expect(page).to_have_url(opened)
    title = page.locator(".panel h2").inner_text()
    page.reload()
    expect(settled(page).locator(".panel h2")).to_have_text(title)
    page.go_back()
    expect(page.locator(".panel")).to_be_hidden()
    page.go_forward()
    expect(page.locator(".panel h2")).to_have_text(title)


def test_an_address_of_nothing_says_so(served, show, watch):
    watch.allowed.append("404")
    page = show(served, "#/image/u0000000000000000")
    expect(page.locator(".trouble").first).to_contain_text("no longer kept; choose it again")
    page = show(served, "#/nonsense/1/2")  # what it cannot read leads to the start
    assert page.locator(".tile").count() > 0


# Images of one's own


@pytest.fixture
def photograph(tmp_path) -> Path:
    Image.fromarray(np.full((50, 70, 3), (220, 40, 40), np.uint8)).save(tmp_path / "my red.png")
    return tmp_path / "my red.png"


def test_an_image_is_taken_from_a_file_a_drop_and_the_clipboard(served, show, photograph):
    page = show(served)
    content = list(photograph.read_bytes())

    def arrived() -> None:
        expect(page.locator(".what h1")).to_have_text("my red.png")
        settled(page)
        assert "#/image/u" in page.url
        expect(page.locator("dialog.chooser")).to_be_hidden()

    page.get_by_role("button", name="Choose").click()
    page.get_by_label("An image of yours").set_input_files(photograph)
    arrived()
    transfer = """([bytes, kind]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "my red.png", { type: "image/png" }));
      const how = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { ...how, dataTransfer: transfer })
        : new ClipboardEvent("paste", { ...how, clipboardData: transfer }));
    }"""
    for kind in ("drop", "paste"):
        page.goto(f"{served}#/image/v3")
        settled(page)
        page.evaluate(transfer, [content, kind])
        arrived()
    assert page.locator(".verdict").inner_text().endswith("it says")  # nobody knows its class


def test_what_is_no_image_is_refused_in_words(served, show, watch, tmp_path):
    watch.allowed.append("415")
    (tmp_path / "notes.png").write_text("no image", encoding="utf-8")
    page = show(served, "#/image/v3")
    page.keyboard.press("c")
    page.get_by_label("An image of yours").set_input_files(tmp_path / "notes.png")
    expect(page.locator(".chooser .trouble")).to_contain_text("image")
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{served}#/image/v3")

    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(site_of(served)["upload"]["bytes"] + 1)
    page.keyboard.press("c")
    page.get_by_label("An image of yours").set_input_files(tmp_path / "huge.png")
    expect(page.locator(".chooser .trouble")).to_contain_text("at most 16 MB")


def test_an_image_is_found_by_its_class_or_among_the_worst_mistakes(base, show):
    page = show(base)
    page.keyboard.press("c")
    site = site_of(base)
    name = site["images"][-1]["path"].split("/")[-2]
    page.keyboard.type(name)
    ours = [image["id"] for image in site["images"] if name in image["path"]]
    tiles = page.locator(".choices button")
    expect(tiles).to_have_count(len(ours))
    page.get_by_label("worst mistakes first").check()
    seen = answer(base, "api/0/evaluation.json")
    wrong = [i for i in ours if seen["labels"][int(i[1:])] != seen["predicted"][int(i[1:])]]
    expect(tiles).to_have_count(len(wrong))
    page.get_by_label("worst mistakes first").uncheck()
    expect(tiles).to_have_count(len(ours))
    tiles.last.click()
    settled(page)
    expect(page).to_have_url(f"{base}#/image/{ours[-1]}")


# Time


def test_a_late_result_never_overwrites_a_newer_one(served, show):
    held: list[Route] = []

    def hold(page: Page) -> None:
        page.route("**/v0/*", lambda route: held.append(route))

    page = show(served, "#/image/v0", before=hold)
    page.wait_for_selector(".network > .waiting")  # half a second later it says that it takes long
    page.goto(f"{served}#/image/v3")
    settled(page)
    before = pixels(page, ".tile[data-map='0'] canvas")
    bars = page.locator(".bars").inner_text()
    for route in held:
        with contextlib.suppress(Exception):  # the page has given it up
            route.continue_()
    page.wait_for_timeout(300)
    np.testing.assert_array_equal(pixels(page, ".tile[data-map='0'] canvas"), before)
    assert page.locator(".bars").inner_text() == bars
    expect(page.locator(".waiting")).to_have_count(0)


def test_what_is_still_computed_is_waited_for_in_sight(served, show):
    asked = []

    def later(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            task = {"wait": "taught: train images", "done": 30, "total": 60}
            route.fulfill(status=202, json=task, headers={"Retry-After": "0.6"})
        else:
            route.continue_()

    page = show(
        served, "#/image/v3/neighbors", before=lambda page: page.route("**/neighbors.json", later)
    )
    waiting = page.locator(".neighbors .waiting")
    expect(waiting).to_have_text("taught: train images: 50 %")
    assert waiting.locator("progress").evaluate("bar => bar.value") == 0.5
    expect(page.locator(".neighbors img")).to_have_count(8)
    expect(waiting).to_have_count(0)
    assert len(asked) == 3


def test_a_busy_server_is_asked_again_politely(served, show, watch):
    """Each time later than before, and for pictures too."""
    watch.allowed.append("503")
    asked: dict[str, list[float]] = {"layers.json": [], "v3.png": []}

    def refuse(route: Route) -> None:
        times = asked[route.request.url.rpartition("/")[2]]
        times.append(time.monotonic())
        if len(times) > 2:
            return route.continue_()
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "too much"})

    def before(page: Page) -> None:
        page.route("**/v3/layers.json", refuse)
        page.route("**/images/0/v3.png", refuse)

    page = show(served, "#/image/v3", before=before)
    expect(page.locator(".network .waiting")).to_contain_text("the server has much to do")
    expect(page.locator(".tile").first).to_be_visible()
    photograph = page.locator(".input img").first
    until(lambda: photograph.evaluate("img => img.complete && img.naturalWidth > 0"))
    assert [len(times) for times in asked.values()] == [3, 3]
    first, second = np.diff(asked["layers.json"])
    assert first > 0.7  # either may be late where much else goes on, and is never early
    assert second > 1.4


HOSTILE = (
    "<img src=x onerror='window.ran = true'>",
    "`</script><script>window.ran = true</script>",
    "x" * 10_000,
    "x" * 9_999 + "y",
    "\x1b[31mred\x00\r\n\u202eabc",
)
SHOWN = (
    *HOSTILE[:2],
    "x" * 120 + "…",
    "x" * 120 + "… (2)",
    "\\u001b[31mred\\u0000\\u000d\\u000a\\u202eabc",
)


def test_names_are_shown_as_text_whatever_they_are(toy_weights, data, show):
    dataset = open_dataset(data, size=16)
    validation = dataclasses.replace(
        dataset.validation,
        paths=tuple(
            f"validation/{HOSTILE[n % 5]}/caf\udce9" for n in range(len(dataset.validation))
        ),
    )
    dataset = dataclasses.replace(dataset, name=HOSTILE[0], classes=HOSTILE, validation=validation)
    network = Network.of_run(toy_weights)
    network.classifier.class_names, network.name = HOSTILE, HOSTILE[1]
    with hosted(application(Explorer([network, network], [dataset]))) as base:
        surveyed(base)
        page = show(base)
        page.get_by_role("button", name="Show all 5 classes").first.click()
        names = page.locator(".prediction").first.locator(".bars .name").all_inner_texts()
        assert {name.split("true class")[0].strip() for name in names} == set(SHOWN)
        assert page.locator(".subject").inner_text().endswith(f"on {HOSTILE[0]}")
        for view in [*VIEWS, "#/confusion/0/1"]:
            for size in DESK, PHONE:
                page.set_viewport_size(size)
                page.goto(base + view)
                settled(page)
                assert page.evaluate("window.ran") is None, view
                assert page.locator("main script, main img[src=x]").count() == 0
                wide = "document.documentElement.scrollWidth - innerWidth"
                assert page.evaluate(wide) <= 0, view
        page.goto(f"{base}#/classes")
        table = settled(page).locator("table").first
        assert set(table.locator("tbody th").all_inner_texts()) == set(SHOWN)
        page.keyboard.press("c")
        expect(page.locator(".choices button").first).to_have_attribute(
            "title", re.compile(r"caf\\udce9|…$")
        )
        assert page.evaluate("window.ran") is None


def test_a_server_that_is_gone_is_missed_and_found_again(run, data, show, watch):
    watch.allowed += ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
    with hosted(application(Explorer.open([run], data))) as base:
        page = show(base, "#/image/v3")
    page.keyboard.press("n")
    expect(page.locator(".banner")).to_contain_text("The server does not answer")
    expect(page.locator(".trouble").first).to_contain_text("Nobody answers")
    page.route("**/*", lambda route: route.fulfill(body="{}", content_type="application/json"))
    page.wait_for_event("framenavigated")  # it is there again: the page begins anew


# Everybody


def test_everything_is_reached_by_keys_alone(served, show):
    page = show(served, "#/image/v3")
    press = page.keyboard.press
    focused = page.locator(":focus")
    for _ in range(60):
        press("Tab")
        assert focused.evaluate(
            "e => getComputedStyle(e).outlineStyle !== 'none' && e.checkVisibility()"
        ), focused.evaluate("e => e.outerHTML")
        if "tile" in (focused.get_attribute("class") or ""):
            break
    first = focused.get_attribute("data-map")
    press("ArrowRight")
    second = focused.get_attribute("data-map")
    assert maps_of(page, 0)[:2] == [int(first), int(second)]
    press("End")
    press("ArrowRight")
    expect(focused).to_have_attribute("data-layer", "1")  # over the edge, into the next layer
    press("ArrowUp")
    expect(focused).to_have_attribute("data-layer", "0")
    press("Enter")
    settled(page)
    chosen = focused.get_attribute("data-map")
    expect(page.locator(".panel h2")).to_contain_text(f"map {chosen}")
    press("ArrowLeft")  # the panel goes along
    expect(page.locator(".panel h2")).to_contain_text(f"map {focused.get_attribute('data-map')}")
    press("Escape")
    expect(page.locator(".panel")).to_be_hidden()
    assert "tile" in focused.get_attribute("class")

    press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press("Escape")
    press("n")
    expect(page.locator(".what h1")).to_have_text("cyan_bar/image_0001.png")
    page.locator(".input").focus()
    before = page.url
    press("ArrowRight")
    page.wait_for_url(lambda url: url != before)
    press("c")
    page.keyboard.type("ring")
    for _ in range(3):
        press("Tab")
        if focused.evaluate("e => e.closest('.choices') !== null"):
            break
    press("ArrowRight")
    press("Enter")
    expect(page.locator(".what h1")).to_contain_text("yellow_ring/")
    for number, heading in enumerate(("Training", "Confusion matrix", "Accuracy of each class"), 2):
        press(str(number))
        expect(page.locator("main h1")).to_have_text(heading)


def test_no_view_is_wider_than_a_phone(served_two, show):
    page = show(served_two, viewport=PHONE)
    for view in VIEWS:
        page.goto(served_two + view)
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view
        cut = page.evaluate("""[...document.querySelectorAll("main *")].filter((e) =>
          e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .diagram")
          && e.checkVisibility()).map((e) => e.outerHTML.slice(0, 120))""")
        assert cut == [], view


def test_the_table_of_classes_is_read_whole_on_a_phone(served, show):
    """However long the names are: what they are most taken for is in sight."""
    page = show(f"{served}#/classes", viewport=PHONE)
    page.evaluate("""document.querySelectorAll(".of-classes tbody a").forEach((link) => {
      link.textContent = "cougar_body_and_a_good_deal_more";
    })""")
    sides = page.locator(".page .scroll").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert sides[0] <= sides[1]


# Luminance and contrast as WCAG 2.2 defines them; what lies behind a text is painted first.
CONTRASTS = """() => {
  const parse = (text) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) =>
    top.slice(0, 3).map((v, i) => (v * top[3] + below[i] * (255 - top[3])) / 255);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const ground = (element) => {
    if (!element) return dark ? [0, 0, 0] : [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 255 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  const luminance = (color) => color.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.data.trim().slice(0, 40);
    if (!words || !element.checkVisibility() || element.matches("option, noscript")) continue;
    const below = ground(element);
    const style = getComputedStyle(element);
    const ink = over(parse(element instanceof SVGElement ? style.fill : style.color), below);
    const [low, high] = [luminance(ink), luminance(below)].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), words]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_lies_behind_it(served, show, scheme):
    page = show(served, color_scheme=scheme)
    grounds = set()
    for view in VIEWS:
        page.goto(served + view)
        settled(page)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 10
        assert found[0][0] >= 4.5, (view, found[:3])
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 1
    light = np.mean([int(part) for part in grounds.pop()[4:-1].split(",")]) > 128
    assert light == (scheme == "light")


NAMELESS = """() => {
  const all = [...document.querySelectorAll("img, canvas, svg, a, button, input, select")];
  return all.filter((e) => e.checkVisibility()).filter((e) => {
    if (e.closest("[aria-hidden=true]")) return false;
    if (e.matches("img")) return !e.hasAttribute("alt");
    if (e.matches("canvas, svg") && e.closest("button, a")) return false; // which has the name
    if (e.matches(".stack > .heat")) return false; // over an image that has it
    if (e.matches("input, select")) return !e.labels.length;
    return !(e.getAttribute("aria-label") || e.innerText?.trim());
  }).map((e) => e.outerHTML.slice(0, 160));
}"""


def test_pictures_and_controls_have_names(served, show):
    page = show(served)
    for view in VIEWS:
        page.goto(served + view)
        settled(page)
        assert page.evaluate(NAMELESS) == [], view


def test_who_wants_no_motion_gets_none(served, show):
    duration = "getComputedStyle(document.querySelector('.bars .bar')).transitionDuration"
    assert show(served, reduced_motion="no-preference").evaluate(duration) == "0.15s"
    still = show(served, reduced_motion="reduce")
    assert still.evaluate(duration) == "0s"
    assert still.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


# Two runs


def test_two_runs_stand_side_by_side_on_the_same_image(served_two, show):
    site = site_of(served_two)
    page = show(served_two, "#/image/v3")
    expect(page.locator(".network")).to_have_count(2)
    left, right = (page.locator(".network").nth(i).bounding_box() for i in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    for number, section in enumerate(page.locator(".prediction").all()):
        said = answer(served_two, f"api/{number}/v3/prediction.json")["probabilities"]
        best = section.locator(".bars .share").first.inner_text()
        assert best == f"{100 * max(said):.1f}\N{NO-BREAK SPACE}%"
    page.locator(".network").nth(1).locator(".tile").first.click()
    settled(page)
    order = answer(served_two, "api/1/v3/layers.json")[0]["order"]
    expect(page).to_have_url(f"{served_two}#/image/v3/run/1/layer/0/map/{order[0]}")
    name = site["runs"][1]["name"]
    expect(page.locator(".panel h2")).to_contain_text(f"{name}: ")

    for view, each in (("attribution", ".attribution .cards"), ("neighbors", ".neighbors ol")):
        page.goto(f"{served_two}#/image/v3/{view}")
        expect(settled(page).locator(each)).to_have_count(2)
    for view, each in (("confusion", ".plane"), ("classes", "table"), ("mistakes", ".gallery")):
        page.goto(f"{served_two}#/{view}")
        found = settled(page).locator(f"main .runs {each}")
        expect(found).to_have_count(2)
    apart = page.get_by_role("heading", name="disagree").locator("..")
    names = [run["classes"] for run in site["runs"]]
    seen = [answer(served_two, f"api/{r}/evaluation.json")["predicted"] for r in (0, 1)]
    count = sum(names[0][a] != names[1][b] for a, b in zip(*seen, strict=True))
    expect(apart.locator(".facts")).to_have_text(f"{count} of 22 are answered apart.")
    expect(apart.locator("li")).to_have_count(count)
    page.goto(f"{served_two}#/confusion/0")
    names = settled(page).locator(".cell h3").all_inner_texts()
    assert names == [run["name"] for run in site["runs"]]
    page.goto(f"{served_two}#/training")
    expect(page.locator("main")).to_contain_text("keeps no history")  # of a weights file


def test_images_that_runs_answer_apart_stand_first(served_two, show):
    """Those that both are sure of before the others; they can be shown alone."""
    runs = site_of(served_two)["runs"]
    seen = [answer(served_two, f"api/{r}/evaluation.json") for r in (0, 1)]
    said = [[run["classes"][c] for c in s["predicted"]] for run, s in zip(runs, seen, strict=True)]
    sure = np.multiply(*(s["probability"] for s in seen))
    apart = [row for row, (one, other) in enumerate(zip(*said, strict=True)) if one != other]
    assert 1 < len(apart) < len(sure)
    page = show(served_two, "#/images")
    for run in (0, 1):
        part = page.locator("main .runs > section").nth(run)
        part.get_by_label("Order").select_option("runs that disagree first")
        items = part.locator(".gallery li")
        for place, row in enumerate(sorted(apart, key=lambda row: -sure[row])):
            words = items.nth(place).locator(".words")
            expect(words).to_contain_text(said[run][row])
            expect(words).to_contain_text(f"{runs[1 - run]['name']}: {said[1 - run][row]} ")
        expect(items).to_have_count(len(sure))
        part.get_by_label("Marked").select_option(f"answered apart ({len(apart)})")
        expect(items).to_have_count(len(apart))


# Two images


def drawn_on(page: Page, tiles: str) -> dict[str, str]:
    """What each map's tile shows, by the map's number."""
    read = "tile => [tile.dataset.map, tile.querySelector('canvas').toDataURL()]"
    return dict(tile.evaluate(read) for tile in page.locator(tiles).all())


def test_a_pinned_image_stays_beside_the_next_ones(served, show):
    page = show(served, "#/image/v3")
    card = page.get_by_role("region", name="The pinned image")
    expect(card).to_be_hidden()
    alone = drawn_on(page, ".layer:first-child .tile")
    page.get_by_role("button", name="Pin it", exact=True).click()
    expect(page).to_have_url(f"{served}#/image/v3/beside/v3")
    expect(card).to_contain_text("Choose another image")
    expect(page.locator(".network:visible")).to_have_count(1)

    page.keyboard.press("n")
    expect(page).to_have_url(f"{served}#/image/v4/beside/v3")
    expect(page.locator(".network:visible")).to_have_count(2)
    left, right = settled(page).locator(".network").all()
    assert left.bounding_box()["x"] + left.bounding_box()["width"] <= right.bounding_box()["x"]
    for here, image in ((page.locator(".predictions"), "v4"), (card, "v3")):
        best = max(answer(served, f"api/0/{image}/prediction.json")["probabilities"])
        share = f"{100 * best:.1f}\N{NO-BREAK SPACE}%"
        expect(here.locator(".bars .share").first).to_have_text(share)
    # the same maps in the same places, each of its own image
    places = [
        [tile.get_attribute("data-map") for tile in network.locator(".tile").all()]
        for network in (left, right)
    ]
    assert places[0] == places[1]
    beside = drawn_on(page, ".network >> nth=1 >> .layer:first-child .tile")
    both = [name for name in beside if name in alone]
    assert both
    assert [beside[name] for name in both] == [alone[name] for name in both]
    assert drawn_on(page, ".network >> nth=0 >> .layer:first-child .tile") != beside

    # a map that is opened in either is chosen in both, and the image stays pinned
    right.locator(".tile").nth(2).click()
    expect(page.locator(".tile.chosen")).to_have_count(2)
    expect(page).to_have_url(re.compile(rf"/image/v4/beside/v3/layer/0/map/{places[1][2]}$"))
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Attribution").click()
    expect(page).to_have_url(f"{served}#/image/v4/beside/v3/attribution")
    settled(page).locator(".predictions .bars a").nth(1).click()
    expect(page).to_have_url(re.compile("/image/v4/beside/v3/attribution/target/"))
    page.get_by_role("link", name="Network").click()
    page.locator("nav").get_by_role("link", name="Classes").click()
    settled(page).locator("nav").get_by_role("link", name="Image", exact=True).click()
    expect(page).to_have_url(f"{served}#/image/v4/beside/v3")
    page.get_by_role("button", name="Swap").click()
    expect(page).to_have_url(f"{served}#/image/v3/beside/v4")
    page.reload()
    expect(settled(page).locator(".network:visible")).to_have_count(2)
    page.get_by_role("button", name="Unpin").click()
    expect(page).to_have_url(f"{served}#/image/v3")
    expect(page.locator(".network:visible")).to_have_count(1)
    page.go_back()
    expect(page.locator(".network:visible")).to_have_count(2)


def test_below_a_proxy_s_path_everything_is_found(toy_weights, data, show, behind, photograph):
    """As in JupyterHub: the token opens the page, which finds its parts and sends an image."""
    prefix, token = "/user/me/proxy/8765", "the-token"
    explorer = Explorer.open([toy_weights], data)
    with hosted(application(explorer, token, prefix)) as inner:
        port = urlsplit(inner).port
        with behind(port, prefix, strips=True) as host:
            page = show(f"{host}{prefix}/?token={token}", "#/image/v3")
            expect(page).to_have_url(f"{host}{prefix}/#/image/v3")
            expect(page.locator(".tile").first).to_be_visible()
            page.keyboard.press("c")
            page.get_by_label("An image of yours").set_input_files(photograph)
            page.wait_for_url(f"{host}{prefix}/#/image/u*")
            expect(settled(page).locator(".bars li")).to_have_count(5)


def test_without_a_data_set_an_image_of_ones_own_is_looked_at(toy_weights, show, photograph):
    with hosted(application(Explorer([Network.of_run(toy_weights)]))) as base:
        page = show(base)
        expect(page.locator(".opening")).to_contain_text("choose an image")
        page.get_by_role("button", name="Choose").click()
        page.get_by_label("An image of yours").set_input_files(photograph)
        expect(page.locator(".tile").first).to_be_visible()
        settled(page)
        page.goto(f"{base}#/confusion")
        expect(page.locator(".note").first).to_contain_text("--data DIR")
