"""HEIC, by pillow-heif, and AVIF, by Pillow: decoded as any image, or named with what to do."""

import io
import sys

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.decode import (
    Unreadable,
    complaint,
    complaint_of,
    decode,
    decode_bytes,
    foreign_kind,
    identify,
    is_image,
    rgb_of,
)
from convlens.errors import UserError

# Four fields of plain color, 64 pixels wide and 40 high.
FIELDS = np.zeros((40, 64, 3), np.uint8)
FIELDS[:20, :32], FIELDS[:20, 32:], FIELDS[20:, :32] = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def named_format(path):
    kind = foreign_kind(path)
    return "" if kind is None else kind.name


def heic(image: Image.Image, **options) -> bytes:
    """The image as HEIC, as Pillow's plugin saves it, which turns an EXIF orientation into irot."""
    file = io.BytesIO()
    plain = image.copy()
    plain.encoderinfo, plain.encoderconfig = {"quality": 90, **options}, ()
    pillow_heif.as_plugin._save_heif(plain, file, "")
    return file.getvalue()


def several(*images: Image.Image, primary: int = 0) -> bytes:
    file, made = io.BytesIO(), pillow_heif.HeifFile()
    for image in images:
        made.add_from_pillow(image)
    made.save(file, quality=90, primary_index=primary)
    return file.getvalue()


@pytest.fixture(scope="module")
def plain() -> bytes:
    return heic(Image.fromarray(FIELDS))


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn a quarter clockwise
    return exif


def near(content: bytes, expected: np.ndarray, tolerance: int = 3) -> None:
    """The middles of the fields are those colors; the borders between them are the codec's."""
    array = np.asarray(rgb_of(content, "a", 16)).astype(int)
    assert array.shape == expected.shape
    height, width = array.shape[0] // 4, array.shape[1] // 4
    for y, x in (height, width), (height, 3 * width), (3 * height, width), (3 * height, 3 * width):
        assert np.abs(array[y, x] - expected[y, x].astype(int)).max() <= tolerance


def test_a_heic_is_decoded_whatever_its_name(plain, tmp_path):
    near(plain, FIELDS)
    for name in "a.heic", "b.jpg", "c":
        (tmp_path / name).write_bytes(plain)
        assert is_image(tmp_path / name)
        assert decode(tmp_path / name, 16).shape == (16, 16, 3)
        assert named_format(tmp_path / name) == ""
    near(plain[:8] + b"mif1" + plain[12:], FIELDS)  # as other telephones call it


def test_a_rotation_is_applied_once():
    content = heic(Image.fromarray(FIELDS), exif=turned().tobytes())
    assert b"irot" in content and b"Exif" in content  # which both say it
    near(content, np.rot90(FIELDS, -1))
    file = io.BytesIO()
    Image.fromarray(FIELDS).save(file, "AVIF", exif=turned(), quality=95)
    assert b"irot" in file.getvalue()
    near(file.getvalue(), np.rot90(FIELDS, -1), 6)


def test_transparency_is_laid_on_white():
    alpha = np.full((40, 64), 255, np.uint8)
    alpha[:20, :32] = 0
    white = FIELDS.copy()
    white[:20, :32] = 255
    image = Image.fromarray(np.dstack([FIELDS, alpha]))
    near(heic(image), white)
    file = io.BytesIO()
    image.save(file, "AVIF", quality=95)
    near(file.getvalue(), white, 6)


def test_ten_bits_and_gray_become_eight_bits_of_rgb():
    deep = FIELDS.astype(np.uint16) * 257
    for mode, values in ("RGB;16", FIELDS), ("L;16", np.dstack([FIELDS[..., 0]] * 3)):
        pixels = deep if mode == "RGB;16" else np.ascontiguousarray(deep[..., 0])
        file = io.BytesIO()
        pillow_heif.from_bytes(mode, (64, 40), pixels.tobytes()).save(file, quality=90)
        near(file.getvalue(), values)
    near(heic(Image.fromarray(FIELDS[..., 1])), np.dstack([FIELDS[..., 1]] * 3))


def test_of_several_images_the_primary_one_is_taken():
    first, second = Image.fromarray(FIELDS), Image.fromarray(255 - FIELDS)
    near(several(first, second), FIELDS)
    near(several(first, second, primary=1), 255 - FIELDS)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_a_cut_heic_is_named(plain, kept):
    with pytest.raises(UserError, match=r"^a\.heic cannot be decoded \([^\n]*\); replace it$"):
        decode_bytes(plain[: int(len(plain) * kept)], "a.heic", 16)


def test_a_bomb_is_refused_before_it_is_decoded(plain):
    image = identify(io.BytesIO(plain))
    assert image is not None and image.size == (64, 40)
    at = plain.index(b"ispe") + 8
    huge = plain[:at] + (30_000).to_bytes(4, "big") * 2 + plain[at + 8 :]
    at = huge.index(b"clap") + 4
    aperture = b"".join(n.to_bytes(4, "big") for n in (30_000, 1, 30_000, 1, 0, 1, 0, 1))
    huge = huge[:at] + aperture + huge[at + 32 :]
    with pytest.raises(UserError, match=r"a has 30,000×30,000 pixels, more than the 89 million"):
        decode_bytes(huge, "a", 16)
    at = plain.index(b"ispe") + 8
    small = plain[:at] + (8).to_bytes(4, "big") * 2 + plain[at + 8 :]
    with pytest.raises(UserError, match=r"^a cannot be decoded \(.*\); replace it$"):
        decode_bytes(small, "a", 16)


def test_without_pillow_heif_a_heic_is_named_with_what_to_do(plain, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    sentence = "is HEIC; install pillow-heif (`pip install pillow-heif`) or convert it to JPEG"
    (tmp_path / "a.jpg").write_bytes(plain)
    assert is_image(tmp_path / "a.jpg")
    assert named_format(tmp_path / "a.jpg") == "HEIC"
    assert complaint(tmp_path / "a.jpg") == complaint_of(plain) == sentence
    with pytest.raises(Unreadable) as problem:  # it is read as soon as pillow-heif is there
        decode(tmp_path / "a.jpg", 16)
    assert str(problem.value) == f"{tmp_path}/a.jpg {sentence}"


def test_pillow_heif_is_imported_only_where_a_heic_is_met(plain, tmp_path, monkeypatch):
    Image.fromarray(FIELDS).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(plain)
    monkeypatch.delitem(sys.modules, "pillow_heif")
    decode(tmp_path / "a.png", 16)
    assert "pillow_heif" not in sys.modules
    decode(tmp_path / "b.jpg", 16)
    assert "pillow_heif" in sys.modules


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damaged_heic_does_more_than_be_refused(plain, data):
    content = bytearray(plain)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_bytes(bytes(content), "a", 16).shape == (16, 16, 3)
    except UserError as problem:
        assert "\n" not in str(problem)
