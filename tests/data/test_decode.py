"""One image file as upright 8-bit RGB pixels."""

import errno
import importlib
import io
import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from convlens.data.decode import Unreadable, decode, is_image, open_rgb
from convlens.errors import UserError

decoding = importlib.import_module("convlens.data.decode")  # the package has a function so called
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


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (31, 50), (7, 50), (1, 9)])
def test_other_shapes_are_cut_to_their_middle_square(tmp_path, shape):
    array = pixels(*shape, 3)
    Image.fromarray(array).save(tmp_path / "a.png")
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    middle = Image.fromarray(array[top : top + side, left : left + side])
    expected = np.asarray(middle.resize((16, 16), Image.BICUBIC))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 16, "crop"), expected)


@pytest.mark.parametrize("shape", [(32, 64), (64, 32), (20, 64), (1, 64), (64, 1)])
def test_other_shapes_are_padded_with_gray(tmp_path, shape):
    image = Image.fromarray(pixels(*shape, 3))
    image.save(tmp_path / "a.png")
    height, width = (max(1, round(16 * length / 64)) for length in shape)
    top, left = (16 - height) // 2, (16 - width) // 2
    expected = np.full((16, 16, 3), 128, np.uint8)
    inner = np.asarray(image.resize((width, height), Image.BICUBIC))
    expected[top : top + height, left : left + width] = inner
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 16, "pad"), expected)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_square_is_the_same_whatever_the_fit(tmp_path, fit):
    Image.fromarray(pixels(20, 20, 3)).save(tmp_path / "a.png")
    for size in 16, 20:
        found = decode(tmp_path / "a.png", size, fit)
        np.testing.assert_array_equal(found, decode(tmp_path / "a.png", size))


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
    (tmp_path / "text.jpg").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.png").touch()
    for name, why in {
        "cut.jpg": r"cannot be decoded \(.*\); replace it",
        "text.jpg": "is text, not an image; remove it",
        "empty.png": "is empty, not an image; remove it",
    }.items():
        with pytest.raises(UserError, match=f"{name} {why}$") as problem:
            decode(tmp_path / name, 16)
        assert type(problem.value) is UserError  # and will be no image later either


def test_a_file_that_cannot_be_read_now_is_told_apart(tmp_path, monkeypatch):
    with pytest.raises(Unreadable, match=r"missing\.png cannot be read \(No such file"):
        decode(tmp_path / "missing.png", 16)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(Unreadable, match=r"loop\.png cannot be read \(Too many levels"):
        decode(tmp_path / "loop.png", 16)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(Unreadable, match=r"folder\.png cannot be read \(Is a directory"):
        decode(tmp_path / "folder.png", 16)

    def gone(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(decoding, "open_file", gone)
    with pytest.raises(Unreadable, match=r"a\.png cannot be read \(Stale file handle\)"):
        decode("a.png", 16)


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in "pipe.png", "zero.png":
        with pytest.raises(UserError, match=f"{name} cannot be decoded .a pipe or a device"):
            decode(tmp_path / name, 16)
        assert not is_image(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        with pytest.raises(Unreadable, match=r"socket\.png cannot be read"):
            decode(tmp_path / "socket.png", 16)


def test_a_file_of_too_many_bytes_is_not_read_whole(tmp_path):
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(
        UserError, match=r"sparse\.png has 1,000,000 MB, more than the 500 that are"
    ):
        decode(tmp_path / "sparse.png", 16)


def png_of(width: int, height: int) -> bytes:
    """A PNG that announces so many pixels, and has few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )


def jpeg_of(width: int, height: int, **options) -> bytes:
    """A gray JPEG of so many pixels, which are made of one line of them: a ramp from 0 to 255."""
    ramp = Image.fromarray(np.linspace(0, 255, width).astype(np.uint8)[None])
    file = io.BytesIO()
    ramp.resize((width, height), Image.Resampling.NEAREST).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("side", [9_500, 13_000, 60_000])
def test_a_decompression_bomb_is_refused(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_of(side, side))
    sentence = f"bomb.png has {side:,}×{side:,} pixels, more than the 89 million that are decoded; "
    with pytest.raises(UserError, match=f"{sentence}.* set CONVLENS_MAX_PIXELS to more$"):
        decode(tmp_path / "bomb.png", 16)


def test_the_bound_on_pixels_can_be_set(tmp_path, monkeypatch):
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "1199")
    with pytest.raises(UserError, match=r"a\.png has 30×40 pixels, more than"):
        decode(tmp_path / "a.png", 16)
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "1200")
    assert decode(tmp_path / "a.png", 16).shape == (16, 16, 3)
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "many")
    with pytest.raises(UserError, match="CONVLENS_MAX_PIXELS is 'many'; set it to a number"):
        decode(tmp_path / "a.png", 16)
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "200000000")
    (tmp_path / "bomb.png").write_bytes(png_of(13_000, 13_000))
    with pytest.raises(UserError, match=r"bomb\.png cannot be decoded \(.*truncated"):
        decode(tmp_path / "bomb.png", 16)


def test_a_large_jpeg_is_reduced_while_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(jpeg_of(1600, 1200))
    whole = decode(tmp_path / "a.jpg", 16)
    assert open_rgb(tmp_path / "a.jpg", 16).size == (1600, 1200)
    monkeypatch.setattr(decoding, "LARGE", 1_000_000)
    assert open_rgb(tmp_path / "a.jpg", 16).size == (200, 150)
    assert open_rgb(tmp_path / "a.jpg", 100).size == (800, 600)
    assert np.abs(decode(tmp_path / "a.jpg", 16).astype(int) - whole).max() <= 1


def test_a_progressive_jpeg_is_held_whole_and_bounded_so(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_WHOLE", 1_000_000)
    (tmp_path / "a.jpg").write_bytes(jpeg_of(1600, 1200, progressive=True))
    with pytest.raises(UserError, match="more than the 1 million that are decoded"):
        decode(tmp_path / "a.jpg", 16)


def test_a_photograph_of_200_megapixels_takes_little_memory(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg_of(16_320, 12_240))
    program = (
        "import resource, sys, warnings; warnings.simplefilter('error')\n"
        "from convlens.data.decode import decode\n"
        "with open('/proc/self/statm', encoding='ascii') as file: pages = file.read().split()[0]\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4096 * int(pages) + 150_000_000,) * 2)\n"
        "image = decode(sys.argv[1], 64)\n"
        "print(image.shape, image[0, 0], image[-1, -1])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.jpg"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (ran.stderr, ran.stdout) == ("", "(64, 64, 3) [2 2 2] [252 252 252]\n")
