"""The explorer by HTTP: for one person at this computer, safe from every page in their browser.

It is bound to the loopback address unless told otherwise. There, the Host header must name this
computer, or a foreign page could read it under a name of its own (DNS rebinding); elsewhere, and
for who comes through a proxy, a token is asked for. The page is read into memory at the start,
answers come from `answers`, and uploads stay in memory, so no request reaches the file system.
"""

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convlens.errors import UserError
from convlens.explorer.addresses import is_loopback
from convlens.explorer.answers import Answer, NotThere, answer, as_json, page_files, slow
from convlens.explorer.connections import Connection
from convlens.explorer.images import MOST_BYTES, TooLarge
from convlens.explorer.inside import Explorer
from convlens.explorer.kept import Kept
from convlens.explorer.survey import NotYet
from convlens.explorer.touched import touched

KEPT_BYTES = 128_000_000  # of answers
WAITING = {"quick": 128, "slow": 16}  # questions in a lane, at most
PATIENCE = 10.0  # seconds until a question's turn; who waits longer may ask again
READING = 8  # uploads in memory at once; the others wait their turn, at most
TURN_SECONDS = 5.0
UPLOAD_SECONDS = 30.0  # for one of them to arrive
DRAINED = 4 * MOST_BYTES  # of an upload that is too large, so that the client hears why
OWN_HEADER = "x-requested-with"  # sent by the page; another one would have to ask for leave first
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",  # kept, but asked about by its ETag
}


class Busy(Exception):
    """More questions wait than will be answered soon."""


