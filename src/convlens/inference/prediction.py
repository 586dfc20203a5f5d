"""What a network says of images: the classes that it holds most probable."""

import mimetypes
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convlens.data.decode import count_kinds, decode, is_image
from convlens.data.kinds import PICTURE_ENDINGS
from convlens.data.names import IMAGE_SUFFIXES
from convlens.data.own import tell_own
from convlens.data.walk import files_below
from convlens.errors import UserError
from convlens.escape import html_text
from convlens.files import as_unicode
from convlens.html import bars, picture, to_png

THUMBNAIL = 96  # pixels, in a notebook
_TYPES = mimetypes.MimeTypes()  # the same everywhere, whatever the system knows besides


@dataclass(frozen=True)
class Prediction:
    """path: the image. classes, probabilities: the most probable classes, best first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def _repr_html_(self) -> str:
        """The picture and a bar for each class, for a notebook."""
        try:
            shown = picture(to_png(decode(self.path, THUMBNAIL)), as_unicode(Path(self.path).name))
        except UserError:  # the file is gone by now
            shown = html_text(as_unicode(Path(self.path).name))
        return (
            '<div style="display: flex; gap: 1em; align-items: center; margin: 0.3em 0">'
            f"<div>{shown}</div><div>{bars(zip(self.classes, self.probabilities, strict=True))}"
            "</div></div>"
        )


class Predictions(list[Prediction]):
    """Predictions in the order in which images were given; a list that shows itself.

    Attributes:
        failed: What has no prediction: each image's path, and a sentence that says why.
        left_out: Files in folders that are no images.
    """

    def __init__(
        self,
        predictions: Iterable[Prediction] = (),
        failed: Sequence[tuple[str, str]] = (),
        left_out: Sequence[str] = (),
    ):
        super().__init__(predictions)
        self.failed, self.left_out = list(failed), list(left_out)

    def _repr_html_(self) -> str:
        shown = [prediction._repr_html_() for prediction in self]
        return "".join(
            shown + [f"<p>{html_text(as_unicode(reason))}</p>" for _, reason in self.failed]
        )


@dataclass(frozen=True)
class Found:
    """What was found where images were looked for.

    images: files, in the order given. failed: what was named and is not there, and folders that
    cannot be read or hold no image, each with a sentence. left_out: files in folders that are no
    images.
    """

    images: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The images named, and those anywhere below the folders named, sorted within each folder.

    Raises UserError for a path that does not exist and a folder without images.
    """
    found = search(paths)
    if found.failed:
        raise UserError(found.failed[0][1])
    return found.images


def search(paths: Iterable[Path | str]) -> Found:
    """The images named, and those anywhere below the folders named, sorted within each folder.

    What is named is taken for an image. In a folder a file is one by the ending of its name, or by
    its content where its name says nothing; what is hidden is passed over, and links to folders are
    followed.
    """
    found = Found()
    for named in paths:
        if not os.fspath(named):
            found.failed.append(("", "the name of an image is empty; give a file or a folder"))
            continue
        path = Path(named)
        if os.path.isdir(path):
            _search_folder(path, found)
        elif os.path.exists(path):
            found.images.append(path)
        else:
            what = "is a link to nothing" if os.path.islink(path) else "does not exist"
            sentence = f"{path} {what}; give an image or a folder with images"
            found.failed.append((str(path), sentence))
    return found


def _search_folder(folder: Path, found: Found) -> None:
    def refuse(problem: OSError) -> None:
        inside, why = str(problem.filename), problem.strerror or problem
        found.failed.append(
            (inside, f"{inside} cannot be read ({why}); give yourself the right to")
        )

    images, others = [], []
    below = files_below(folder, refuse, lambda own: tell_own(Path(own).parent, [Path(own).name]))
    for path in sorted(map(Path, below)):
        (images if _looks_like_an_image(path) else others).append(path)
    if images:
        found.images.extend(images)
        found.left_out.extend(map(str, others))
    else:
        what = f" but {count_kinds(others)}" if others else ""
        sentence = f"{folder} holds no image{what}; give an image or a folder with images"
        found.failed.append((str(folder), sentence))


def _looks_like_an_image(path: Path) -> bool:
    if path.name.lower().endswith((*IMAGE_SUFFIXES, *PICTURE_ENDINGS)):
        return True
    kind, _ = _TYPES.guess_type(path.name)
    return (kind is None or kind.startswith("image/")) and is_image(path)
