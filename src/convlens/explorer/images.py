"""The images that can be asked about: rows of the data set, and what was uploaded.

An image has a name: `v12` is row 12 of the validation images, `t34` row 34 of the training images,
`u` and 16 hexadecimal digits an uploaded one, which is known by its bytes.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from convlens.data.dataset import Dataset, Split
from convlens.data.decode import FORMATS, squash, to_rgb
from convlens.errors import UserError
from convlens.explorer.kept import Kept

MOST_BYTES = 16_000_000
MOST_PIXELS = 50_000_000  # what the largest telephones make
UPLOADS_KEPT = 256
SPLITS = {"v": "validation", "t": "train"}


class TooLarge(UserError):
    """More bytes or pixels than are taken."""


@dataclass(frozen=True)
class Upload:
    """pixels: by the side of the square, uint8, (size, size, 3). width, height: as it came."""

    name: str
    pixels: dict[int, np.ndarray]
    width: int
    height: int


class Images:
    """datasets: by their images' size; all of one folder, so that a row is the same image in each;
    empty where there is no data set. sizes: to which an upload is decoded."""

    def __init__(self, datasets: dict[int, Dataset], sizes: set[int], keep: int = UPLOADS_KEPT):
        self.datasets, self.sizes = datasets, sizes
        self._uploads: Kept[Upload] = Kept(keep)

    def add(self, content: bytes) -> Upload:
        """An image file's bytes. TooLarge for too many pixels, UserError where it is no image."""
        name = "u" + hashlib.sha256(content).hexdigest()[:16]
        known = self._uploads.get(name)
        return known or self._uploads.put(name, decode_upload(name, content, self.sizes))

    def pixels(self, name: str, size: int) -> np.ndarray:
        """uint8, (size, size, 3). KeyError where there is no such image."""
        if name[0] == "u":
            upload = self._uploads.get(name)
            if upload is None:
                raise KeyError(name)
            return upload.pixels[size]
        split, row = self._row(name, size)
        return np.array(split.images[row])

    def label(self, name: str) -> str | None:
        """Its class; None where that is not known."""
        if name[0] == "u":
            return None
        size = next(iter(self.datasets), 0)
        split, row = self._row(name, size)
        return self.datasets[size].classes[split.labels[row]]

    def _row(self, name: str, size: int) -> tuple[Split, int]:
        row = int(name[1:])
        if size not in self.datasets:
            raise KeyError(name)
        split = self.datasets[size].split(SPLITS[name[0]])
        if row >= len(split):
            raise KeyError(name)
        return split, row


def decode_upload(name: str, content: bytes, sizes: set[int]) -> Upload:
    """As `Images.add`. Nothing is decoded before the pixels that the file announces are counted."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise TooLarge(
                    f"the image has {width}×{height} pixels; scale it to at most "
                    f"{MOST_PIXELS // 1_000_000} million"
                )
            image.load()
            rgb = to_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(
            f"the image has more than {MOST_PIXELS // 1_000_000} million pixels; scale it down"
        ) from None
    except TooLarge:
        raise
    except Exception:  # a decoder fed with garbage raises whatever it stumbles over
        raise UserError(
            "this is not an image that can be read; give a PNG, JPEG, WebP, GIF, BMP or TIFF"
        ) from None
    return Upload(name, {size: squash(rgb, size) for size in sizes}, width, height)
