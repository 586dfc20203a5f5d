"""What a file that is not decoded is, by its first bytes and by its name, and what to do about it.

The signatures are those of the formats' own specifications; most are in the `magic` database of
file(1) too. Nothing here opens a file or decodes one.
"""

import codecs
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

HEAD = 512  # bytes of a file that tell what it is


@dataclass(frozen=True)
class Kind:
    """name: as in "a.pdf is PDF". advice: what to do, as the end of that sentence.

    picture: whether it shows an image, which somebody meant to give; else it is something that lies
    among images.
    """

    name: str
    advice: str
    picture: bool = False

    def counted(self, count: int) -> str:
        """As in "2 videos", "5 text"."""
        one, article, noun = f"{count:,} {self.name}", *self.name.partition(" ")[::2]
        if article not in ("a", "an"):
            return one
        return f"{count:,} {noun}" + "s" * (count != 1)


_CONVERT = "convert it to JPEG or PNG"
_EXPORT = "save it as PNG"
_ARRAY = "save the images in it as PNG"
_FRAMES = "save frames of it as JPEG or PNG"
_UNPACK = "unpack it"
_REMOVE = "remove it"

HEIC = Kind("HEIC", _CONVERT, picture=True)
RAW = Kind("camera raw", _CONVERT, picture=True)
LFS = Kind("a Git LFS pointer", "get the image with `git lfs pull`", picture=True)
_POSTSCRIPT = Kind("PostScript", _EXPORT, picture=True)
_PDF = Kind("PDF", _EXPORT, picture=True)
_SVG = Kind("SVG", _EXPORT, picture=True)
_PHOTOSHOP = Kind("Photoshop", _CONVERT, picture=True)
_GIMP = Kind("GIMP", _CONVERT, picture=True)
_JXL = Kind("JPEG XL", _CONVERT, picture=True)
_JXR = Kind("JPEG XR", _CONVERT, picture=True)
_EXR = Kind("OpenEXR", _CONVERT, picture=True)
_HDR = Kind("Radiance HDR", _CONVERT, picture=True)
_ICON = Kind("an icon", _CONVERT, picture=True)
_DDS = Kind("DDS", _CONVERT, picture=True)
_QOI = Kind("QOI", _CONVERT, picture=True)
_BPG = Kind("BPG", _CONVERT, picture=True)
_DJVU = Kind("DjVu", _CONVERT, picture=True)
_METAFILE = Kind("a Windows metafile", _EXPORT, picture=True)
AVIF = Kind("AVIF", _CONVERT, picture=True)
_DICOM = Kind("DICOM", _EXPORT, picture=True)
_NIFTI = Kind("NIfTI", "save its slices as PNG", picture=True)
_FITS = Kind("FITS", _EXPORT, picture=True)
_NUMPY = Kind("a NumPy array", _ARRAY, picture=True)
_HDF5 = Kind("HDF5", _ARRAY, picture=True)
_MATLAB = Kind("a MATLAB file", _ARRAY, picture=True)
_PARQUET = Kind("Parquet", "give it as the data set itself")
_VIDEO = Kind("a video", _FRAMES)
_AUDIO = Kind("audio", _REMOVE)
_ZIP = Kind("a zip archive", _UNPACK)
_TAR = Kind("a tar archive", _UNPACK)
_SEVEN = Kind("a 7-Zip archive", _UNPACK)
_RAR = Kind("a RAR archive", _UNPACK)
_PACKED = Kind("a compressed file", _UNPACK)
_OFFICE = Kind("an office document", _REMOVE)
_HTML = Kind("a web page", _REMOVE)
_XML = Kind("XML", _REMOVE)
_JSON = Kind("JSON", _REMOVE)
_CSV = Kind("a table", _REMOVE)
_TEXT = Kind("text", _REMOVE)
_EMPTY = Kind("empty", _REMOVE)

