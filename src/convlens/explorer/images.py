"""The images that can be asked about: rows of the data set, and what was uploaded.

An image has a name: `v12` is row 12 of the validation images, `t34` row 34 of the training images,
`u` and 16 hexadecimal digits an uploaded one, which is known by its bytes.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from convlens.data.dataset import Dataset, Loading, Split
from convlens.data.decode import complaint_of, decode_bytes, identify
from convlens.errors import UserError
from convlens.explorer.kept import Kept

MOST_BYTES = 16_000_000
MOST_PIXELS = 50_000_000  # what the largest telephones make
NO_IMAGE = "this is not an image that can be read; give a JPEG, PNG, WebP, GIF, BMP or TIFF"
UPLOADS_KEPT = 256
SPLITS = {"v": "validation", "t": "train"}


class TooLarge(UserError):
    """More bytes or pixels than are taken."""


@dataclass(frozen=True)
class Upload:
    """pixels: by how it was loaded, uint8, (size, size, 3). width, height: as it came."""

    name: str
    pixels: dict[Loading, np.ndarray]
    width: int
    height: int


class Images:
    """datasets: by how they were loaded; all of one folder, so that a row is the same image in
    each; empty where there is no data set. loadings: what an upload is decoded to."""

    def __init__(
        self,
        datasets: dict[Loading, Dataset],
        loadings: set[Loading],
        keep: int = UPLOADS_KEPT,
    ):
        self.datasets, self.loadings = datasets, loadings
        self._uploads: Kept[Upload] = Kept(keep)

    def add(self, content: bytes, sent: bool = True) -> Upload:
        """An image file's bytes. sent: by a browser, which may send MOST_PIXELS pixels.

        Raises TooLarge for more of these, and UserError where it is no image or has more than
        `decode` takes.
        """
        name = "u" + hashlib.sha256(content).hexdigest()[:16]
        known = self._uploads.get(name)
        return known or self._uploads.put(name, self._decoded(name, content, sent))

    def add_pixels(self, pixels: np.ndarray, keep: bool = True) -> Upload:
        """A picture that is pixels already, uint8, (side, side, 3), of the whole that is loaded.

        keep: whether it can be asked about by its name from now on.
        """
        name = "u" + hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        picture = Image.fromarray(pixels)
        scaled = {
            each: pixels
            if each.size == len(pixels)
            else np.asarray(picture.resize((each.size, each.size), Image.Resampling.BICUBIC))
            for each in self.loadings
        }
        upload = Upload(name, scaled, *picture.size)
        return self._uploads.put(name, upload) if keep else upload

    def _decoded(self, name: str, content: bytes, sent: bool) -> Upload:
        """Nothing is decoded before the pixels that the file announces are counted."""
        width, height = _size(content)
        large = width * height > MOST_PIXELS
        if sent and large:
            raise TooLarge(
                f"the image has {width}×{height} pixels; scale it to at most "
                f"{MOST_PIXELS // 1_000_000} million"
            )
        try:
            pixels = {each: decode_bytes(content, "the image", *each) for each in self.loadings}
        except UserError:
            if large:  # which it speaks of
                raise
            raise UserError(NO_IMAGE) from None
        return Upload(name, pixels, width, height)

    def pixels(self, name: str, loading: Loading) -> np.ndarray:
        """uint8, (size, size, 3). KeyError where there is no such image."""
        if name[0] == "u":
            upload = self._uploads.get(name)
            if upload is None:
                raise KeyError(name)
            return upload.pixels[loading]
        split, row = self._row(name, loading)
        return np.array(split.images[row])

    def label(self, name: str) -> str | None:
        """Its class; None where that is not known."""
        if name[0] == "u":
            return None
        loading = next(iter(self.datasets), Loading(0))
        split, row = self._row(name, loading)
        return self.datasets[loading].classes[split.labels[row]]

    def _row(self, name: str, loading: Loading) -> tuple[Split, int]:
        row = int(name[1:])
        if loading not in self.datasets:
            raise KeyError(name)
        split = self.datasets[loading].split(SPLITS[name[0]])
        if row >= len(split):
            raise KeyError(name)
        return split, row


def _size(content: bytes) -> tuple[int, int]:
    """Width and height as the file announces them."""
    if complaint := complaint_of(content):
        raise UserError(f"this {complaint}")
    try:
        image = identify(io.BytesIO(content))
    except Exception:  # a decoder fed with garbage raises whatever it stumbles over
        image = None
    if image is None:
        raise UserError(NO_IMAGE)
    return image.size
