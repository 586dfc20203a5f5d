"""What a network says of images: the classes that it holds most probable."""

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from convlens.data.decode import decode
from convlens.data.sources import IMAGE_SUFFIXES
from convlens.errors import UserError
from convlens.html import bars, picture, to_png

THUMBNAIL = 96  # pixels, in a notebook


@dataclass(frozen=True)
class Prediction:
    """path: the image. classes, probabilities: the most probable classes, best first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def _repr_html_(self) -> str:
        """The picture and a bar for each class, for a notebook."""
        try:
            shown = picture(to_png(decode(self.path, THUMBNAIL)), Path(self.path).name)
        except UserError:  # the file is gone by now
            shown = html.escape(Path(self.path).name)
        return (
            '<div style="display: flex; gap: 1em; align-items: center; margin: 0.3em 0">'
            f"<div>{shown}</div><div>{bars(zip(self.classes, self.probabilities, strict=True))}"
            "</div></div>"
        )


class Predictions(list[Prediction]):
    """Predictions in the order in which images were given; a list that shows itself."""

    def _repr_html_(self) -> str:
        return "".join(prediction._repr_html_() for prediction in self)


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The images named, and those anywhere below the folders named, sorted within each folder.

    Raises UserError for a path that does not exist and a folder without images.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                Path(folder) / name
                for folder, _, names in os.walk(path)
                for name in names
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            )
            if not inside:
                raise UserError(f"{path} holds no image; give an image or a folder with images")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist; give an image or a folder with images")
    return found
