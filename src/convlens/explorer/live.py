"""Runs while they train, by HTTP: a table of them, their curves, and how their networks grow.

The page is told by server-sent events that something has changed, and asks for it. A run that is
over is opened as the explorer shows it, below `inside/NUMBER/`.
"""

import asyncio
import contextlib
import html
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.explorer.answers import as_json, page_files
from convlens.explorer.growth import Growth
from convlens.explorer.inside import Explorer
from convlens.explorer.runs import Runs, history_of
from convlens.explorer.server import HANDLERS, Busy, Guard, Lane, NotThere, Service

LOOKED = 1.0  # seconds between two looks at the folders, while somebody watches
QUIET = 15.0  # seconds after which a sign of life is sent
OPENED = 2  # runs that are kept open


class Live:
    """What the page of runs asks for.

    Args:
        roots: Run folders, and folders that hold some.
        data: The data set of the runs that are opened; else each one's own.
        reading: How it is read.
    """

    def __init__(
        self, roots: Sequence[Path], data: Path | str | None = None, reading: Reading | None = None
    ):
        self.runs = Runs(roots)
        self.data, self.reading = data, reading
        self.files = page_files()
        self.reading_lane, self.opening_lane = Lane("quick"), Lane("slow")
        self.growths: dict[int, tuple[str, Growth, bytes]] = {}
        self.services: dict[int, Service] = {}
        self.is_ending: Callable[[], bool] = lambda: False

    def end_with(self, server: uvicorn.Server) -> None:
        """Tell nothing more once the server is to end, which waits for what is under way."""
        self.is_ending = lambda: server.should_exit

    @contextlib.asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """What was opened is closed at the end."""
        try:
            yield
        finally:
            for service in self.services.values():
                service.close()
            self.reading_lane.close()
            self.opening_lane.close()

    async def all(self, request: Request) -> Response:
        """Every run in a line."""
        return _json(await self.reading_lane.ask(request, self.runs.all))

    async def events(self, request: Request) -> Response:
        """`runs`, with the same, whenever something has changed; `end` as the last word of all."""
        changes, unbuffered = self._changes(request), {"X-Accel-Buffering": "no"}
        return StreamingResponse(changes, media_type="text/event-stream", headers=unbuffered)

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        told, silent = "", 0.0
        while not self.is_ending():  # who has gone is told to this by being cancelled
            try:
                runs = await self.reading_lane.ask(request, self.runs.all)
            except Busy:  # the answer has begun, and cannot be that; the next look tells
                await asyncio.sleep(LOOKED)
                continue
            now = as_json(runs).body.decode()
            stamps = json.dumps([(run["id"], run["stamp"], run["state"]) for run in runs])
            silent += LOOKED
            if stamps != told or silent > QUIET:  # the time that is left goes on all the same
                told, silent = stamps, 0.0
                yield f"event: runs\ndata: {now}\n\n"
            await asyncio.sleep(LOOKED)
        runs = await self.reading_lane.ask(request, self.runs.all)
        yield f"event: end\ndata: {as_json(runs).body.decode()}\n\n"

    async def history(self, request: Request) -> Response:
        """A run's epochs."""
        number = request.path_params["run"]
        return _json(await self.reading_lane.ask(request, history_of, self._path(number)))

    async def growth(self, request: Request) -> Response:
        """What a run's network is at its last epoch."""
        number = request.path_params["run"]
        # the first opens the data set, which may take long
        lane = self.reading_lane if number in self.growths else self.opening_lane
        body = await lane.ask(request, self._growth, number, self._path(number))
        return Response(body, media_type="application/json")

    def _growth(self, number: int, path: Path) -> bytes:
        weights = path / "last.safetensors"
        try:
            stamp = str(weights.stat().st_mtime_ns)
        except OSError:
            raise NotThere("no epoch has been finished yet") from None
        known = self.growths.get(number)
        if known is None or known[0] != stamp:
            growth = known[1] if known else Growth(path)
            try:
                known = stamp, growth, as_json(growth.now()).body
            except UserError as problem:
                raise NotThere(str(problem)) from None
            self.growths[number] = known
        return known[2]

    def _path(self, number: int) -> Path:
        try:
            return self.runs.path(number)
        except IndexError:
            raise NotThere("there is no such run; load the page again") from None

    async def inside(self, request: Request) -> Response:
        """The explorer of a run, as a page of its own."""
        try:
            service = await self._service(request)
        except NotThere as problem:
            if request.path_params["path"]:
                raise
            return HTMLResponse(_CLOSED.format(html.escape(str(problem))), 404)
        return await service.get(request)

    async def sent(self, request: Request) -> Response:
        """An image for that page."""
        return await (await self._service(request)).post(request)

    async def touched(self, request: Request) -> Response:
        """A picture that was changed there."""
        return await (await self._service(request)).touch(request)

    async def _service(self, request: Request) -> Service:
        """That of a run, opened anew where its page is loaded and the run has gone on since."""
        number = request.path_params["inside"]
        path, is_page = self._path(number), request.path_params.get("path") == ""
        stamp, over = _stamp(path), []

        def is_open() -> bool:
            known = self.services.get(number)
            return known is not None and not (is_page and known.stamp != stamp)

        if not is_open():
            explorer = await self.opening_lane.ask(request, self._open, path)
            if not is_open():  # nobody was faster
                over += [self.services.pop(number)] if number in self.services else []
                self.services[number] = Service(explorer, stamp)
                self.services[number].begin()
        service = self.services[number] = self.services.pop(number)  # the last that was used
        over += [self.services.pop(oldest) for oldest in list(self.services)[:-OPENED]]
        for each in over:  # in a thread, for it waits until the survey has ended its batch
            await asyncio.to_thread(each.close)
        return service

    def _open(self, path: Path) -> Explorer:
        try:
            return Explorer.open([path], self.data, self.reading)
        except UserError as problem:
            raise NotThere(str(problem)) from None

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        found = self.files.get(request.path_params["path"] or "live.html")
        if found is None:
            raise HTTPException(404, "there is nothing at this address")
        return Response(found.body, media_type=found.kind)


_CLOSED = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>ConvLens</title>
<link rel="stylesheet" href="../../base.css">
<link rel="stylesheet" href="../../frame.css">
<main>
<h1>This run cannot be opened</h1>
<p>{}</p>
<p><a href="../../">All runs</a></p>
</main>
"""


def _stamp(path: Path) -> int:
    """When the weights of a run were written."""
    try:
        return (path / "best.safetensors").stat().st_mtime_ns
    except OSError:
        return 0


async def _into(request: Request) -> Response:
    """The explorer's own paths begin behind the slash."""
    return RedirectResponse(f"{request.path_params['inside']}/")


def _json(content: Any) -> Response:
    return Response(as_json(content).body, media_type="application/json")


def live_application(live: Live, token: str | None = None, prefix: str = "") -> ASGIApp:
    """The ASGI application; token and prefix are the Guard's."""
    app = Starlette(
        routes=[
            Route("/api/runs.json", live.all),
            Route("/api/events", live.events),
            Route("/api/{run:int}/history.json", live.history),
            Route("/api/{run:int}/growth.json", live.growth),
            Route("/inside/{inside:int}", _into),
            Route("/inside/{inside:int}/images", live.sent, methods=["POST"]),
            Route("/inside/{inside:int}/api/{run:int}/touched", live.touched, methods=["POST"]),
            Route("/inside/{inside:int}/{path:path}", live.inside),
            Route("/{path:path}", live.file),
        ],
        exception_handlers=HANDLERS,
        lifespan=live.life,
    )
    app.router.redirect_slashes = False
    return Guard(app, token, prefix)
