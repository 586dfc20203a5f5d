"""Names in every script: drawn where some font has them, else told once; never a warning."""

import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from convlens import figures
from convlens.figures import fonts
from convlens.figures.style import new_figure, shorten, styled, to_png

OWN = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
STIX = str(OWN / "STIXGeneral.ttf")  # stands for one that the user has installed
RARE = min(
    character
    for character in fonts.characters(STIX) - fonts.characters(str(OWN / "DejaVuSans.ttf"))
    if character.isalpha()
)


@pytest.fixture
def system(monkeypatch):
    """Sets which fonts the system has, and forgets that anything was told."""
    monkeypatch.setattr(fonts, "_told", [])

    def set_fonts(*paths: str) -> None:
        monkeypatch.setattr(fonts, "installed", lambda: paths)

    return set_fonts


@styled
def labeled(*names: str):
    figure = new_figure(2)
    ax = figure.subplots()
    ax.set_title(names[0])
    ax.set_yticks(range(len(names)), [shorten(name, 20) for name in names])
    return figure


def families(figure) -> set[str]:
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    return {family for text in texts for family in text.get_fontfamily()}


def test_what_a_font_of_the_system_has_is_drawn_with_it(system, caplog):
    caplog.set_level(logging.INFO, "convlens")
    system("/no/such/font.ttf", STIX)
    figure = labeled(f"a {RARE}", "b")
    first = to_png(figure)
    assert families(figure) == {"DejaVu Sans", "STIXGeneral"}
    assert not caplog.messages
    assert to_png(figure) == first  # drawn twice it is the same
    system()
    assert to_png(labeled(f"a {RARE}", "b")) != first


def test_what_no_font_has_is_told_once_without_a_warning(system, caplog):
    caplog.set_level(logging.INFO, "convlens")
    system(STIX)
    for names in (("张三", "b"), ("李四", "猫"), ("b", "🐈‍⬛")):
        to_png(labeled(*names))
    (told,) = caplog.messages
    assert told.startswith("not drawn  张三") and "install" in told and "Noto Sans CJK" in told


def test_what_the_usual_font_has_needs_no_other(system, monkeypatch):
    monkeypatch.setattr(fonts, "installed", lambda: pytest.fail("looked for fonts"))
    assert families(labeled("café", "Ωμέγα", "blue_disc → $x$")) == {"DejaVu Sans"}


def test_a_figure_drawn_by_other_means_than_ours_warns_of_nothing(system, tmp_path):
    system()
    figure = labeled("张三", "b")
    figure.savefig(tmp_path / "a.pdf")
    figure.savefig(tmp_path / "a.svg")
    figure.canvas.print_figure(tmp_path / "a.png", bbox_inches="tight")


def test_few_fonts_are_taken_and_pictures_are_none(monkeypatch):
    has = {"one": "ab", "two": "bc", "all": "abc", "colored": ""}
    monkeypatch.setattr(fonts, "installed", lambda: tuple(has))
    monkeypatch.setattr(fonts, "characters", lambda font: frozenset(has[font]))
    assert fonts.covering("abc") == (["all"], set())
    assert fonts.covering("cx") == (["two"], {"x"})
    assert fonts.covering("") == ([], set())


def test_control_characters_are_shown_and_lines_stay_lines():
    assert shorten("\x1b[31m\u202ea\nb", 40) == r"\x1b[31m\u202ea\nb"


@pytest.mark.parametrize("names", [("张三", "\x1b[2J"), ("a\nb", "مرحبا"), ("🐈", "$x$")])
def test_pictures_of_classes_of_any_name(system, names):
    system()
    to_png(figures.confusion(np.array([[3, 1], [0, 2]]), names))
    to_png(figures.per_class(np.array([0.5, 1.0]), np.array([4, 2]), names))
