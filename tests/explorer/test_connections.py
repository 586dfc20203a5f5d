"""Who asks nothing, or does not listen, keeps nobody else out."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from pages import until

from convlens.explorer import connections, server
from convlens.explorer.answers import Answer
from convlens.explorer.inside import Explorer

REQUEST = b"GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def running(explorer: Explorer) -> Iterator[int]:
    real = uvicorn.Server(server.configuration(server.application(explorer)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=real.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            real.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def port(explorer: Explorer, monkeypatch) -> Iterator[int]:
    """Of a server whose time is short."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 1.0)
    explorer.watch = lambda give_way: None  # nothing is surveyed
    with running(explorer) as port:
        yield port


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 20, (address, 0))
    client.settimeout(20)
    return client


def all_of(client: socket.socket) -> bytes:
    """What is read until the server hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            found += chunk
    return found


def asked(client: socket.socket, request: bytes = REQUEST) -> int:
    """The status of its answer, which is read to its end."""
    client.sendall(request)
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    return response.status


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.05)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([], b""),
        ([b"GET / HT"], b"HTTP/1.1 408 "),
        ([b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 30], b"HTTP/1.1 408 "),
        ([REQUEST, b"GET / H"], b"HTTP/1.1 200 "),
        (
            [
                b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n",
                *[b"x"] * 30,
            ],
            b"HTTP/1.1 405 ",
        ),
    ],
)
def test_headers_that_do_not_end_end_the_connection(port, pieces, answer):
    with connected(port) as client:
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # a piece for which it is too late
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.1)
        assert all_of(client).startswith(answer)
        assert 0.8 < time.monotonic() - begun < 20


def test_a_connection_between_two_requests_stays(port):
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        assert client.get("/").status_code == 200
        stream = client._transport._pool.connections[0]
        time.sleep(1.5)
        assert client.get("/").status_code == 200
        assert client._transport._pool.connections == [stream]


def test_460_slow_clients_keep_nobody_out(port, monkeypatch):
    """All of one address, which is also that of a browser with twelve connections."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 30.0)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port)) for _ in range(460)]
        for client in slow:
            with contextlib.suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\nX: ")
        browser = [stack.enter_context(connected(port)) for _ in range(12)]
        begun = time.monotonic()
        assert [asked(client) for client in browser * 2] == [200] * 24
        assert time.monotonic() - begun < 20
        assert sum(map(is_open, slow)) < connections.OF_ONE_CLIENT


def test_one_address_takes_no_more_than_its_part(port, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 30.0)
    monkeypatch.setattr(connections, "OF_ONE_CLIENT", 5)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(connected(port, "127.0.0.9"))
        first = stack.enter_context(connected(port))
        assert asked(first) == 200  # so that those who never asked go before it
        mute = [stack.enter_context(connected(port)) for _ in range(8)]
        until(lambda: [is_open(client) for client in mute] == [False] * 4 + [True] * 4)
        assert is_open(first)
        assert is_open(other)


def test_of_too_many_clients_the_largest_gives_way(port, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 30.0)
    monkeypatch.setattr(connections, "CONNECTIONS", 6)
    with contextlib.ExitStack() as stack:
        lonely = [stack.enter_context(connected(port, f"127.0.0.{n}")) for n in (7, 8, 9)]
        crowd = [stack.enter_context(connected(port)) for _ in range(3)]
        late = stack.enter_context(connected(port, "127.0.0.10"))
        until(lambda: [is_open(client) for client in crowd] == [False, True, True])
        assert all(map(is_open, [*lonely, late]))


def test_where_everybody_is_being_answered_a_newcomer_is_sent_away(port, monkeypatch):
    monkeypatch.setattr(connections, "OF_ONE_CLIENT", 2)
    go, begun = threading.Event(), []

    def slowly(*_) -> Answer | None:
        begun.append(True)
        return Answer(b"here", "text/plain") if go.wait(20) else None

    monkeypatch.setattr(server, "answer", slowly)
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(connected(port)) for _ in range(2)]
        for client in asking:
            client.sendall(b"GET /images/0/v0.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: begun)
        time.sleep(1)  # the other has its turn later, and has been heard by now
        refused = all_of(stack.enter_context(connected(port)))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        go.set()
        for client in asking:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_nobody_reads_is_given_up(port, monkeypatch):
    monkeypatch.setattr(server, "answer", lambda *_: Answer(bytes(30_000_000), "image/png"))
    with connected(port) as client:
        client.sendall(b"GET /images/0/v0.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(2)
        assert len(all_of(client)) < 30_000_000
    with connected(port) as client:  # while one that does read gets all of it
        assert asked(client, b"GET /images/0/v0.png HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
