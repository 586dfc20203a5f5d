"""Caltech-101 from its official archive, made into the assignment's data set.

Fei-Fei Li, Marco Andreetto, Marc'Aurelio Ranzato, Pietro Perona: Caltech 101 (CaltechDATA, 2022),
CC BY 4.0.
"""

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from convlens.data.cache import TRAIN_FRACTION
from convlens.data.decode import opened, to_rgb
from convlens.data.names import IMAGE_SUFFIXES
from convlens.data.place import cache_home
from convlens.data.progress import progress_bar
from convlens.data.split import split_per_class
from convlens.errors import UserError
from convlens.fields import check_least
from convlens.files import mark, sweep, temporary_name, whole_folder

OFFICIAL_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
OFFICIAL_MD5 = "3138e1922a9193bfa496528edbbc45d0"
INNER = "caltech-101/101_ObjectCategories.tar.gz"
BACKGROUND = "BACKGROUND_Google"  # random pictures, not a class to be recognized

MOST_BYTES = 1_000_000_000  # of the unpacked archive, which has 150 million
MOST_OF_ONE = 20_000_000  # of one of its files, of which the largest has 200,000


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
        except UNPACKING as problem:
            raise UserError(f"{archive} cannot be unpacked ({problem}); delete it") from None
        _split(folder)
    return Path(target)


def _download(url: str, md5: str, progress: bool) -> Path:
    """The archive's path in the cache, its checksum verified; downloaded if it is not there."""
    import pooch  # imports slowly, and only this function needs it
    import requests

    folder = cache_home() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    archive = folder / url.rsplit("/", 1)[-1]
    if _md5(archive) == md5:
        return archive
    temporary = folder / temporary_name("download")
    pooch.get_logger().setLevel("WARNING")
    with _download_bar(progress) as bar:
        # pooch's hints fit neither the bars nor the downloaders that it takes
        downloader: Any = pooch.HTTPDownloader(progressbar=cast(Any, _Bar(bar)), timeout=30)
        try:
            found = pooch.retrieve(
                url, f"md5:{md5}", archive.name, temporary, downloader=downloader
            )
            os.replace(found, archive)
            mark(folder)
            return archive
        except requests.RequestException as problem:
            raise UserError(
                f"{url} could not be downloaded ({problem}); nothing was kept, try again"
            ) from None
        except ValueError:  # pooch's word for a wrong checksum; it has deleted the file
            raise UserError(
                f"{url} does not have the MD5 checksum {md5}; nothing was kept, try again"
            ) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _md5(path: Path) -> str:
    """Of the file there; "" where there is none."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
    return ""


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


# What libraries raise for archives that are damaged, encrypted or packed in another way.
UNPACKING = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # a password is asked for; and NotImplementedError is one, an unknown packing
    ValueError,
)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error when more comes out of it than the archive has, unpacked, be
    it of a file that is wanted or of one that is passed over."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile):
        self._stream, self._left = stream, MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise UserError("the archive holds far more than Caltech-101 does; nothing was kept")
        return data


class _Member(tarfile.TarInfo):
    """A file's header, refused when it announces too much.

    Long names have such headers too, and `tarfile` reads what follows them into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        _check_size(member)
        return member


def _check_size(member: tarfile.TarInfo) -> None:
    if member.size > MOST_OF_ONE:
        raise UserError(
            f"{member.name!r} in the archive has {member.size / 1e6:,.0f} MB, more than an image "
            "of Caltech-101; nothing was kept, get the archive from its official address"
        )


def _unpack(inner: IO[bytes], folder: Path, size: int, progress: bool) -> None:
    """Write every image of the tar archive, resized, to folder/all/CLASS/NAME.

    Members are read as a stream and written under names of our own checking, so no member can
    leave the folder, whatever it is called.
    """
    with (
        gzip.GzipFile(fileobj=_Bounded(inner)) as packed,
        tarfile.open(fileobj=_Bounded(packed), mode="r|", tarinfo=_Member) as archive,
        progress_bar(progress) as bar,
    ):
        task = bar.add_task("Unpacking and resizing", total=None)
        for member in archive:
            _check_size(member)  # once more: a header of its own may have said otherwise
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
    with opened(data, f"{name} in the archive", size) as image:
        picture = image if image.mode == "L" else to_rgb(image)
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
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