# Where a signature begins in the file, and what it is. The first that fits is taken.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"%PDF-", _PDF),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"8BPS", _PHOTOSHOP),
    (0, b"gimp xcf", _GIMP),
    (0, b"v/1\x01", _EXR),
    (0, b"#?RADIANCE", _HDR),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _JXL),
    (0, b"\xff\x0a", _JXL),
    (0, b"II\xbc\x01", _JXR),
    (0, b"DDS ", _DDS),
    (0, b"qoif", _QOI),
    (0, b"BPG\xfb", _BPG),
    (0, b"AT&TFORM", _DJVU),
    (0, b"\0\0\1\0", _ICON),
    (0, b"icns", _ICON),
    (0, b"\xd7\xcd\xc6\x9a", _METAFILE),
    (40, b" EMF", _METAFILE),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIU\0", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"FOVb", RAW),
    (0, b"\0MRM", RAW),
    (6, b"HEAPCCDR", RAW),
    (8, b"CR\x02\0", RAW),
    (4, b"ftypcrx ", RAW),
    (128, b"DICM", _DICOM),
    (344, b"n+1\0", _NIFTI),
    (344, b"ni1\0", _NIFTI),
    (4, b"n+2\0\r\n\x1a\n", _NIFTI),
    (0, b"SIMPLE  =", _FITS),
    (0, b"\x93NUMPY", _NUMPY),
    (0, b"\x89HDF\r\n\x1a\n", _HDF5),
    (0, b"MATLAB 5.0", _MATLAB),
    (0, b"PAR1", _PARQUET),
    (0, b"PK\x03\x04", _ZIP),
    (0, b"PK\x05\x06", _ZIP),
    (257, b"ustar", _TAR),
    (0, b"7z\xbc\xaf\x27\x1c", _SEVEN),
    (0, b"Rar!\x1a\x07", _RAR),
    (0, b"\x1f\x8b", _PACKED),
    (0, b"BZh", _PACKED),
    (0, b"\xfd7zXZ\0", _PACKED),
    (0, b"\x28\xb5\x2f\xfd", _PACKED),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (8, b"AVI ", _VIDEO),
    (0, b"FLV\x01", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"0&\xb2u\x8ef\xcf\x11", _VIDEO),
    (4, b"moov", _VIDEO),
    (4, b"mdat", _VIDEO),
    (4, b"wide", _VIDEO),
    (8, b"WAVE", _AUDIO),
    (0, b"OggS", _AUDIO),
    (0, b"fLaC", _AUDIO),
    (0, b"ID3", _AUDIO),
    (0, b"version https://git-lfs.github.com/", LFS),
)
_RAW_ENDINGS = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf"),
    *(".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".kdc", ".dcr", ".mrw", ".rwl"),
)
_VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".3gp", ".3g2", ".wmv", ".flv", ".ogv"),
)
HEIC_ENDINGS = (".heic", ".heif", ".hif")
_ENDINGS: dict[str, Kind] = {
    **dict.fromkeys(HEIC_ENDINGS, HEIC),
    **dict.fromkeys(_RAW_ENDINGS, RAW),
    **dict.fromkeys((".eps", ".ai", ".ps"), _POSTSCRIPT),
    **dict.fromkeys((".svg", ".svgz"), _SVG),
    **dict.fromkeys((".psd", ".psb"), _PHOTOSHOP),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), _JXR),
    **dict.fromkeys((".dcm", ".dicom"), _DICOM),
    **dict.fromkeys((".nii", ".nii.gz"), _NIFTI),
    **dict.fromkeys((".npy", ".npz"), _NUMPY),
    **dict.fromkeys((".fits", ".fit", ".fts"), _FITS),
    **dict.fromkeys((".h5", ".hdf5"), _HDF5),
    **dict.fromkeys((".ico", ".icns"), _ICON),
    **dict.fromkeys((".wmf", ".emf"), _METAFILE),
    **dict.fromkeys((".djvu", ".djv"), _DJVU),
    **dict.fromkeys(_VIDEO_ENDINGS, _VIDEO),
    **dict.fromkeys((".mp3", ".wav", ".m4a", ".flac", ".ogg", ".aac"), _AUDIO),
    **dict.fromkeys((".csv", ".tsv", ".xls", ".xlsx", ".ods"), _CSV),
    **dict.fromkeys((".doc", ".docx", ".odt", ".ppt", ".pptx"), _OFFICE),
    **dict.fromkeys((".json", ".jsonl", ".geojson"), _JSON),
    **dict.fromkeys((".txt", ".md", ".log", ".py", ".yaml", ".yml", ".xmp", ".aae"), _TEXT),
    **dict.fromkeys((".html", ".htm"), _HTML),
    ".jxl": _JXL,
    ".pdf": _PDF,
    ".xcf": _GIMP,
    ".exr": _EXR,
    ".hdr": _HDR,
    ".dds": _DDS,
    ".qoi": _QOI,
    ".bpg": _BPG,
    ".mat": _MATLAB,
    ".parquet": _PARQUET,
    ".zip": _ZIP,
    ".tar": _TAR,
    ".rar": _RAR,
    ".7z": _SEVEN,
    ".xml": _XML,
}
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_JSON_START = re.compile(r"""[\[{]\s*(["\[{}\]\d-]|true|false|null|$)""")
PICTURE_ENDINGS = tuple(ending for ending, kind in _ENDINGS.items() if kind.picture)

