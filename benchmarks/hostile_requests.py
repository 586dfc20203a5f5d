"""Sends the explorer requests made of lies and counts what it answers.

    python benchmarks/hostile_requests.py [--count 10000] [--seed 0] [--clients 16]

Two real servers on the loopback are asked, one as at home and one with a token below a proxy's
path: about paths, hosts, origins and lengths that are none, by broken and smuggled requests, by
uploads that are no images, and by clients that stop in the middle, do not read or hang up. Ends
with status 1 if anything was answered by 500, was not answered in time, said what it must not, or
if a server is not itself afterwards. docs/reliability.md quotes the counts.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import random
import re
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
import uvicorn
from PIL import Image

from convlens.data import open_dataset
from convlens.explorer import connections, server
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.inference import Classifier
from convlens.models import LeNet5

CLASSES = ("disc", "<b>ring</b>", "bar\u202e")
TOKEN, PREFIX = "the-token-of-this-explorer", "/user/me/proxy/1"
SHORT = 2.0  # seconds that a client is waited for, in place of the explorer's own 5 to 120
HUNG = 30.0  # seconds without an end

GOOD = [
    "/",
    "/main.js",
    "/base.css",
    "/api/site.json",
    "/api/progress.json",
    "/images/validation.png",
    "/images/0/v0.png",
    "/api/0/v1/prediction.json",
    "/api/0/t2/layers.json",
    "/api/0/v0/layer-0.png",
    "/api/0/v0/deconvolution-0-1.png",
    "/api/0/v0/neighbors.json",
    "/api/0/v0/grad-cam-1.png",
    "/api/0/v0/occlusion-0.json",
    "/api/0/filter-0-0.json",
    "/api/0/patches-0.json",
    "/api/0/dead.json",
    "/api/0/history.json",
    "/api/0/evaluation.json",
    "/api/0/embedding.json",
    "/images",
]
PIECES = [
    "..",
    "%2e%2e",
    "..%2f",
    "....//",
    "\\",
    "%5c",
    "//",
    "/./",
    "%00",
    "%0d%0aX:1",
    ";",
    "?",
    "#",
    "etc/passwd",
    "%c0%af",
    "-1",
    "999999",
    "9999999999",
    "1e9",
    "v-1",
    "u0123456789abcdef",
    "٣",
    "%ff%fe",
    "nan",
    "{}",
    "<script>",
    "'",
    "~",
    "*",
    "http://evil.example/",
    "@evil.example",
    "&token=",
    "a" * 3000,
    "%",
    "%zz",
    "static",
    "__init__.py",
    ".git/config",
    "api",
    "0",
    "v0",
]
FOREIGN = [
    "evil.example",
    "127.0.0.1.evil.example",
    "[::1",
    "",
    "0.0.0.0",
    "localhost.evil.example",
    "a" * 2000,
    "localhost\x7f",
    "2130706433",
    "127.1",
    "évil",
    "localhost, evil.example",
    "[fe80::1%25eth0]",
    "10.0.0.1:80",
    "[::]",
    "localhost.",
]
OWN = ["localhost", "LOCALHOST:80", "[::1]:1", "127.0.0.1:99999", "127.0.0.2"]
ORIGINS = ["null", "http://evil.example", "http://[", "http://127.0.0.1", "file://", "://", "é"]
METHODS = ["GET"] * 4 + [
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "G\x01T",
]


def words(*values: object) -> bytes:
    return "".join(map(str, values)).encode("latin-1", "replace")


@dataclass
class Target:
    """A server of the two. token, prefix: "" where there is none."""

    port: int
    token: str = ""
    prefix: str = ""


@dataclass
class Asked:
    """A request as bytes. whole: whether an answer is owed to it. pause: seconds after each piece.
    reads, halts: whether the client reads the answer, and says that it sends no more."""

    pieces: list[bytes]
    whole: bool = True
    pause: float = 0.0
    reads: bool = True
    halts: bool = False


# What is asked


def path_of(chance: random.Random) -> str:
    path = chance.choice(GOOD)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(path) + 1)
        match chance.randrange(5):
            case 0:
                path = path[:at] + chance.choice(PIECES) + path[at:]
            case 1:
                path = path[:at] + path[at + chance.randrange(1, 5) :]
            case 2:
                character = chr(chance.randrange(0x110000))
                path = path[:at] + quote(character, errors="replace") + path[at:]
            case 3:
                path = "/" * chance.randrange(1, 4) + path
            case _:
                path = path[:at] + str(10 ** chance.randrange(12)) + path[at:]
    return path


def image_of(chance: random.Random) -> bytes:
    """An image file, more or less."""
    kind = chance.choice(("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"))
    file = io.BytesIO()
    side = chance.randrange(1, 60)
    Image.new("RGB", (side, 40), (chance.randrange(256), 9, 200)).save(file, kind)
    content = bytearray(file.getvalue())
    for _ in range(chance.randrange(6)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    match chance.randrange(8):
        case 0:
            content = content[: chance.randrange(len(content))]
        case 1:
            content = bytearray(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        case 2:  # announces more pixels than anybody has memory for
            side = chance.choice((60_000, 2**31 - 1, -1))
            fields = b"BM", 99, 0, 54, 40, side, side, 1, 24, *[0] * 6
            content = bytearray(struct.pack("<2s4I2i2H6I", *fields))
        case 3:
            content += chance.randbytes(chance.randrange(60_000))
    return bytes(content)


def headers_of(chance: random.Random, target: Target) -> bytes:
    """Some that a request has, mostly the right ones."""
    (host,) = chance.choices(([f"127.0.0.1:{target.port}"], OWN, FOREIGN), (6, 2, 2))
    lines = [words("Host: ", chance.choice(host))]
    if target.token and chance.random() < 0.8:
        token = target.token if chance.random() < 0.8 else chance.choice(PIECES)
        lines.append(words("Cookie: ", server.cookie_of(target.token), "=", token))
    if chance.random() < 0.2:
        lines.append(words("Origin: ", chance.choice(ORIGINS)))
    if chance.random() < 0.1:
        lines.append(words("Sec-Fetch-Site: ", chance.choice(("cross-site", "same-origin", "x"))))
    if chance.random() < 0.1:
        lines.append(words("X-Requested-With: ", chance.choice(("convlens", "evil"))))
    if chance.random() < 0.1:
        lines += [words("X-", number, ": ", "y" * chance.randrange(200)) for number in range(40)]
    if chance.random() < 0.1:
        lines.append(words("If-None-Match: ", chance.choice(('"x"', "*", '"' * 99))))
    if chance.random() < 0.05:
        lines.append(words("Connection: Upgrade\r\nUpgrade: ", chance.choice(("websocket", "h2c"))))
    if chance.random() < 0.05:
        lines.append(words("X-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: //evil.example"))
    if chance.random() < 0.8:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines)


def ask_path(chance: random.Random, target: Target) -> Asked:
    prefix = target.prefix if chance.random() < 0.7 else chance.choice(("", "/user", "//user"))
    path = prefix + path_of(chance)
    if chance.random() < 0.2:
        token = target.token if chance.random() < 0.5 else chance.choice(PIECES)
        path += f"?token={token}"
    method = chance.choice(METHODS)
    line = words(method, " ", path.replace(" ", ""), " HTTP/1.1\r\n")
    return Asked([line + headers_of(chance, target) + b"\r\n\r\n"])


def ask_redirect(chance: random.Random, target: Target) -> Asked:
    places = (
        "//evil.example/",
        "/\\evil.example/",
        "/%5Cevil.example",
        "http://evil.example/",
        "///",
        "/%0d%0aLocation:%20http://evil.example",
        "/..//evil.example",
        "/@evil.example",
        "*",
        "/.",
        "?",
        f"{target.prefix}//evil.example",
        target.prefix or "/",
    )
    line = words("GET ", chance.choice(places), "?token=", target.token, " HTTP/1.1\r\n")
    return Asked([line + headers_of(chance, target) + b"\r\n\r\n"])


def ask_upload(chance: random.Random, target: Target) -> Asked:
    body = image_of(chance) if chance.random() < 0.8 else chance.randbytes(chance.randrange(900))
    head = words("POST ", target.prefix, "/images HTTP/1.1\r\n") + headers_of(chance, target)
    match chance.randrange(6):
        case 0:
            chunks = words(f"{len(body):x}\r\n") + body + b"\r\n0\r\n\r\n"
            return Asked([head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks])
        case 1:  # less than was announced
            more = words("\r\nContent-Length: ", len(body) + chance.randrange(1, 10**6), "\r\n\r\n")
            return Asked([head + more + body])
        case 2:  # a length that is none, or two
            lengths = chance.choice(("-1", "1e3", "0x10", "9" * 30, "", "5\r\nContent-Length: 6"))
            return Asked([head + words("\r\nContent-Length: ", lengths, "\r\n\r\n") + body])
        case 3:  # smuggled
            rest = words("\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            return Asked([head + rest + b"GET /etc/passwd HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
        case 4:  # a piece at a time
            length = words("\r\nContent-Length: ", len(body), "\r\n\r\n")
            return Asked([head + length, body[:9], body[9:]], pause=0.05)
        case _:
            length = words("\r\nContent-Length: ", len(body), "\r\n\r\n")
            return Asked([head + length + body], halts=chance.random() < 0.3)


def ask_garbage(chance: random.Random, target: Target) -> Asked:
    line = words("GET ", target.prefix, "/ HTTP/1.1\r\n")
    match chance.randrange(7):
        case 0:
            return Asked([chance.randbytes(chance.randrange(1, 4000)) + b"\r\n\r\n"])
        case 1:
            return Asked([line + b"A" * chance.choice((1000, 20_000, 100_000)) + b"\r\n\r\n"])
        case 2:
            return Asked([line + b"Host : x\r\n folded\r\n\x00: y\r\n\r\n"])
        case 3:
            version = chance.choice(("0.9", "1.0", "2.0", "9.9", "1.1.1", "x"))
            return Asked([words("GET / HTTP/", version, "\r\n\r\n")])
        case 4:
            return Asked([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500)])
        case 5:
            return Asked([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
        case _:  # the same request many times in one piece
            whole = line + headers_of(chance, target) + b"\r\n\r\n"
            return Asked([whole * chance.randrange(2, 30)])


def ask_slowly(chance: random.Random, target: Target) -> Asked:
    """A client that stops, does not read or hangs up."""
    line = words("GET ", target.prefix, chance.choice(GOOD), " HTTP/1.1\r\n")
    whole = line + headers_of(chance, target)
    match chance.randrange(4):
        case 0:
            return Asked([whole[: chance.randrange(len(whole))]], whole=False)
        case 1:
            return Asked([whole[i : i + 3] for i in range(0, 60, 3)], whole=False, pause=0.3)
        case 2:
            return Asked([whole + b"\r\n\r\n"], reads=False)
        case _:
            return Asked([], whole=False, halts=chance.random() < 0.5)


KINDS: list[tuple[Callable[[random.Random, Target], Asked], int]] = [
    (ask_path, 50),
    (ask_redirect, 6),
    (ask_upload, 24),
    (ask_garbage, 15),
    (ask_slowly, 5),
]


# What is answered


def send(asked: Asked, target: Target, chance: random.Random) -> str:
    """Ask, and read until the server hangs up; what became of it."""
    deadline = time.monotonic() + HUNG
    with socket.create_connection(("127.0.0.1", target.port), timeout=HUNG) as client:
        try:
            for piece in asked.pieces:
                client.sendall(piece)
                time.sleep(asked.pause)
            if not asked.reads:
                time.sleep(chance.random() / 20)
                reset = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                return "left"
            if asked.halts:
                client.shutdown(socket.SHUT_WR)
            answer = b""
            while time.monotonic() < deadline:
                client.settimeout(max(deadline - time.monotonic(), 0.01))
                if not (chunk := client.recv(65536)):
                    return judged(answer, asked, target)
                answer += chunk
        except TimeoutError:
            pass
        except OSError:  # hung up in the middle, as upon a request that is none
            return "reset"
    return "HUNG"


def judged(answer: bytes, asked: Asked, target: Target) -> str:
    """The status of the first answer, or in capitals what is wrong with it."""
    if not answer:
        return "closed"
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.1 ") or status[9:10] not in "2345":
        return f"NO HTTP: {status[:60]!r}"
    code, headers = status[9:12], {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if code == "500":
        return "500"
    if "location" in headers and headers["location"] != f"{target.prefix}/":
        return f"LEADS TO {headers['location']}"
    if "set-cookie" in headers and words("token=", target.token) not in asked.pieces[0]:
        return "GAVE ITS TOKEN AWAY"
    host = re.search(rb"\r\nHost: ([^\r\n]*)", asked.pieces[0])
    knows = target.token and words(target.token) in asked.pieces[0]
    stranger = target.token or (host and host[1] in map(words, FOREIGN))
    if code in ("200", "202", "304") and stranger and not knows:
        return "LET A STRANGER IN"
    if b"root:x:0" in answer:
        return "READ A FILE"
    if headers.get("content-type") == "application/json" and "content-length" in headers:
        body = body[: int(headers["content-length"])]
        try:
            if body:
                json.loads(body.decode(), parse_constant=_no_number)
        except ValueError:
            return f"NO JSON: {body[:60]!r}"
    return code


def _no_number(name: str) -> float:
    raise ValueError(name)


class Faults(logging.Handler):
    """Counts what the servers log: a traceback is a fault, whatever was answered."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


