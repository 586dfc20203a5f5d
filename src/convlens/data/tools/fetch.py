"""Caltech-101 from its official archive, made into the assignment's data set.

Fei-Fei Li, Marco Andreetto, Marc'Aurelio Ranzato, Pietro Perona: Caltech 101 (CaltechDATA, 2022),
CC BY 4.0.
"""

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from convlens.data.cache import TRAIN_FRACTION
from convlens.data.decode import to_rgb
from convlens.data.progress import progress_bar
from convlens.data.sources import IMAGE_SUFFIXES, cache_home
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.files import whole_folder

OFFICIAL_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
OFFICIAL_MD5 = "3138e1922a9193bfa496528edbbc45d0"
INNER = "caltech-101/101_ObjectCategories.tar.gz"
BACKGROUND = "BACKGROUND_Google"  # random pictures, not a class to be recognized


def fetch_caltech101(
    target: Path,
    url: str = OFFICIAL_URL,
    md5: str = OFFICIAL_MD5,
    size: int = 64,
    progress: bool = True,
) -> Path:
    """Download Caltech-101 and write it to the new folder `target` as train/ and validation/.

    Every image becomes size×size (bicubic, JPEG quality 95, grayscale stays grayscale); of each
    class the floor of 90 % goes to train. The archive (137 MB) is kept in `cache_home()`, so that
    a second call downloads nothing; a download that was cut starts again from the beginning.

    Raises UserError when target exists and is not empty, the download fails or has the wrong
    checksum, or the archive is not laid out as expected. Then target is as it was.
    """
    check_least("size", size, 1)
    with whole_folder(target) as folder:
        archive = _download(url, md5, progress)
        try:
            with zipfile.ZipFile(archive) as outer, outer.open(INNER) as inner:
                _unpack(inner, folder, size, progress)
        except KeyError:
            raise UserError(f"{archive} does not contain {INNER}; check the address") from None
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as problem:
            raise UserError(f"{archive} cannot be unpacked ({problem}); delete it") from None
        _split(folder)
    return Path(target)


def _download(url: str, md5: str, progress: bool) -> Path:
    """The archive's path in the cache, its checksum verified; downloaded if it is not there."""
    import pooch  # imports slowly, and only this function needs it
    import requests

    pooch.get_logger().setLevel("WARNING")
    with _download_bar(progress) as bar:
        # pooch's hints fit neither the bars nor the downloaders that it takes
        downloader: Any = pooch.HTTPDownloader(progressbar=cast(Any, _Bar(bar)), timeout=30)
        try:
            return Path(
                pooch.retrieve(
                    url,
                    known_hash=f"md5:{md5}",
                    fname=url.rsplit("/", 1)[-1],
                    path=cache_home() / "downloads",
                    downloader=downloader,
                )
            )
        except requests.RequestException as problem:
            raise UserError(
                f"{url} could not be downloaded ({problem}); nothing was kept, try again"
            ) from None
        except ValueError:  # pooch's word for a wrong checksum; it has deleted the file
            raise UserError(
                f"{url} does not have the MD5 checksum {md5}; nothing was kept, try again"
            ) from None


def _download_bar(wanted: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        "Downloading",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (wanted and console.is_terminal),
    )


class _Bar:
    """The four members that pooch asks of a progress bar, for one of rich's."""

    def __init__(self, bar: Progress) -> None:
        self.total = 0
        self._bar = bar
        self._task = bar.add_task("")

    def update(self, amount: int) -> None:
        self._bar.update(self._task, total=self.total or None, advance=amount)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        pass


def _unpack(inner: IO[bytes], folder: Path, size: int, progress: bool) -> None:
    """Write every image of the tar archive, resized, to folder/all/CLASS/NAME.

    Members are read as a stream and written under names of our own checking, so no member can
    leave the folder, whatever it is called.
    """
    with tarfile.open(fileobj=inner, mode="r|gz") as archive, progress_bar(progress) as bar:
        task = bar.add_task("Unpacking and resizing", total=None)
        for member in archive:
            category, name = _checked(member)
            if not member.isfile() or category == BACKGROUND or name.startswith("."):
                continue
            if not name.lower().endswith(IMAGE_SUFFIXES):
                continue
            path = folder / "all" / category / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None  # only of a member that is no file
            _write_resized(content.read(), member.name, path, size)
            bar.advance(task)


def _checked(member: tarfile.TarInfo) -> tuple[str, str]:
    """Class and file name of a member, either of them empty for the folders above.

    Raises UserError for a link, a device, an absolute path, a step upwards, or a deeper folder.
    """
    parts = member.name.removeprefix("./").rstrip("/").split("/")
    safe = (
        (member.isfile() or member.isdir())
        and len(parts) <= 3
        and not any(part in ("", "..") or "\\" in part or ":" in part for part in parts)
    )
    if not safe or (member.isfile() and len(parts) < 3):
        raise UserError(
            f"the archive holds {member.name!r}, which is not an image in a class folder and could "
            "end up elsewhere; nothing was kept, get the archive from its official address"
        )
    _, category, name = (*parts, "", "")[:3]
    return category, name


def _write_resized(data: bytes, name: str, path: Path, size: int) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            picture = image if image.mode == "L" else to_rgb(image)
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    except Exception as problem:  # a decoder fed with garbage raises whatever it stumbles over
        raise UserError(f"{name} in the archive cannot be decoded ({problem})") from None
    picture.save(path.with_suffix(".jpg"), quality=95)


def _split(folder: Path) -> None:
    """Move folder/all/CLASS/NAME to folder/train and folder/validation."""
    paths = sorted((folder / "all").glob("*/*"))
    if not paths:
        raise UserError("the archive holds no images; get it from its official address")
    _, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    for split, rows in zip(
        ("train", "validation"), split_per_class(labels, TRAIN_FRACTION), strict=True
    ):
        for path in (paths[row] for row in rows):
            moved = folder / split / path.parent.name / path.name
            moved.parent.mkdir(parents=True, exist_ok=True)
            os.rename(path, moved)
    for path in {path.parent for path in paths}:
        path.rmdir()
    (folder / "all").rmdir()
