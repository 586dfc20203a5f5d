"""An executed notebook as a PDF, whose page `report.typ` beside this file sets up."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.font_manager import findfont

from convlens.figures import fonts
from convlens.figures.style import DOTS_AN_INCH, PAGE_WIDTH

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATE = Path(__file__).with_name("report.typ")
# Sizes of figures in cm, on the page that the template sets up. A figure stands at its place in the
# text, and one that does not fit leaves the rest of its page empty: none is so tall that most of a
# page could be.
TEXT_WIDTH, WIDE_HEIGHT, TALL_HEIGHT = 17.0, 9.6, 15.0
# As of a figure that is as wide as the page, so that letters have one size in all of them.
PIXELS_PER_CM = DOTS_AN_INCH * PAGE_WIDTH / TEXT_WIDTH
PANDOC_MARKDOWN = (
    "markdown-raw_html-raw_attribute-raw_tex-tex_math_dollars-yaml_metadata_block-smart-citations"
)

FILTER = """\
-- Pictures that are not the notebook's own leave their text: typst would stop at one that it cannot
-- read, and text from files, as ablation.md, may name any.
function Image(image)
  if not image.src:match('^picture%-%d+%.png$') then return image.caption end
end
function Figure(figure)  -- would show the text a second time, as its caption
  local pictures = 0
  figure:walk({Image = function() pictures = pictures + 1 end})
  if pictures == 0 then return figure.content end
end
-- A line that ends with a colon stays with the table or the listing that it leads to.
function Blocks(blocks)
  local kept = pandoc.List()
  for number, block in ipairs(blocks) do
    local after = blocks[number + 1]
    local leads = block.t == 'Para' and pandoc.utils.stringify(block):match(':$')
    if leads and after and (after.t == 'Table' or after.t == 'CodeBlock') then
      kept:extend({pandoc.RawBlock('typst', '#block(sticky: true)['), block})
      kept:insert(pandoc.RawBlock('typst', ']'))
    else
      kept:insert(block)
    end
  end
  return kept
end
"""


def to_pdf(notebook: "NotebookNode", title: str, folder: Path) -> bytes:
    """The PDF's bytes. title: the notebook's first heading. folder: scratch space for pictures."""
    import pypandoc
    import typst

    lua = folder / "filter.lua"
    lua.write_text(FILTER, encoding="utf-8")
    markdown = "\n\n".join(_markdown(notebook, title, folder))
    text = pypandoc.convert_text(
        markdown,
        "typst",
        format=PANDOC_MARKDOWN,
        extra_args=[
            "--standalone",
            f"--lua-filter={lua}",
            f"--template={TEMPLATE}",
            f"--metadata=title:{title}",
            "--syntax-highlighting=idiomatic",
            "--wrap=none",
            "--columns=10000",  # so that no table is taken for too wide and given fixed columns
        ],
    )
    path = folder / "report-page.typ"
    path.write_text(text, encoding="utf-8")
    # typst looks for fonts by itself, but not in every place where matplotlib does.
    lacking = {character for character in markdown if character.isprintable()} - _own_characters()
    found, missing = fonts.covering(lacking)
    fonts.tell_once([word for word in dict.fromkeys(markdown.split()) if missing & set(word)])
    places = sorted({str(Path(font).parent) for font in found})
    return typst.compile(str(path), root=str(folder), font_paths=places)


def _own_characters() -> frozenset[str]:
    """What the page's own fonts have, or about that: those of typst cannot be asked."""
    alike = ("DejaVu Sans", "DejaVu Sans Mono")
    return frozenset().union(*(fonts.characters(findfont(family)) for family in alike))


def _markdown(notebook: "NotebookNode", title: str, folder: Path) -> Iterator[str]:
    """The notebook's blocks as pandoc's Markdown, its pictures written into `folder`.

    A picture and the paragraph "**Figure …" after it become one figure with a caption.
    """
    blocks = list(_blocks(notebook, title))
    skip = False
    for number, (kind, content) in enumerate(blocks):
        if skip:
            skip = False
        elif kind == "code":
            yield f"````` python\n{content}\n`````"
        elif kind == "output":
            yield f"`````\n{content}\n`````"
        elif kind == "markdown":
            yield content
        else:
            picture = base64.b64decode(content)
            path = folder / f"picture-{number}.png"
            path.write_bytes(picture)
            following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            skip = following[0] == "markdown" and following[1].startswith("**Figure")
            caption = following[1] if skip else "\N{NO-BREAK SPACE}"
            yield f"![{caption}]({path.name}){{width={_width(picture)}cm}}"


def _blocks(notebook: "NotebookNode", title: str) -> Iterator[tuple[str, str]]:
    """("markdown" | "code" | "output" | "png", content) in reading order."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # The document's title is set by the template, from the metadata.
            yield "markdown", cell.source.replace(f"# {title}\n", "", 1)
            continue
        if cell.cell_type == "code" and "hide-input" not in cell.metadata.get("tags", ()):
            yield "code", cell.source
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if output.output_type == "stream":
                yield "output", output.text.rstrip()
            elif "image/png" in data:
                yield "png", data["image/png"]
            elif "text/markdown" in data:
                yield "markdown", data["text/markdown"]
            elif "text/plain" in data:
                yield "output", data["text/plain"]


def _width(picture: bytes) -> float:
    """Width in cm at which a PNG fits the page: no wider, no taller, and not blown up."""
    width, height = struct.unpack(">II", picture[16:24])  # the header chunk's first two numbers
    limit = TALL_HEIGHT if height > 1.2 * width else WIDE_HEIGHT
    return round(min(TEXT_WIDTH, width / PIXELS_PER_CM, limit * width / height), 2)