class Lane:
    """One thread that answers in turn, so that what it alone asks needs no lock."""

    def __init__(self, name: str):
        self.name, self.most, self.waiting = name, WAITING[name], 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, request: Request, function: Callable, *arguments: Any) -> Any:
        """function(*arguments) in its turn, unless the client has gone by then.

        Raises Busy where too many wait already, and where the turn does not come in time.
        """
        if self.waiting >= self.most:
            raise Busy
        self.waiting += 1
        try:
            turn = self._pool.submit(function, *arguments)
            future, deadline = asyncio.wrap_future(turn), time.monotonic() + PATIENCE
            while not (await asyncio.wait({future}, timeout=0.25))[0]:
                if await request.is_disconnected():
                    future.cancel()
                    raise ClientDisconnect
                if time.monotonic() > deadline and turn.cancel():  # else it is being answered
                    raise Busy
            return future.result()
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Answer no more; who still waits is told so."""
        self._pool.shutdown(cancel_futures=True)


class Service:
    """The questions of one server: their lanes, and the answers that were given before.

    stamp: of what it was opened from, for whoever wants to know whether that has changed.
    """

    def __init__(self, explorer: Explorer, stamp: int = 0):
        self.explorer, self.stamp = explorer, stamp
        self.files = page_files()
        self.files[""] = self.files["index.html"]
        self.kept: Kept[Answer] = Kept(KEPT_BYTES, lambda answer: len(answer.body))
        self.quick, self.slow = Lane("quick"), Lane("slow")
        self.reading = asyncio.Semaphore(READING)

    @contextlib.asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """Surveys run while the server does."""
        self.begin()
        try:
            yield
        finally:
            self.close()

    def begin(self) -> None:
        """Begin the surveys, in the background."""
        self.explorer.watch(self._give_way)

    def close(self) -> None:
        """Answer no more."""
        self.explorer.close()
        self.quick.close()
        self.slow.close()

    def _give_way(self) -> None:
        """Before the survey's next batch, let those be answered who wait; but not forever."""
        for _ in range(100):
            if not self.quick.waiting:
                break
            self.explorer.surveyor.pause(0.005)

    async def get(self, request: Request) -> Response:
        """A file of the page or an answer."""
        path = request.path_params["path"]
        found = self.files.get(path) or self.kept.get(path)
        if found is None:
            lane = self.slow if slow(path) else self.quick
            found = await lane.ask(request, answer, self.explorer, path)
            if found.final:
                self.kept.put(path, found)
        tag = f'"{hashlib.sha256(found.body).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(found.body, media_type=found.kind, headers={"ETag": tag})

    async def post(self, request: Request) -> Response:
        """One image file as the body."""
        async with self._place():
            content = await _received(request)
            upload = await self.quick.ask(request, self.explorer.images.add, content)
        return _json({"id": upload.name, "width": upload.width, "height": upload.height})

    async def touch(self, request: Request) -> Response:
        """The pixels of a picture that was changed on the page as the body; nothing of it is kept
        unless `keep` is asked for."""
        words = request.query_params
        layers = [int(each) for each in words.get("layers", "").split(",") if each.isdecimal()]
        asked = self.explorer, request.path_params["run"]
        async with self._place():
            content = await _received(request)
            found = await self.quick.ask(request, touched, *asked, content, layers, "keep" in words)
        return Response(found.body, media_type=found.kind)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places of those that send something, so that little is in memory at once."""
        try:
            await asyncio.wait_for(self.reading.acquire(), TURN_SECONDS)
        except TimeoutError:
            raise Busy from None
        try:
            yield
        finally:
            self.reading.release()


async def _received(request: Request) -> bytes:
    """The body, if it arrives in time."""
    try:
        return await asyncio.wait_for(_read(request), UPLOAD_SECONDS)
    except TimeoutError:
        raise HTTPException(
            408, "the image did not arrive in time; try again", {"Connection": "close"}
        ) from None


async def _read(request: Request) -> bytes:
    """The body, never more than MOST_BYTES of it in memory."""
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit():
        raise HTTPException(400, "the Content-Length is no number")
    too_large = TooLarge(
        f"the file has more than {MOST_BYTES // 1_000_000} MB; scale the image down"
    )
    if int(announced) > DRAINED:
        raise too_large
    chunks, total = [], 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > DRAINED:
            break
        if total > MOST_BYTES:
            chunks.clear()
        else:
            chunks.append(chunk)
    if total > MOST_BYTES:
        raise too_large
    if not total:
        raise HTTPException(400, "the request has no image as its body")
    return b"".join(chunks)


def cookie_of(token: str) -> str:
    """The name of the cookie that keeps a token. Cookies are a host's, whatever the port: each
    explorer there has a name of its own, from which nobody can tell the token."""
    return f"convlens-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


class Guard:
    """Lets in only those who may ask, and puts HEADERS on every response.

    Args:
        app: Who answers.
        token: What is asked for; None on the loopback, where the Host header is looked at instead.
        prefix: The path below which a proxy shows the page, "" or "/…", percent-encoded; requests
            may have it or not, as some proxies take it off.
    """

    def __init__(self, app: ASGIApp, token: str | None, prefix: str = ""):
        self.app, self.token, self.prefix = app, token, prefix
        self.cookie = "" if token is None else cookie_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        response = self._refusal(Request(scope, receive))
        prefix = unquote(self.prefix)
        if f"{scope['path']}/".startswith(f"{prefix}/"):
            scope = {**scope, "path": scope["path"][len(prefix) :]}
        if not scope["path"]:  # from where the page's own paths would lead elsewhere
            response = response or self._to_the_page()
        await (response or self.app)(scope, receive, send_with_headers)

    def _to_the_page(self) -> Response:
        """Wherever a request came from, for a path can be made to name another host."""
        return RedirectResponse(f"{self.prefix}/", status_code=303)

    def _refusal(self, request: Request) -> Response | None:
        """What those get who may not ask, or must ask again."""
        host = request.headers.get("host", "")
        given = request.query_params.get("token")
        if self.token is not None and given is not None:
            if not _equal(given, self.token):
                return _error(403, "the token in the address is not this explorer's")
            response = self._to_the_page()
            response.set_cookie(
                self.cookie, self.token, path=f"{self.prefix}/", httponly=True, samesite="lax"
            )
            return response
        shown = request.cookies.get(self.cookie, "")
        if self.token is None:
            if not is_loopback(_name(host)):
                return _error(403, "this explorer answers only to this computer's own name")
        elif not _equal(shown, self.token):
            return _error(403, "open the address with the token that `convlens explore` printed")
        if request.method not in ("GET", "HEAD"):
            # A proxy may have put another Host in the place of the one that the browser asked.
            origin = request.headers.get("origin")
            same = origin is None or origin.partition("://")[2].lower() == host.lower()
            if not same and request.headers.get(OWN_HEADER) != "convlens":
                return _error(403, "another page may not send images here")
            if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return _error(403, "another page may not send images here")
        return None


def _name(host: str) -> str:
    """Of a Host header, without its port; "" where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _equal(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(as_json(content).body, status, headers, "application/json")


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return _json({"error": sentence}, status, headers)


async def _not_there(request: Request, problem: NotThere) -> Response:
    return _error(404, str(problem))


async def _not_yet(request: Request, problem: NotYet) -> Response:
    task = problem.task
    content = {"wait": task.name, "done": task.done, "total": task.total}
    # no error, which a browser would write to its console: the question was heard
    return _json(content, 202, {"Retry-After": "1"})


async def _busy(request: Request, problem: Busy) -> Response:
    status = 429 if request.method == "POST" else 503
    return _error(status, "too much is asked at once; ask again in a second", {"Retry-After": "1"})


async def _too_large(request: Request, problem: TooLarge) -> Response:
    return _error(413, str(problem), {"Connection": "close"})


async def _no_image(request: Request, problem: UserError) -> Response:
    return _error(415, str(problem))


async def _http(request: Request, problem: HTTPException) -> Response:
    return _error(problem.status_code, problem.detail, dict(problem.headers or {}))


async def _gone(request: Request, problem: ClientDisconnect) -> Response:
    return _error(400, "the client has gone")  # and reads this no more


async def _failed(request: Request, problem: Exception) -> Response:
    # uvicorn hangs up after a fault, and a client must not ask on while it does
    headers = {"Connection": "close"}
    return _error(500, "the explorer failed at this; its terminal says how", headers)


HANDLERS: dict[Any, Any] = {  # Starlette's type for it takes none of a kind of exception
    NotThere: _not_there,
    NotYet: _not_yet,
    Busy: _busy,
    TooLarge: _too_large,
    UserError: _no_image,
    HTTPException: _http,
    ClientDisconnect: _gone,
    Exception: _failed,
}


def application(explorer: Explorer, token: str | None = None, prefix: str = "") -> ASGIApp:
    """The ASGI application; token and prefix are the Guard's."""
    service = Service(explorer)
    app = Starlette(
        routes=[
            Route("/images", service.post, methods=["POST"]),
            Route("/api/{run:int}/touched", service.touch, methods=["POST"]),
            Route("/{path:path}", service.get, methods=["GET"]),
        ],
        exception_handlers=HANDLERS,
        lifespan=service.life,
    )
    app.router.redirect_slashes = False
    return Guard(app, token, prefix)


def configuration(app: ASGIApp) -> uvicorn.Config:
    """How it is served: by connections that end, and with nothing said of what clients do wrong."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
    )
