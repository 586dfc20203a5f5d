"""What the tests of the page have in common: a server for it, a browser, and when it is at rest."""

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette

from convlens.explorer.live import Live
from convlens.explorer.server import configuration

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
WEBGPU = "--enable-unsafe-webgpu"  # also by a graphics card that the processor imitates
NO_CARD = "No available adapters."  # so Chromium itself writes where a page asks for one in vain
PATIENCE = 30_000  # milliseconds that a busy machine may take over what a test waits for
expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def launched(*arguments: str) -> Iterator[Browser]:
    """Chromium. A user may lack it, and the test is skipped; CI may not."""
    if CHROMIUM is None and os.environ.get("CI") != "true":
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *arguments]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def hosted(app: Starlette, live: Live | None = None) -> Iterator[str]:
    """An application at an address of this computer. live: what ends with its server."""
    server = uvicorn.Server(configuration(app))
    if live:
        live.end_with(server)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], bool], page: Page | None = None) -> None:
    """Wait for it; page: one whose own events are to arrive meanwhile."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        if page:
            page.wait_for_timeout(20)
        else:
            time.sleep(0.02)


def settled(page: Page) -> Page:
    """The page once it waits for nothing; asked twice, for an address takes a moment to act."""
    deadline, quiet = time.monotonic() + PATIENCE / 1000, 0
    while quiet < 2:
        drawn = "!!document.querySelector('main > *') && !document.querySelector('[aria-busy]')"
        quiet = quiet + 1 if page.evaluate(drawn) else 0
        assert time.monotonic() < deadline, "the page is still at work"
        page.wait_for_timeout(20)
    return page
