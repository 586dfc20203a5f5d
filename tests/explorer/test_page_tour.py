"""The guided tour of the page, in a browser: by address, by keys, in the copy, and without data."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from pages import NO_CARD, PATIENCE, hosted
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from convlens.data import open_dataset
from convlens.data.normalize import Normalize
from convlens.explorer import export
from convlens.explorer.export import write_page
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.server import application
from convlens.inference import Classifier
from convlens.models import LeNet5

SIZE = 16
WIDTHS = (390, 900, 1440)
STEPS = ["filter", "map", "sum", "relu", "pool", "depth", "head", "errs", "sure", "curves"]
STEPS += ["touch", "own"]
HISTORY = {
    "columns": ["epoch", "train_loss", "validation_loss"],
    "rows": [[1.0, 1.6, 1.5], [2.0, 1.1, 1.2]],
}
# Whether what a step speaks of first is in sight: its beginning, and all of it if there is room.
IN_SIGHT = """() => {
  const target = document.querySelector(".spoken.led");
  if (!target || document.querySelector("main [aria-busy]")) return false;
  const { top, bottom, left, right, height } = target.getBoundingClientRect();
  const end = document.querySelector(".tour").getBoundingClientRect().top;
  if (top < 0 || left < -4 || right > innerWidth + 4 || top + 20 > end) return false;
  if (bottom > end && height < 400) return false;
  const shown = document.elementFromPoint((left + right) / 2, top + Math.min(height, 30) / 2);
  return target.contains(shown) || shown.contains(target);
}"""


@pytest.fixture(scope="module")
def explorer(toy_data, tmp_path_factory) -> Explorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = open_dataset(toy_data, size=SIZE)
        explorer = Explorer([network(dataset.classes, HISTORY)], [dataset])
        explorer.surveyor.run()
    return explorer


def network(classes: Sequence[str], history: dict | None = None) -> Network:
    torch.manual_seed(0)
    model = LeNet5(len(classes), size=SIZE).eval()
    classifier = Classifier(model, classes, Normalize(), size=SIZE)
    return Network(classifier, "toy", history)


@contextlib.contextmanager
def serving(explorer: Explorer) -> Iterator[str]:
    explorer.surveyor.start = lambda: None  # it has seen everything already
    with hosted(application(explorer)) as base:
        yield base


@pytest.fixture(scope="module")
def base(explorer) -> Iterator[str]:
    with serving(explorer) as address:
        yield address


@pytest.fixture
def show(browser) -> Iterator[Callable[..., Page]]:
    """Opens an address; nothing may be written to its console."""
    contexts, console = [], []

    def show(address: str, width: int = 1440, **options) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 844}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.goto(address)
        return page

    yield show
    for context in contexts:
        context.close()
    assert [text for text in console if text != NO_CARD] == []


def check_step(page: Page, number: int, steps: list[str]) -> Locator:
    """That the box is at a step, says it in full sentences, and hides nothing that it speaks of."""
    box = page.get_by_role("region", name=re.compile(".")).and_(page.locator(".tour"))
    expect(box.locator(".tour-count")).to_have_text(f"Step {number} of {len(steps)}")
    expect(page.locator("html")).to_have_attribute("data-step", steps[number - 1])
    page.wait_for_function(IN_SIGHT)
    says = box.locator(".tour-says")
    expect(says).not_to_have_attribute("aria-busy", "true")
    expect(box.locator(".tour-todo")).to_contain_text("Try it: ")
    words = box.inner_text()
    assert "{" not in words and "undefined" not in words
    assert 1 < says.inner_text().count(".") <= 5
    return box


def test_every_step_opens_at_its_address_and_hides_nothing_at_any_width(base, show):
    page = show(f"{base}#/image/v3/tour/12", color_scheme="dark")
    check_step(page, 12, STEPS)
    for number in range(12, 0, -1):
        page.evaluate(f"location.hash = '#/tour/{number}'")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            check_step(page, number, STEPS)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "/image/v3/layer/0/map/" in page.url  # the picture stays the one of the link


def test_what_is_said_is_what_the_network_has(base, show, explorer):
    page = show(f"{base}#/tour/1")
    kernel = explorer.networks[0].filter(0, 0)["kernel"]
    expect(page.locator(".tour-says")).to_contain_text(f"{kernel[0]}×{kernel[1]} weights for each")
    page.goto(f"{base}#/tour/5")
    pool = explorer.networks[0].stages[1]
    sides = f"of {SIZE}×{SIZE} numbers become maps of {pool.shape[1]}×{pool.shape[2]}."
    expect(page.locator(".tour-says")).to_contain_text(sides)
    page.goto(f"{base}#/tour/8")
    survey = explorer.surveys[0]
    labels = survey.labels("validation")
    wrong = int((survey.seen("validation").logits.argmax(axis=1) != labels).sum())
    expect(page.locator(".tour-says")).to_contain_text(f"{wrong} of {len(labels)} validation")


def test_the_tour_is_taken_and_left_by_keys_alone(base, show):
    page = show(f"{base}#/training")
    opener = page.get_by_role("button", name="Tour", exact=True)
    opener.focus()
    page.keyboard.press("Enter")
    box = check_step(page, 1, STEPS)
    expect(box).to_be_focused()  # so that its title and its words are read out
    page.keyboard.press("ArrowRight")
    check_step(page, 2, STEPS)
    page.keyboard.press("Tab")  # Leave
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Show me
    expect(page.locator(".panel canvas.large").first).to_be_focused()
    page.keyboard.press("ArrowUp")  # to another unit, which the address names
    expect(page).to_have_url(re.compile("/row/.*/tour/2$"))
    page.locator(".tile").nth(2).click()  # looking around leaves the tour where it is
    expect(page).to_have_url(re.compile("/map/.*/tour/2$"))
    box.focus()
    page.keyboard.press("ArrowRight")
    check_step(page, 3, STEPS)
    page.keyboard.press("ArrowLeft")
    check_step(page, 2, STEPS)
    page.go_back()
    check_step(page, 3, STEPS)

    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{base}#/training")
    expect(box).to_be_hidden()
    expect(opener).to_be_focused()
    expect(page.locator(".spoken, .touring")).to_have_count(0)

    page.keyboard.press("?")
    page.get_by_role("button", name="Take the tour").click()
    check_step(page, 1, STEPS)
    page.get_by_role("button", name="Leave the tour").click()
    expect(page.get_by_role("heading", name="Training")).to_be_visible()


def test_the_touched_picture_is_put_back_when_its_step_is_over(base, show):
    page = show(f"{base}#/tour/11")
    check_step(page, 11, STEPS)
    page.get_by_label("Turn °").fill("90")
    expect(page).to_have_url(re.compile("image/u.*/tour/11$"))
    page.get_by_role("button", name="Next step").click()
    check_step(page, 12, STEPS)
    assert "/image/v" in page.url
    expect(page.locator(".touched")).to_have_count(0)


@pytest.mark.parametrize("runs", [True, False])
def test_a_copy_leaves_out_what_it_has_not_and_counts_the_others(
    runs, explorer, show, tmp_path, monkeypatch
):
    """That is sums and pictures of one's own, where a page cannot run the network."""
    if not runs:
        monkeypatch.setattr(export, "_graph", lambda network: None)
    file = write_page(explorer, tmp_path / "copy.html")
    page = show(f"{file.as_uri()}#/tour/1")
    steps = [step for step in STEPS if runs or step not in ("sum", "touch", "own")]
    for number in range(1, len(steps) + 1):
        box = check_step(page, number, steps)
        assert runs or "the sum" not in box.inner_text()
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Leave the tour").last.click()  # where Next was
    expect(page.locator(".tour")).to_be_hidden()


def test_without_data_a_step_asks_for_a_picture_and_goes_on_with_it(show, tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "mine.png")
    with serving(Explorer([network("abcde")])) as address:
        page = show(f"{address}#/tour/2")
        expect(page.locator(".tour-todo")).to_contain_text("needs a picture")
        expect(page.locator(".spoken")).to_have_text("Choose")
        page.locator(".spoken").click()
        page.get_by_label("An image of yours").set_input_files(tmp_path / "mine.png")
        steps = [step for step in STEPS if step not in ("errs", "sure", "curves")]
        check_step(page, 2, steps)
        expect(page).to_have_url(re.compile("image/u.*/layer/0/map/.*/tour/2$"))
