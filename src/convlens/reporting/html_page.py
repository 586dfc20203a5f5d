"""An executed notebook as a web page, which `report.css` beside this file styles."""

import html
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

STYLE = Path(__file__).with_name("report.css")


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
    body, _ = exporter.from_notebook_node(notebook)
    highlighting = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{highlighting}\n{STYLE.read_text(encoding='utf-8')}</style>",
            f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        ]
    )
