"""The graphics card in the page: it says what torch says, and where it does not it is not used.

Chromium's WebGPU here is SwiftShader's, which imitates a card; the page takes that for none unless
its address ends in `?gpu=any`.
"""

import base64
import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from graphs import COLORS, NETWORKS, PAGE, check, image_for, named, network_of, packed
from pages import PATIENCE, WEBGPU, hosted, launched
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convlens.explorer.network import Network

# `fastest` of a network, an image for it, and what a pass gives as text: playwright takes half a
# minute over a million numbers.
START = """async () => {
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const { Copy } = await import("/copy.js");
  window.image = await bytes("/image");
  window.fastest = new Copy(await bytes("/pack")).networks[0].fastest;
  const letters = ({ data }) =>
    btoa(Array.from(new Uint8Array(data.slice().buffer), (b) => String.fromCharCode(b)).join(""));
  window.told = ({ logits, stages }) => [{ data: logits }, ...stages].map(letters);
}"""
PASS = "async () => told(await fastest.run(image, 3))"
PROCESSOR = "() => told(fastest.forward.run(image, 3))"
USED = "async () => { await fastest.trial; return !!fastest.card; }"


def misread(how: str) -> str:
    """A script by which what a card gives is read otherwise than it is."""
    return f"""
    const {{ getMappedRange }} = GPUBuffer.prototype;
    GPUBuffer.prototype.getMappedRange = function () {{
      const range = getMappedRange.call(this);
      const numbers = new Float32Array(range);
      {how};
      return range;
    }};"""


# What befalls a card before it is used, as a script of the page, and what the address ends in.
TROUBLES = {
    "the browser has no WebGPU": (
        "Object.defineProperty(navigator, 'gpu', { value: undefined })",
        "?gpu=any",
    ),
    "there is no card": ("GPU.prototype.requestAdapter = async () => null", "?gpu=any"),
    "the processor imitates one": ("", ""),
    "the reader wants none": ("", "?gpu=off"),
    "it is not lent": (
        "GPUAdapter.prototype.requestDevice = async () => { throw new TypeError('no') }",
        "?gpu=any",
    ),
    "it is gone at once": (
        """
        const { requestDevice } = GPUAdapter.prototype;
        GPUAdapter.prototype.requestDevice = async function () {
          const device = await requestDevice.call(this);
          device.destroy();
          return device;
        };""",
        "?gpu=any",
    ),
    "it has no room": (
        """
        const { createBuffer } = GPUDevice.prototype;
        GPUDevice.prototype.createBuffer = function (about) {
          const size = about.size > 400 ? 2 ** 40 : about.size;
          return createBuffer.call(this, { ...about, size });
        };""",
        "?gpu=any",
    ),
    "it does not understand": (
        """
        const { createShaderModule } = GPUDevice.prototype;
        GPUDevice.prototype.createShaderModule = function ({ code }) {
          return createShaderModule.call(this, { code: `${code} fn` });
        };""",
        "?gpu=any",
    ),
    "it gets one number wrong": (misread("numbers[1000] += 0.1"), "?gpu=any"),
    "what it gives is no number": (misread("numbers.fill(NaN)"), "?gpu=any"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched(WEBGPU) as browser:
        page = browser.new_page()
        page.goto((PAGE / "icon.svg").as_uri())
        found = page.evaluate("async () => !!(await navigator.gpu?.requestAdapter())")
        if not found and os.environ.get("CI") != "true":
            pytest.skip("needs a Chromium whose WebGPU SwiftShader may do")
        yield browser


@pytest.fixture
def start(browser) -> Iterator[Callable[..., Page]]:
    """start(network, address, script): a page that has the network, and an image for it. script:
    what runs before. Nobody writes to its console."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    said: list[str] = []

    def start(network: Network, address: str = "?gpu=any", script: str = "") -> Page:
        files = {name: (PAGE / name).read_bytes() for name in os.listdir(PAGE)}
        files |= {"pack": packed(network), "image": image_for(network).tobytes()}
        files[""] = b'<link rel="icon" href="data:,">'

        def answer(request: Request) -> Response:
            name = request.path_params["name"]
            kind = "text/javascript" if name.endswith(".js") else "text/html"
            return Response(files[name], media_type=kind)

        base = stack.enter_context(hosted(Starlette(routes=[Route("/{name:path}", answer)])))
        context.add_init_script(f"{{ {script} }}")
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(base + address)
        page.evaluate(START)
        return page

    with contextlib.ExitStack() as stack:
        yield start
        context.close()
    assert said == []


def check_told(told: list[str], network: Network) -> None:
    logits, *stages = (np.frombuffer(base64.b64decode(text), np.float32) for text in told)
    check({"logits": logits, "stages": stages}, network)


def check_card(page: Page, network: Network) -> None:
    """That the first pass is the processor's, those after it are the card's, and both are right."""
    check_told(page.evaluate(PASS), network)
    assert page.evaluate(USED)
    page.evaluate("fastest.forward.run = null")
    check_told(page.evaluate(PASS), network)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_says_the_same_on_a_card(name, start):
    network = named(name)
    check_card(start(network), network)


def test_a_user_s_own_network_runs_on_a_card(vgg, start):
    network = network_of(vgg, 24, COLORS)
    check_card(start(network), network)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_processor_does_it_where_a_card_is_not_to_be_relied_on(trouble, start):
    script, address = TROUBLES[trouble]
    page = start(named("lenet5"), address, script)
    first = page.evaluate(PASS)
    assert not page.evaluate(USED)
    assert first == page.evaluate(PASS) == page.evaluate(PROCESSOR)


@pytest.mark.parametrize("when", ["before a pass", "during it"])
def test_a_card_that_is_lost_is_done_without(when, start):
    page = start(named("lenet5"))
    page.evaluate(PASS)
    assert page.evaluate(USED)
    right = page.evaluate(PROCESSOR)
    lost = page.evaluate(
        """async (during) => {
          const { device } = fastest.card;
          if (!during) device.destroy();
          const pass = fastest.run(image, 3);
          device.destroy();
          return told(await pass);
        }""",
        when == "during it",
    )
    assert lost == right == page.evaluate(PASS)
    assert not page.evaluate(USED)


def test_passes_on_a_card_do_not_disturb_each_other(start):
    network = named("convnet")
    page = start(network)
    page.evaluate(PASS)
    assert page.evaluate(USED)
    alone, *together = page.evaluate(
        """async () => {
          const dark = image.map((value) => value >> 1);
          const alone = await fastest.run(dark, 3);
          const all = [dark, image, dark].map((each) => fastest.run(each, 3));
          return [alone, ...(await Promise.all(all))].map(told);
        }"""
    )
    assert together[0] == together[2] == alone
    check_told(together[1], network)


@pytest.mark.parametrize("processor, used", [(4, False), (6, True)])
def test_a_card_is_used_where_it_takes_less_time(processor, used, start):
    """By a clock that tells 5 a pass of the card; an imitation that says it is none."""
    script = """
    Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { value: false });
    let time = 0;
    performance.now = () => time;
    window.pass = (milliseconds) => (time += milliseconds);
    const { mapAsync } = GPUBuffer.prototype;
    GPUBuffer.prototype.mapAsync = function (mode) {
      pass(5);
      return mapAsync.call(this, mode);
    };"""
    page = start(named("lenet5"), "", script)
    page.evaluate(
        """(milliseconds) => {
          const { forward } = fastest;
          const run = forward.run.bind(forward);
          forward.run = (...given) => {
            pass(milliseconds);
            return run(...given);
          };
        }""",
        processor,
    )
    page.evaluate(PASS)
    assert page.evaluate(USED) is used
