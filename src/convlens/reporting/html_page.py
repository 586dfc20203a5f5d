"""An executed notebook as a web page, which `report.css` beside this file styles."""

from pathlib import Path
from typing import TYPE_CHECKING

from convlens.escape import html_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

STYLE = Path(__file__).with_name("report.css")
# What a browser is told, should anything in the page ask for more: run nothing, load nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def to_html(notebook: "NotebookNode", title: str) -> str:
    """One HTML page, pictures embedded, that loads nothing else. title: plain text."""
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
    exporter.register_filter("markdown2html", _without_html)
    body, _ = exporter.from_notebook_node(notebook)
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


def _without_html(source: str) -> str:
    """Markdown as HTML; tags in it are text, and a link leads to no script."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_html(self, html: str) -> str:
            return html_text(html)

        def block_html(self, html: str) -> str:
            return f"<p>{html_text(html.strip())}</p>\n"

    renderer = Renderer(
        escape=False,  # which would escape character references once more
        allow_harmful_protocols=False,
        exclude_anchor_links=True,
    )
    return MarkdownWithMath(renderer).render(source)
