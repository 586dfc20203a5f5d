"""One image file as upright 8-bit RGB pixels."""

import contextlib
import io
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps, features

from convlens.data.kinds import (
    AVIF,
    HEAD,
    HEIC,
    RAW,
    Kind,
    by_ending,
    is_heic,
    kind_of,
    reads_heic,
    tally,
)
from convlens.errors import UserError

Fit = Literal["squash", "crop", "pad"]  # how an image that is not square becomes one
DONE: dict[Fit, str] = {"squash": "squashed", "crop": "cropped", "pad": "padded"}
GRAY = 128  # of what is padded

# What Pillow decodes within this process. EPS is not among them: for it Pillow starts whatever
# program is called `gs`, and a file is known by its content, not by its name. MPO, several JPEGs in
# one file, comes with JPEG: Pillow has no entry of its own for it. HEIF is pillow-heif's, which is
# imported where such a file is met, and not there on every machine.
FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "PPM",
    "TGA",
    "JPEG2000",
    "HEIF",
)
# TGA is told by nothing in its content; a file of that format is known by its name.
_KNOWN_BY_CONTENT = tuple(name for name in FORMATS if name != "TGA")

MOST_BYTES = 500_000_000  # of a file
MOST_PIXELS = 300_000_000  # of a JPEG, which is reduced while it is decoded
MOST_WHOLE = 89_478_485  # of what is decoded whole: as many as Pillow takes without a warning
LARGE = 50_000_000  # pixels from which an image is reduced, and decoded while no other large one is
_ONE_AT_A_TIME = threading.Lock()  # else the memory that is needed would be that of many


class Unreadable(UserError):
    """A file that cannot be read at this moment, whatever is in it: it may be read later."""


def open_file(path: Path | str) -> BinaryIO:
    """A regular file, to be read. Raises OSError for a pipe or device, from which one may wait."""
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("a pipe or a device, not a file")
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file of at most 500 MB.

    Raises Unreadable, which names it, where it cannot be read now, and UserError where it never is.
    """
    try:
        with open_file(path) as file:
            count = os.fstat(file.fileno()).st_size
            if count <= MOST_BYTES:
                return file.read(count)
    except OSError as problem:
        if problem.errno is None:
            raise UserError(f"{path} cannot be decoded ({problem}); replace it") from None
        reason = problem.strerror or problem
        raise Unreadable(f"{path} cannot be read ({reason}); try again or replace it") from None
    except ValueError:  # what is no path
        raise UserError(f"{path} cannot be the name of a file; give another") from None
    raise UserError(
        f"{path} has {count / 1e6:,.0f} MB, more than the {MOST_BYTES / 1e6:,.0f} that are read; "
        "scale it down"
    )


def identify(file: BinaryIO, formats: tuple[str, ...] = FORMATS) -> ImageFile.ImageFile | None:
    """The image that a file holds, of which nothing is decoded yet; None where it holds none.

    As `Image.open` has it, less its bounds on the pixels: they are a warning on the terminal first,
    and then refuse what telephones make. Who decodes it looks at its size.
    """
    Image.init()
    file.seek(0)
    head = file.read(HEAD)
    for name in formats:
        if name == "HEIF":
            factory, known = _heif(), is_heic(head)
        else:
            factory, accept = Image.OPEN.get(name, (None, None))
            known = accept is None or accept(head[:16])
        # A text in the place of yes or no says why this Pillow cannot decode the format.
        if factory is None or not known or isinstance(known, str):
            continue
        file.seek(0)
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            return factory(file, "")
    return None


def _heif() -> Callable[[BinaryIO, str], ImageFile.ImageFile] | None:
    """What opens a HEIC; None without pillow-heif."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None
    return HeifImageFile


def is_image(path: Path | str) -> bool:
    """Whether a file begins as an image does, of a format that is decoded or HEIC; whatever its
    name is. Nothing is decoded."""
    try:
        with open_file(path) as file:
            return is_heic(file.read(HEAD)) or _begins_as(file) != ""
    except (OSError, ValueError):
        return False


