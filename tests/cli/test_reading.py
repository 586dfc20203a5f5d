"""Every verb that opens a data set can be told how to read it."""

import dataclasses

import pytest

from convlens import cli
from convlens.cli.options import spelled
from convlens.data.reading import Reading

OPENING = (
    "data audit",
    "data split",
    "train lenet5",
    "tune lenet5",
    "evaluate",
    "look",
    "explore",
    "report",
    "reproduce",
    "bench",
)


@pytest.mark.parametrize("verb", OPENING)
def test_a_verb_that_opens_data_has_all_options_of_reading_it(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb.split(), "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for field in dataclasses.fields(Reading):
        if (verb, field.name) != ("data split", "split_seed"):
            assert spelled(field.name) in told, field.name
