"""What is no image that ConvLens decodes is called by its name, with what to do about it."""

import io
import json
import os
import tarfile
import wave
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.decode import complaint, count_kinds, decode, foreign_kind
from convlens.data.kinds import HEAD, by_content, kind_of, tally
from convlens.errors import UserError


def named_format(path):
    kind = foreign_kind(path)
    return "" if kind is None else kind.name


def made_by(write) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def archive(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.txt", "text")


def tape(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("a"))


def sound(file: io.BytesIO) -> None:
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", ""))
        made.writeframes(bytes(99))


MOVIE = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99)
TIFF = made_by(lambda file: Image.new("L", (4, 4)).save(file, "TIFF"))
PICTURE = "which ConvLens does not read"
# name, content: what it is called, and the rest of the sentence
FILES = {
    ("a.pdf", b"%PDF-1.7\n%\xe2\xe3"): ("PDF", f"{PICTURE}; save it as PNG"),
    ("a.jpg", b"%PDF-1.7\n%\xe2\xe3"): ("PDF", f"{PICTURE}; save it as PNG"),
    ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n"): ("PostScript", f"{PICTURE}; save it as PNG"),
    ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"): (
        "SVG",
        f"{PICTURE}; save it as PNG",
    ),
    ("b.svg", b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<svg/>"): (
        "SVG",
        f"{PICTURE}; save it as PNG",
    ),
    ("a.psd", b"8BPS\0\1" + bytes(99)): ("Photoshop", f"{PICTURE}; convert it to JPEG or PNG"),
    ("a.jxl", b"\xff\x0a" + bytes(99)): ("JPEG XL", f"{PICTURE}; convert it to JPEG or PNG"),
    ("a.CR3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"): (
        "camera raw",
        f"{PICTURE}; convert it to JPEG or PNG",
    ),
    ("a.nef", TIFF): ("camera raw", f"{PICTURE}; convert it to JPEG or PNG"),
    ("a.dcm", bytes(128) + b"DICM\2\0"): ("DICOM", f"{PICTURE}; save it as PNG"),
    ("IM0001", bytes(128) + b"DICM\2\0"): ("DICOM", f"{PICTURE}; save it as PNG"),
    ("a.nii", bytes(344) + b"n+1\0"): ("NIfTI", f"{PICTURE}; save its slices as PNG"),
    ("a.nii.gz", b"\x1f\x8b\x08\0" + bytes(30)): ("NIfTI", f"{PICTURE}; save its slices as PNG"),
    ("a.npy", made_by(lambda file: np.save(file, np.zeros(3)))): (
        "a NumPy array",
        f"{PICTURE}; save the images in it as PNG",
    ),
    ("a.npz", made_by(lambda file: np.savez(file, a=np.zeros(3)))): (
        "a NumPy array",
        f"{PICTURE}; save the images in it as PNG",
    ),
    ("lfs.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n"): (
        "a Git LFS pointer",
        f"{PICTURE}; get the image with `git lfs pull`",
    ),
    ("a.mp4", MOVIE): ("a video", "not an image; save frames of it as JPEG or PNG"),
    ("a.mov", b"\0\0\0\x08wide\0\0\1\0mdat"): (
        "a video",
        "not an image; save frames of it as JPEG or PNG",
    ),
    ("a.wav", made_by(sound)): ("audio", "not an image; remove it"),
    ("a.zip", made_by(archive)): ("a zip archive", "not an image; unpack it"),
    ("a.xlsx", made_by(archive)): ("a table", "not an image; remove it"),
    ("a.tar", made_by(tape)): ("a tar archive", "not an image; unpack it"),
    ("a.txt", b"no image"): ("text", "not an image; remove it"),
    ("a.jpg", "kein Bild: äöü".encode() * 99): ("text", "not an image; remove it"),
    ("labels.csv", b"a,b\n1,2\n"): ("a table", "not an image; remove it"),
    ("a.json", json.dumps({"a": ["b"] * 999}).encode()): ("JSON", "not an image; remove it"),
    ("page.jpg", b"<!DOCTYPE html><html><body>404"): ("a web page", "not an image; remove it"),
    ("a.png", b""): ("empty", "not an image; remove it"),
}


@pytest.mark.parametrize(("name", "content"), FILES)
def test_a_file_is_called_what_it_is(name, content, tmp_path):
    called, rest = FILES[name, content]
    path = tmp_path / name
    path.write_bytes(content)
    assert named_format(path) == called
    assert complaint(path) == f"is {called}, {rest}"
    with pytest.raises(UserError) as problem:
        decode(path, 16)
    assert str(problem.value) == f"{path} is {called}, {rest}"


@pytest.mark.parametrize(
    "form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "TGA"]
)
def test_an_image_is_never_called_anything_else(form, tmp_path):
    suffix = ".tga" if form == "TGA" else ".svg"  # whatever its name is
    Image.new("RGB", (20, 16), "red").save(tmp_path / f"a{suffix}", form)
    assert named_format(tmp_path / f"a{suffix}") == ""
    assert decode(tmp_path / f"a{suffix}", 16).shape == (16, 16, 3)


def test_what_cannot_be_told_or_read_is_not_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a.jpg").write_bytes(b"\x07\x91\x00\xfe" * 99)
    for name in "pipe.jpg", "a.jpg", "none.jpg", "a\0b":
        assert named_format(tmp_path / name) == ""
        assert complaint(tmp_path / name) == "is not an image; remove it"


def test_kinds_are_counted_the_commonest_first(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "a.mp4").write_bytes(MOVIE)
    (tmp_path / "b.bin").write_bytes(b"\x07\x91\x00\xfe" * 99)
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "a.mp4"]
    assert count_kinds(paths) == "3 text, 2 videos, 1 unknown"
    assert tally([]) == ""


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=HEAD), st.sampled_from(["a", "a.heic", "a.nef", "a.nii.gz", "."]))
def test_whatever_a_file_begins_with_is_named_or_not(head, name):
    found = kind_of(name, head)
    assert found is None or (found.name and found.advice)
    assert (by_content(head) is None) <= (head != b"")
