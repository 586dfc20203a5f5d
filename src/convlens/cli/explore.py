"""`convlens explore`: the page on which to look inside a network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from convlens.cli.options import Run, RunData, read
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.logs import say


@dataclass(frozen=True)
class ExploreOptions(Reading):
    """Options of `convlens explore`."""

    run: Run
    other: Annotated[Positional[Path | None], arg(metavar="RUN2")] = None
    """A second run, shown beside the first on the same images."""
    data: RunData = None
    host: str = "127.0.0.1"
    """The address to listen at; all but this computer's own ask for a token."""
    port: int = 8765
    """The port to listen at; 0 takes any that is free."""
    root_path: str = ""
    """The path below which a proxy shows the page, as JupyterHub's /user/me/proxy/8765; then
    everybody is asked for a token."""
    browser: bool = False
    """Open the page in the browser."""
    export: Annotated[Path | None, arg(metavar="FILE")] = None
    """Instead of serving, write the page as one file, which opens without a server and runs the
    network itself: page.html, or a folder for its index.html. A page written there before is
    replaced."""
    images: tuple[Path, ...] = ()
    """For --export: files or folders; else a few validation images and the worst mistakes."""


def explore(arguments: Sequence[str]) -> None:
    """Serve a page on which to look inside a network, or two side by side, until it is stopped.

    Of a run that trains, and of a folder of runs, the page shows them as they go.
    """
    options = read(ExploreOptions, arguments, "explore", explore.__doc__)
    if options.images and options.export is None:
        raise UserError("--images are chosen for --export; the page itself takes any image")
    say(f"opening    {' and '.join(map(str, filter(None, (options.run, options.other))))}")
    from convlens.explorer import serving  # with torch, which takes seconds

    runs, data = (options.run, options.other), options.data
    reading = asdict(options.reading)
    if options.export is None:
        serving.explore(
            *runs,
            data=data,
            host=options.host,
            port=options.port,
            root_path=options.root_path,
            browser=options.browser,
            **reading,
        )
    else:
        written = serving.export_page(
            *runs, out=options.export, data=data, images=options.images, **reading
        )
        say(f"wrote      {written}")
