"""Names in other people's formats: one function a format, called where the format is written.

A class, a file or a folder may be called anything. Inside ConvLens a name is what it is; where it
enters Markdown, HTML, CSV or a terminal it is escaped once, so that it is read there as that name
and does nothing else. JSON and YAML have writers that escape by themselves.
"""

import html
import re
from collections.abc import Iterable, Iterator
from numbers import Integral, Real

# What a terminal obeys instead of showing it, and what turns the direction of the text around it.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_IN_A_LINE = " .,;-+=%?'()/"  # ASCII punctuation that Markdown reads as itself within a line
_UNSPANNED = re.compile(r"[`|$\\<\[]|^\s|\s$|^$")  # what not every dialect keeps in a code span
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # and their full-width forms
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def visible(text: object) -> str:
    """Text in one line, its control characters written as Python writes them: `\\x1b`."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], str(text))


def terminal(text: object) -> str:
    """Text for a terminal, which shows it and obeys nothing in it but its own lines and tabs."""
    return _UNSEEN.sub(
        lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], str(text)
    )


def html_text(text: object) -> str:
    """Text for HTML: between tags, or in an attribute's quotes."""
    return html.escape(visible(text))


def markdown(text: object) -> str:
    """Text within a line of Markdown, a table's cell or a caption.

    Its marks are written as character references, which all dialects read alike, in HTML and typst
    too; a backslash before them is not.
    """
    return "".join(
        character
        if character.isalnum() or character in _IN_A_LINE or ord(character) > 127
        else f"&#{ord(character)};"
        for character in visible(text)
    )


def markdown_code(text: object) -> str:
    """Text as a code span of Markdown; as plain text where a span could not hold it everywhere."""
    shown = visible(text)
    return markdown(shown) if _UNSPANNED.search(shown) else f"`{shown}`"


def csv_cell(text: str) -> str:
    """Text for a cell of CSV, which no spreadsheet takes for a formula: an apostrophe before it.

    So OWASP advises. `from_csv_cell` gives the text again.
    """
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def csv_rows(rows: Iterable[Iterable[object]]) -> Iterator[list[object]]:
    """Rows for a `csv.writer`, texts as `csv_cell` gives them, numbers as they are but minus 0."""
    for row in rows:
        yield [csv_cell(cell) if isinstance(cell, str) else _unsigned(cell) for cell in row]


def _unsigned(cell: object) -> object:
    """0.0 for -0.0, which nobody means."""
    return cell + 0.0 if isinstance(cell, Real) and not isinstance(cell, Integral) else cell


def from_csv_cell(cell: str) -> str:
    """The inverse of `csv_cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
