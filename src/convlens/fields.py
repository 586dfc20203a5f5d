"""Dataclasses of options: declared once, and from that checked, read, written and changed.

An option is a field with its type, its range (`Bounds`) and a line of documentation. Nested fields
go by a dotted name (`augment.flip`). The command line, `config.yaml`, the recorded command and the
Python API are all made from these declarations.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from convlens.errors import UserError, closest, did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The range of a number, both ends included; an annotation beside a field's type."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high  # NaN is in no range

    def __str__(self) -> str:
        return f"{self.low:g} " + (f"to {self.high:g}" if self.high < math.inf else "up")


def flatten(options: Any) -> dict[str, Any]:
    """Every field of a dataclass by its dotted name; dictionaries inside it are opened too."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{inner}": v for inner, v in flatten(value).items()}
        elif isinstance(value, dict):
            flat |= {f"{field.name}.{inner}": v for inner, v in value.items()}
        else:
            flat[field.name] = value
    return flat


def check_bounds(options: Any) -> None:
    """Raise UserError for the first number that lies outside its field's bounds."""
    for name, value, bounds in _bounded(options, ""):
        if value is not None and value not in bounds:
            raise UserError(f"`{name}` {value} is out of range; give {bounds}", option=name)


def check_least(name: str, value: float, least: float) -> None:
    """Raise UserError when the option `name` has a value below the least that makes sense."""
    if value < least:
        raise UserError(f"`{name}` {value} is too small; the least is {least}", option=name)


def _bounded(options: Any, prefix: str) -> Iterator[tuple[str, Any, Bounds]]:
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from _bounded(value, f"{name}.")
        for extra in get_args(hints[field.name])[1:]:
            if isinstance(extra, Bounds):
                yield name, value, extra


def replace(options: T, changes: Mapping[str, Any]) -> T:
    """`options` with the fields of those dotted names changed.

    Values of a dictionary field may be new ones. Raises UserError for a field that is not there and
    for a value of another kind than the field's.
    """
    hints = typing.get_type_hints(type(options))
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        field, _, inner = name.partition(".")
        if field not in hints or (inner and not _has_fields(getattr(options, field))):
            _refuse(name, options)
        elif inner:
            nested.setdefault(field, {})[inner] = value
        elif isinstance(value, Mapping) and dataclasses.is_dataclass(getattr(options, field)):
            nested.setdefault(field, {}).update(value)
        else:
            own[field] = convert(value, hints[field], name)
    for field, inner_changes in nested.items():
        value = own.get(field, getattr(options, field))
        if isinstance(value, dict):
            own[field] = {**value, **inner_changes}
        else:
            try:
                own[field] = replace(value, inner_changes)
            except UserError as problem:
                message = str(problem)
                for inner in problem.options:
                    message = message.replace(f"`{inner}`", f"`{field}.{inner}`")
                inner_options = [f"{field}.{inner}" for inner in problem.options]
                raise UserError(message, option=inner_options) from None
    return dataclasses.replace(options, **own)  # pyright: ignore[reportArgumentType]


def _has_fields(value: Any) -> bool:
    return isinstance(value, dict) or dataclasses.is_dataclass(value)


def _refuse(name: str, options: Any) -> typing.NoReturn:
    known = flatten(options)
    hint = did_you_mean(name, known, written="`{}`")
    raise UserError(f"there is no option `{name}`{hint}", option=[name, *closest(name, known)])


def convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`, as far as nothing is lost.

    A number may be written as another kind of number, and as text (YAML reads 1e-3 as such); a list
    stands for a tuple. Raises UserError naming the option `name` otherwise.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return convert(value, arguments[0], name)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [argument for argument in arguments if argument is not type(None)]
        return convert(value, rest[0], name)
    if origin is Literal:
        if value in arguments:
            return value
        choices = ", ".join(map(str, arguments))
        raise UserError(f"`{name}` is {value!r}; choose from {choices}", option=name)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(convert(each, arguments[0], name) for each in value)
        raise UserError(f"`{name}` is {value!r}; it must be a list", option=name)
    if origin is dict:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: convert(v, arguments[1], f"{name}.{key}") for key, v in value.items()}
        raise UserError(f"`{name}` is {value!r}; it must be options by their names", option=name)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_dict(hint, value, f"{name}.")
    return _convert_plain(value, typing.cast(type, hint), name)


def _convert_plain(value: Any, kind: type, name: str) -> Any:
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    try:
        if kind is str:
            if not hasattr(value, "__fspath__"):
                raise ValueError
            return str(value)
        if kind is bool or isinstance(value, bool | list | dict | None):
            raise ValueError
        converted = kind(value)
        if kind is int and converted != float(value):
            raise ValueError
        return converted
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"`{name}` is {value!r}; it must be of type {kind.__name__}", option=name
        ) from None


def from_dict(kind: type[T], values: Any, prefix: str = "") -> T:
    """The dataclass `kind` from plain values, as `dataclasses.asdict` gives them.

    Raises UserError for a field that is unknown, missing or of another type; `prefix` stands before
    the names it tells.
    """
    if not isinstance(values, dict):
        where = prefix.rstrip(".") or kind.__name__
        raise UserError(f"`{where}` is {values!r}; it must be options by their names", option=where)
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise UserError(f"there is no option `{prefix}{name}`", option=f"{prefix}{name}")
    for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType]
        usual = (field.default, field.default_factory)
        if field.name not in values and usual == (dataclasses.MISSING, dataclasses.MISSING):
            name = f"{prefix}{field.name}"
            raise UserError(f"`{name}` is missing; it has no usual value", option=name)
    return kind(
        **{name: convert(value, hints[name], f"{prefix}{name}") for name, value in values.items()}
    )
