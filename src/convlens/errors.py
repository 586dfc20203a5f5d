"""The exceptions whose text is meant for the user."""

from collections.abc import Sequence


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
        """Keep the options when the exception crosses to another process."""
        return _restore, (type(self), str(self), self.options)


def _restore(kind: type[UserError], message: str, options: tuple[str, ...]) -> UserError:
    return kind(message, option=options)


class Diverged(UserError):
    """Training has met a loss that is not finite."""
