"""What the tests of the page have in common: a server for it, a browser, and when it is at rest."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from playwright.sync_api import Page
from starlette.applications import Starlette

from convlens.explorer.live import Live
from convlens.explorer.server import configuration

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


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


def settled(page: Page) -> Page:
    """The page once it waits for nothing; asked twice, for an address takes a moment to act."""
    deadline, quiet = time.monotonic() + 20, 0
    while quiet < 2:
        drawn = "!!document.querySelector('main > *') && !document.querySelector('[aria-busy]')"
        quiet = quiet + 1 if page.evaluate(drawn) else 0
        assert time.monotonic() < deadline, "the page is still at work"
        page.wait_for_timeout(20)
    return page