def _begins_as(file: BinaryIO) -> str:
    """The format of an image that is decoded; "" of what does not begin as one."""
    try:
        image = identify(file, _KNOWN_BY_CONTENT)
    except Image.DecompressionBombError:
        return "too large"  # which is told when it is decoded
    except Exception:  # a decoder fed with garbage raises whatever it stumbles over
        return ""
    return "" if image is None else image.format or ""


def foreign_kind(path: Path | str) -> Kind | None:
    """What a file is that is not decoded here, by its first bytes and its name.

    None for an image that is decoded, at least by its beginning, for what cannot be read and for
    what cannot be told.
    """
    try:
        with open_file(path) as file:
            return _foreign(path, file, _begins_as(file))
    except (OSError, ValueError):
        return None


def complaint(path: Path | str) -> str:
    """The rest of a sentence that begins with the name of a file among images: what is wrong with
    it and what to do about it, as "is a video, not an image; save frames of it as JPEG or PNG"."""
    kind = foreign_kind(path)
    if kind is None and is_image(path):
        return "is an image, and its name does not end as one's does; rename it, to .jpg or .png,"
    return "is not an image; remove it" if kind is None else _complaint(kind)


def complaint_of(content: bytes) -> str:
    """As `complaint`, of an image file's bytes; "" of what is decoded and what cannot be told."""
    file = io.BytesIO(content)
    kind = _foreign("", file, _begins_as(file))
    return "" if kind is None else _complaint(kind)


def count_kinds(paths: Iterable[Path | str]) -> str:
    """How many files there are of each kind, most first, as "5 text, 2 videos, 1 unknown"."""
    return tally(map(foreign_kind, paths))


def _complaint(kind: Kind) -> str:
    if kind is HEIC:
        return "is HEIC; install pillow-heif (`pip install pillow-heif`) or convert it to JPEG"
    if kind is AVIF:
        return "is AVIF, which this Pillow does not read; install Pillow 11.3 or convert it to JPEG"
    if kind.picture:
        return f"is {kind.name}, which ConvLens does not read; {kind.advice}"
    return f"is {kind.name}, not an image; {kind.advice}"


def _foreign(name: Path | str, file: BinaryIO, begins_as: str) -> Kind | None:
    """What a file is that is not decoded, by its content and its name; None of what is decoded.

    begins_as: as `_begins_as` has it.
    """
    if begins_as:
        # What is sent around as .heic may be a JPEG; but a camera's raw file begins as a TIFF does.
        return RAW if begins_as == "TIFF" and by_ending(name) is RAW else None
    if os.fspath(name).lower().endswith(".tga"):
        return None
    file.seek(0)
    kind = kind_of(name, file.read(HEAD))
    broken = (kind is HEIC and reads_heic()) or (kind is AVIF and features.check("avif"))
    return None if broken else kind


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as upright 8-bit RGB.

    EXIF rotation is applied, transparency is laid on white, 16-bit gray is scaled to 8.
    Raises ValueError for 32-bit images, whose range is unknown: floating-point ones, and integers
    beyond 16 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; convert it to 8 bits")
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow hands over in 16 or 32 bits
        pixels = np.asarray(image)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() <= 65535:
            raise ValueError("pixels of 32 bits have no defined range; convert it to 8 bits")
        gray = pixels.astype(np.uint32)
        gray *= 2  # rounds gray / 257, of which none lies halfway
        gray += 257
        gray //= 514
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def open_rgb(path: Path | str, size: int) -> Image.Image:
    """One image file as `to_rgb` gives it.

    Args:
        path: The file.
        size: Side, in pixels, of what will be made of it: a JPEG of more than 50 million pixels is
            reduced while it is decoded, to a side of at least four times that.

    Returns:
        An image of its own size, but for such a JPEG.

    Raises:
        UserError: names the file, when it is unreadable, truncated or too large: more than 300
            million pixels, of other formats than JPEG 89; CONVLENS_MAX_PIXELS sets another bound.
    """
    return rgb_of(read_bytes(path), path, size)


def rgb_of(content: bytes, name: Path | str, size: int) -> Image.Image:
    """As `open_rgb`, of an image file's bytes. name: what errors call it."""
    with opened(content, name, size) as image:
        return to_rgb(image)


