"""One image file as upright 8-bit RGB pixels."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from convlens.data import decode
from convlens.errors import UserError

RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def test_a_file_of_the_right_size_keeps_its_bytes(tmp_path):
    Image.fromarray(pixels(16, 16, 3)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        plain = np.asarray(image)
    array = decode(tmp_path / "a.jpg", 16)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, plain)


def test_other_shapes_are_squashed_bicubically(tmp_path):
    image = Image.fromarray(pixels(30, 50, 3))
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        decode(tmp_path / "a.png", 16), np.asarray(image.resize((16, 16), Image.BICUBIC))
    )


def test_grayscale_and_bilevel_fill_all_channels(tmp_path):
    gray = pixels(8, 8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(decode(tmp_path / "gray.png", 8), np.dstack([gray] * 3))
    Image.fromarray(gray > 99).save(tmp_path / "one.png")
    np.testing.assert_array_equal(decode(tmp_path / "one.png", 8)[..., 1], (gray > 99) * 255)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = [200, 100, 50, 255]
    rgba[2] = [200, 100, 50, 0]
    rgba[3] = [0, 0, 0, 51]
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    expected = [[200, 100, 50]] * 2 + [[255, 255, 255], [204, 204, 204]]
    np.testing.assert_array_equal(decode(tmp_path / "rgba.png", 4)[:, 0], expected)
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    np.testing.assert_array_equal(decode(tmp_path / "la.png", 4)[:, 0, 0], [200, 200, 255, 204])


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_palette_with_and_without_transparency(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "plain.png")
    assert decode(tmp_path / "plain.png", 2)[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    image.save(tmp_path / "clear.png", transparency=transparency)
    assert decode(tmp_path / "clear.png", 2)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_color_in_an_rgb_file(tmp_path):
    array = np.array([[[1, 2, 3], [4, 5, 6]]] * 2, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png", transparency=(4, 5, 6))
    assert decode(tmp_path / "a.png", 2)[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_cmyk(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif", 4)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    gray = np.array([[0, 128], [257 * 100, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / name)
    np.testing.assert_array_equal(decode(tmp_path / name, 2)[..., 2], [[0, 0], [100, 255]])


def test_exif_rotation_is_applied(tmp_path):
    array = pixels(8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn a quarter clockwise
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 8), np.rot90(array, -1))


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif cannot be decoded \(floating-point"):
        decode(tmp_path / "a.tif", 4)


def test_unreadable_files_are_named(tmp_path):
    Image.fromarray(pixels(64, 64, 3)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name in "cut.jpg", "text.jpg", "empty.png", "missing.png":
        with pytest.raises(UserError, match=f"{name} cannot be decoded .*; replace it$"):
            decode(tmp_path / name, 16)


def test_a_decompression_bomb_is_refused(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match=r"bomb\.png cannot be decoded .*decompression bomb"):
        decode(tmp_path / "bomb.png", 16)
