"""The explorer as it is started: runs are opened, and their page is served or written as files.

Of a plain installation nothing here but `serve` is missing anything: only that needs the packages
of the extra "explorer", and says so.
"""

import asyncio
import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.explorer.addresses import address_of, as_prefix, is_loopback, listen
from convlens.explorer.export import write_page
from convlens.explorer.inside import Explorer
from convlens.explorer.runs import find_runs, is_run, is_training
from convlens.fields import from_dict

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)


def explore(
    run: Path | str,
    other: Path | str | None = None,
    *,
    data: Path | str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    root_path: str = "",
    browser: bool = False,
    **reading: Any,
) -> None:
    """Serve a page on which to look inside a network, or two side by side, until it is stopped.

    It ends with Ctrl-C; in a notebook, when the cell is interrupted. Of a run that trains, or has
    not finished its first epoch, and of a folder of runs the page shows them as they go.

    Args:
        run: A run folder, a weights file, or a folder of runs.
        other: A second one, shown beside the first on the same images.
        data: The data set; else the run's own, else as in training.
        host: The address to listen at; all but this computer's own ask for a token.
        port: The port to listen at, 0 to 65535; 0 takes any that is free.
        root_path: The path below which a proxy shows the page, such as "/user/me/proxy/8765"; who
            comes by another name than this computer's is asked for a token.
        browser: Open the page in the browser.
        **reading: How the data set is to be read, as `open_dataset` takes it.

    Raises:
        UserError: for what cannot be opened, an address that cannot be listened at, and where the
            extra "explorer" is not installed.
    """
    check_installed()  # before minutes are spent on opening a data set
    if other is None and _is_live(Path(run)):
        watch([Path(run)], host, port, root_path, browser, data=data, **reading)
    else:
        serve(open_explorer(run, other, data=data, **reading), host, port, root_path, browser)


def _is_live(path: Path) -> bool:
    """Whether it is for the page of runs: one that trains, one without weights, or a folder."""
    if not path.is_dir():
        return False
    if is_run(path):
        return is_training(path) or not (path / "best.safetensors").exists()
    return bool(find_runs(path))


def export_page(
    run: Path | str,
    other: Path | str | None = None,
    *,
    out: Path | str,
    data: Path | str | None = None,
    images: Sequence[Path | str] = (),
    **reading: Any,
) -> Path:
    """Write that page as one file, which opens without a server and runs the network itself.

    Args:
        run, other, data, reading: As `explore` takes them.
        out: The file, named .html, or a folder, in which it is index.html; a page that was written
            there before is replaced.
        images: Files or folders; by default a few validation images and the worst mistakes.

    Returns:
        The file.

    Raises:
        UserError: for what cannot be opened, an image that cannot be read, and where something
            else is there already.
    """
    return write_page(open_explorer(run, other, data=data, **reading), Path(out), images)


def open_explorer(
    run: Path | str,
    other: Path | str | None = None,
    *,
    data: Path | str | None = None,
    **reading: Any,
) -> Explorer:
    """What `explore` shows, nothing of it surveyed yet; the data set is logged."""
    runs = [Path(run)] if other is None else [Path(run), Path(other)]
    explorer = Explorer.open(runs, data, from_dict(Reading, reading))
    dataset = explorer.dataset
    about = dataset.describe() if dataset else "none that has the run's classes"
    logger.info("data set   %s", about)
    for path in dataset.skipped if dataset else ():
        logger.info("skipped    %s", path)
    return explorer


def serve(
    explorer: Explorer, host: str, port: int, root_path: str = "", browser: bool = False
) -> None:
    """Serve until the user stops it.

    Args:
        explorer: What is served.
        host, port, root_path, browser: As `explore` takes them.

    Raises:
        UserError: where the address cannot be bound to, and where the extra is not installed.
    """
    check_installed()
    from convlens.explorer.server import application

    _serve(lambda *guard: application(explorer, *guard), host, port, root_path, browser)


def watch(
    roots: Sequence[Path],
    host: str,
    port: int,
    root_path: str = "",
    browser: bool = False,
    *,
    data: Path | str | None = None,
    **reading: Any,
) -> None:
    """Serve the page of runs until the user stops it.

    Args:
        roots: Run folders, and folders that hold some.
        host, port, root_path, browser, data, reading: As `explore` takes them.

    Raises:
        UserError: as `serve`.
    """
    check_installed()
    from convlens.explorer.live import Live, live_application

    live = Live(roots, data, from_dict(Reading, reading))

    def made(*guard: Any) -> "ASGIApp":
        return live_application(live, *guard)

    _serve(made, host, port, root_path, browser, live.end_with)


def _serve(
    make: "Callable[..., ASGIApp]",
    host: str,
    port: int,
    root_path: str,
    browser: bool,
    begin: "Callable[[uvicorn.Server], None]" = lambda server: None,
) -> None:
    """make: an application by the Guard's token and prefix. begin: is told of the server."""
    import uvicorn

    from convlens.explorer.server import configuration

    prefix = as_prefix(root_path)
    # A proxy, too, asks from this computer, and under its name where it is not told otherwise.
    token = None if is_loopback(host) and not prefix else secrets.token_urlsafe(16)
    with listen(host, port) as listening:
        address = address_of(listening, host) + f"{prefix}/"
        address += f"?token={token}" if token else ""
        # as a warning, for that is also seen where nobody has asked to see what is logged, and
        # without the address there is nothing to look at
        logger.warning("explore    %s (Ctrl-C ends it)", address)
        if browser:  # which waits for the server, for the socket listens already
            webbrowser.open(address)
        server = uvicorn.Server(configuration(make(token, prefix)))
        begin(server)
        _run(server, listening)


def check_installed() -> None:
    """UserError unless what a server needs is there."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as missing:
        raise UserError(
            f"explore needs {missing.name}; install it with `pip install starlette uvicorn`"
        ) from None


def _run(server: "uvicorn.Server", listening: socket.socket) -> None:
    """Until it is stopped; also in a notebook, whose own event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return server.run(sockets=[listening])
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        thread.join()
    finally:  # the cell was interrupted
        server.should_exit = True
        thread.join()
