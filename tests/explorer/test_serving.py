"""How the explorer is started: what is told, what is refused, and what is missing."""

import asyncio
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvicorn

from convlens.errors import UserError
from convlens.explorer import serving
from convlens.explorer.inside import Explorer


class Watched(uvicorn.Server):
    """The real server, which is asked for its page once it listens, and then stopped."""

    seen: list[httpx.Response]

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        asking = threading.Thread(target=self._ask, args=(sockets[0].getsockname()[1],))
        asking.start()
        super().run(sockets)
        asking.join()

    def _ask(self, port: int) -> None:
        try:
            self.seen.append(httpx.get(f"http://127.0.0.1:{port}/api/site.json", timeout=30))
        finally:
            self.should_exit = True


@pytest.fixture
def seen(monkeypatch) -> list[httpx.Response]:
    """What a server that was started has answered."""
    monkeypatch.setattr(Watched, "seen", [], raising=False)
    monkeypatch.setattr(uvicorn, "Server", Watched)
    return Watched.seen


@pytest.fixture
def started(toy_weights, toy_data) -> Callable[..., None]:
    """Starts the explorer of the toy network on a free port."""
    return lambda **options: serving.explore(toy_weights, data=toy_data, **{"port": 0, **options})


def test_two_runs_are_served_until_they_are_stopped(seen, toy_weights, toy_data, told, capsys):
    serving.explore(str(toy_weights), str(toy_weights), data=str(toy_data), port=0)
    (response,) = seen
    assert len(response.json()["runs"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("data set   toy: 5 classes, 60 training and 20 validation images")
    assert re.fullmatch(r"explore    http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)", lines[1])


def test_the_address_is_told_to_who_has_set_up_no_logging(seen, started, caplog):
    """Who calls it from Python could not open the page otherwise."""
    with caplog.at_level(logging.WARNING):
        started()
    (record,) = (record for record in caplog.records if record.name.startswith("convlens"))
    assert record.getMessage().startswith("explore    http://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ({}, r"http://127\.0\.0\.1:\d+/"),
        ({"host": "127.0.0.2"}, r"http://127\.0\.0\.2:\d+/"),
        ({"host": "localhost"}, r"http://localhost:\d+/"),
        ({"host": "::1"}, r"http://\[::1\]:\d+/"),
        ({"root_path": "/user/me/"}, r"http://127\.0\.0\.1:\d+/user/me/\?token=\S{22}"),
    ],
)
def test_the_address_that_is_told_answers(started, monkeypatch, caplog, options, printed):
    found = []

    class Opened(uvicorn.Server):
        def run(self, sockets: list[socket.socket] | None = None) -> None:
            opening = threading.Thread(target=self._open)
            opening.start()
            super().run(sockets)
            opening.join()

        def _open(self) -> None:
            (line,) = (r.getMessage() for r in caplog.records if "Ctrl-C" in r.getMessage())
            try:
                found.append(httpx.get(line.split()[1], timeout=30, follow_redirects=True))
            finally:
                self.should_exit = True

    monkeypatch.setattr(uvicorn, "Server", Opened)
    with caplog.at_level(logging.WARNING):
        started(**options)
    (response,) = found
    assert response.status_code == 200
    assert "<title>ConvLens</title>" in response.text
    assert re.search(rf"explore    {printed} \(Ctrl-C", caplog.text)


def test_it_can_be_started_where_an_event_loop_runs(seen, started):
    """As it does in a notebook."""

    async def cell() -> None:
        started()

    asyncio.run(cell())
    assert seen[0].status_code == 200


def test_the_browser_is_sent_to_the_address(seen, started, monkeypatch):
    opened = []
    monkeypatch.setattr(serving.webbrowser, "open", opened.append)
    started(browser=True)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])


def test_on_another_address_the_token_is_part_of_what_is_told(seen, started, told, capsys):
    started(host="0.0.0.0")
    assert re.search(r"explore    http://\S+:\d+/\?token=\S{22} ", capsys.readouterr().out)
    assert seen[0].status_code == 403  # for it asked without


def test_an_address_that_cannot_be_used_is_told(explorer: Explorer):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="give another `host` or `port`") as told:
            serving.serve(explorer, "127.0.0.1", port)
        assert told.value.options == ("host", "port")
    with pytest.raises(UserError, match="cannot be used"):
        serving.serve(explorer, "no.such.host.invalid", 0)
    with pytest.raises(UserError, match="`port` 70000 is out of range"):
        serving.serve(explorer, "127.0.0.1", 70_000)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_extra_is_told_before_anything_is_opened(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    sentence = f"explore needs {missing}; install it with `pip install starlette uvicorn`"
    with pytest.raises(UserError, match=re.escape(sentence)):
        serving.explore(tmp_path / "no-run")


def test_a_page_is_written_without_the_extra(toy_weights, toy_data, tmp_path, monkeypatch):
    for name in "starlette", "uvicorn":
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "convlens.explorer.server", raising=False)
    image: Path = toy_data / "train" / "blue_disc" / "image_0001.png"
    out = serving.export_page(
        toy_weights, toy_weights, out=tmp_path / "page", data=toy_data, images=[image]
    )
    assert out == tmp_path / "page" / "index.html"
    assert b"<title>ConvLens</title>" in out.read_bytes()
