"""Dataclasses of options: what they are checked for, read from, written as and changed by."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import UserError
from convlens.fields import (
    Bounds,
    check_bounds,
    check_least,
    convert,
    flatten,
    from_dict,
    replace,
)


@dataclass(frozen=True)
class Inner:
    flip: Annotated[float, Bounds(0, 1)] = 0.0
    turns: int = 0


@dataclass(frozen=True)
class Options:
    name: str
    rate: Annotated[float, Bounds(0)] = 0.1
    most: Annotated[int | None, Bounds(1)] = None
    way: Literal["fast", "slow"] = "fast"
    mirrored: bool = False
    runs: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


PLAIN = Options("a")


def refused(function, *arguments) -> tuple[str, tuple[str, ...]]:
    """The sentence and the options of the UserError that the call raises."""
    with pytest.raises(UserError) as problem:
        function(*arguments)
    return str(problem.value), problem.value.options


# Flat names


def test_every_field_has_a_dotted_name():
    options = dataclasses.replace(PLAIN, extra={"dropout": 0.5}, inner=Inner(turns=2))
    assert flatten(options) == {
        "name": "a",
        "rate": 0.1,
        "most": None,
        "way": "fast",
        "mirrored": False,
        "runs": (),
        "extra.dropout": 0.5,
        "inner.flip": 0.0,
        "inner.turns": 2,
    }


# Ranges


def test_bounds_hold_their_ends_and_no_nan():
    assert [x in Bounds(0, 1) for x in (-0.1, 0, 0.5, 1, 1.1, math.nan)] == [
        *(False, True, True, True, False, False)
    ]
    assert str(Bounds(0, 0.9)) == "0 to 0.9" and str(Bounds(1)) == "1 up"


@pytest.mark.parametrize(
    ("changes", "sentence", "option"),
    [
        ({"rate": -1.0}, "`rate` -1.0 is out of range; give 0 up", "rate"),
        ({"rate": math.nan}, "`rate` nan is out of range; give 0 up", "rate"),
        ({"most": 0}, "`most` 0 is out of range; give 1 up", "most"),
        ({"inner": Inner(2.0)}, "`inner.flip` 2.0 is out of range; give 0 to 1", "inner.flip"),
    ],
)
def test_a_number_out_of_range_is_named(changes, sentence, option):
    assert refused(check_bounds, dataclasses.replace(PLAIN, **changes)) == (sentence, (option,))


def test_what_is_in_range_or_left_open_passes():
    check_bounds(PLAIN)
    check_bounds(dataclasses.replace(PLAIN, rate=0.0, most=1, inner=Inner(1.0)))


def test_the_least_passes_and_what_is_below_it_does_not():
    check_least("size", 1, 1)
    sentence = "`size` 0 is too small; the least is 1"
    assert refused(check_least, "size", 0, 1) == (sentence, ("size",))


# Changes


def test_fields_are_changed_by_dotted_names_and_by_mappings():
    wanted = Options("a", rate=0.5, extra={"depths": [1, 2]}, inner=Inner(0.5, 3))
    dotted = {"rate": 0.5, "extra.depths": [1, 2], "inner.flip": 0.5, "inner.turns": 3}
    assert replace(PLAIN, dotted) == wanted
    nested = {"rate": 0.5, "extra": {"depths": [1, 2]}, "inner": {"flip": 0.5, "turns": 3}}
    assert replace(PLAIN, nested) == wanted
    assert replace(PLAIN, {"inner": Inner(0.5)}) == Options("a", inner=Inner(0.5))
    assert Options("a") == PLAIN


def test_a_part_that_is_changed_keeps_the_rest():
    options = Options("a", extra={"dropout": 0.5}, inner=Inner(0.5, 3))
    changed = replace(options, {"extra.depth": 2, "inner.turns": 4})
    assert changed == Options("a", extra={"dropout": 0.5, "depth": 2}, inner=Inner(0.5, 4))
    assert options.extra == {"dropout": 0.5}


@pytest.mark.parametrize(
    ("changes", "sentence", "options"),
    [
        ({"rat": 1}, "there is no option `rat`; did you mean `rate`?", ("rat", "rate")),
        ({"xyz": 1}, "there is no option `xyz`", ("xyz",)),
        (
            {"rate.low": 1},
            "there is no option `rate.low`; did you mean `rate`?",
            ("rate.low", "rate"),
        ),
        (
            {"inner.flp": 1},
            "there is no option `inner.flp`; did you mean `inner.flip`?",
            ("inner.flp", "inner.flip"),
        ),
        (
            {"inner": {"flip": "no"}},
            "`inner.flip` is 'no'; it must be of type float",
            ("inner.flip",),
        ),
        ({"most": 1.5}, "`most` is 1.5; it must be of type int", ("most",)),
        ({"most": True}, "`most` is True; it must be of type int", ("most",)),
        ({"mirrored": 1}, "`mirrored` is 1; it must be of type bool", ("mirrored",)),
        ({"way": "long"}, "`way` is 'long'; choose from fast, slow", ("way",)),
        ({"runs": "a"}, "`runs` is 'a'; it must be a list", ("runs",)),
        ({"runs": [1]}, "`runs` is 1; it must be of type str", ("runs",)),
        ({"extra": 5}, "`extra` is 5; it must be options by their names", ("extra",)),
        ({"extra": {1: 2}}, "`extra` is {1: 2}; it must be options by their names", ("extra",)),
        ({"inner": 5}, "`inner` is 5; it must be options by their names", ("inner",)),
    ],
)
def test_a_change_that_makes_no_sense_is_told(changes, sentence, options):
    told, named = refused(replace, PLAIN, changes)
    assert told.startswith(sentence)
    assert named == options


def test_only_a_dataclass_has_fields_to_change():
    for other in ({"a": 1}, 5):
        with pytest.raises(TypeError, match="dataclass"):
            replace(other, {"a": 2})


# Types


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, 1.0),
        (2.0, int, 2),
        ("1e-3", float, 0.001),  # as YAML reads it
        ("12", int, 12),
        (Path("a/b"), str, "a/b"),
        (None, int | None, None),
        (3, int | None, 3),
        ([1, 2.0], tuple[int, ...], (1, 2)),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"flip": 1}, Inner, Inner(1.0)),
        (2, Annotated[float, Bounds(0)], 2.0),
        ([1, "a"], Any, [1, "a"]),
    ],
)
def test_a_value_becomes_the_type_of_its_field(value, hint, expected):
    found = convert(value, hint, "x")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("soon", int),
        (1.5, int),
        ("1.5", int),
        (math.inf, int),
        (True, int),
        (True, float),
        (None, float),
        ([1], float),
        (1, str),
        ("yes", bool),
        ("a", tuple[str, ...]),
        ({1: 2}, dict[str, int]),
        ({"a": "b"}, dict[str, int]),
        ("green", Literal["red", "blue"]),
    ],
)
def test_nothing_is_lost_on_the_way_or_it_is_told(value, hint):
    told, options = refused(convert, value, hint, "x")
    assert told.startswith(f"`{options[0]}` is ")
    assert options[0].partition(".")[0] == "x"


# Plain values and back

TEXTS = st.text(max_size=5)
MANY_OPTIONS = st.builds(
    Options,
    name=TEXTS,
    rate=st.floats(0, allow_nan=False),
    most=st.none() | st.integers(1),
    way=st.sampled_from(["fast", "slow"]),
    mirrored=st.booleans(),
    runs=st.lists(TEXTS, max_size=3).map(tuple),
    extra=st.dictionaries(TEXTS, st.booleans() | st.integers() | st.lists(st.integers())),
    inner=st.builds(Inner, flip=st.floats(0, 1), turns=st.integers()),
)


@given(options=MANY_OPTIONS)
def test_plain_values_give_the_options_back(options):
    plain = dataclasses.asdict(options)
    assert from_dict(Options, plain) == options
    assert from_dict(Options, {**plain, "runs": list(options.runs)}) == options


@given(options=MANY_OPTIONS, other=MANY_OPTIONS)
def test_the_flat_names_of_one_make_it_of_any_other(options, other):
    # of a dictionary there is no taking away, and its names may hold dots that mean nothing
    start = dataclasses.replace(other, extra={})
    flat = {name: v for name, v in flatten(options).items() if not name.startswith("extra.")}
    assert replace(start, {**flat, "extra": options.extra}) == options


@pytest.mark.parametrize(
    ("values", "sentence", "option"),
    [
        ({}, "`name` is missing; it has no usual value", "name"),
        ({"name": "a", "nam": 1}, "there is no option `nam`", "nam"),
        ({"name": "a", "inner": {"x": 1}}, "there is no option `inner.x`", "inner.x"),
        (
            {"name": "a", "inner": {"flip": "no"}},
            "`inner.flip` is 'no'; it must be of type float",
            "inner.flip",
        ),
        ({"name": "a", "inner": 5}, "`inner` is 5; it must be options by their names", "inner"),
        ([1], "`Options` is [1]; it must be options by their names", "Options"),
    ],
)
def test_plain_values_that_are_no_options_are_told(values, sentence, option):
    assert refused(from_dict, Options, values) == (sentence, (option,))
