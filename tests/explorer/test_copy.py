"""The page as one file, opened as a file: it asks nobody and runs the network itself."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import NO_CARD, PATIENCE, WEBGPU, hosted, launched, settled, until
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from convlens.explorer.export import write_page
from convlens.explorer.inside import Explorer
from convlens.explorer.server import application

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched(*CAMERA, WEBGPU) as browser:
        yield browser


@pytest.fixture(scope="module")
def explorer(toy_weights, toy_data, tmp_path_factory) -> Iterator[Explorer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Explorer.open([toy_weights], toy_data)


@pytest.fixture(scope="module")
def page_file(explorer, tmp_path_factory) -> Path:
    """The toy network's page; a few of its mistakes are not in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convlens.explorer.chosen.OPENED", 3)
        return write_page(explorer, tmp_path_factory.mktemp("copy") / "my page.html")


@pytest.fixture
def show(browser, page_file) -> Iterator[Callable[..., Page]]:
    """show(query, script): the page at its address, script: what runs before. It asks nobody, and
    nobody writes to its console."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    said: list[str] = []

    def show(query: str = "", script: str = "") -> Page:
        page = context.new_page()
        page.add_init_script(script)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda request: said.append(request.url) if "http" in request.url else None
        )
        page.goto(page_file.as_uri() + query)
        return settled(page)

    yield show
    context.close()
    assert [text for text in said if text != NO_CARD] == []


@pytest.fixture
def page(show) -> Page:
    return show()


def shares_of(page: Page) -> dict[str, str]:
    """What the bars say, by class."""
    bars = page.locator(".bars li")
    names = (
        text.split("true class")[0].strip() for text in bars.locator(".name").all_inner_texts()
    )
    return dict(zip(names, bars.locator(".share").all_inner_texts(), strict=True))


def expected_shares(explorer: Explorer, pixels: np.ndarray) -> dict[str, float]:
    network = explorer.networks[0]
    shares = network.classifier.probabilities(network.classifier.logits(pixels[None]))[0]
    return dict(zip(network.classifier.class_names, shares.tolist(), strict=True))


def check_shares(told: dict[str, str], expected: dict[str, float], within: float = 0.06) -> None:
    found = {
        name: float(share.split("\N{NO-BREAK SPACE}")[0].lstrip("<"))
        for name, share in told.items()
    }
    assert found == pytest.approx({name: 100 * expected[name] for name in told}, abs=within)


def test_everything_is_in_the_file_and_the_page_runs_the_network(page, explorer):
    network = explorer.networks[0]
    first = explorer.examples()[0]
    pixels = explorer.pixels(first, network)
    check_shares(shares_of(page), expected_shares(explorer, pixels))
    seen = network.look(first, pixels)
    strongest = seen.maps[0][0].max(axis=(1, 2)).argsort()[::-1]
    tile = page.locator(".tile[data-layer='0']").first
    expect(tile).to_have_attribute("data-map", str(strongest[0]))
    tile.click()
    panel = settled(page).locator(".panel")
    expect(panel.locator(".kernels canvas")).to_have_count(4)
    expect(panel.locator(".patches canvas")).to_have_count(9)
    expect(panel.locator(".slot canvas.large")).to_be_visible()  # the deconvolution
    page.keyboard.press("Escape")
    for view, shown in (
        ("attribution", ".attribution canvas"),
        ("neighbors", ".neighbors img"),
    ):
        page.get_by_role("link", name=view.capitalize()).click()
        expect(settled(page).locator(shown).first).to_be_visible()
    for view in ("Training", "Confusion", "Classes", "Embedding"):
        page.locator("nav").get_by_role("link", name=view).click()
        settled(page)
    expect(page.locator(".trouble")).to_have_count(0)


def test_mistakes_that_are_not_in_the_file_carry_a_cue(page, explorer):
    page.locator("nav").get_by_role("link", name="Mistakes").click()
    settled(page)
    survey = explorer.surveys[0]
    wrong = survey.seen("validation").logits.argmax(axis=1) != survey.labels("validation")
    absent = page.locator(".gallery .absent")
    there = page.locator(".gallery a").count()
    assert there >= 7  # four that are prepared, three that open, mistakes among the examples
    assert absent.count() == wrong.sum() - there > 0
    expect(absent.first).to_contain_text("not in this copy")
    links = page.locator(".gallery a")
    rows = [link.get_attribute("href").split("/")[2] for link in links.all()[4:]]
    examples = explorer.examples()
    links.nth(4 + next(i for i, row in enumerate(rows) if row not in examples)).click()
    expect(settled(page).locator(".verdict")).to_contain_text("Wrong")
    page.get_by_role("link", name="Neighbors").click()
    expect(page.locator(".neighbors .trouble")).to_contain_text("convlens explore shows it")
    page.get_by_role("link", name="Attribution").click()
    part = page.locator(".attribution")
    expect(part).to_contain_text("convlens explore shows it")
    expect(part.get_by_role("button", name="PNG")).to_have_count(0)  # of which there is no picture
    expect(page.locator("#target")).to_be_hidden()  # of which class, is no question
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_picture_is_taken_from_a_file_and_from_the_camera(page, explorer, tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "mine.png")
    page.keyboard.press("c")
    page.get_by_label("An image of yours").set_input_files(tmp_path / "mine.png")
    expect(page.locator(".what h1")).to_have_text("mine.png")
    settled(page)
    check_shares(
        shares_of(page), expected_shares(explorer, explorer.networks[0].classifier.decode(image))
    )
    assert page.locator(".tile").count() > 0

    page.keyboard.press("c")
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator(".what h1")).to_have_text("camera.png")
    assert settled(page).locator(".bars li").count() == 5
    expect(page.locator("video")).to_have_count(0)  # it is off

    (tmp_path / "notes.png").write_text("no image", encoding="utf-8")
    page.keyboard.press("c")
    page.get_by_label("An image of yours").set_input_files(tmp_path / "notes.png")
    expect(page.locator(".chooser .trouble")).to_contain_text("not an image")


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white_as_convlens_has_it(kind, page, explorer, tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (40, 30, 4), np.uint8)
    pixels[10:30] = (200, 20, 20, 0)
    image = Image.fromarray(pixels)
    if kind == "P":
        palette = image.convert("RGB").quantize(8)
        palette.save(tmp_path / "mine.png", transparency=2)
    else:
        image.convert(kind).save(tmp_path / "mine.png")
    page.keyboard.press("c")
    page.get_by_label("An image of yours").set_input_files(tmp_path / "mine.png")
    expect(page.locator(".what h1")).to_have_text("mine.png")
    settled(page)
    decoded = explorer.networks[0].classifier.decode(tmp_path / "mine.png")
    check_shares(shares_of(page), expected_shares(explorer, decoded))


@pytest.mark.parametrize("unit", ["layer/0/map/2/row/3/column/5", "layer/4/map/7", "layer/7/map/1"])
def test_a_sum_is_told_of_a_picture_that_nobody_prepared(unit, page, explorer, tmp_path):
    """With the numbers that the server tells of the same picture, of a convolution and on."""
    image = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "mine.png")

    def table(shown: Page) -> list[list[str]]:
        shown.keyboard.press("c")
        shown.get_by_label("An image of yours").set_input_files(tmp_path / "mine.png")
        expect(shown.locator(".what h1")).to_have_text("mine.png")
        until(lambda: "#/image/u" in shown.url, shown)
        shown.evaluate("unit => { location.hash += `/${unit}` }", unit)
        expect(settled(shown).locator(".sum .line").last).to_contain_text("That is")
        with shown.expect_download() as saving:
            shown.get_by_role("button", name="Save the sum as CSV").click()
        return list(csv.reader(saving.value.path().read_text(encoding="utf-8").splitlines()))

    ours = table(page)
    explorer.surveyor.start = lambda: None  # it has seen everything already
    with hosted(application(explorer)) as base:
        context = page.context.browser.new_context(viewport={"width": 1280, "height": 800})
        served = context.new_page()
        served.goto(base)
        theirs = table(settled(served))
        context.close()
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    for column in range(2, 7):
        a, b = ([float(row[column] or 0) for row in rows[1:]] for rows in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-5 * max(map(abs, [*b, 1e-9])))


def test_an_image_is_pinned_beside_the_next_one(page):
    page.get_by_role("button", name="Pin it", exact=True).click()
    page.keyboard.press("n")
    expect(page.locator(".network")).to_have_count(2)
    expect(settled(page).locator(".trouble")).to_have_count(0)
    left, right = (page.locator(".network").nth(i).locator(".tile") for i in (0, 1))
    assert left.count() == right.count() > 0


def test_nothing_is_offered_that_the_copy_cannot_make(page):
    expect(page.locator(".tabs a")).to_have_text(["Network", "Attribution", "Neighbors"])
    page.locator(".tile").first.click()
    expect(page.locator(".panel")).to_be_visible()
    expect(page.locator(".studies")).to_be_hidden()


def test_a_picture_can_be_changed(page, explorer):
    before = shares_of(page)
    page.get_by_role("button", name="Touch it").click()
    page.get_by_label("Turn °").fill("90")
    until(lambda: "#/image/u" in page.url, page)
    turned = np.rot90(explorer.pixels(explorer.examples()[0], explorer.networks[0]), -1)
    assert shares_of(settled(page)) != before
    check_shares(shares_of(page), expected_shares(explorer, turned.copy()), within=0.3)


def test_images_are_filtered_ticked_and_saved(page, explorer):
    page.locator("nav").get_by_role("link", name="Images").click()
    settled(page)
    survey = explorer.surveys[0]
    labels, predicted = survey.labels("validation"), survey.seen("validation").logits.argmax(axis=1)
    items = page.locator(".gallery li")
    expect(items).to_have_count(len(labels))
    page.get_by_label("Answer").select_option("wrong")
    expect(items).to_have_count(int((labels != predicted).sum()))
    page.get_by_label("Class", exact=True).fill("DISC")
    disc = explorer.networks[0].classifier.class_names.index("blue_disc")
    rows = np.flatnonzero((labels == disc) & (predicted != disc))
    expect(items).to_have_count(len(rows))
    page.get_by_label("Sure from, %").fill("100")
    expect(items).to_have_count(0)
    page.get_by_label("Sure from, %").fill("0")

    page.get_by_role("button", name="Tick all of these").click()
    expect(page.locator("main .facts")).to_contain_text(f"{len(rows)} ticked")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as CSV").click()
    table = list(csv.reader(saving.value.path().read_text().splitlines()))
    assert table[0][:4] == ["path", "class", "predicted", "probability"]
    assert {row[1] for row in table[1:]} == {"blue_disc"}
    assert len(table) == 1 + len(rows)

    page.get_by_role("button", name="Untick all").click()
    page.get_by_label("Class", exact=True).fill("")
    page.locator(".gallery li:has(a) input").first.check()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the images").click()
    with zipfile.ZipFile(saving.value.path()) as archive:
        (name,) = archive.namelist()
        assert archive.testzip() is None
        assert Image.open(io.BytesIO(archive.read(name))).size == (16, 16)
    assert name.split("/")[0] in explorer.networks[0].classifier.class_names


def test_pictures_and_numbers_are_saved_from_the_file_too(page, explorer):
    network = explorer.networks[0]
    first = explorer.examples()[0]
    maps = network.look(first, explorer.pixels(first, network)).maps[0][0]
    with page.expect_download() as saving:
        page.locator(".layer").first.get_by_role("button", name="CSV").click()
    _, *rows = csv.reader(saving.value.path().read_text(encoding="utf-8").splitlines())
    strongest = [float(row[2]) for row in rows]
    assert strongest == pytest.approx(maps.max(axis=(1, 2)).tolist(), rel=1e-3, abs=1e-4)
    with page.expect_download() as saving:
        page.locator(".layer").first.get_by_role("button", name="PNG").click()
    with Image.open(saving.value.path()) as image:
        box = page.locator(".tiles").first.bounding_box()
        assert image.size == pytest.approx((2 * box["width"], 2 * box["height"]), abs=2)


# Counts what a page has a graphics card compute, and keeps the card to take it away.
WATCHED = """
window.passes = 0;
const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (commands) {
  passes += 1;
  return submit.call(this, commands);
};
const { requestAdapter } = GPU.prototype;
GPU.prototype.requestAdapter = async function () {
  window.adapter = await requestAdapter.call(this);
  return adapter;
};
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function () {
  window.device = await requestDevice.call(this);
  return device;
};"""
TRIED = "async () => window.passes >= 3 && (await device.queue.onSubmittedWorkDone(), true)"


def test_a_graphics_card_runs_the_network_until_it_is_lost(show, explorer):
    page = show("?gpu=any", WATCHED)
    until(lambda: page.evaluate("window.adapter !== undefined"), page)
    if page.evaluate("adapter === null"):
        pytest.skip("needs a Chromium whose WebGPU SwiftShader may do")
    until(lambda: page.evaluate(TRIED), page)
    network = explorer.networks[0]

    def check_next() -> int:
        """The next image is told right; passes that a card did for it."""
        before, address = page.evaluate("passes"), page.url
        page.keyboard.press("n")
        until(lambda: page.url != address, page)
        image = page.url.rpartition("/")[2]
        pixels = explorer.pixels(image, network)
        check_shares(shares_of(settled(page)), expected_shares(explorer, pixels))
        strongest = network.look(image, pixels).maps[0][0].max(axis=(1, 2)).argmax()
        tile = page.locator(".tile[data-layer='0']").first
        expect(tile).to_have_attribute("data-map", str(strongest))
        return page.evaluate("passes") - before

    until(lambda: check_next() == 1, page)
    page.evaluate("device.destroy()")
    check_next()
    assert check_next() == 0
    expect(page.locator(".trouble")).to_have_count(0)


def test_a_graphics_card_that_the_processor_imitates_is_not_used(show):
    page = show("", WATCHED)
    until(lambda: page.evaluate("window.adapter !== undefined"), page)
    page.keyboard.press("n")
    settled(page)
    assert page.evaluate("[typeof device, passes]") == ["undefined", 0]


def test_a_view_begins_at_its_top_and_keeps_the_reader_s_place(page):
    page.set_viewport_size({"width": 390, "height": 500})
    page.locator("nav").get_by_role("link", name="Mistakes").click()
    settled(page)
    last = page.locator(".gallery a").last
    last.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    assert place > 300
    last.click()
    settled(page)
    assert page.evaluate("scrollY") == 0
    assert page.locator("h1").evaluate("h => h === document.activeElement")
    page.go_back()
    settled(page)
    until(lambda: abs(page.evaluate("scrollY") - place) <= 2, page)
