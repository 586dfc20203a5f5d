import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from convlens.data.sources import scan
from convlens.data.tools.fetch import INNER, fetch_caltech101
from convlens.errors import UserError
from convlens.files import temporary_name

RANDOM = np.random.default_rng(0)


def jpeg(*shape: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, shape, dtype=np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def archive(*more: tarfile.TarInfo, files: dict[str, bytes] | None = None) -> bytes:
    """A zip of the official layout around a tar of small images and hostile members."""
    if files is None:
        files = {
            f"{category}/image_{i:04d}.jpg": jpeg(30, 40, 3)
            for category, count in (("ant", 11), ("bass", 20), ("BACKGROUND_Google", 3))
            for i in range(1, count + 1)
        }
        files["ant/image_0001.jpg"] = jpeg(50, 30)  # grayscale
        files["BACKGROUND_Google/tmp"] = b"not an image"
        files["ant/._image_0001.jpg"] = b"left by a Mac"
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        top = tarfile.TarInfo("101_ObjectCategories")
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        for name, data in files.items():
            info = tarfile.TarInfo(f"101_ObjectCategories/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr("caltech-101/Annotations.tar", b"unused")
        file.writestr(INNER, inner.getvalue())
    return outer.getvalue()


@pytest.fixture
def server():
    """A web server on loopback; `server.body` is what it sends, `server.cut` how much of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body[: server.cut])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.cut, server.requests = archive(), None, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(server, target, md5: str | None = None):
    url = f"http://127.0.0.1:{server.server_port}/caltech-101.zip"
    return fetch_caltech101(target, url, md5 or hashlib.md5(server.body).hexdigest(), size=16)


def test_the_data_set_is_made(server, tmp_path):
    target = fetch(server, tmp_path / "new/caltech")
    listing = scan(target)
    assert listing.problems == ()
    assert listing.classes == ("ant", "bass")
    assert listing.counts["train"] == 9 + 18
    assert np.bincount(listing.labels).tolist() == [11, 20]
    modes = set()
    for path in listing.paths:
        with Image.open(target / path) as image:
            assert (image.size, image.format) == ((16, 16), "JPEG")
            modes.add((image.mode, path.rsplit("/", 2)[-2:] == ["ant", "image_0001.jpg"]))
    assert modes == {("RGB", False), ("L", True)}
    assert sorted(path.name for path in target.iterdir()) == ["train", "validation"]
    assert [path.name for path in target.parent.iterdir()] == ["caltech"]


def test_resizing_is_bicubic_at_quality_95(server, tmp_path):
    data = jpeg(30, 40, 3)
    server.body = archive(files={"a/1.jpg": data, "a/2.jpg": data})
    (path,) = (fetch(server, tmp_path / "x") / "train/a").iterdir()
    expected = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.resize((16, 16), Image.Resampling.BICUBIC).save(expected, "JPEG", quality=95)
    assert path.read_bytes() == expected.getvalue()


def test_the_archive_is_downloaded_once(server, tmp_path):
    fetch(server, tmp_path / "a")
    fetch(server, tmp_path / "b")
    assert server.requests == 1


def assert_nothing_kept(tmp_path, own_cache):
    assert list(tmp_path.iterdir()) == []
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_a_wrong_checksum(server, tmp_path, own_cache):
    with pytest.raises(UserError, match="does not have the MD5 checksum 0123; nothing was kept"):
        fetch(server, tmp_path / "x", md5="0123")
    assert_nothing_kept(tmp_path, own_cache)


def test_a_cut_connection_then_a_clean_restart(server, tmp_path, own_cache):
    server.cut = len(server.body) // 2
    with pytest.raises(UserError, match=r"could not be downloaded .*; nothing was kept"):
        fetch(server, tmp_path / "x")
    assert_nothing_kept(tmp_path, own_cache)
    server.cut = None
    assert len(scan(fetch(server, tmp_path / "x")).paths) == 31


def test_no_server(server, tmp_path):
    with pytest.raises(UserError, match="could not be downloaded"):
        fetch_caltech101(tmp_path / "x", "http://127.0.0.1:1/caltech-101.zip", "0123")


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("../evil.jpg"),
        member("/tmp/evil/a.jpg"),
        member("101_ObjectCategories/../evil.jpg"),
        member("101_ObjectCategories/ant/../../evil.jpg"),
        member("101_ObjectCategories/..\\evil/a.jpg"),
        member("C:/evil/a.jpg"),
        member("101_ObjectCategories/ant/deeper/a.jpg"),
        member("evil.jpg"),
        member("101_ObjectCategories/ant/a.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        member("101_ObjectCategories/ant/b.jpg", tarfile.LNKTYPE, "101_ObjectCategories/ant/c.jpg"),
        member("101_ObjectCategories/ant/c.jpg", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name} {info.type}",
)
def test_hostile_members_are_refused(server, tmp_path, hostile):
    server.body = archive(hostile)
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="which is not an image in a class folder") as error:
        fetch(server, tmp_path / "in/x")
    assert repr(hostile.name) in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_archives_of_another_layout(server, tmp_path):
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr("something/else", b"")
    for body, sentence in (outer.getvalue(), f"does not contain {INNER}"), (b"no zip", "unpacked"):
        server.body = body
        for path in tmp_path.parent.rglob("caltech-101.zip"):
            path.unlink()
        with pytest.raises(UserError, match=sentence):
            fetch(server, tmp_path / "x")


def zipped(inner: bytes, **options) -> bytes:
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", **options) as file:
        file.writestr(INNER, inner)
    return outer.getvalue()


def changed(content: bytes, flags: int = 0, method: int = 0) -> bytes:
    """A zip of one file with those flags and that compression in both of its headers."""
    content = bytearray(content)
    for start, offset in (content.index(b"PK\x03\x04"), 6), (content.index(b"PK\x01\x02"), 8):
        content[start + offset] |= flags
        content[start + offset + 2] = method
    return bytes(content)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (changed(zipped(b"secret"), flags=1), "encrypted"),
        (changed(zipped(b"odd"), method=97), "compression"),
        (zipped(b"no archive"), "gzip"),
        (zipped(gzip.compress(b"no tar")), "header"),
        (zipped(gzip.compress(bytes(2000))[:-9]), "ended"),
        (zipped(b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 40), "invalid"),
        (zipped(b"\0" * 9000, compression=zipfile.ZIP_LZMA)[:500], "zip"),
    ],
    ids=["encrypted", "unknown compression", "no gzip", "no tar", "cut", "garbage", "half a zip"],
)
def test_archives_that_cannot_be_unpacked(server, tmp_path, body, reason):
    server.body = body
    with pytest.raises(UserError, match=f"caltech-101.zip cannot be unpacked .*{reason}.*delete"):
        fetch(server, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def tar_of_zeros(info: tarfile.TarInfo, size: int) -> bytes:
    """The official layout around one file of so many zeros, of which little is packed."""
    info.size = size
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(min(size, 30_000_000) // 1_000_000):
            file.write(bytes(1_000_000))
    return zipped(buffer.getvalue(), compression=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_file_of_a_gigabyte_is_refused_before_it_is_read(server, tmp_path, kind):
    server.body = tar_of_zeros(member("101_ObjectCategories/a/1.jpg", kind), 10**9)
    tracemalloc.start()
    with pytest.raises(UserError, match="in the archive has 1,000 MB, more than an image"):
        fetch(server, tmp_path / "x")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_unpacks_to_too_much_is_refused(server, tmp_path, monkeypatch):
    module = sys.modules["convlens.data.tools.fetch"]
    monkeypatch.setattr(module, "MOST_BYTES", 5_000_000)
    server.body = tar_of_zeros(member("101_ObjectCategories/a/1.txt"), 10_000_000)
    with pytest.raises(UserError, match="holds far more than Caltech-101 does; nothing was kept"):
        fetch(server, tmp_path / "x")


def test_a_huge_image_in_the_archive_is_refused_without_a_warning(server, tmp_path):
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    server.body = archive(files={"a/1.jpg": file.getvalue()})
    with pytest.raises(UserError, match=r"a/1\.jpg in the archive has 13,000×13,000 pixels"):
        fetch(server, tmp_path / "x")


def test_what_a_killed_download_left_is_removed(server, tmp_path, own_cache):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        encoding="ascii",
        check=True,
    )
    ended = dead.stdout.strip()
    for folder in (own_cache / "downloads", tmp_path):
        folder.mkdir(exist_ok=True)
        left = folder / re.sub(r"\.\d+\.", f".{ended}.", temporary_name("x"))
        (left / "all").mkdir(parents=True)
        (left / "all/1.jpg").touch()
    fetch(server, tmp_path / "x")
    assert sorted(path.name for path in (own_cache / "downloads").iterdir()) == [
        ".convlens",
        "caltech-101.zip",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_broken_image_in_the_archive(server, tmp_path):
    server.body = archive(files={"a/1.jpg": b"broken"})
    with pytest.raises(UserError, match=r"101_ObjectCategories/a/1\.jpg in the archive is text"):
        fetch(server, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_left_alone(server, tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(UserError, match="exists and is not empty; remove it or name another"):
        fetch(server, tmp_path)
    assert server.requests == 0
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
