"""Uploads are decoded as the data set is, bounded before they are, and refused in one sentence."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import decode, open_dataset
from convlens.data.dataset import Loading
from convlens.errors import UserError
from convlens.explorer.images import Images, TooLarge


def encoded(kind: str, size: tuple[int, int] = (30, 20), mode: str = "RGB", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("png", "RGB"),
        ("png", "RGBA"),
        ("png", "P"),
        ("png", "L"),
        ("jpeg", "RGB"),
        ("jpeg", "CMYK"),
        ("webp", "RGB"),
        ("gif", "P"),
        ("bmp", "RGB"),
        ("tiff", "RGB"),
    ],
)
def test_an_upload_is_decoded_as_a_file_of_the_data_set_is(tmp_path, kind, mode):
    content = encoded(kind, mode=mode)
    path = tmp_path / f"image.{kind}"
    path.write_bytes(content)
    images = Images({}, {Loading(16), Loading(24)})
    upload = images.add(content)
    assert (upload.width, upload.height) == (30, 20)
    for size in 16, 24:
        pixels = images.pixels(upload.name, Loading(size))
        np.testing.assert_array_equal(pixels, decode(path, size))
    assert images.label(upload.name) is None


def test_a_photograph_stands_upright():
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    upload = Images({}, {Loading(8)}).add(encoded("jpeg", exif=exif))
    assert (upload.width, upload.height) == (30, 20)
    flat = Images({}, {Loading(8)}).add(encoded("jpeg"))
    assert not np.array_equal(upload.pixels[Loading(8)], flat.pixels[Loading(8)])


def test_the_same_bytes_have_the_same_name_and_others_another():
    images = Images({}, {Loading(8)})
    first = images.add(encoded("png"))
    assert images.add(encoded("png")) is first
    assert images.add(encoded("png", (31, 20))).name != first.name


def test_the_oldest_uploads_are_forgotten():
    images = Images({}, {Loading(8)}, keep=2)
    names = [images.add(encoded("png", (20 + i, 20))).name for i in range(3)]
    with pytest.raises(KeyError):
        images.pixels(names[0], Loading(8))
    assert images.pixels(names[2], Loading(8)).shape == (8, 8, 3)


def announced(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that never come."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_001), (10_000, 10_000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(width, height):
    with pytest.raises(TooLarge, match="million"):
        Images({}, {Loading(8)}).add(announced(width, height))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        encoded("png")[:200],
        encoded("jpeg")[:100],
        announced(10, 10),
    ],
)
def test_what_is_no_image_is_told_in_one_sentence(content):
    with pytest.raises(UserError, match="not an image"):
        Images({}, {Loading(8)}).add(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    {
        b"%!PS-Adobe-3.0 EPSF-3.0\n": "is PostScript, which ConvLens does not read; save it as PNG",
        b"<svg/>": "is SVG, which ConvLens does not read; save it as PNG",
        b"\0\0\0\x18ftypmp42": "is a video, not an image; save frames of it as JPEG or PNG",
    }.items(),
)
def test_what_is_not_decoded_is_called_what_it_is(content, sentence):
    with pytest.raises(UserError, match=f"^this {sentence}$"):
        Images({}, {Loading(8)}).add(content)


def test_a_heic_is_decoded_or_told_what_to_install(monkeypatch):
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (20, 16), "red")).save(file)
    upload = Images({}, {Loading(8)}).add(file.getvalue())
    assert (upload.width, upload.height, upload.pixels[Loading(8)].shape) == (20, 16, (8, 8, 3))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"^this is HEIC; install pillow-heif"):
        Images({}, {Loading(8)}).add(file.getvalue())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff"]), st.data())
def test_no_damaged_file_does_more_than_be_refused(kind, data):
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        upload = Images({}, {Loading(8)}).add(bytes(content))
    except UserError:
        return
    assert upload.pixels[Loading(8)].shape == (8, 8, 3)


def test_rows_are_those_of_the_data_set_in_every_size(toy_data: Path):
    datasets = {Loading(size): open_dataset(toy_data, size=size) for size in (16, 24)}
    images = Images(datasets, {Loading(16), Loading(24)})
    for size, dataset in datasets.items():
        np.testing.assert_array_equal(images.pixels("v3", size), dataset.validation.images[3])
        np.testing.assert_array_equal(images.pixels("t59", size), dataset.train.images[59])
    assert images.label("t59") == "yellow_ring"
    for name in "v20", "t60":
        with pytest.raises(KeyError):
            images.pixels(name, Loading(16))
