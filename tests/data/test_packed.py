"""Archives: unpacked once into the cache, and refused whole where anything in them is hostile."""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import Reading, open_dataset, packed
from convlens.data.own import is_own
from convlens.data.packed import unpack
from convlens.data.sources import scan
from convlens.data.tools.audit import audit
from convlens.errors import UserError


def png(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


IMAGE = png()
PHOTOS = {f"photos/{name}/{i}.png": IMAGE for name in ("cat", "dog") for i in (1, 2)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
            else:
                made.addfile(info)
    return path


def member(kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, link
    return info


def left(cache: Path) -> list[str]:
    """What is in the cache but for the locks."""
    return sorted(name for name in os.listdir(cache) if not name.endswith(".lock"))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *[("a.zip", ""), ("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")],
        *[("a.txz", "w:xz"), ("a.tar.bz2", "w:bz2"), ("noending", "w"), ("photos", "")],
    ],
)
def test_an_archive_is_the_folder_that_is_in_it(name, mode, tmp_path, cache):
    files = {**PHOTOS, "__MACOSX/photos/._1.png": b"x", "photos/.DS_Store": b"x"}
    path = tarred(tmp_path / name, files, mode) if mode else zipped(tmp_path / name, files)
    listing = scan(path)
    assert listing.paths == ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
    assert (listing.source, listing.root.name) == (path, "photos")
    assert listing.root.is_relative_to(cache)
    before = os.stat(listing.root / "cat/1.png")
    assert os.stat(scan(path).root / "cat/1.png") == before  # it is not unpacked again


def test_what_holds_no_images_beside_the_folder_is_no_part_of_it(tmp_path, cache):
    files = {**PHOTOS, "docs/readme.md": b"x", "LICENSE": b"x"}
    assert scan(zipped(tmp_path / "a.zip", files)).root.name == "photos"
    assert is_own(cache)  # in a folder that is trained on it is no class


def test_what_a_hint_names_in_an_archive_has_to_be_unpacked(tmp_path):
    files = {f"a/b/{c}/{i}.png": IMAGE for c in ("cat", "dog") for i in (1, 2)}
    listing = scan(zipped(tmp_path / "a.zip", {**files, "loose.png": IMAGE}))
    assert re.search(r"you may mean .*a\.zip/a/b: unpack the archive", " ".join(listing.problems))


def test_a_split_archive_is_opened_as_a_data_set(tmp_path):
    files = {f"{s}/{c}/{i}.png": IMAGE for s in ("train", "val") for c in "xy" for i in (1, 2)}
    dataset = open_dataset(zipped(tmp_path / "set.zip", files), size=8)
    assert (len(dataset.train), len(dataset.validation), dataset.name) == (4, 4, "set.zip")
    assert dataset.place == tmp_path / "set.zip"


def test_a_changed_archive_is_unpacked_anew_and_the_old_one_goes(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", PHOTOS)
    first = left(cache) if scan(path) else []
    zipped(path, {**PHOTOS, "photos/dog/3.png": IMAGE})
    assert len(scan(path).paths) == 5
    assert len(first) == len(left(cache)) == 1 and left(cache) != first


def test_an_archive_that_may_not_be_read_is_named_and_not_the_cache(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", PHOTOS)

    def refused(opened):
        raise PermissionError(errno.EACCES, "Permission denied", str(opened))

    monkeypatch.setattr(packed, "open_file", refused)
    with pytest.raises(UserError, match=rf"^{path} cannot be read; give yourself the right"):
        scan(path)


def test_a_list_in_an_archive_says_the_classes(tmp_path):
    files = {"a/images/1.png": IMAGE, "a/images/2.png": IMAGE}
    table = {"a/labels.csv": b"file,label\nimages/1.png,x\nimages/2.png,y\n"}
    assert scan(zipped(tmp_path / "a.zip", files | table)).classes == ("x", "y")
    with pytest.raises(UserError, match=r"holds several lists \(labels\.csv, more\.csv\)"):
        scan(zipped(tmp_path / "b.zip", files | table | {"a/more.csv": b"file,label\n"}))


def test_names_are_utf_8_in_every_kind_of_zip(tmp_path):
    names = "photos/Käfer/1.png", "photos/數/1.png"
    path = zipped(tmp_path / "a.zip", dict.fromkeys(names, IMAGE))
    assert scan(path).classes == ("Käfer", "數")
    content = path.read_bytes()  # as zip on Linux writes them, without saying so
    for name in names:
        at = -1
        for _ in range(2):  # the flags, in the member's header and in the directory
            at = content.index(name.encode(), at + 1)
            start = content.rfind(b"PK", 0, at)
            flags = start + (6 if content[start + 2] == 3 else 8)
            content = content[: flags + 1] + b"\0" + content[flags + 2 :]
    (tmp_path / "b.zip").write_bytes(content)
    assert scan(tmp_path / "b.zip").classes == ("Käfer", "數")


def test_links_within_a_tar_are_files(tmp_path):
    members = {
        **PHOTOS,
        "photos/dog/3.png": member(tarfile.SYMTYPE, "../cat/1.png"),
        "photos/dog/4.png": member(tarfile.LNKTYPE, "photos/cat/1.png"),
    }
    listing = scan(tarred(tmp_path / "a.tar", members))
    assert "dog/3.png" in listing.paths and "dog/4.png" in listing.paths
    assert (listing.root / "dog/3.png").read_bytes() == IMAGE
    assert not (listing.root / "dog/3.png").is_symlink()


HOSTILE = {
    "/etc/a.png": "would lie outside of its folder",
    "../a.png": "would lie outside of its folder",
    "x/../../a.png": "would lie outside of its folder",
    "..\\a.png": "would lie outside of its folder",
    "C:\\a.png": "would lie outside of its folder",
    "x/a\nb.png": "has a control character in its name",
    "x/" + "a" * 300: "has a name that is too long",
    "a/" * 40 + "a.png": "has a name that is too long",
    "PHOTOS/cat/1.png": "differs from photos only in case",
    "photos/cat/1.png/a": "is a file and a folder",
    "photos/cat": "is a file and a folder",
}


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize(("name", "why"), HOSTILE.items())
def test_a_hostile_name_leaves_nothing_behind(name, why, form, tmp_path, cache):
    files = {**PHOTOS, name: IMAGE}
    path = tmp_path / f"a.{form}"
    zipped(path, files) if form == "zip" else tarred(path, files)
    with pytest.raises(UserError) as problem:
        scan(path)
    assert why in str(problem.value) and "\n" not in str(problem.value)
    assert str(problem.value).startswith(f"{path} holds ")
    assert left(cache) == [] and not (tmp_path / "a.png").exists()


HOSTILE_MEMBERS = {
    "is a link that leads out of it": member(tarfile.SYMTYPE, "../../../etc/passwd"),
    "is a link to what is no file in it": member(tarfile.SYMTYPE, "gone.png"),
    "is a pipe or a device": member(tarfile.CHRTYPE),
}


@pytest.mark.parametrize(("why", "info"), HOSTILE_MEMBERS.items())
def test_links_out_of_a_tar_and_devices_are_refused(why, info, tmp_path, cache):
    path = tarred(tmp_path / "a.tar", {**PHOTOS, "photos/dog/x.png": info})
    with pytest.raises(UserError, match=why):
        scan(path)
    absolute = member(tarfile.LNKTYPE, "/etc/passwd")
    with pytest.raises(UserError, match="is a link that leads out of it"):
        scan(tarred(tmp_path / "b.tar", {**PHOTOS, "photos/dog/x.png": absolute}))
    assert left(cache) == []


def test_a_link_out_of_a_zip_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", PHOTOS)
    with zipfile.ZipFile(path, "a") as made:
        info = zipfile.ZipInfo("photos/dog/x.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"photos/dog/x\.png, which is a link that leads out of it"):
        scan(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", PHOTOS)
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("photos/cat/1.png", IMAGE)
    with pytest.raises(UserError, match=r"photos/cat/1\.png, which is there twice"):
        scan(path)


def test_an_encrypted_zip_is_named(tmp_path):
    content = bytearray(zipped(tmp_path / "a.zip", PHOTOS).read_bytes())
    for signature, flags in (b"PK\3\4", 6), (b"PK\1\2", 8):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip is encrypted; unpack it and give the folder"):
        scan(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.tar.zst", "a.7z", "a.rar"])
def test_archives_that_are_not_read_are_told_so(name, tmp_path):
    (tmp_path / name).write_bytes(b"(\xb5/\xfd" + bytes(99))
    with pytest.raises(UserError, match=r"is an archive that ConvLens does not read; unpack it"):
        scan(tmp_path / name)
    (tmp_path / "b.tar").write_bytes(b"(\xb5/\xfd" + bytes(99))
    with pytest.raises(UserError, match=r"is packed with Zstandard; unpack it with"):
        scan(tmp_path / "b.tar")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_a_cut_archive_leaves_nothing_behind(name, tmp_path, cache):
    modes = {"a.tar.gz": "w:gz", "a.tar.xz": "w:xz", "a.tar.bz2": "w:bz2"}
    noise = {f"{n}/{i}.png": os.urandom(3000) for n in "ab" for i in range(2)}
    path = tmp_path / name
    zipped(path, noise) if name == "a.zip" else tarred(path, noise, modes.get(name, "w"))
    whole = path.read_bytes()
    for share in 0.25, 0.5, 0.7:  # of a .tar the last is all but the mark of its end
        path.write_bytes(whole[: int(len(whole) * share) // 512 * 512 or 1])
        with pytest.raises(UserError, match=r"cannot be unpacked \(.*\); get it anew or give a fo"):
            unpack(path)
    for content in b"", b"no archive", whole[:3]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be unpacked \(.*\); get it anew or give a fo"):
            unpack(path)
    assert left(cache) == []


def test_a_damaged_member_is_told(tmp_path, cache):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/1.png", b"x" * 100)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"x" * 100, b"x" * 99 + b"y"))
    with pytest.raises(UserError, match=r"cannot be unpacked \(Bad CRC-32"):
        unpack(path)
    assert left(cache) == []


@pytest.mark.parametrize("mode", ["gz", "xz", "bz2"])
def test_damage_that_a_sum_at_the_very_end_tells_is_told(mode, tmp_path, cache):
    path = tarred(tmp_path / "a.tar", PHOTOS)
    pack = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[mode]
    content = bytearray(pack(path.read_bytes()))
    # gzip ends with its sum and its length; the index of xz and the sum of bzip2 end theirs
    content[-6 if mode == "gz" else -20 if mode == "xz" else -3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(path)
    assert left(cache) == []


def test_a_tar_behind_the_end_of_another_is_not_lost_without_a_word(tmp_path, cache):
    first = tarred(tmp_path / "a.tar", PHOTOS)
    second = tarred(tmp_path / "b.tar", {"photos/cow/1.png": IMAGE})
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(UserError, match="it goes on behind the mark of its end"):
        unpack(first)
    assert left(cache) == []


def test_what_is_wrong_in_an_archive_is_told_by_its_name(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", {"photos/cat/note.doc": b"x", **PHOTOS})
    (problem,) = scan(path).problems
    assert str(path / "photos/cat/note.doc") in problem
    listed = {"file,label\nno.png,x\n": "names no.png, which is not there", "a,b,c\n": "no column"}
    for text, why in listed.items():
        path = zipped(tmp_path / "a.zip", {"1.png": IMAGE, "list.csv": text.encode()})
        with pytest.raises(UserError, match=why) as caught:
            scan(path).check()
        assert f"{path / 'list.csv'}" in str(caught.value)
        assert str(cache) not in str(caught.value)
    path = zipped(tmp_path / "a.zip", {**PHOTOS, "photos/cat/1.png": IMAGE[:40]})
    with pytest.raises(UserError) as caught:
        open_dataset(path, size=8)
    (unreadable,) = audit(path).unreadable
    for sentence in str(caught.value), unreadable:
        assert str(path / "photos/cat/1.png") in sentence
        assert str(cache) not in sentence


def test_bombs_are_refused(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"a/zeros.png": bytes(3_000_000)})
    monkeypatch.setenv("CONVLENS_MAX_UNPACKED", "2999999")
    with pytest.raises(UserError, match=r"unpacks to more than 0\.0 GB; set CONVLENS_MAX_UNPACKED"):
        unpack(path)
    monkeypatch.setenv("CONVLENS_MAX_UNPACKED", "much")
    with pytest.raises(UserError, match="CONVLENS_MAX_UNPACKED is 'much'; set it to a number"):
        unpack(path)
    monkeypatch.delenv("CONVLENS_MAX_UNPACKED")
    monkeypatch.setattr(packed, "RATIO_FROM", 1_000_000)
    for name in "a.zip", "a.tar.gz":
        if name != "a.zip":
            path = tarred(tmp_path / name, {"a/zeros.png": bytes(3_000_000)}, "w:gz")
        with pytest.raises(UserError, match="unpacks to more than 200 times its size, as no image"):
            unpack(path)
    monkeypatch.setattr(packed, "RATIO_FROM", 1 << 40)
    monkeypatch.setattr(packed, "MOST_FILES", 3)
    with pytest.raises(UserError, match="holds more than 3 files"):
        unpack(zipped(tmp_path / "b.zip", PHOTOS))
    monkeypatch.setattr(packed, "ROOM_LEFT", 1 << 60)
    with pytest.raises(UserError, match=r"more than the 0\.0 GB that are free; set CONVLENS_CACHE"):
        unpack(zipped(tmp_path / "c.zip", PHOTOS))
    assert left(cache) == []


def test_a_header_of_a_tar_is_not_read_whole_however_long(tmp_path, cache):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 40_000_000
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf())
        file.write(bytes(40_000_000))
    with pytest.raises(UserError, match=r"cannot be unpacked \(it has too long a header\)"):
        unpack(tmp_path / "a.tar.gz")


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*; set CONVLENS_CACHE to a folder"):
        unpack(zipped(tmp_path / "a.zip", PHOTOS))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["zip", "tar", "gz"]), st.data())
def test_no_damaged_archive_does_more_than_be_refused(form, data):
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        root = Path(made)
        patch.setenv("CONVLENS_CACHE", str(root / "cache"))
        patch.setenv("CONVLENS_MAX_UNPACKED", "10000000")
        path = root / f"a.{form}"
        zipped(path, PHOTOS) if form == "zip" else tarred(path, PHOTOS, f"w:{form.strip('tar')}")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            listing = scan(path, Reading(skip_bad=True))
        except UserError as problem:
            assert "\n" not in str(problem)
            return
        assert listing.root.is_relative_to(root / "cache")
        assert sorted(os.listdir(root)) == [path.name, "cache"]


def test_what_is_read_by_people_hides_no_folder(tmp_path):
    files = {**PHOTOS, "README.md": b"# Photos", "LICENSE": b"CC0"}
    listing = scan(zipped(tmp_path / "set.zip", files))
    assert (listing.classes, listing.problems, len(listing.paths)) == (("cat", "dog"), (), 4)
