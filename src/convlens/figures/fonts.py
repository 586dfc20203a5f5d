"""Fonts for names in any script: matplotlib's own, and what the system has for the rest."""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

logger = logging.getLogger(__name__)

HELP = (
    "no font of this machine has all the characters; install one that does, such as Noto Sans CJK "
    "for Chinese, Japanese and Korean, or Noto Emoji"
)
_told: list[bool] = []  # whether it has been


@cache
def installed() -> tuple[str, ...]:
    """The system's font files, those too that came after matplotlib made its list.

    Not the one that has a box for every character.
    """
    return tuple(sorted(f for f in font_manager.findSystemFonts() if "LastResort" not in f))


@cache
def characters(font: str) -> frozenset[str]:
    """What can be drawn with a font file; nothing where it is none, or holds pictures."""
    try:
        face = FT2Font(font)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, face.get_charmap())) if face.scalable else frozenset()


def covering(wanted: Iterable[str]) -> tuple[list[str], set[str]]:
    """Fonts that together have the characters wanted, few of them; and what none of them has."""
    missing, fonts = set(wanted), []
    while missing:
        best = max(installed(), key=lambda font: _merit(font, missing), default=None)
        if best is None or not missing & characters(best):
            break
        fonts.append(best)
        missing -= characters(best)
    return fonts, missing


def _merit(font: str, wanted: set[str]) -> tuple[int, bool, int]:
    """More of the characters, upright and regular, with the shorter name."""
    name = Path(font).name
    return len(wanted & characters(font)), "Regular" in name and "Serif" not in name, -len(name)


def fit(texts: Sequence[Text]) -> None:
    """Give each text the fonts that its characters need, and log once what none can draw."""
    boxes: list[str] = []
    for text in texts:
        shown = set(filter(str.isprintable, text.get_text()))
        families = text.get_fontfamily()
        lacking = shown.difference(*(characters(font_manager.findfont(name)) for name in families))
        if not lacking:
            continue
        fonts, missing = covering(lacking)
        text.set_fontfamily([*families, *map(_family, fonts)])
        if missing:
            boxes.append(" ".join(text.get_text().split()))
    if boxes:
        tell_once(boxes)


def tell_again(line: str) -> None:
    """Log what the figures of another process had to tell, as if they were this one's."""
    if not _told:
        _told.append(True)
        logger.info("%s", line)


def tell_once(names: Sequence[str]) -> None:
    """Log, once in a program, which names no font can draw, and what helps."""
    names = list(dict.fromkeys(names))
    if names and not _told:
        _told.append(True)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        logger.info("not drawn  %s%s: %s", ", ".join(names[:5]), more, HELP)


@cache
def _family(font: str) -> str:
    """The family of a font file, made known to matplotlib."""
    name = FT2Font(font).family_name
    if name not in font_manager.get_font_names():
        font_manager.fontManager.addfont(font)
    return name
