"""One image file as upright 8-bit RGB pixels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from convlens.errors import UserError

# What Pillow decodes within this process. EPS is not among them: for it Pillow starts whatever
# program is called `gs`, and a file is known by its content, not by its name. MPO, several JPEGs in
# one file, comes with JPEG: Pillow has no entry of its own for it.
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
)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as upright 8-bit RGB.

    EXIF rotation is applied, transparency is laid on white, 16-bit gray is scaled to 8.
    Raises ValueError for 32-bit floating-point images, whose range is unknown.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; convert it to 8 bits")
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow hands over in 16 or 32 bits
        gray = np.clip(np.asarray(image, dtype=np.float64), 0, 65535) / 257
        return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def open_rgb(path: Path | str) -> Image.Image:
    """One image file as `to_rgb` gives it, at its own size.

    Raises UserError naming the path when the file is unreadable, truncated, or too large to be
    meant (Pillow's decompression bomb).
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return to_rgb(image)
    except Exception as problem:  # a decoder fed with garbage raises whatever it stumbles over
        reason = "not an image Pillow can read" if "cannot identify" in str(problem) else problem
        raise UserError(f"{path} cannot be decoded ({reason}); replace it") from None


def decode(path: Path | str, size: int) -> np.ndarray:
    """One image file as `squash` gives it. Raises UserError as `open_rgb` does."""
    return squash(open_rgb(path), size)


def squash(image: Image.Image, size: int) -> np.ndarray:
    """An RGB image as uint8, shape (size, size, 3), 0..255.

    An image of another shape is squashed to the square by bicubic resampling, as the assignment's
    data set was; one that has it already keeps its bytes.
    """
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)
