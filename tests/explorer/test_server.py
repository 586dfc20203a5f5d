"""Who may ask, what they get, and that the server lives through what is thrown at it."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from convlens.explorer import answers, images, server
from convlens.explorer.inside import Explorer

HOME = "http://127.0.0.1"


@contextlib.contextmanager
def running(explorer: Explorer, token: str | None = None) -> Iterator[int]:
    """A real server on a free port."""
    app = server.application(explorer, token)
    real = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=real.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            real.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def asking(explorer: Explorer, token: str | None = None) -> Iterator[httpx.Client]:
    """A client of a running server."""
    with (
        running(explorer, token) as port,
        httpx.Client(base_url=f"{HOME}:{port}", timeout=30) as client,
    ):
        yield client


@pytest.fixture
def client(explorer: Explorer) -> Iterator[httpx.Client]:
    with asking(explorer) as client:
        yield client


def picture(number: int = 0, size: tuple[int, int] = (30, 20)) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def ready(client: httpx.Client) -> None:
    """Wait until the survey is through."""
    for _ in range(500):
        tasks = client.get("/api/progress.json").json()["tasks"]
        if all(task["done"] == task["total"] for task in tasks):
            return
        time.sleep(0.02)
    pytest.fail("the survey does not end")


def test_the_page_comes_with_a_strict_policy(client: httpx.Client):
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    for path in "/", "/api/site.json", "/nothing", "/images/0/v0.png":
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["content-security-policy"] == policy


def test_answers_are_those_of_their_paths_and_revalidated_by_their_tags(client, explorer):
    for path in "images/0/v3.png", "api/0/v3/layers.json", "api/0/v3/occlusion-1.png":
        first = client.get(f"/{path}")
        assert first.content == answers.answer(explorer, path).body
        assert first.headers["cache-control"] == "private, no-cache"
        again = client.get(f"/{path}", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    head = client.head("/images/0/v3.png")
    assert (head.status_code, head.content) == (200, b"")


def test_what_is_not_known_yet_says_how_far_it_is(explorer: Explorer):
    explorer.watch = lambda give_way: None  # nothing is surveyed
    with asking(explorer) as client:
        response = client.get("/api/0/patches-0.json")
        assert response.status_code == 202
        assert response.headers["retry-after"] == "1"
        assert response.json() == {"wait": "toy: train images", "done": 0, "total": 60}


def test_the_survey_is_made_while_the_server_runs(client: httpx.Client):
    ready(client)
    assert client.get("/api/0/patches-0.json").status_code == 200
    assert client.get("/api/0/evaluation.json").json()["train"] is not None


def test_errors_are_one_sentence_in_json(client: httpx.Client):
    for path in "/nothing", "/api/0/v99/layers.json", "/..%2f..%2fetc/passwd", "/answers.py":
        response = client.get(path)
        assert response.status_code == 404
        assert response.json().keys() == {"error"}
    for method in "POST", "PUT", "DELETE", "PATCH":
        response = client.request(method, "/api/site.json")
        assert response.status_code == 405
        assert response.json().keys() == {"error"}
    assert client.put("/images").status_code == 405


def test_a_fault_of_ours_is_no_traceback_and_no_end(explorer: Explorer, monkeypatch):
    with asking(explorer) as client:
        with monkeypatch.context() as patch:
            patch.setattr(server, "answer", lambda *_: 1 / 0)
            response = client.get("/images/0/v0.png")
        assert response.status_code == 500
        assert response.json() == {"error": "the explorer failed at this; its terminal says how"}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert client.get("/images/0/v0.png").status_code == 200


def test_an_uploaded_image_can_be_asked_about(client: httpx.Client):
    response = client.post("/images", content=picture())
    assert response.status_code == 200
    name = response.json()["id"]
    assert response.json() == {"id": name, "width": 30, "height": 20}
    probabilities = client.get(f"/api/0/{name}/prediction.json").json()["probabilities"]
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_bad_uploads_are_refused_each_for_its_reason(client: httpx.Client, monkeypatch):
    monkeypatch.setattr(server, "MOST_BYTES", 5000)
    monkeypatch.setattr(server, "DRAINED", 20_000)
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    for content, status in (
        (b"hello", 415),
        (b"", 400),
        (picture()[:300], 415),
        (picture(0, (40, 26)), 413),
        (b"x" * 5001, 413),
        (b"x" * 50_000, 413),
    ):
        response = client.post("/images", content=content)
        assert response.status_code == status
        assert response.json().keys() == {"error"}
    assert client.post("/images", content=picture()).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8765", 200),
        ("localhost:8765", 200),
        ("[::1]:8765", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("localhost.evil.example:80", 403),
        ("[::1", 403),
        ("192.168.0.7", 403),
    ],
)
def test_on_the_loopback_only_this_computer_s_names_are_answered(client, host, status):
    for method in client.get, client.post:
        response = method("/images" if method == client.post else "/", headers={"host": host})
        assert (response.status_code == 403) == (status == 403)


def test_another_page_cannot_send_images(client: httpx.Client):
    own = str(client.base_url).rstrip("/")
    for headers, status in (
        ({"origin": own}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": HOME}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ):
        response = client.post("/images", content=picture(), headers=headers)
        assert response.status_code == status, headers


def test_on_another_address_a_token_opens_and_nothing_else_does(explorer: Explorer):
    with asking(explorer, "the-token") as client:
        client.headers["host"] = "lab.example:8000"
        for path in "/", "/api/site.json", "/?token=wrong", "/?token=", "/?token=%C3%A9":
            response = client.get(path)
            assert response.status_code == 403
            assert "token" in response.json()["error"]
            assert "set-cookie" not in response.headers
        assert client.post("/images", content=picture()).status_code == 403
        opened = client.get("/?token=the-token")
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert client.get("/api/site.json").status_code == 200
        assert client.post("/images", content=picture()).status_code == 200
        foreign = {"origin": "http://evil.example"}
        assert client.post("/images", content=picture(), headers=foreign).status_code == 403
        client.cookies.clear()
        client.cookies.set(server.COOKIE, "wrong")
        assert client.get("/").status_code == 403


def test_too_many_questions_at_once_are_sent_away(explorer: Explorer, monkeypatch):
    monkeypatch.setitem(server.WAITING, "quick", 0)
    with asking(explorer) as client:
        for response, status in (
            (client.get("/images/0/v0.png"), 503),
            (client.post("/images", content=picture()), 429),
        ):
            assert (response.status_code, response.headers["retry-after"]) == (status, "1")
            assert response.json().keys() == {"error"}
        assert client.get("/index.html").status_code == 200


def test_fifty_at_once_get_their_own_answers(explorer: Explorer):
    with running(explorer) as port:

        def visit(number: int) -> tuple[str, list[float]]:
            with httpx.Client(base_url=f"{HOME}:{port}", timeout=60) as client:
                sent = client.post("/images", content=picture(number))
                assert sent.status_code == 200
                name = sent.json()["id"]
                for layer in range(3):
                    assert client.get(f"/api/0/{name}/layer-{layer}.png").status_code == 200
                return name, client.get(f"/api/0/{name}/prediction.json").json()["probabilities"]

        with ThreadPoolExecutor(50) as pool:
            found = dict(pool.map(visit, range(50)))
        assert len(found) == 50
        network = explorer.networks[0]
        for name, probabilities in found.items():
            seen = network.look(name, explorer.images.pixels(name, network.size))
            expected = network.classifier.probabilities(seen.logits)[0]
            np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_clients_that_stall_are_given_up_and_others_served_meanwhile(explorer, monkeypatch):
    monkeypatch.setattr(server, "UPLOAD_SECONDS", 1.0)
    monkeypatch.setattr(server, "TURN_SECONDS", 0.2)
    begun = b"POST /images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc"
    with running(explorer) as port, contextlib.ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(server.READING)
        ]
        for client in stalled:
            client.sendall(begun)
        mute = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        mute.sendall(b"GET / HT")
        with httpx.Client(base_url=f"{HOME}:{port}", timeout=20) as client:
            assert client.get("/images/0/v0.png").status_code == 200
            full = client.post("/images", content=picture())
            assert (full.status_code, full.headers["retry-after"]) == (429, "1")
            for each in stalled:
                each.settimeout(20)
                assert each.recv(65536).startswith(b"HTTP/1.1 408")
            assert client.post("/images", content=picture()).status_code == 200


def test_a_huge_upload_is_refused_without_being_kept(explorer: Explorer, monkeypatch):
    monkeypatch.setattr(server, "MOST_BYTES", 100_000)
    monkeypatch.setattr(server, "DRAINED", 400_000)

    def streamed(chunks: int) -> Iterator[bytes]:  # without a Content-Length
        for _ in range(chunks):
            yield b"x" * 10_000

    with asking(explorer) as client:
        for content in streamed(30), b"x" * 300_000:
            response = client.post("/images", content=content)
            assert response.status_code == 413
            assert "scale the image down" in response.json()["error"]
        with contextlib.suppress(httpx.TransportError):  # may be cut while still sending
            assert client.post("/images", content=streamed(10_000)).status_code == 413
        assert client.get("/images/0/v0.png").status_code == 200


def test_a_client_that_leaves_takes_its_question_with_it(explorer: Explorer, monkeypatch):
    asked, go = [], threading.Event()
    real = server.answer

    def slowly(explorer: Explorer, path: str):
        if server.slow(path):
            asked.append(path)
            assert go.wait(20)
        return real(explorer, path)

    monkeypatch.setattr(server, "answer", slowly)
    with running(explorer) as port:
        with contextlib.ExitStack() as stack:
            for target in range(4):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                path = f"/api/0/v0/occlusion-{target}.png"
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            with httpx.Client(base_url=f"{HOME}:{port}") as client:
                # the slow ones do not stand in the way
                assert client.get("/api/0/v0/prediction.json").status_code == 200
        time.sleep(1)  # all have left
        go.set()
        with httpx.Client(base_url=f"{HOME}:{port}", timeout=20) as client:
            assert client.get("/api/0/v0/occlusion-4.png").status_code == 200
    assert len(asked) == 2  # the one that had begun, and the last
