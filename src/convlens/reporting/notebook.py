"""From a notebook's jupytext source to the executed notebook, its web page and its PDF.

    source.py → parameters set → executed in a kernel of this interpreter → .ipynb
    .ipynb → nbconvert → .html, one file that loads nothing
    .ipynb → Markdown → pandoc → typst → .pdf, without a browser or LaTeX

`report.css` and `report.typ` beside this file are what the page and the PDF look like. Cells
tagged `hide-input` show their output only: text whose numbers are computed, and code read from the
package.
"""

import base64
import html
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlens.errors import UserError

HERE = Path(__file__).parent
CELL_TIMEOUT = 900  # seconds; nothing is trained, so a cell that takes longer hangs
# Sizes of figures in cm, on the page that report.typ sets up: wide ones are so low that two stand
# on a page, tall ones may take a page to themselves.
TEXT_WIDTH, WIDE_HEIGHT, TALL_HEIGHT = 17.0, 11.6, 21.5
PIXELS_PER_CM = 40  # about 100 dpi, below which a figure is not blown up to the text's width
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PANDOC_MARKDOWN = "markdown-raw_html-raw_tex-tex_math_dollars-yaml_metadata_block-smart-citations"


def notebook_source() -> Path:
    """The assignment's notebook: as packaged, or in the repository of an editable install."""
    packaged = HERE / "notebooks" / "assignment2.py"
    return packaged if packaged.exists() else HERE.parents[1] / "notebooks" / "assignment2.py"


def make_report(
    results: Path | str,
    weights: Path | str,
    data: Path | str | None,
    out: Path | str,
    source: Path | str | None = None,
) -> tuple[Path, Path, Path]:
    """Execute the notebook `source` and write it with its HTML and PDF into the folder `out`.

    results: folder with summary.json and a run's tables and pictures in results/RECIPE/.
    weights: folder with RECIPE.safetensors. data: data set, as `convlens.data.resolve` takes it.
    source: jupytext percent format (default: the assignment's notebook); the files take its name.

    Returns the paths of the notebook, the HTML and the PDF. They are built elsewhere and moved into
    place together at the end, so a report that fails leaves an older one as it was. Raises
    UserError for missing results, a missing extra and a cell that fails.
    """
    results, weights, out = Path(results), Path(weights), Path(out)
    source = Path(source) if source else notebook_source()
    if not (results / "summary.json").exists():
        raise UserError(
            f"{results} holds no summary.json; `convlens reproduce` makes it, or name the folder "
            "with --results"
        )
    if not source.exists():
        raise UserError(f"the notebook's source {source} does not exist")
    try:
        import jupytext
        import nbformat
    except ImportError as problem:
        raise _missing_extra(problem) from None

    notebook = jupytext.read(source)
    parameters = _parameters(notebook, source)
    parameters.source = _assignments(
        RESULTS=str(results.resolve()), WEIGHTS=str(weights.resolve()), DATA=data and str(data)
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(
            f"{out} cannot be a folder ({problem.strerror}); name another with --out"
        ) from None
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as folder:
        folder = Path(folder)
        execute(notebook, folder)
        # What is handed over names no path of this machine, and runs where it lies.
        parameters.source = _assignments(
            RESULTS=os.path.relpath(results, out), WEIGHTS=os.path.relpath(weights, out), DATA=None
        )
        _settle(notebook)
        ipynb, page, pdf = (
            folder / f"{source.stem}.{suffix}" for suffix in ("ipynb", "html", "pdf")
        )
        nbformat.write(notebook, ipynb)
        page.write_text(to_html(notebook), encoding="utf-8")
        pdf.write_bytes(to_pdf(notebook, folder))
        for path in (ipynb, page, pdf):
            os.replace(path, out / path.name)
    return out / ipynb.name, out / page.name, out / pdf.name


def execute(notebook: Any, folder: Path) -> None:
    """Run every cell of `notebook` in place, in the current folder, top to bottom.

    folder: scratch space for the kernel's specification, connection file and settings, so that
    neither an installed kernel nor the user's Jupyter and IPython settings play a part.
    Raises UserError naming the failing cell's first line and the error.
    """
    try:
        from ipykernel.kernelspec import write_kernel_spec
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError as problem:
        raise _missing_extra(problem) from None
    kernels = folder / "kernels"
    write_kernel_spec(
        kernels / "python3",
        # no history file; and no word on the terminal about the loopback connection's safety
        extra_arguments=["--HistoryManager.enabled=False", "--IPKernelApp.log_level=ERROR"],
    )
    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(
            kernel_dirs=[str(kernels)], ensure_native_kernel=False
        ),
        connection_file=str(folder / "connection.json"),
    )
    client = NotebookClient(notebook, km=manager, timeout=CELL_TIMEOUT, record_timing=False)
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a debugger's remark on frozen modules
        "MPLBACKEND": "agg",
    }
    try:
        client.execute(env=environment, cleanup_kc=True)  # or the kernel would outlive us
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as problem:
        cell = _last_started(notebook)
        first_line = next(iter(cell.source.splitlines()), "") if cell else ""
        what = (
            f"{problem.ename}: {problem.evalue}"
            if isinstance(problem, CellExecutionError)
            else f"{type(problem).__name__} (a cell may take {CELL_TIMEOUT} s)"
        )
        raise UserError(
            f"the notebook's cell that begins with {first_line!r} failed: {what}; no report was "
            "written"
        ) from None


