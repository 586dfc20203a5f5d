"""What is said of arguments that cannot be read, by verbs that never begin: nothing is trained."""

import contextlib
import io
import re
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import tyro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlens.cli import refusals
from convlens.cli.options import read, tell
from convlens.errors import UserError, closest, did_you_mean

REFUSED = {
    "reproduce lenet5 --epochs x": "--epochs 'x' is no whole number; give one",
    "reproduce lenet5 --epochs 1 --epochs 2.5": "--epochs '2.5' is no whole number; give one",
    "explore RUN --port=1.5": "--port '1.5' is no whole number; give one",
    "train lenet5 --learning_rate fast": "--learning-rate 'fast' is no number; give one",
    "look RUN --map 1 2x": "--map '2x' is no whole number; give one",
    "data split there --out new --fraction half": "--fraction 'half' is no number; give one",
    "predict": "predict needs RUN; `convlens predict --help` says what it is",
    "data split": "data split needs ",
    "predict RUN --topp 3": (
        "predict has no option --topp; did you mean --top? (`convlens predict --help` shows all)"
    ),
    "predict RUN --skip_bat": "predict has no option --skip_bat",
    "predict --topp=3": "predict needs RUN; `convlens predict --help` says what it is",
    "train lenet5 --xyzzy": (
        "train lenet5 has no option --xyzzy (`convlens train lenet5 --help` shows all)"
    ),
    "train lenet5 more": (
        "train lenet5 does not take 'more'; `convlens train lenet5 --help` shows what it takes"
    ),
    "predict RUN --format xml": "--format is 'xml'; choose from text, csv, json",
    "train lenet5 --log wandb": "--log is 'wandb'; choose from tensorboard, csv",
    "train lenet5 --epochs": (
        "--epochs is given no value; `convlens train lenet5 --help` says which it takes"
    ),
}


@pytest.mark.parametrize("line", REFUSED)
def test_arguments_that_cannot_be_read_are_told_in_one_sentence(line, refuse):
    assert refuse(*line.split()).startswith(REFUSED[line])


@dataclass(frozen=True)
class Small:
    """Options of a verb that there is not."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    count: int = 1
    kind: Literal["big", "small"] = "big"


def refusal(*arguments):
    """What the command line prints of arguments that cannot be read."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), pytest.raises((UserError, SystemExit)) as end:
        read(Small, arguments, "small")
    return printed.getvalue() + (tell(end.value) if end.type is UserError else "")


@pytest.mark.parametrize("known", [True, False], ids=["sentence", "box"])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=20))
def test_no_argument_commands_the_terminal(known, text):
    """Neither in a sentence nor in the box that tyro draws of what another version says."""
    hostile = f"x{text}\x1b[2J\x9b\u202e"
    with pytest.MonkeyPatch.context() as patch:
        if not known:
            patch.setattr(refusals, "_SENTENCES", {})
        for arguments in (
            ["RUN", f"--{hostile}"],
            ["RUN", hostile],
            ["RUN", "--count", hostile],
            ["RUN", "--kind", hostile],
        ):
            shown = refusal(*arguments)
            assert shown and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
            assert ("\n" in shown) != known


def test_a_tyro_that_tells_of_no_errors_draws_its_box(monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    assert "invalid literal" in text_of(refusal("RUN", "--count", "many"))


def text_of(box):
    """Its text in one line."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", box).split())


def test_an_event_of_another_version_is_not_taken_for_one_that_is_known():
    class MissingArgs:
        """Without what it has today."""

    assert refusals.sentence(MissingArgs(), [], "small", list) is None
    assert refusals.sentence(object(), [], "small", list) is None


# Names that are nearly right


def test_the_nearest_name_is_asked_for():
    assert did_you_mean("trian", ["tune", "train"]) == "; did you mean train?"
    assert did_you_mean("trian", iter(["train"]), written="--{}") == "; did you mean --train?"
    assert did_you_mean("{}", ["{}{"], written="`{}`") == "; did you mean `{}{`?"
    assert did_you_mean("trian", ["bench"]) == ""
    assert did_you_mean("trian", [], otherwise="; choose another") == "; choose another"
    assert (closest("trian", ["tune", "train"]), closest("x", ["train"])) == (["train"], [])
