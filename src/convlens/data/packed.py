"""A data set in an archive: unpacked once into the cache, without trusting what is in it.

A `.zip` or a `.tar`, also one that is compressed with gzip, bzip2 or xz. Archives within it are not
opened.
"""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Protocol, cast

from filelock import FileLock
from rich.markup import escape

from convlens.data.decode import open_file
from convlens.data.kinds import HEAD, by_content
from convlens.data.names import (
    CONTROL,
    IMAGE_SUFFIXES,
    NOT_UTF8,
    is_hidden,
    split_called,
    subfolders,
)
from convlens.data.place import cache_home
from convlens.data.progress import progress_bar
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode, is_elsewhere, mark, on_disk, whole_folder

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVES = (".zip", *TARS)
OF_DATA = (*IMAGE_SUFFIXES, ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Archives that are known and not read, and what makes them readable.
OTHERS = {
    ".tar.zst": "unpack it with `tar --zstd -xf`",
    ".tzst": "unpack it with `tar --zstd -xf`",
    ".7z": "unpack it",
    ".rar": "unpack it",
}

MOST_BYTES = 200_000_000_000  # unpacked; CONVLENS_MAX_UNPACKED sets another bound
MOST_FILES = 5_000_000
# Images hardly become smaller when they are packed; what becomes so much larger is no data set.
MOST_RATIO = 200
RATIO_FROM = 1_000_000_000  # bytes up to which it may become larger by any factor
ROOM_LEFT = 500_000_000  # bytes of the disk that are not filled
LONGEST_NAME = 255  # bytes of a file's name
CHUNK = 1 << 20  # bytes that are copied at once
LONGEST_READ = 16 << 20  # bytes of a header in a tar


def is_archive(path: Path) -> bool:
    """Whether a file is an archive that is read, or one that is refused as such: by its name, or
    by its content."""
    if path.name.lower().endswith((*ARCHIVES, *OTHERS)):
        return True
    try:
        with open_file(path) as file:
            kind = by_content(file.read(HEAD))
    except OSError:
        return False
    return kind is not None and kind.name in ("a zip archive", "a tar archive")


def unpack(archive: Path, progress: bool = True) -> Path:
    """The folder in the cache that has what is in the archive; unpacked if it is not yet.

    What is hidden is left out.

    Raises:
        UserError: for an archive that is damaged or encrypted, holds what would not stay in its
            folder, or is too large; nothing is left of it then.
    """
    for ending, advice in OTHERS.items():
        if archive.name.lower().endswith(ending):
            raise _refused(
                f"{archive} is an archive that ConvLens does not read; {advice} and give the folder"
            )

    def fill(folder: Path) -> None:
        with _reported(archive), progress_bar(progress) as bar:
            members = _members(archive)
            with closing(members):
                task = bar.add_task(escape(f"Unpacking {visible(archive.name)}"), total=None)
                _write_all(archive, folder, members, lambda: bar.advance(task))

    try:
        found = os.stat(archive)
    except OSError as problem:
        raise _refused(
            f"{archive} cannot be read ({problem.strerror or problem}); try again"
        ) from None
    return kept_folder(archive, f"{found.st_size} {found.st_mtime_ns}", fill)


def kept_folder(place: Path, version: str, fill: Callable[[Path], None], read_as: str = "") -> Path:
    """A folder of the cache with what was made of a file or folder.

    Args:
        place: What it is made of.
        version: What that is known by; older versions are removed when a new one has been made.
        fill: Makes it, in an empty folder; what it raises leaves nothing behind. Of several
            processes that need it at once one does.
        read_as: How it was read, where that decides what is made; each way is kept.

    Raises:
        UserError: where the cache cannot be written.
        OSError: of `place`, as where it cannot be read.
    """
    home = cache_home()
    readable = re.sub(r"[^\w.-]+", "_", place.name, flags=re.ASCII)[:40]
    start = f"unpacked-{readable}-{_digest(os.path.abspath(place) + read_as)}"
    target = home / f"{start}-{_digest(version)}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{start}.lock"):
            if not target.is_dir():
                with whole_folder(target) as temporary:
                    try:
                        mark(temporary)  # in a folder that is somebody's data set it is no class
                        fill(temporary)
                    except OSError as problem:
                        raise _unwritten(home, problem) from None
                for other in home.glob(f"{start}-*"):
                    if other != target:
                        shutil.rmtree(other, ignore_errors=True)
    except OSError as problem:
        raise _unwritten(home, problem) from None
    return target


