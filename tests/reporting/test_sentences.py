"""Sentences claim what the numbers show, and not what they do not: each on numbers made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from convlens.reporting import sentences

RISING = {
    "validation_loss": np.array([2.0, 1.0, 1.5]),
    "validation_accuracy": np.array([0.2, 0.3, 0.4]),
}
IMAGES = 900


def run(training: float, validation: float) -> dict:
    return {"train_accuracy": training, "validation_accuracy": validation}


def answers(confidence: float, accuracy: float) -> SimpleNamespace:
    return SimpleNamespace(probabilities=np.full((4, 1), confidence), accuracy=accuracy)


def told_of(record, confidence=None, curves=RISING) -> str:
    seen = confidence and answers(confidence, record["validation_accuracy"])
    return plain(sentences.after_lowest(record, curves, seen, IMAGES))


def plain(sentence: str) -> str:
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def test_a_network_surer_than_right_is_over_fitted():
    told = told_of(run(0.99, 0.63), 0.87)
    assert "lowest after epoch 2 (1.000 nats) and rose to 1.500" in told
    assert "the validation accuracy went from 30.0 % to 40.0 %" in told
    assert "confidence on these images is 87.0 %, its accuracy 63.0 %" in told
    assert "over-fitting that accuracy alone does not show" in told


def test_where_accuracy_falls_it_shows_the_over_fitting():
    falling = {**RISING, "validation_accuracy": np.array([0.4, 0.4, 0.3])}
    assert told_of(run(0.99, 0.63), 0.87, falling).endswith("That is over-fitting.")


def test_a_network_less_sure_than_right_is_not_called_over_confident():
    told = told_of(run(0.999, 0.90), 0.735)  # as convnet is, at temperature 1
    assert "no over-confidence: its mean confidence on these images is 73.5 %" in told
    assert "over-fitting" not in told
    assert "surer" not in told


def test_a_network_that_has_learned_nothing_is_not_called_over_fitted():
    told = told_of(run(0.04, 0.04), 0.15)
    assert "surer than it is right" in told
    assert "over-fitting" not in told


def test_without_weights_nothing_is_said_of_confidence():
    told = told_of(run(0.99, 0.6))
    assert "rose to 1.500" in told
    assert "confidence" not in told
    assert "over-fitting" not in told


def test_a_loss_that_hardly_rose_says_what_became_of_the_accuracy():
    told = told_of(run(0.99, 0.6), curves={**RISING, "validation_loss": np.array([2.0, 1.0, 1.04])})
    assert "ended within 5 % of that, while the validation accuracy went from 30.0 %" in told


def test_a_loss_at_its_lowest_in_the_end_has_not_risen():
    told = told_of(run(0.99, 0.6), curves={**RISING, "validation_loss": np.array([2.0, 1.5, 1.0])})
    assert told == "The validation loss was still at its lowest in the last epoch."


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((0.99, 0.63), (0.995, 0.78), "fitted no less closely"),
        ((0.99, 0.63), (0.90, 0.70), "less is learned by heart"),
        ((0.80, 0.70), (0.95, 0.75), "fitted more closely"),
        ((0.95, 0.75), (0.95, 0.65), "fewer of the others"),
        ((0.95, 0.75), (0.97, 0.77), "stays at about 20"),
        ((0.30, 0.25), (0.99, 0.60), "says little"),
    ],
)
def test_a_gap_between_the_splits_is_explained_by_the_side_that_moved(first, second, words):
    assert words in sentences.gap_between_splits(run(*first), run(*second))


def test_a_difference_is_more_than_chance_from_two_standard_errors_on():
    told = sentences.difference(run(1, 0.86), run(1, 0.90), IMAGES)
    assert told == "+4.0 points (2.6 standard errors of the difference: more than chance)"
    told = sentences.difference(run(1, 0.90), run(1, 0.88), IMAGES)
    assert told == (
        "−2.0 points (1.4 standard errors of the difference: too little to tell from chance)"
    )


def test_tiers_are_those_that_an_accuracy_reaches():
    assert [sentences.points_of(run(1, a)) for a in (0.64, 0.65, 0.68, 0.71, 1)] == [
        0,
        5,
        8,
        15,
        15,
    ]
    assert sentences.tier(run(1, 0.5)) == "none"
    assert plain(sentences.tier(run(1, 0.7))) == "69 % (12 points)"


def test_nothing_stands_above_the_tiers_that_does_not():
    assert sentences.above_the_tiers(run(1, 0.70), 900) == ""
    told = sentences.above_the_tiers(run(1, 0.75), 300)
    assert told == "It stands 4.0 points above the highest tier, 1.6 standard errors."
    told = sentences.above_the_tiers(run(1, 1.0), 900)  # always right: no standard error
    assert told == "It stands 29.0 points above the highest tier."


def test_images_are_said_to_be_cut_only_where_a_network_reads_their_middle():
    told = plain(sentences.what_is_shown("convnet", 0.8, 64))
    assert "the middle 80 % of a side (64 % of the area)" in told
    told = sentences.what_is_shown("lenet5", 1.0, 64)
    assert "middle" not in told and "also how `lenet5` sees them" in told


@pytest.mark.parametrize(
    ("temperature", "losses", "words"),
    [
        (0.62, (0.557, 0.388, 0.356), "most of that is the temperature: a single network"),
        (0.9, (0.88, 0.87, 0.80), "a part of that is the temperature: a single network"),
        (0.62, (0.557, 0.340, 0.356), "the temperature alone does that and more"),
    ],
)
def test_what_the_temperature_gains_is_not_credited_to_averaging(temperature, losses, words):
    told = sentences.by_temperature("convnet", temperature, losses)
    assert words in told
    assert f"falls from {losses[0]:.3f} to {losses[2]:.3f} nats" in told
    assert f"divided by {temperature} has {losses[1]:.3f}" in told
    assert ("Averaging adds the rest" in told) == (losses[1] > losses[2])


@pytest.mark.parametrize(
    ("temperature", "losses"),
    [(1, (0.9, 0.9, 0.7)), (0.9, (0.7, 0.65, 0.8)), (0.9, (0.8, 0.85, 0.7))],
)
def test_a_temperature_that_gains_nothing_is_not_spoken_of(temperature, losses):
    assert sentences.by_temperature("convnet", temperature, losses) == ""


def test_a_report_on_the_demo_set_says_so_and_no_other_does():
    assert "This is the demo." in sentences.of_the_demo("demo")
    assert "`CONVLENS_DATA`" in sentences.of_the_demo("demo")
    assert sentences.of_the_demo("photos") == ""


def test_small_words():
    assert plain(sentences.percent(0.1234)) == "12.3 %" and sentences.percent(np.nan) == "–"
    assert sentences.plural(1, "image") == "1 image"
    assert sentences.plural(7766, "image") == "7,766 images"
    assert sentences.listed(["a", "b", "c"]) == "`a`, `b` and `c`"
    assert sentences.table(("a", "b"), [("x|y", 1)], "lr").splitlines() == [
        "| a | b |",
        "| :--- | ---: |",
        "| x\\|y | 1 |",
    ]
    assert plain(sentences.with_error(0.75, 300)) == "75.0 ± 2.5 %"


@pytest.mark.parametrize(
    ("whole", "missed", "recognized", "not_once"),
    [
        (40, 1, "40 of 101 classes are", "1 of 101 classes is"),
        (0, 0, "No class is", "no class is"),
        (101, 0, "All 101 classes are", "no class is"),
        (0, 101, "No class is", "all 101 classes are"),
    ],
)
def test_classes_are_counted_as_one_would_say_it(whole, missed, recognized, not_once):
    told = f"{recognized} recognized without a mistake, and {not_once} missed every time."
    assert sentences.recognized(whole, missed, 101) == told
