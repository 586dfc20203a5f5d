"""From a notebook's jupytext source to the executed notebook, its web page and its PDF.

    source.py → parameters set → executed in a kernel of this interpreter → .ipynb   execution.py
    .ipynb → nbconvert → .html, one file that loads nothing                          html_page.py
    .ipynb → Markdown → pandoc → typst → .pdf, without a browser or LaTeX            pdf.py

Cells tagged `hide-input` show their output only: text whose numbers are computed, and code read
from the package.
"""

import json
import os
import re
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.files import make_folder, scratch
from convlens.reporting.execution import execute
from convlens.reporting.html_page import to_html
from convlens.reporting.pdf import to_pdf

if TYPE_CHECKING:
    from nbformat import NotebookNode

_NAME = re.compile(r"\w[\w .-]*")  # of a recipe
HERE = Path(__file__).parent
NAME = "assignment2.py"
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What the extra "report" installs, as it is imported, here and in the three modules above.
PACKAGES = (
    "jupytext",
    "nbformat",
    "nbclient",
    "ipykernel",
    "jupyter_client",
    "nbconvert",
    "pypandoc",
    "typst",
)


def notebook_source() -> Path:
    """The assignment's notebook: as packaged, or in the repository of an editable install."""
    packaged = HERE.parent / "notebooks" / NAME
    return packaged if packaged.exists() else HERE.parents[2] / "notebooks" / NAME


def report(
    results: Path | str,
    weights: Path | str,
    data: Path | str | None = None,
    out: Path | str = "notebooks",
    *,
    source: Path | str | None = None,
    reading: Reading | None = None,
) -> tuple[Path, Path, Path]:
    """Execute a notebook and write it, its web page and its PDF.

    They are built elsewhere and moved into place together at the end, so a report that fails leaves
    an older one as it was.

    Args:
        results: Folder with summary.json, and a run's tables and pictures in a folder named after
            its recipe, as `convlens reproduce` fills it.
        weights: Folder with RECIPE.safetensors.
        data: The data set that the results were measured on, as `open_dataset` takes it.
        out: Folder of the three files, which take the name of `source`.
        source: In jupytext's percent format, by default the assignment's notebook. Its cell tagged
            "parameters" sets RESULTS, WEIGHTS, DATA and READING.
        reading: How the data set is to be read.

    Returns:
        The paths of the notebook, the HTML and the PDF.

    Raises:
        UserError: for missing results, a missing extra, data of other classes than the results'
            and a cell that fails.
    """
    results, weights, out = Path(results), Path(weights), Path(out)
    source = Path(source) if source else notebook_source()
    if not (results / "summary.json").exists():
        raise UserError(
            f"{results} holds no summary.json; `convlens reproduce` makes it, or name the folder "
            "with `results`",
            option="results",
        )
    _check_names(results / "summary.json")
    if not source.exists():
        raise UserError(f"the notebook's source {source} does not exist")
    _check_packages()
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    parameters = _parameters(notebook, source)
    parameters.source = _assignments(
        RESULTS=str(results.resolve()),
        WEIGHTS=str(weights.resolve()),
        DATA=None if data is None else str(data),
        READING=_asked(reading),
    )
    try:
        make_folder(out)
    except OSError as problem:
        raise UserError(
            f"{out} cannot be a folder ({problem.strerror}); name another with `out`", option="out"
        ) from None
    with scratch("report", out) as folder:
        execute(notebook, folder)
        # What is handed over names no path of this machine, and runs where it lies.
        parameters.source = _assignments(
            RESULTS=os.path.relpath(results, out),
            WEIGHTS=os.path.relpath(weights, out),
            DATA=None,
            READING=_asked(reading, out),
        )
        _settle(notebook)
        ipynb, page, pdf = (
            folder / f"{source.stem}.{suffix}" for suffix in ("ipynb", "html", "pdf")
        )
        nbformat.write(notebook, ipynb)
        page.write_text(to_html(notebook, title(notebook)), encoding="utf-8")
        pdf.write_bytes(to_pdf(notebook, title(notebook), folder))
        for path in (ipynb, page, pdf):
            os.replace(path, out / path.name)
    return out / ipynb.name, out / page.name, out / pdf.name


def _check_names(summary: Path) -> None:
    """Raise UserError for a recipe whose name would be more than a name in the notebook's Markdown,
    or in the path of its results. What is damaged the notebook itself tells."""
    try:
        records = json.loads(summary.read_text(encoding="utf-8"))
        names = [record["recipe"] for record in records]
    except (OSError, ValueError, LookupError, TypeError):
        return
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{summary} has results of a recipe {name!r}, which is no name of one; remove them",
                option="results",
            )


def title(notebook: "NotebookNode") -> str:
    """The notebook's first heading."""
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return "Report"


def _check_packages() -> None:
    """Raise UserError for what is not installed, before minutes have gone into executing."""
    for package in PACKAGES:
        try:
            import_module(package)
        except ImportError as problem:
            raise UserError(
                f"the report needs {problem.name}; install it with `pip install nbformat nbclient "
                "nbconvert ipykernel jupytext pypandoc-binary typst`"
            ) from None


def _parameters(notebook: "NotebookNode", source: Path) -> "NotebookNode":
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            return cell
    raise UserError(
        f'{source} has no cell tagged "parameters"; add one that sets RESULTS, WEIGHTS, DATA '
        "and READING"
    )


def _asked(reading: Reading | None, folder: Path | None = None) -> dict[str, Any]:
    """What is asked for of a reading; a file by its way from that folder, where there is one."""
    asked = {name: value for name, value in asdict(reading or Reading()).items() if value}
    if "exclude" in asked:
        place = Path(asked["exclude"]).resolve()
        asked["exclude"] = str(place if folder is None else os.path.relpath(place, folder))
    return asked


def _assignments(**values: str | dict[str, Any] | None) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def _settle(notebook: "NotebookNode") -> None:
    """Leave in the notebook nothing that differs between two executions with the same result."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if "hide-input" in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}  # folded in JupyterLab too
