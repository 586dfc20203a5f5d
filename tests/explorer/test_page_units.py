"""The page's sums, diagram and words, and touching the image, in a browser, without training."""

import contextlib
import json
import re
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from pages import PATIENCE, hosted, until
from playwright.sync_api import Page, Route, expect

from convlens.data import open_dataset
from convlens.data.normalize import Normalize
from convlens.explorer.answers import answer
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.server import application
from convlens.explorer.touched import touched
from convlens.inference import Classifier
from convlens.models import ConvNet, LeNet5

SIZE = 16


@pytest.fixture(scope="module")
def explorer(toy_data, tmp_path_factory) -> Explorer:
    """A network with shortcuts beside one without, both at a temperature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = open_dataset(toy_data, size=SIZE)
        torch.manual_seed(0)
        networks = [
            Network(
                Classifier(model.eval(), dataset.classes, Normalize(), size=SIZE, temperature=0.02),
                name,
            )
            for name, model in (
                ("residual", ConvNet(5, widths=(16, 16, 24, 32))),
                ("plain", LeNet5(5, size=SIZE)),
            )
        ]
        explorer = Explorer(networks, [dataset])
        explorer.surveyor.run()
    return explorer


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
def show(browser, base) -> Iterator[Callable[..., Page]]:
    """Opens an address of the page; nothing may be written to its console."""
    contexts, console = [], []

    def show(fragment: str, **options) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.goto(base + fragment)
        page.wait_for_selector(".bars a")
        return page

    yield show
    for context in contexts:
        context.close()
    assert console == []


def percent(share: float) -> str:
    """As the page writes it."""
    return (
        "<0.1\N{NO-BREAK SPACE}%" if 0 < share < 0.001 else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    )


def told(explorer: Explorer, path: str):
    return json.loads(answer(explorer, path).body)


def brief(value: float) -> str:
    """Three digits, as the page writes them."""
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:.{min(digits, 6)}f}".replace("-", "\N{MINUS SIGN}")


def test_the_sum_behind_a_unit_is_drawn_with_its_numbers(explorer, show):
    """Of a block with a projection: both ways, their norms, the sum, the nonlinearity."""
    layers = told(explorer, "api/site.json")["runs"][0]["layers"]
    number = [layer["name"] for layer in layers].index("stage3.relu2")
    page = show(f"#/image/v3/layer/{number}/map/5/row/1/column/0")
    part = page.locator(".sum")
    expect(part.locator("h4")).to_have_text(["The main path", "The shortcut"])
    term = told(explorer, f"api/0/v3/unit-{number}-5-1-0.json")
    (joined,) = term["parts"]
    main, shortcut = joined["parts"]
    words = part.inner_text()
    for value in (term["value"], joined["value"], main["value"], shortcut["value"]):
        assert brief(abs(value)) in words
    first = main["parts"][0]["inputs"][0]
    drawn = part.locator(".branch").first.locator(".grid")
    kernel = drawn.nth(1).locator("span").evaluate_all("all => all.map((e) => e.title)")
    numbers = [float(title.replace("\N{MINUS SIGN}", "-")) for title in kernel]
    np.testing.assert_allclose(numbers, np.ravel(first["kernel"]), rtol=1e-6)
    source = part.locator(".branch").first.locator("figcaption a").first
    expect(source).to_have_text(f"{first['stage']}, map {first['map']}")

    page.locator(".panel canvas.large").first.focus()
    page.keyboard.press("ArrowRight")
    value = told(explorer, f"api/0/v3/unit-{number}-5-1-1.json")["value"]
    expect(page.locator(".panel .readout")).to_contain_text(f"Unit 1, 1 is {brief(value)} and")
    expect(part.locator(".line").last).to_have_text("That is row 1, column 1 of map 5.")
    assert page.url.endswith("/row/1/column/1")
    page.reload()
    expect(part.locator(".line").last).to_have_text("That is row 1, column 1 of map 5.")


def test_what_a_run_has_recorded_is_told_where_it_is_otherwise(explorer, show):
    """As of an image whose two best classes are all but equal to weights in half precision."""
    seen = told(explorer, "api/1/evaluation.json")
    images = len(seen["labels"])
    right = sum(a == b for a, b in zip(seen["labels"], seen["predicted"], strict=True))
    here, there = percent(right / images), percent((right + 1) / images)
    record = {
        "validation_accuracy": (right + 1) / images,
        "validation_images": images,
        "validation_loss": 1.0,
        "seconds": 60,
        "device": "cpu, 1 thread",
    }
    site = told(explorer, "api/site.json")
    page = show("#/image/v3")
    page.route("**/api/site.json", lambda route: route.fulfill(json=site))
    column = page.get_by_role("region", name="plain", exact=True)

    def open_page(view: str, half: bool, **others) -> None:
        site["runs"][1] |= {"half": half, "summary": record | others}
        page.goto(f"{page.url.split('#')[0]}{view}")
        page.reload()

    for half, why in (
        (True, "this file keeps the weights in half precision."),
        (False, "sums are rounded otherwise on another machine."),
    ):
        open_page("#/classes", half)
        expect(column.locator(".facts").first).to_contain_text(here)
        expect(column).to_contain_text(
            f"The run's record, under Training, says {there}, as measured at its end (cpu, 1 "
            "thread). Here all images were asked again, and 1 image fewer came out right, for "
            + why
        )
    open_page("#/training", True)
    expect(column).to_contain_text(there)
    for same in ({"validation_accuracy": right / images}, {"validation_images": images + 1}):
        open_page("#/classes", True, **same)  # the same, and of other images
        expect(column.locator(".facts").first).to_contain_text(here)
        expect(page.locator("main")).not_to_contain_text("record")


def test_no_number_is_written_as_minus_zero(explorer, show):
    page = show("#/image/v3")
    values = [-0.0, *(sign * 10.0**power for sign in (-1, 1) for power in range(-12, 4))]
    values += [-0.004, -0.0049, -0.005, -0.0004, -0.04, -0.5, 0.004]
    written = page.evaluate(
        """async (values) => {
          const { brief, decimal, exact, percent } = await import("./numbers.js");
          const { table } = await import("./save.js");
          return [
            ...values.flatMap((value) => [
              brief(value), exact(value), percent(value), percent(value, 0),
              ...[0, 1, 2, 3].map((digits) => decimal(value, digits)),
            ]),
            ...(await table([values]).text()).trim().split(","),
          ];
        }""",
        values,
    )
    minus_zero = re.compile(r"[-\N{MINUS SIGN}]0(\.0*)?(?![\d.])")
    assert [text for text in written if minus_zero.search(text)] == []
    assert {"\N{MINUS SIGN}0.00500", "\N{MINUS SIGN}1000", "0.00"} <= set(written)

    layers = told(explorer, "api/site.json")["runs"][0]["layers"]
    for number in (0, [layer["name"] for layer in layers].index("stage3.relu2"), len(layers) - 1):
        place = "/row/1/column/1" if len(layers[number]["shape"]) == 3 else ""
        page.goto(f"{page.url.split('#')[0]}#/image/v3/layer/{number}/map/3{place}")
        expect(page.locator(".sum .line").last).to_be_visible()
        shown = page.locator(".sum").inner_text()
        assert [found[0] for found in minus_zero.finditer(shown)] == []
        kernel = page.locator(".sum .grid > span").evaluate_all("all => all.map((e) => e.title)")
        assert [text for text in kernel if minus_zero.fullmatch(text)] == []


def test_the_window_slides_until_it_is_stopped(show):
    page = show("#/image/v3/layer/0/map/1/row/0/column/0")
    readout = page.locator(".panel .readout")
    expect(readout).to_contain_text("Unit 0, 0 is")
    page.get_by_role("button", name="Slide the window").click()
    expect(readout).to_contain_text("Unit 0, 2 is")  # by itself
    page.get_by_role("button", name="Stop the window").click()
    at = readout.inner_text()
    page.wait_for_timeout(1200)  # longer than a step takes: nothing is to happen
    assert readout.inner_text() == at
    still = show("#/image/v3/layer/0/map/1", reduced_motion="reduce")
    expect(still.locator(".panel .readout")).to_contain_text("is")
    expect(still.get_by_role("button", name="Slide the window")).to_have_count(0)


def test_linear_layers_pools_and_the_softmax_have_panels_too(explorer, show):
    site = told(explorer, "api/site.json")
    classes = site["runs"][1]["classes"]
    last = len(site["runs"][1]["layers"]) - 1
    page = show(f"#/image/v3/run/1/layer/{last}/map/2")
    expect(page.locator(".panel h2")).to_have_text(f"plain: fc3, {classes[2]}")
    term = told(explorer, f"api/1/v3/unit-{last}-2.json")
    rows = page.locator(".sum tbody tr")
    expect(rows).to_have_count(10)
    cells = rows.first.locator("td").all_inner_texts()
    strongest = term["inputs"][0]
    expected = [strongest["value"], strongest["weight"], strongest["product"]]
    assert [cell.strip() for cell in cells] == [brief(value) for value in expected]
    expect(page.locator(".sum .line").nth(1)).to_contain_text(brief(term["value"]))

    page.get_by_label("Next map").click()
    expect(page.locator(".panel h2")).to_contain_text(classes[3])
    strip = page.locator(".network").nth(1).locator(".strip").last
    strip.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator(".panel h2")).to_have_text(f"plain: softmax, {classes[0]}")
    share = told(explorer, "api/1/v3/prediction.json")["probabilities"][0]
    expect(page.locator(".sum .line b").last).to_have_text(classes[0])
    expect(page.locator(".sum")).to_contain_text(percent(share))
    expect(page.locator(".sum")).to_contain_text("The temperature 0.0200 makes the network surer")

    pooled = [layer["name"] for layer in site["runs"][0]["layers"]].index("avgpool")
    page.goto(f"{page.url.split('#')[0]}#/image/v3/layer/{pooled}/map/7")
    expect(page.locator(".panel h2")).to_have_text("residual: avgpool, feature 7")
    value = told(explorer, f"api/0/v3/unit-{pooled}-7-0-0.json")["value"]
    expect(page.locator(".sum .line").first).to_contain_text(f"= {brief(value)}")


def test_the_diagram_shows_the_ways_and_a_unit_is_traced_back(explorer, show):
    layers = told(explorer, "api/site.json")["runs"][0]["layers"]
    page = show("#/image/v3")
    diagram = page.locator(".diagram").first
    names = diagram.locator("b").all_inner_texts()
    assert names == ["image", *(layer["name"] for layer in layers), "softmax"]
    labels = diagram.locator(".ways text").all_text_contents()
    shortcuts = [layer["shortcut"] for layer in layers if layer["shortcut"]]
    assert len(labels) == len(shortcuts) == 4
    assert labels[0].startswith("+ conv 1×1, ")
    expect(diagram).to_contain_text("softmax, temperature 0.0200")
    heading = page.locator(".layer .facts").nth(3)
    parameters = shortcuts[0]["parameters"]
    assert f"shortcut from relu2 through conv 1×1, {parameters:,} parameters more" in (
        heading.inner_text()
    )
    diagram.get_by_role("button", name=re.compile("^relu2 ")).click()
    assert page.evaluate("document.activeElement.textContent").startswith("relu2")

    page.locator(".network").first.locator(".tile[data-layer='2']").first.hover()
    framed = page.locator(".network").first.locator(".tile .frame:visible")
    expect(framed).to_have_count(2)  # on relu1 and relu2, which it is computed from
    page.mouse.move(2, 2)
    expect(framed).to_have_count(0)


def test_words_explain_themselves(show):
    page = show("#/image/v3")
    word = page.locator(".term[data-term=sees]").first
    tip = page.get_by_role("tooltip")
    word.hover()
    expect(tip).to_contain_text("receptive field")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    word.focus()
    expect(tip).to_be_visible()
    expect(word).to_have_attribute("aria-describedby", tip.get_attribute("id"))
    page.locator(".term[data-term=parameter]").nth(1).click()  # as who taps
    expect(tip).to_contain_text("training has set")


def test_the_next_image_of_a_mistake_is_the_next_mistake(explorer, show):
    seen = told(explorer, "api/0/evaluation.json")
    wrong = [i for i in range(20) if seen["labels"][i] != seen["predicted"][i]]
    wrong.sort(key=lambda i: -seen["probability"][i])
    page = show("#/image/v3")
    page.goto(f"{page.url.split('#')[0]}#/mistakes")
    page.locator("main .runs .gallery a").first.click()
    expect(page.locator(".what .note")).to_have_text(f"Mistake 1 of {len(wrong)}")
    page.keyboard.press("n")
    page.wait_for_url(f"**/#/image/v{wrong[1]}/among/mistakes")
    page.locator(".tile").first.click()
    expect(page.locator(".panel")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator(".what .note")).to_have_text(f"Mistake 1 of {len(wrong)}")


def test_two_runs_are_asked_for_what_each_predicts(explorer, show):
    page = show("#/image/v3/attribution")
    chooser = page.get_by_label("What speaks for", exact=True)
    expect(chooser.locator("option:checked")).to_have_text("what each run predicts")
    expect(page.locator(".attribution .facts")).to_have_count(2)
    for number, facts in enumerate(page.locator(".attribution .facts").all()):
        share = told(explorer, f"api/{number}/v3/prediction.json")["probabilities"]
        assert told(explorer, "api/site.json")["runs"][number]["classes"][
            int(np.argmax(share))
        ] in (facts.inner_text())
    side = page.locator(".side").bounding_box()
    last = page.locator(".prediction").last.bounding_box()
    assert last["y"] + last["height"] <= side["y"] + side["height"] + 1  # nothing is cut


def shares(page: Page) -> dict[str, str]:
    part = page.locator(".prediction").first
    names, values = (part.locator(each).all_inner_texts() for each in (".name", ".share"))
    return dict(zip(names, values, strict=True))


def test_what_is_said_follows_the_touched_image(explorer, show, base):
    page = show("#/image/v3")
    posted: list[bytes] = []

    def watch(route: Route) -> None:
        posted.append(route.request.post_data_buffer)
        route.continue_()

    page.route("**/api/0/touched*", watch)
    page.get_by_role("button", name="Touch it").click()
    expect(page.locator(".touched")).to_be_visible()
    page.get_by_label("Turn °").fill("90")
    page.wait_for_url("**/#/image/u*")  # after a pause all views are led to the picture
    name = page.url.split("/")[-1]
    turned = np.rot90(explorer.pixels("v3", explorer.networks[0]), -1)
    assert abs(explorer.pixels(name, explorer.networks[0]).astype(int) - turned).max() <= 2
    expect(page.locator(".what h1")).to_contain_text("image_0004.png, changed")
    body = touched(explorer, 0, posted[0], [], keep=False).body
    (length,) = struct.unpack("<I", body[:4])
    said = json.loads(body[4 : 4 + length])["probabilities"]
    classes = explorer.networks[0].classifier.class_names
    for each, share in shares(page).items():
        assert share == percent(said[classes.index(each)])

    page.get_by_role("button", name="Undo").click()
    original = told(explorer, "api/0/v3/prediction.json")["probabilities"]
    best = classes[int(np.argmax(original))]
    expect(page.locator(".bars .share").first).to_have_text(percent(max(original)))
    assert next(iter(shares(page))) == best

    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the changed picture").click()
    assert saving.value.suggested_filename == "changed.png"

    page.go_back()  # to the image as it was, and nothing of the touch stays
    expect(page).to_have_url(re.compile("#/image/v3$"))
    expect(page.locator(".touched")).to_have_count(0)
    expect(page.locator(".touch")).to_be_hidden()
    expect(page.locator(".bars .share").first).to_have_text(percent(max(original)))
    page.get_by_role("button", name="Touch it").click()
    expect(page.get_by_label("Turn °")).to_have_value("0")


def test_a_chart_of_nothing_but_zeros_lies_on_its_ground(show):
    page = show("#/image/v3")
    drawn = page.evaluate("""async () => {
      const { chart } = await import("./chart.js");
      const figure = chart({
        title: "Nothing right", heading: "Accuracy", x: [1, 2, 3], most: 1, write: String,
        curves: [{ name: "a", values: [0, 0, 0] }, { name: "b", values: [0, null, 0] }],
      });
      document.querySelector("main").append(figure);
      await new Promise((done) => setTimeout(done, 200));
      return figure.querySelector("svg").outerHTML;
    }""")
    assert "NaN" not in drawn and drawn.count("<path") == 2


def test_a_network_for_gray_images_is_told_in_gray(toy_data, show):
    dataset = open_dataset(toy_data, size=SIZE)
    model = ConvNet(5, widths=(8, 8, 8, 8), in_channels=1).eval()
    classifier = Classifier(model, dataset.classes, Normalize([0.4], [0.3]), size=SIZE)
    explorer = Explorer([Network(classifier, "gray")], [dataset])
    explorer.surveyor.run()
    page = show("#/image/v3")
    with serving(explorer) as address:
        page.goto(f"{address}#/image/v3/layer/0/map/3/row/8/column/8")
        expect(page.locator(".overview li").first).to_contain_text(f"1×{SIZE}×{SIZE}")
        panel = page.locator(".panel")
        expect(panel.locator(".sum .line").first).to_be_visible()
        expect(panel).to_contain_text("gray")
        expect(panel.locator(".kernels figcaption")).to_have_text(["gray"])
        assert not re.search("red|strongest input", panel.inner_text())
        page.goto("about:blank")


def test_an_older_answer_is_never_drawn_over_a_newer_one(explorer, show):
    page = show("#/image/v3")
    held: list[Route] = []
    page.route("**/api/0/touched*", lambda route: held.append(route))
    page.get_by_role("button", name="Touch it").click()
    slider = page.get_by_label("Brightness")
    for value in ("0.5", "0.3", "1.5", "1.9"):
        slider.fill(value)
        page.wait_for_timeout(40)  # a frame, so that each is a change of its own
    live = [route for route in held if "keep" not in route.request.url]
    assert len(live) == 1  # the others wait, and only the newest of them will be asked
    live[0].continue_()

    def asked() -> list[Route]:
        return [route for route in held if "keep" not in route.request.url]

    until(lambda: len(asked()) == 2, page)
    live = asked()
    pixels = np.frombuffer(live[1].request.post_data_buffer, np.uint8)
    expected = explorer.pixels("v3", explorer.networks[0]).astype(float).ravel() * 1.9
    np.testing.assert_allclose(pixels, np.clip(expected, 0, 255), atol=1)
    for route in held[1:]:
        with contextlib.suppress(Exception):  # given up meanwhile
            route.continue_()


def test_the_pointer_paints_erases_and_hides(explorer, show):
    page = show("#/image/v3")
    page.get_by_role("button", name="Touch it").click()
    canvas = page.locator(".touched")

    def middle() -> list[int]:
        return canvas.evaluate(
            "(c) => [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]"
        )

    before = middle()
    page.get_by_label("Width").fill("24")

    def stroke() -> None:
        """Over the middle; the pointer goes to where the canvas is scrolled to."""
        canvas.hover()
        page.mouse.down()
        page.mouse.up()

    stroke()
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    until(lambda: middle() == [0xD6, 0x20, 0x20, 255], page)
    page.get_by_label("Gray out").check()
    stroke()
    until(lambda: middle() == [128, 128, 128, 255], page)
    page.get_by_label("Erase paint").check()
    stroke()
    until(lambda: middle() == before, page)
    page.get_by_label("Hide a square").check()
    canvas.hover()
    until(lambda: middle() == [128, 128, 128, 255], page)
    page.mouse.move(2, 2)
    until(lambda: middle() == before, page)
