"""The exceptions whose text is meant for the user."""


class UserError(Exception):
    """Bad input, told in one sentence that names the file or option and says what to do.

    The command line prints the sentence and exits with status 2; no traceback is shown.
    """


class Diverged(UserError):
    """Training has met a loss that is not finite."""
