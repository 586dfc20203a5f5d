"""Arrays as PNG: maps side by side, heat to lay over an image, colors on gray."""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from convlens.data.dataset import Rows

PERCENTILE = 99.5  # of the magnitudes that fill a scale; one bright pixel would leave the rest dark
OPAQUE = 0.85  # of the strongest heat, so that the image below it is still seen
# red speaks for a class, blue against it, in the colors that the views of `convlens look` use
FOR, AGAINST = np.array([178, 24, 43.0]), np.array([33, 102, 172.0])
GRAY = 128.0
THUMBNAIL = 32  # pixels, the side of those in the sprite of all validation images
THUMBNAILS = 32  # in a row of it


@dataclass(frozen=True)
class Picture:
    """A view of an image, to lie beside or over it.

    pixels: uint8, (size, size, 3 or 4). caption: low and high end of the scale, its unit, …
    """

    pixels: np.ndarray
    caption: dict[str, Any]


def short(values: Sequence[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    """As many digits as a picture or a caption shows; None for what JSON has no word for."""
    return [
        float(f"{value:z.{digits}g}") if math.isfinite(value) else None
        for value in np.asarray(values).tolist()
    ]


def png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 pixels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA.

    Written here because Pillow tries five filters on every row, which takes ten times as long and
    makes maps, of which most is 0, larger: those have no filter, colors the difference from the
    pixel to the left (PNG specification, sections 9.2 and 11.2).
    """
    height, width, channels = (*pixels.shape, 1)[:3]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row begins with its filter
    rows[:, 1:] = pixels.reshape(height, -1)
    if channels > 1:
        rows[:, 0] = 1
        rows[:, 1 + channels :] -= pixels[:, :-1].reshape(height, -1)
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    packed = packer.compress(rows.data) + packer.flush()
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )


def columns_of(count: int) -> int:
    """How many maps stand in a row of a sprite of `count`, about as wide as high."""
    return math.ceil(math.sqrt(count))


def sprite(maps: np.ndarray, scale: float) -> np.ndarray:
    """Maps, float (C, h, w), in raster order: uint8 (rows·h, columns·w), from 0 (black) to `scale`.

    What is below 0 is black too.
    """
    count, height, width = maps.shape
    columns = columns_of(count)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width), np.uint8)
    cells[:count] = _bytes(maps * (255 / scale))
    return tiled(cells, columns)


def tiled(cells: np.ndarray, columns: int) -> np.ndarray:
    """Pictures (rows·columns, h, w, …) side by side: (rows·h, columns·w, …)."""
    _, height, width, *colors = cells.shape
    grid = cells.reshape(-1, columns, height, width, *colors).swapaxes(1, 2)
    return grid.reshape(-1, columns * width, *colors)


def thumbnails(images: np.ndarray | Rows) -> np.ndarray:
    """uint8 (N, size, size, 3) → one sprite of thumbnails in raster order, uint8 (H, W, 3)."""
    count = -(-len(images) // THUMBNAILS) * THUMBNAILS  # whole rows
    cells = np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8)
    for row in range(len(images)):
        image = Image.fromarray(np.asarray(images[row]))
        cells[row] = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return tiled(cells, THUMBNAILS)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Cut to 0..255, as uint8; what is no number is 0."""
    return np.nan_to_num(np.clip(values, 0, 255)).astype(np.uint8)


def scale_of(values: np.ndarray) -> float:
    """What fills a scale that starts at 0: the percentile, else the maximum, else 1; above 0."""
    finite = values[np.isfinite(values)]
    highest = (np.percentile(finite, PERCENTILE), finite.max()) if len(finite) else ()
    return next((float(value) for value in highest if 0 < value < math.inf), 1.0)


def largest(values: np.ndarray) -> float:
    """The largest magnitude of the finite values; 0 where there is none."""
    return float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max())


def magnitude_of(values: np.ndarray) -> float:
    """`scale_of` for values of either sign; above 0."""
    return scale_of(np.abs(values))


def on_gray(values: np.ndarray, limit: float) -> np.ndarray:
    """Float (H, W, 3) of either sign: uint8 RGB, in which 0 is gray and ±limit black and white.

    (H, W, 1) gives three equal colors.
    """
    return _bytes(GRAY + np.broadcast_to(values, (*values.shape[:2], 3)) * (127.5 / limit))


def for_and_against(values: np.ndarray, limit: float) -> np.ndarray:
    """Float (H, W): uint8 RGB from blue (-limit) through gray (0) to red (limit)."""
    strength = np.clip(values / limit, -1, 1)[..., None]
    color = np.where(strength > 0, FOR, AGAINST)
    return _bytes(np.rint(GRAY + (color - GRAY) * np.abs(strength)))


def overlay(values: np.ndarray, limit: float) -> np.ndarray:
    """Float (H, W): uint8 RGBA, red for what is above 0, blue below, clearer the nearer to 0."""
    strength = np.clip(values / limit, -1, 1)
    color = np.where(strength[..., None] > 0, FOR, AGAINST)
    alpha = 255 * OPAQUE * np.abs(strength)
    return _bytes(np.rint(np.dstack([color, alpha])))


def heat(values: np.ndarray, limit: float) -> np.ndarray:
    """Float (H, W), at least 0: uint8 RGBA in the colors of "inferno", clear at 0."""
    from matplotlib import colormaps

    strength = np.clip(values / limit, 0, 1)
    pixels = colormaps["inferno"](strength)  # float RGBA, 0..1
    pixels[..., 3] = OPAQUE * strength
    return _bytes(np.rint(255 * pixels))