# The servers


def made(folder: Path) -> Explorer:
    """Of a network that nobody trained, on noise."""
    noise = np.random.default_rng(0)
    for split, count in ("train", 6), ("validation", 3):
        for name in CLASSES:
            place = folder / split / quote(name, safe="")
            place.mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    torch.manual_seed(0)
    dataset = open_dataset(folder, size=16)
    classifier = Classifier(LeNet5(len(CLASSES), size=16).eval(), dataset.classes, size=16)
    return Explorer([Network(classifier, "noise")], [dataset])


@contextlib.contextmanager
def running(explorer: Explorer, token: str | None = None, prefix: str = "") -> Iterator[Target]:
    app = server.application(explorer, token, prefix)
    configuration = server.configuration(app)
    configuration.timeout_keep_alive = 1
    real = uvicorn.Server(configuration)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=real.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Target(listening.getsockname()[1], token or "", prefix)
        finally:
            real.should_exit = True
            thread.join(30)


def is_itself(target: Target) -> bool:
    """Whether the page is served as ever, and quickly."""
    begun = time.monotonic()
    line = words("GET ", target.prefix, "/api/site.json HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    if target.token:
        line += words("Cookie: ", server.cookie_of(target.token), "=", target.token, "\r\n")
    found = send(Asked([line + b"Connection: close\r\n\r\n"]), target, random.Random(0))
    return found == "200" and time.monotonic() - begun < 5


def attack(count: int, seed: int, clients: int = 16, seconds: float = 1800) -> tuple[Counter, bool]:
    """So many requests, or so many seconds of them.

    Returns how many were answered how (in capitals, what must not be), and whether all went well.
    """
    outcomes: Counter = Counter()
    faults, waits, end = Faults(), [0.0], time.monotonic() + seconds
    lock = threading.Lock()
    limits = [
        (server, "UPLOAD_SECONDS"),
        (server, "TURN_SECONDS"),
        (connections, "HEADER_SECONDS"),
        (connections, "UNREAD_SECONDS"),
    ]
    before = [getattr(module, name) for module, name in limits]
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, contextlib.ExitStack() as stack:
        for (module, name), value in zip(limits, before, strict=True):
            setattr(module, name, SHORT)
            stack.callback(setattr, module, name, value)
        stack.callback(os.environ.update, dict(os.environ))
        os.environ["CONVLENS_CACHE"] = str(Path(folder) / "cache")
        for name in "uvicorn.error", "asyncio":
            logging.getLogger(name).addHandler(faults)
            stack.callback(logging.getLogger(name).removeHandler, faults)
        root = Path(folder) / "data"
        targets = [
            stack.enter_context(running(made(root))),
            stack.enter_context(running(made(Path(folder) / "beside"), TOKEN, PREFIX)),
        ]
        makers, weights = zip(*KINDS, strict=True)

        def one(number: int) -> None:
            if time.monotonic() > end:
                return
            chance = random.Random(f"{seed}-{number}")
            target = chance.choice(targets)
            asked = chance.choices(makers, weights)[0](chance, target)
            begun = time.monotonic()
            found = send(asked, target, chance)
            with lock:
                outcomes[found] += 1
                waits[0] = max(waits[0], time.monotonic() - begun)
                if found == "500" or not (found.isdigit() or found.islower()):
                    print(f"{found}: {asked.pieces[0][:300] if asked.pieces else b''!r}")

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, range(count)))
        itself = all(map(is_itself, targets))
    for line in faults.seen[:5]:
        print(f"LOGGED {line}")
    outcomes["faults logged"] = len(faults.seen)
    bad = [k for k in outcomes if k == "500" or not (k[:3].isdigit() or k.islower())]
    asked = sum(n for what, n in outcomes.items() if what != "faults logged")
    told = ", ".join(f"{what} {n:,}" for what, n in sorted(outcomes.items()))
    print(
        f"{asked:,} hostile requests: {told}; the longest took {waits[0]:.1f} s; "
        f"the servers are {'themselves' if itself else 'NOT THEMSELVES'}"
    )
    return outcomes, not bad and not faults.seen and itself and asked == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    _, well = attack(args.count, args.seed, args.clients)
    sys.exit(not well)


if __name__ == "__main__":
    main()