def to_html(notebook: Any) -> str:
    """The executed notebook as one HTML page, pictures embedded, that loads nothing else."""
    try:
        from nbconvert import HTMLExporter
        from pygments.formatters import HtmlFormatter
        from traitlets.config import Config
    except ImportError as problem:
        raise _missing_extra(problem) from None
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
    style = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title(notebook))}</title>",
            f"<style>\n{style}\n{(HERE / 'report.css').read_text(encoding='utf-8')}</style>",
            f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        ]
    )


def to_pdf(notebook: Any, folder: Path) -> bytes:
    """The executed notebook as a PDF; `folder` is scratch space for its pictures."""
    try:
        import pypandoc
        import typst
    except ImportError as problem:
        raise _missing_extra(problem) from None
    text = pypandoc.convert_text(
        "\n\n".join(_markdown(notebook, folder)),
        "typst",
        format=PANDOC_MARKDOWN,
        extra_args=[
            "--standalone",
            f"--template={HERE / 'report.typ'}",
            f"--metadata=title:{title(notebook)}",
            "--syntax-highlighting=idiomatic",
            "--wrap=none",
            "--columns=10000",  # so that no table is taken for too wide and given fixed columns
        ],
    )
    path = folder / "report-page.typ"
    path.write_text(text, encoding="utf-8")
    return typst.compile(str(path), root=str(folder))


def title(notebook: Any) -> str:
    """The notebook's first heading."""
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return "Report"


def _markdown(notebook: Any, folder: Path) -> Iterator[str]:
    """The notebook's blocks as pandoc's Markdown, its pictures written into `folder`.

    A picture and the paragraph "**Figure …" after it become one figure with a caption.
    """
    blocks = list(_blocks(notebook))
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


def _blocks(notebook: Any) -> Iterator[tuple[str, str]]:
    """("markdown" | "code" | "output" | "png", content) in reading order."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # The document's title is set by the template, from the metadata.
            yield "markdown", cell.source.replace(f"# {title(notebook)}\n", "", 1)
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


def _parameters(notebook: Any, source: Path) -> Any:
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            return cell
    raise UserError(
        f'{source} has no cell tagged "parameters"; add one that sets RESULTS, WEIGHTS and DATA'
    )


def _assignments(**values: str | None) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def _settle(notebook: Any) -> None:
    """Leave in the notebook nothing that differs between two executions with the same result."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if "hide-input" in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}  # folded in JupyterLab too


def _last_started(notebook: Any) -> Any:
    """The cell that was running when execution stopped; None when none had started."""
    started = [cell for cell in notebook.cells if cell.get("execution_count")]
    failed = [
        cell
        for cell in notebook.cells
        if any(output.output_type == "error" for output in cell.get("outputs", ()))
    ]
    return failed[-1] if failed else started[-1] if started else None


def _missing_extra(problem: ImportError) -> UserError:
    return UserError(f"the report needs {problem.name}: pip install 'convlens[report]'")