_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_AUDIO_BRANDS = (b"M4A ", b"M4B ")
_VIDEO_BRANDS = (b"iso", b"mp4", b"avc1", b"M4V", b"qt  ", b"3g", b"MSNV", b"dash", b"f4v", b"mmp4")


def reads_heic() -> bool:
    """Whether HEIC is decoded here, as the extra "heic" has it; nothing is imported for that."""
    try:
        return importlib.util.find_spec("pillow_heif") is not None
    except ValueError:  # there is a module so called that is from no file
        return False


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so is HEIC, or another HEIF that is not AVIF."""
    brands = _brands(head)
    return bool(brands) and brands[0] in _HEIC_BRANDS and not _AVIF_BRANDS.intersection(brands)


def by_content(head: bytes) -> Kind | None:
    """What a file is that begins so (`HEAD` bytes of it); None where that cannot be told.

    What ConvLens decodes is not told either, but for HEIC and AVIF, which not every installation
    can. A camera's raw file mostly begins as a TIFF, and is known by its name.
    """
    if not head:
        return _EMPTY
    for start, signature, kind in _SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return kind
    if brands := _brands(head):
        if is_heic(head):
            return HEIC
        if _AVIF_BRANDS.intersection(brands):
            return AVIF
        if brands[0].startswith(_VIDEO_BRANDS):
            return _VIDEO
        return _AUDIO if brands[0] in _AUDIO_BRANDS else None
    return _text(head)


def by_ending(name: str | os.PathLike[str]) -> Kind | None:
    """What a file's name says that it is; None for what is decoded, and for what is unknown."""
    lower = os.fspath(name).lower()
    if lower.endswith(".nii.gz"):
        return _NIFTI
    return _ENDINGS.get(os.path.splitext(lower)[1])


def kind_of(name: str | os.PathLike[str], head: bytes) -> Kind | None:
    """What a file is by its first bytes, and by its name where these leave that open."""
    found, named = by_content(head), by_ending(name)
    if found is None or found is _EMPTY:
        return found or named
    # A spreadsheet is a zip archive, a compressed brain scan a gzip, a table is text.
    general = found in (_ZIP, _PACKED, _TEXT, _XML, _HDF5, _OFFICE)
    return named if general and named is not None and named not in (HEIC, RAW) else found


def tally(kinds: Iterable[Kind | None]) -> str:
    """How many there are of each, most first, as "5 text, 2 videos, 1 unknown"."""
    counts = Counter(kinds).most_common()
    return ", ".join(kind.counted(n) if kind else f"{n:,} unknown" for kind, n in counts)


def _brands(head: bytes) -> list[bytes]:
    """The brands in an ISO base media file's first box (ISO/IEC 14496-12, 4.3), major one first."""
    if head[4:8] != b"ftyp":
        return []
    end = min(max(int.from_bytes(head[:4], "big"), 12), len(head))
    return [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]


def _text(head: bytes) -> Kind | None:
    """What kind of text it begins as; None for what is none."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        text = decoder.decode(head, final=len(head) < HEAD)  # else its last character may be cut
    except UnicodeDecodeError:
        return None
    if _NO_TEXT.search(text):
        return None
    start = text.lstrip().lower()
    if start.startswith("<svg") or (start.startswith(("<?xml", "<!--")) and "<svg" in start):
        return _SVG
    if start.startswith(("<!doctype html", "<html")):
        return _HTML
    if start.startswith("<?xml"):
        return _XML
    return _JSON if _JSON_START.match(start) else _TEXT