@contextlib.contextmanager
def opened(content: bytes, name: Path | str, size: int) -> Iterator[Image.Image]:
    """The decoded image of such bytes, as Pillow has it: `to_rgb` makes of it what `rgb_of` gives.

    What is raised in the block is told of the image too.
    """
    try:
        file = io.BytesIO(content)
        image = identify(file, _KNOWN_BY_CONTENT)
        if kind := _foreign(name, file, "" if image is None else image.format or ""):
            # What can be read as soon as something is installed is not remembered as bad.
            raise (Unreadable if kind in (HEIC, AVIF) else UserError)(f"{name} {_complaint(kind)}")
        image = image or identify(file, ("TGA",))
        if image is None:
            raise UserError(f"{name} cannot be decoded (not an image Pillow can read); replace it")
        with image, _ONE_AT_A_TIME if _pixels(image) > LARGE else contextlib.nullcontext():
            _bound(image, name, size)
            image.load()
            yield image
    except UserError:
        raise
    except MemoryError:
        raise Unreadable(
            f"{name} cannot be read (out of memory); make room or replace it"
        ) from None
    except Exception as problem:  # a decoder fed with garbage raises whatever it stumbles over
        reason = " ".join(str(problem).split())  # libheif's has lines
        raise UserError(f"{name} cannot be decoded ({reason}); replace it") from None


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def chosen_bound() -> int | None:
    """The pixels of an image at most, as CONVLENS_MAX_PIXELS says; None where it says nothing.

    Raises UserError where it says no number.
    """
    chosen = os.environ.get("CONVLENS_MAX_PIXELS")
    if not chosen:
        return None
    if not (chosen.isascii() and chosen.isdigit() and int(chosen)):
        raise UserError(f"CONVLENS_MAX_PIXELS is {chosen!r}; set it to a number of pixels")
    return int(chosen)


def _bound(image: ImageFile.ImageFile, name: Path | str, size: int) -> None:
    """Have a large image reduced while it is decoded; UserError where it is too large for that."""
    # A progressive JPEG is reduced too, but all of it is in memory before.
    reduced = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    most = chosen_bound() or (MOST_PIXELS if reduced else MOST_WHOLE)
    if _pixels(image) > most:
        bound = f"{most / 1e6:,.0f} million" if most >= 1e6 else f"{most:,}"
        raise Unreadable(  # another bound may be set
            f"{name} has {image.width:,}×{image.height:,} pixels, more than the {bound} that are "
            "decoded; scale it down or set CONVLENS_MAX_PIXELS to more"
        )
    # pillow-heif would take the thumbnail in the file, which may show anything.
    if image.format in ("JPEG", "MPO") and _pixels(image) > LARGE:
        image.draft(None, (4 * size, 4 * size))


def decode(path: Path | str, size: int, fit: Fit = "squash") -> np.ndarray:
    """One image file as `to_square` gives it. Raises UserError as `open_rgb` does."""
    return decode_bytes(read_bytes(path), path, size, fit)


def decode_bytes(content: bytes, name: Path | str, size: int, fit: Fit = "squash") -> np.ndarray:
    """As `decode`, of an image file's bytes. name: what errors call it."""
    return to_square(rgb_of(content, name, size), size, fit)


def to_square(image: Image.Image, size: int, fit: Fit = "squash") -> np.ndarray:
    """An RGB image as uint8, shape (size, size, 3), 0..255, by bicubic resampling.

    An image that has that shape keeps its bytes. Another one that is not square is squashed, as the
    assignment's data set was; or cut to its middle square; or made as large as fits and padded with
    gray on two sides.
    """
    width, height = image.size
    if image.size == (size, size):
        return np.asarray(image)
    if fit == "crop":
        side = min(image.size)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if fit == "pad" and width != height:
        longer = max(image.size)
        inner = max(1, round(size * width / longer)), max(1, round(size * height / longer))
        square = Image.new("RGB", (size, size), (GRAY,) * 3)
        scaled = image.resize(inner, Image.Resampling.BICUBIC)
        square.paste(scaled, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.asarray(square)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
