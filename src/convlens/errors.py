"""The exceptions whose text is meant for the user."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(Exception):
    """Bad input, told in one sentence that names the file or the parameter and says what to do.

    A message writes the parameters that it speaks of in backticks, by their Python names, and
    `option` lists them. The command line turns those words into its own spelling, `split_seed` into
    --split-seed, prints the sentence and exits with status 2, without a traceback.
    """

    def __init__(self, message: str, *, option: str | Sequence[str] = ()):
        super().__init__(message)
        self.options = (option,) if isinstance(option, str) else tuple(option)

    def __reduce__(self) -> tuple:
        """Keep all it knows when the exception crosses to another process."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[UserError], arguments: tuple, known: dict[str, Any]) -> UserError:
    problem = kind.__new__(kind, *arguments)  # each kind's __init__ asks for other things
    problem.__dict__ |= known
    return problem


class Diverged(UserError):
    """Training has met a loss that is not finite."""


def closest(name: str, known: Iterable[str]) -> list[str]:
    """The one of the known names that is most like `name`; none where all are far from it."""
    return difflib.get_close_matches(name, list(known), 1)


def did_you_mean(name: str, known: Iterable[str], written: str = "{}", otherwise: str = "") -> str:
    """What follows the sentence that a name is not known: "; did you mean …?".

    Args:
        name: What somebody wrote.
        known: What there is.
        written: How a name is shown, {} being the name.
        otherwise: What to say where no known name is like it.
    """
    close = closest(name, known)
    return f"; did you mean {written.format(close[0])}?" if close else otherwise
