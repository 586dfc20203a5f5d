"""An executed notebook as a web page, which `report.css` beside this file styles."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.escape import html_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

STYLE = Path(__file__).with_name("report.css")
# What a browser is told, should anything in the page ask for more: run nothing, load nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def to_html(notebook: "NotebookNode", title: str) -> str:
    """One HTML page, pictures embedded, that loads nothing else.

    Every heading can be linked to, and the contents below the first one do so.

    Args:
        notebook: An executed one.
        title: Its name, as plain text.
    """
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {"hide-input"}
    # The `basic` template is the body alone; the full ones load scripts from elsewhere.
    exporter = HTMLExporter(
        config=config,
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    words = _Words()
    exporter.register_filter("markdown2html", words)
    body, _ = exporter.from_notebook_node(notebook)
    body = body.replace("</h1>", "</h1>" + words.contents(), 1)
    highlighting = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html_text(title)}</title>",
            f"<style>\n{highlighting}\n{STYLE.read_text(encoding='utf-8')}</style>",
            f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        ]
    )


class _Words:
    """Markdown as HTML; tags in it are text, and a link leads to no script.

    Headings get names to link to, and are kept for the contents.
    """

    def __init__(self) -> None:
        self.headings: list[tuple[int, str, str]] = []  # level, name, HTML

    def __call__(self, source: str) -> str:
        from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

        named = self._named

        class Renderer(IPythonRenderer):
            def inline_html(self, html: str) -> str:
                return html_text(html)

            def block_html(self, html: str) -> str:
                return f"<p>{html_text(html.strip())}</p>\n"

            def heading(self, text: str, level: int, **attrs: Any) -> str:
                return f'<h{level} id="{named(level, text)}">{text}</h{level}>\n'

        renderer = Renderer(
            escape=False,  # which would escape character references once more
            allow_harmful_protocols=False,
            exclude_anchor_links=True,
        )
        return MarkdownWithMath(renderer).render(source)

    def _named(self, level: int, text: str) -> str:
        """The name of a heading: its words, and a number where they stand there already."""
        words = re.sub(r"<[^>]*>|&[^;]*;", "", text).lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "section"
        taken = sum(1 for _, other, _ in self.headings if re.fullmatch(rf"{name}(-\d+)?", other))
        name += f"-{taken + 1}" if taken else ""
        self.headings.append((level, name, text))
        return name

    def contents(self) -> str:
        """Links to the headings of the second and the third level, as HTML."""
        items = [
            f'<li class="level-{level}"><a href="#{name}">{text}</a></li>'
            for level, name, text in self.headings
            if level in (2, 3)
        ]
        return f"<nav><ul>{''.join(items)}</ul></nav>" if items else ""
