"""Options that several verbs have, and how an option is spelled on the command line."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import Positional, arg

from convlens.errors import UserError

T = TypeVar("T")

Data = Annotated[
    Path | None,
    arg(metavar="DIR", help="The data set; else CONVLENS_DATA, data/caltech101-64, the demo set."),
]
RunData = Annotated[
    Path | None,
    arg(metavar="DIR", help="The data set; else the run's own, else as in training."),
]
Folder = Annotated[Path | None, arg(metavar="DIR")]
Run = Annotated[Positional[Path], arg(metavar="RUN", help="A run folder or a weights file.")]
Images = Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE …")]
Device = Annotated[
    str, arg(metavar="DEVICE", help="cpu, cuda or mps; auto takes the fastest there is.")
]

# Parameters that the command line calls otherwise than with dashes in the place of underscores.
SPELLINGS = {"path": "--out", "maps": "--map", "members": "--ensemble"}


def read(
    kind: type[T],
    arguments: Sequence[str],
    verb: str,
    about: str | None = None,
    default: T | None = None,
) -> T:
    """Read the options of a verb; help and bad options end the program.

    Args:
        kind: A dataclass with a field an option.
        arguments: What stands after the verb.
        verb: The verb with the words before it, "data audit".
        about: What it does, for its help; by default as `kind` documents itself.
        default: What the options are where they are not given.
    """
    options: Any = tyro.cli(
        kind,
        args=arguments,
        prog=f"convlens {verb}",
        description=about and inspect.cleandoc(about),
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return options


def spelled(option: str) -> str:
    """The option of that Python name as a person types it: `split_seed` is --split-seed."""
    name = option.removeprefix("recipe.")
    return SPELLINGS.get(name, f"--{name.replace('_', '-')}")


def spell(text: str, options: Iterable[str]) -> str:
    """`text` with those of its words in backticks that are `options` as a person types them."""
    for option in options:
        text = text.replace(f"`{option}`", spelled(option))
    return text


def tell(problem: UserError) -> str:
    """The one line that tells a problem on the command line."""
    return f"convlens: {spell(str(problem), problem.options)}"
