"""Runs a notebook's cells in a kernel of this interpreter."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from convlens.errors import UserError
from convlens.figures import fonts

if TYPE_CHECKING:
    from nbformat import NotebookNode

# The kernel's first words: what its figures have to tell of fonts goes to a file.
STARTUP = """\
import logging
_fonts = logging.getLogger("convlens.figures.fonts")
_fonts.addHandler(logging.FileHandler({path!r}, encoding="utf-8", errors="backslashreplace"))
_fonts.setLevel(logging.INFO)
del _fonts, logging
"""
CELL_TIMEOUT = 900  # seconds; nothing is trained, so a cell that takes longer hangs


def execute(notebook: "NotebookNode", folder: Path) -> None:
    """Run every cell of `notebook` in place, in the current folder, top to bottom.

    Args:
        notebook: Its outputs are filled in.
        folder: Scratch space for the kernel's specification, connection file and settings, so that
            neither an installed kernel nor the user's Jupyter and IPython settings play a part.

    Raises:
        UserError: What a cell raised, where that was a UserError, else a sentence that names the
            failing cell's first line and the error.
    """
    from ipykernel.kernelspec import write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

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
    told = folder / "fonts.txt"
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    code = STARTUP.format(path=str(told.resolve()))
    (startup / "fonts.py").write_text(code, encoding="utf-8", errors="surrogateescape")
    environment = {
        **os.environ,
        "IPYTHONDIR": str((folder / "ipython").resolve()),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a debugger's remark on frozen modules
        "MPLBACKEND": "agg",
    }
    try:
        client.execute(env=environment, cleanup_kc=True)  # or the kernel would outlive us
    except CellExecutionError as problem:
        if problem.ename == UserError.__name__:
            raise UserError(
                f"{problem.evalue}; no report was written", option=("results", "weights", "data")
            ) from None
        raise _failed(notebook, f"{problem.ename}: {problem.evalue}") from None
    except (CellTimeoutError, DeadKernelError) as problem:
        what = f"{type(problem).__name__} (a cell may take {CELL_TIMEOUT} s)"
        raise _failed(notebook, what) from None
    for line in told.read_text(encoding="utf-8").splitlines() if told.exists() else ():
        fonts.tell_again(line)


def _failed(notebook: "NotebookNode", what: str) -> UserError:
    cell = _last_started(notebook)
    first_line = next(iter(cell.source.splitlines()), "") if cell else ""
    return UserError(
        f"the notebook's cell that begins with {first_line!r} failed: {what}; no report was written"
    )


def _last_started(notebook: "NotebookNode") -> "NotebookNode | None":
    """The cell that was running when execution stopped; None when none had started."""
    started = [cell for cell in notebook.cells if cell.get("execution_count")]
    failed = [
        cell
        for cell in notebook.cells
        if any(output.output_type == "error" for output in cell.get("outputs", ()))
    ]
    return failed[-1] if failed else started[-1] if started else None