def _unwritten(home: Path, problem: OSError) -> OSError | UserError:
    """What is to be raised of it."""
    if is_elsewhere(problem, home):
        return problem
    return UserError(
        f"the cache {home} cannot be written ({problem.strerror or problem}); set CONVLENS_CACHE "
        "to a folder with room"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _refused(sentence: str) -> UserError:
    return UserError(sentence, option="data")


def inner(folder: Path) -> Path:
    """The one folder in it that holds all, if there is one: photos/ of photos.zip."""
    while True:
        names = [name for name in os.listdir(folder) if not is_hidden(name)]
        # a README or a license beside it, or in a folder of its own, is no part of the data set
        names = [n for n in names if _holds_data(folder / n)]
        if len(names) != 1 or split_called(names[0]) or not (folder / names[0]).is_dir():
            return folder
        inside = folder / names[0]
        lying = [n for n in os.listdir(inside) if not is_hidden(n) and (inside / n).is_file()]
        tables = any(name.lower().endswith((".csv", ".jsonl", ".parquet")) for name in lying)
        if not subfolders(inside) and lying and not tables:  # a class, not what holds classes
            return folder
        folder = inside


def _holds_data(path: Path) -> bool:
    """Whether it is, or anywhere holds, a file that a data set may be made of."""
    if not path.is_dir():
        return path.name.lower().endswith(OF_DATA)
    return any(name.lower().endswith(OF_DATA) for *_, names in os.walk(path) for name in names)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, fewer at its end."""
        ...


class Member(NamedTuple):
    """What an archive holds. name: as it is written there. size: bytes, as the archive says.

    link: where a link leads, relative to the archive's root; None for a file. open: its content.
    """

    name: str
    size: int
    link: str | None
    open: Callable[[], IO[bytes]]


def _members(archive: Path) -> Generator[Member]:
    """The files and links of an archive, in its order. Raises what `_reported` tells of."""
    with open_file(archive) as file:
        start = file.read(4)
        file.seek(0)
        if start[:2] == b"PK":
            yield from _zip_members(archive, file)
        else:
            yield from _tar_members(archive, file)


def _zip_members(archive: Path, file: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            name = info.filename
            if not info.flag_bits & 0x800 and not name.isascii():  # else it says that it is UTF-8
                try:
                    name = name.encode("cp437").decode("utf-8")
                except UnicodeError:
                    raise _refused(
                        f"{archive} holds a name that is not UTF-8, {visible(name)}; unpack it and "
                        "give the folder"
                    ) from None
            if info.flag_bits & 0x1:
                raise _refused(f"{archive} is encrypted; unpack it and give the folder")
            mode = info.external_attr >> 16
            link = None
            if stat.S_ISLNK(mode):
                if info.file_size > 4096:
                    raise _unsafe(archive, name, "is a link that leads nowhere")
                to = opened.read(info).decode("utf-8", "surrogateescape")
                link = posixpath.join(posixpath.dirname(name), to)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _unsafe(archive, name, "is a pipe or a device")
            yield Member(name, info.file_size, link, lambda info=info: opened.open(info))


def _tar_members(archive: Path, file: BinaryIO) -> Iterator[Member]:
    stream = _Stream(_decompressed(archive, file))
    with tarfile.TarFile(fileobj=cast(Any, stream), encoding="utf-8") as opened:
        last = -1
        while (member := opened.next()) is not None:
            opened.members = []  # pyright: ignore[reportAttributeAccessIssue] # it would keep all
            if member.size < 0 or member.offset <= last:
                raise tarfile.ReadError("it goes in a circle")
            last = member.offset
            if member.isdir():
                continue
            name, link = member.name, None
            if member.islnk():
                link = member.linkname
            elif member.issym():
                link = posixpath.join(posixpath.dirname(name), member.linkname)
            elif not member.isreg():
                raise _unsafe(archive, name, "is a pipe or a device")

            def content(member: tarfile.TarInfo = member) -> IO[bytes]:
                found = opened.extractfile(member)
                assert found is not None  # of a regular file there is one
                return found

            yield Member(name, 0 if link else member.size, link, content)
        if stream.tell() <= opened.offset:  # pyright: ignore[reportAttributeAccessIssue]
            raise tarfile.ReadError("the mark of its end is missing")
        _check_end(stream)


def _check_end(stream: "_Stream") -> None:
    """Read what is left: gzip, bzip2 and xz compare their sums at the very end alone."""
    left = LONGEST_READ  # tar pads its archives, by far less than that
    while left and (found := stream.read(min(CHUNK, left))):
        if found.strip(b"\0"):
            raise tarfile.ReadError("it goes on behind the mark of its end")
        left -= len(found)


def _decompressed(archive: Path, file: BinaryIO) -> Readable:
    start = file.read(6)
    file.seek(0)
    if start[:4] == b"\x28\xb5\x2f\xfd":
        raise _refused(f"{archive} is packed with Zstandard; {OTHERS['.tzst']} and give the folder")
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)
    if start[:3] == b"BZh":
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if start == b"\xfd7zXZ\0" else file


class _Stream:
    """A file for tarfile, read once from its start to its end, whatever tarfile asks for.

    tarfile looks back by one byte, for which gzip would decompress all anew; and it reads a header
    of any length into memory.
    """

    def __init__(self, file: Readable):
        self._file, self._at, self._end, self._last = file, 0, 0, b""

    def tell(self) -> int:
        """Where it is read next."""
        return self._at

    def seek(self, to: int) -> None:
        """To the byte before what has been read, or to what has not been read yet."""
        if not self._end - 1 <= to:
            raise tarfile.ReadError("it leads backwards")
        self._at = to

    def read(self, count: int = -1) -> bytes:
        """So many bytes from there."""
        if not 0 <= count <= LONGEST_READ:
            raise tarfile.ReadError("it has too long a header")
        while self._end < self._at and self._take(min(CHUNK, self._at - self._end)):
            pass
        if self._end < self._at:
            return b""
        found = self._last if self._at < self._end and count else b""
        found += self._take(count - len(found))
        self._at += len(found)
        return found

    def _take(self, count: int) -> bytes:
        found = self._file.read(count) if count else b""
        self._end += len(found)
        self._last = found[-1:] or self._last
        return found


def _unsafe(archive: Path, name: str, what: str) -> UserError:
    return _refused(
        f"{archive} holds {visible(as_unicode(name))}, which {what}; unpack it yourself and give "
        "the folder"
    )


@contextmanager
def _reported(archive: Path) -> Iterator[None]:
    """Have what is wrong with an archive told in a sentence."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as problem:
        reason = " ".join(str(problem).split()) or "it ends too early"
        raise _refused(
            f"{archive} cannot be unpacked ({visible(reason)}); get it anew or give a folder"
        ) from None
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        if problem.filename is None and problem.errno is None:  # gzip's and bz2's own
            raise _refused(
                f"{archive} cannot be unpacked ({problem}); get it anew or give a folder"
            ) from None
        raise


@dataclass
class Room:
    """How much may still be written. Raises UserError where it is too much.

    packed: bytes of what is unpacked.
    """

    archive: Path
    packed: int
    free: int
    most: int
    total: int = 0
    files: int = 0

    @classmethod
    def for_folder(cls, archive: Path, packed: int, folder: Path) -> "Room":
        """Of a folder's disk, and by CONVLENS_MAX_UNPACKED."""
        most = MOST_BYTES
        if chosen := os.environ.get("CONVLENS_MAX_UNPACKED"):
            if not (chosen.isascii() and chosen.isdigit()):
                raise UserError(f"CONVLENS_MAX_UNPACKED is {chosen!r}; set it to a number of bytes")
            most = int(chosen)
        return cls(archive, packed, shutil.disk_usage(folder).free - ROOM_LEFT, most)

    def take(self, size: int) -> None:
        """Count so many bytes that are about to be written."""
        self.total += size
        if self.total > self.most:
            raise _refused(
                f"{self.archive} unpacks to more than {self.most / 1e9:,.1f} GB; set "
                "CONVLENS_MAX_UNPACKED to more bytes if it is what you expect"
            )
        if self.total > max(MOST_RATIO * self.packed, RATIO_FROM):
            raise _refused(
                f"{self.archive} unpacks to more than {MOST_RATIO} times its size, as no images "
                "do; unpack it yourself and give the folder"
            )
        if self.total > self.free:
            raise _refused(
                f"{self.archive} unpacks to more than the {max(self.free, 0) / 1e9:,.1f} GB that "
                "are free; set CONVLENS_CACHE to a folder with room"
            )

    def another(self) -> None:
        """Count a file."""
        self.files += 1
        if self.files > MOST_FILES:
            raise _refused(
                f"{self.archive} holds more than {MOST_FILES:,} files; unpack it yourself and give "
                "the folder"
            )


@dataclass
class _Names:
    """The names that were taken, so that none of them is another's on a disk that ignores case."""

    archive: Path
    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    def checked(self, name: str) -> str | None:
        """The path that a member may be written to; None for what is hidden. Raises UserError."""
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if plain.startswith("/") or re.match(r"[a-zA-Z]:", plain) or ".." in parts or not parts:
            raise _unsafe(self.archive, name, "would lie outside of its folder")
        if any(map(is_hidden, parts)):
            return None
        if NOT_UTF8.search(as_unicode(plain)):
            raise _unsafe(self.archive, name, "has a name that is not UTF-8")
        if CONTROL.search(plain):
            raise _unsafe(self.archive, name, "has a control character in its name")
        if max(len(part.encode()) for part in parts) > LONGEST_NAME or len(parts) > 32:
            raise _unsafe(self.archive, name, "has a name that is too long")
        path = "/".join(parts)
        for depth in range(1, len(parts)):
            self._add(self.folders, self.files, "/".join(parts[:depth]), again=True)
        self._add(self.files, self.folders, path, again=False)
        return path

    def _add(self, to: dict[str, str], others: dict[str, str], path: str, *, again: bool) -> None:
        key = unicodedata.normalize("NFC", path).casefold()
        other = to.setdefault(key, path)
        if other != path:
            raise _unsafe(self.archive, path, f"differs from {visible(other)} only in case")
        if key in others:
            raise _unsafe(self.archive, path, "is a file and a folder")
        if not again:
            if key in self._seen:
                raise _unsafe(self.archive, path, "is there twice")
            self._seen.add(key)

    _seen: set[str] = field(default_factory=set)


def _write_all(
    archive: Path, folder: Path, members: Iterator[Member], advance: Callable[[], None]
) -> None:
    room = Room.for_folder(archive, os.path.getsize(archive), folder)
    names = _Names(archive)
    links: list[tuple[str, str, str]] = []  # name, path, where it leads
    written: set[str] = set()
    for member in members:
        path = names.checked(member.name)
        room.another()
        if path is None:
            room.take(member.size)  # in a tar it is read all the same
            continue
        if member.link is not None:
            links.append((member.name, path, member.link))
            continue
        room.take(member.size)
        target = folder / on_disk(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as content, open(target, "xb") as file:
            _copy(content, file, member, archive)
        written.add(path)
        advance()
    for name, path, link in links:
        to = posixpath.normpath(link.replace("\\", "/"))
        if to.startswith(("/", "..")):
            raise _unsafe(archive, name, "is a link that leads out of it")
        if to not in written:
            raise _unsafe(archive, name, "is a link to what is no file in it")
        room.take(os.path.getsize(folder / on_disk(to)))
        target = folder / on_disk(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / on_disk(to), target)
    if not written:
        raise _refused(f"{archive} holds no file; give an archive with a folder per class")


def _copy(content: IO[bytes], file: IO[bytes], member: Member, archive: Path) -> None:
    """No more than the archive has said that there are, of which the room has been taken."""
    left = member.size
    while left > 0 and (chunk := content.read(min(CHUNK, left))):
        file.write(chunk)
        left -= len(chunk)
    if left or content.read(1):
        raise _refused(
            f"{archive} cannot be unpacked ({visible(as_unicode(member.name))} has not the size "
            "that is said of it); get it anew or give a folder"
        )
