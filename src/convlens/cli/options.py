"""Options that several verbs have, and how an option is spelled on the command line."""

import contextlib
import inspect
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro
from tyro.conf import Positional, arg

from convlens.cli.refusals import refusing
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode
from convlens.logs import say

if TYPE_CHECKING:
    from convlens.data import Dataset

T = TypeVar("T")

LEFT_OUT_SHOWN = 5  # files that are told by name

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
SPELLINGS = {"path": "--out", "maps": "--map", "members": "--ensemble", "weights": "--from"}


def say_data(dataset: "Dataset", as_one: bool = False) -> None:
    """Tell what data set is open, and which of its files have been left out."""
    say(f"data set   {dataset.describe(as_one)}")
    for path in dataset.skipped:
        say(f"skipped    {path}")


def read(
    kind: type[T],
    arguments: Sequence[str],
    verb: str,
    about: str | None = None,
    default: T | None = None,
) -> T:
    """Read the options of a verb; --help ends the program, a bad option is a UserError.

    Args:
        kind: A dataclass with a field an option.
        arguments: What stands after the verb.
        verb: The verb with the words before it, "data audit".
        about: What it does, for its help; by default as `kind` documents itself.
        default: What the options are where they are not given.
    """

    def parse(arguments: Sequence[str]) -> Any:
        return tyro.cli(
            kind,
            args=arguments,
            prog=f"convlens {verb}",
            description=about and inspect.cleandoc(about),
            default=default,
            config=(tyro.conf.FlagCreatePairsOff,),
        )

    def known() -> list[str]:
        help_text = io.StringIO()
        with contextlib.redirect_stdout(help_text), contextlib.suppress(SystemExit):
            parse(["--help"])
        return re.findall(r"--[a-z][\w.-]*", help_text.getvalue())

    for before, each in zip((verb, *arguments), arguments, strict=False):
        if not each:  # which would be the working folder where a path is asked for
            raise UserError(
                f"what stands after {before} is empty, as of a shell variable that is not set; "
                "give it a value or leave it out"
            )
    with refusing(arguments, verb, known):
        return parse(arguments)


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
    return visible(f"convlens: {spell(str(problem), problem.options)}")


def finish(failed: Sequence[tuple[str, str]], left_out: Sequence[str], *, any_answer: bool) -> None:
    """Tell on stderr which images have no answer, and if there are some, end with status 1 or 2.

    Args:
        failed: Each one's path and a sentence.
        left_out: Files in folders that are no images, which do not count.
        any_answer: Whether others have one; the status is 2 where none has.
    """
    sys.stdout.flush()
    for _, sentence in failed:
        say(visible(f"convlens: {as_unicode(sentence)}"), file=sys.stderr)
    if left_out:
        from convlens.data.decode import count_kinds

        files = "1 file that is no image" if len(left_out) == 1 else "files that are no images"
        count = "" if len(left_out) == 1 else f"{len(left_out):,} "
        names = [as_unicode(path) for path in left_out[:LEFT_OUT_SHOWN]]
        names += ["…"] * (len(left_out) > LEFT_OUT_SHOWN)
        kinds = count_kinds(left_out)
        say(visible(f"left out: {count}{files} ({kinds}): {', '.join(names)}"), file=sys.stderr)
    if failed:
        sys.exit(1 if any_answer else 2)
