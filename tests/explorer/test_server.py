"""Who may ask, what they get, and that the server lives through what is thrown at it."""

import contextlib
import io
import json
import re
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
def running(explorer: Explorer, *guard) -> Iterator[int]:
    """A real server on a free port. guard: the application's further arguments."""
    app = server.application(explorer, *guard)
    real = uvicorn.Server(server.configuration(app))
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
def asking(explorer: Explorer, *guard) -> Iterator[httpx.Client]:
    """A client of a running server."""
    with (
        running(explorer, *guard) as port,
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


def test_a_changed_picture_is_answered_and_named_if_it_is_to_be_kept(client: httpx.Client):
    pixels = bytes(range(256)) * 3  # a square of 16 pixels, RGB
    told = client.post("/api/0/touched?layers=0,2", content=pixels)
    assert (told.status_code, told.headers["content-type"]) == (200, "application/octet-stream")
    head = json.loads(told.content[4 : 4 + int.from_bytes(told.content[:4], "little")])
    assert (head["id"], head["layers"], len(head["statistics"])) == (None, [0, 2], 7)
    kept = client.post("/api/0/touched?layers=&keep", content=pixels).content
    name = json.loads(kept[4 : 4 + int.from_bytes(kept[:4], "little")])["id"]
    said = client.get(f"/api/0/{name}/prediction.json").json()["probabilities"]
    assert said == head["probabilities"]
    assert client.post("/api/0/touched", content=pixels[:-1]).status_code == 415
    assert client.post("/api/1/touched", content=pixels).status_code == 404
    foreign = {"Origin": "http://evil.example"}
    assert client.post("/api/0/touched", content=pixels, headers=foreign).status_code == 403


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
        ("127.0.0.2:8765", 200),  # as `--host 127.0.0.2` is asked
        ("[0:0:0:0:0:0:0:1]:8765", 200),
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
        ({"origin": "http://["}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://proxy.example", "x-requested-with": "convlens"}, 200),  # from the page
        ({"sec-fetch-site": "cross-site", "x-requested-with": "convlens"}, 403),
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
        client.cookies.set(server.cookie_of("the-token"), "wrong")
        assert client.get("/").status_code == 403


def test_two_explorers_on_one_host_keep_their_cookies_apart(explorer: Explorer):
    """A browser gives a host's cookies to all its ports."""
    explorer.watch = lambda give_way: None  # the thread of one survey starts once
    with asking(explorer, "one") as first, asking(explorer, "other") as second:
        for client, token in (first, "one"), (second, "other"):
            client.headers["host"] = "lab.example"
            assert client.get(f"/?token={token}").status_code == 303
        for client, other in (first, second), (second, first):
            client.cookies.update(other.cookies)
            assert client.get("/api/site.json").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/user/me"])
@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/",
        "//evil.example/%2e%2e",
        "/\\evil.example/",
        "/%5Cevil.example/",
        "/%2F/evil.example",
        "/..//evil.example/",
        "/%0d%0aLocation:%20http://evil.example/",
        "/@evil.example",
        "http://evil.example/",
        "/api/site.json",
        "",
        "*",
    ],
)
def test_a_redirect_leads_to_the_page_and_nowhere_else(explorer: Explorer, prefix, path):
    explorer.watch = lambda give_way: None
    with (
        running(explorer, "RIGHT", prefix) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        for before in {"", prefix}:
            client.sendall(f"GET {before}{path}?token=RIGHT HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = client.recv(65536).decode()
            assert head.startswith("HTTP/1.1 303 ")
            assert f"\r\nlocation: {prefix}/\r\n" in head
            assert head.lower().count("location:") == 1
            assert f"; Path={prefix}/;" in head  # of the cookie


def test_below_a_proxy_s_path_the_token_opens_and_nothing_else(explorer: Explorer):
    """Many a proxy asks by this computer's own name, for whoever comes to it."""
    explorer.watch = lambda give_way: None
    with asking(explorer, "the-token", "/user/me") as client:
        for host in "127.0.0.1", "localhost", "hub.example":
            for path in "/user/me/", "/user/me", "/", "/user/me/?token=wrong":
                assert client.get(path, headers={"host": host}).status_code == 403
        assert client.get("/user/me/?token=the-token").headers["location"] == "/user/me/"
        assert client.get("/user/me/api/site.json").status_code == 200
        shown = {"cookie": f"{server.cookie_of('the-token')}=the-token"}  # of the path below
        assert client.get("/api/site.json", headers=shown).status_code == 200  # that is taken off
        assert client.get("/user/me/user/me/api/site.json").status_code == 404
        assert client.get("/user/meteor", headers=shown).status_code == 404
        # from which "api/site.json" would lead elsewhere
        bare = client.get("/user/me", headers=shown)
        assert (bare.status_code, bare.headers["location"]) == (303, "/user/me/")


@pytest.mark.parametrize("strips", [True, False])
def test_below_a_proxy_the_page_its_answers_and_uploads_are_found(explorer, behind, strips):
    """The proxy has a Host header of its own, and a page comes from another origin than that."""
    prefix = "/user/me@x/proxy/1"
    with (
        running(explorer, "the-token", prefix) as port,
        behind(port, prefix, strips) as host,
        httpx.Client(follow_redirects=True, timeout=30) as client,
    ):
        page = f"{host}{prefix}/"
        assert client.get(page).status_code == 403
        opened = client.get(page, params={"token": "the-token"})
        assert (opened.status_code, str(opened.url)) == (200, page)
        for name in re.findall(r'(?:src|href)="([^"#]+)"', opened.text):
            assert client.get(f"{page}{name}").status_code == 200
        assert client.get(f"{page}api/site.json").json()["runs"]
        headers = {"origin": host, "x-requested-with": "convlens"}
        sent = client.post(f"{page}images", content=picture(), headers=headers)
        assert sent.status_code == 200
        image = sent.json()["id"]
        assert client.get(f"{page}api/0/{image}/prediction.json").status_code == 200
        foreign = client.post(f"{page}images", content=picture(), headers={"origin": host})
        assert foreign.status_code == 403


def test_a_turn_that_does_not_come_in_time_is_told(explorer: Explorer, monkeypatch):
    """The question that is being answered is waited for, those behind it are not."""
    go, begun, real = threading.Event(), threading.Event(), server.answer
    monkeypatch.setattr(server, "PATIENCE", 0.5)

    def slowly(explorer: Explorer, path: str):
        begun.set()
        return real(explorer, path) if not server.slow(path) or go.wait(60) else None

    monkeypatch.setattr(server, "answer", slowly)
    with running(explorer) as port, ThreadPoolExecutor(5) as pool:

        def ask(target: int) -> tuple[int, str | None, float]:
            asked = time.monotonic()
            url = f"{HOME}:{port}/api/0/v0/occlusion-{target}.png"
            response = httpx.get(url, timeout=60)
            waited = time.monotonic() - asked
            return response.status_code, response.headers.get("retry-after"), waited

        first = pool.submit(ask, 0)
        assert begun.wait(20)
        for status, retry, waited in pool.map(ask, range(1, 5)):
            assert (status, retry) == (503, "1")
            assert 0.5 <= waited < 15
        go.set()
        assert first.result()[0] == 200
        assert ask(1)[0] == 200


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
            seen = network.look(name, explorer.images.pixels(name, network.loading))
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
            assert go.wait(60)
        return real(explorer, path)

    monkeypatch.setattr(server, "answer", slowly)
    with running(explorer) as port:
        with contextlib.ExitStack() as stack:
            for target in range(4):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                path = f"/api/0/v0/occlusion-{target}.png"
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            with httpx.Client(base_url=f"{HOME}:{port}", timeout=20) as client:
                # the slow ones do not stand in the way
                assert client.get("/api/0/v0/prediction.json").status_code == 200
        time.sleep(3)  # all have left
        go.set()
        with httpx.Client(base_url=f"{HOME}:{port}", timeout=20) as client:
            assert client.get("/api/0/v0/occlusion-4.png").status_code == 200
    assert len(asked) == 2  # the one that had begun, and the last
