"""Small pieces of HTML with which objects show themselves in a notebook; every text is escaped."""

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from convlens.escape import html_text


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is left-aligned, the others are numbers or short words."""

    def line(cells: Sequence[object], tag: str) -> str:
        aligned = (
            f'<{tag} style="text-align: {"left" if i == 0 else "right"}">{html_text(cell)}</{tag}>'
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(aligned)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def picture(png: bytes, alt: str, width: int | None = None) -> str:
    """A PNG inside the page. width: pixels on the screen, by default the picture's own."""
    size = f' width="{width}"' if width else ""
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html_text(alt)}"{size}>'


def to_png(pixels: np.ndarray) -> bytes:
    """uint8, (H, W, 3), as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bars(pairs: Iterable[tuple[str, float]]) -> str:
    """Names with shares, 0..1, as horizontal bars."""
    lines = []
    for name, share in pairs:
        lines.append(
            '<div style="display: flex; align-items: center; gap: 0.5em">'
            f'<span style="width: 11em; text-align: right; overflow: hidden">{html_text(name)}'
            '</span><span style="flex: 0 0 12em"><span style="display: block; height: 0.9em; '
            f'width: {100 * share:.1f}%; min-width: 1px; background: #0072b2"></span></span>'
            f"<span>{share:.1%}</span></div>"
        )
    return "".join(lines)


class Picture:
    """A PNG file that shows itself in a notebook."""

    def __init__(self, path: Path):
        self.path = path

    def __repr__(self) -> str:
        return f"Picture({str(self.path)!r})"

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()
