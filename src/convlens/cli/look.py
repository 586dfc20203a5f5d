"""`convlens look`: pictures of what a network sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from convlens.cli.options import Images, Run, RunData, read

if TYPE_CHECKING:
    from convlens.look.view import View

ViewName = Literal[
    "activations",
    "filters",
    "layers",
    "attribution",
    "occlusion",
    "invariance",
    "neighbors",
    "patches",
    "deconvolution",
    "growth",
    "feature-visualization",
    "embedding",
]


@dataclass(frozen=True)
class LookOptions:
    """Options of `convlens look`."""

    run: Run
    images: Images = ()
    """Files or folders; else the assignment's two, or the first two classes' first ones."""
    view: tuple[ViewName, ...] = ("activations", "filters")
    """What to draw; layers is a table, printed."""
    target: Annotated[str | None, arg(metavar="CLASS")] = None
    """The class that attribution, occlusion and invariance ask about, else the predicted one; and
    the one whose features are visualized, else the first ones."""
    layer: Annotated[str | None, arg(metavar="NAME")] = None
    """Whose maps to show, by the name that `--view layers` or a title tells; else the first two
    convolutions' activations, the first one's filters, patches, deconvolution and growth of the
    deepest layer that sees parts only, and the features of the logits."""
    map: tuple[int, ...] = ()
    """Which of its maps, by number; else all, the strongest, or the first."""
    data: RunData = None
    out: Path = Path("looks")
    """The folder for the pictures."""


def look(arguments: Sequence[str]) -> None:
    """Draw what a network sees: activations, filters, layers, and what speaks for a class."""
    options = read(LookOptions, arguments, "look", look.__doc__)
    raise NotImplementedError(options)
