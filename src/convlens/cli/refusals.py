"""What is said of arguments that cannot be read: one sentence, as of all other bad input.

tyro, which reads them, draws boxes around words of its own and of Python. It tells what is wrong by
events that its versions may change: of one that is not known here its box is shown.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convlens.errors import UserError, did_you_mean
from convlens.logs import say

KINDS = {"INT": "whole number", "FLOAT": "number"}  # by what stands for the value in the help


@contextlib.contextmanager
def refusing(
    arguments: Sequence[str], verb: str, options: Callable[[], Sequence[str]]
) -> Iterator[None]:
    """While tyro reads arguments, have it raise UserError with a `sentence` of what is wrong.

    The arguments are those of `sentence`. Where it knows none, tyro's box is shown and the program
    ends with status 2; no argument in it commands the terminal.
    """

    def refuse(event: Any) -> None:
        if told := sentence(event, arguments, verb, options):
            raise UserError(told)

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), _hooked(refuse):
            yield
    finally:
        if told.getvalue():
            say(told.getvalue().rstrip("\n"), file=sys.stderr)


def _hooked(refuse: Callable[[Any], None]) -> contextlib.AbstractContextManager[Any]:
    """tyro's own way to be told of what is wrong, which not every version of it has."""
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return contextlib.nullcontext()
    return on_parse_error(refuse)


def sentence(
    event: Any, arguments: Sequence[str], verb: str, options: Callable[[], Sequence[str]]
) -> str | None:
    """What to say of an event of tyro's; None where it is not known.

    Args:
        event: A `tyro._errors.ParseErrorEvent`.
        arguments: What stands after the verb.
        verb: The verb with the words before it, "data audit".
        options: All that the verb has; asked for where one of them may have been meant.
    """
    try:
        return _SENTENCES[type(event).__name__](event, arguments, verb, options)
    except (AttributeError, LookupError, TypeError):  # of another version
        return None


def _missing(event: Any, arguments: Any, verb: str, options: Any) -> str:
    if event.unrecognized_tokens:  # what was meant to be the missing one, mostly
        return _unknown_tokens(event.unrecognized_tokens, verb, options)
    names = [_name(each.arg) for each in event.missing_arguments]
    return f"{verb} needs {' and '.join(names)}; `convlens {verb} --help` says what it is"


def _unknown(event: Any, arguments: Any, verb: str, options: Any) -> str:
    return _unknown_tokens(event.tokens, verb, options)


def _unknown_tokens(tokens: Sequence[str], verb: str, options: Any) -> str:
    token = next((each for each in tokens if each.startswith("-")), tokens[0])
    name, _, _ = token.partition("=")
    if not token.startswith("-"):
        return f"{verb} does not take {token!r}; `convlens {verb} --help` shows what it takes"
    known = [option.removeprefix("--") for option in options()]
    hint = did_you_mean(name.lstrip("-").replace("_", "-"), known, written="--{}")
    return f"{verb} has no option {name}{hint} (`convlens {verb} --help` shows all)"


def _choice(event: Any, arguments: Any, verb: str, options: Any) -> str:
    return f"{_name(event.argument)} is {event.value!r}; choose from {', '.join(event.choices)}"


def _bad_value(event: Any, arguments: Any, verb: str, options: Any) -> str:
    name = _name(event.argument)
    if event.reason == "too_few_values" and event.argument.is_positional():
        return f"{verb} needs {name}; `convlens {verb} --help` says what it is"
    if event.reason == "too_few_values":
        return f"{name} is given no value; `convlens {verb} --help` says which it takes"
    raise LookupError


def _no_instance(event: Any, arguments: Sequence[str], verb: str, options: Any) -> str:
    name, metavar = _name(event.argument), str(event.argument.lowered.metavar)
    word, kind = next((w, k) for w, k in KINDS.items() if w in metavar)
    for value in _values(event.argument.lowered.name_or_flags, arguments):
        try:
            {"INT": int, "FLOAT": float}[word](value)
        except ValueError:
            return f"{name} {value!r} is no {kind}; give one"
    raise LookupError


def _values(flags: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The values that an option is given, the last time that it is."""
    found: list[str] = []
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") not in {flag.replace("_", "-") for flag in flags}:
            continue
        rest = arguments[place + 1 :]
        end = next((i for i, each in enumerate(rest) if each.startswith("--")), len(rest))
        found = [value] if equals else list(rest[:end])
    return found


def _name(argument: Any) -> str:
    """An argument as a person knows it: RUN, or --port."""
    lowered = argument.lowered
    return str(lowered.metavar) if argument.is_positional() else lowered.name_or_flags[0]


_SENTENCES: dict[str, Callable[[Any, Sequence[str], str, Any], str]] = {
    "MissingArgs": _missing,
    "UnrecognizedArgs": _unknown,
    "InvalidChoice": _choice,
    "BadValue": _bad_value,
    "InstantiationFailure": _no_instance,
}
