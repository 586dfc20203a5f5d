"""The card's words follow the numbers."""

import numpy as np
import pytest

from convlens.inference import Classifier
from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.reporting.card import model_card
from convlens.training.config import RunConfig

CLASSIFIER = Classifier(LeNet5(3, size=16), ("ant", "bee", "cat"), size=16)
CONFUSION = np.array([[8, 2, 0], [1, 9, 0], [3, 0, 1]])


def record(seed=0, split="validation", **changes):
    return {
        "recipe": "lenet5",
        "model": "LeNet5",
        "seed": seed,
        "train_images": 1200,
        "train_accuracy": 0.99,
        f"{split}_loss": 1.25,
        f"{split}_accuracy": 0.75,
        f"{split}_mean_class_accuracy": 0.65,
        f"{split}_images": 24,
        f"{split}_standard_error": 0.0884,
        f"{split}_mean_class_standard_error": 0.1,
        f"{split}_near_duplicates": 5,
        f"{split}_accuracy_without_near_duplicates": 0.7,
        f"{split}_mean_class_accuracy_without_near_duplicates": 0.6,
        "calibration_error": 0.2,
        "calibrated_error": 0.125,
        "temperature": 1.0,
        "seconds": 150,
        "device": "cpu, 2 threads",
        "precision": "bf16",
        "torch": "2.13.0",
        "commit": "c2da7c196a5b",
        "command": "convlens train lenet5 --seed 0",
        **changes,
    }


def card(*records, **config):
    config = RunConfig(RECIPES["lenet5"](), "/home/somebody/insects", **config)
    return model_card(records, CLASSIFIER, config, CONFUSION)


def test_a_card_states_what_was_measured():
    text = card(record())
    assert text.startswith("# Model card: lenet5\n")
    parameters = sum(p.numel() for p in CLASSIFIER.model.parameters())
    assert f"{parameters:,} parameters" in text and "(commit c2da7c196a5b)" in text
    assert "RGB image of 16×16 pixels" in text and "probabilities of 3 classes" in text
    assert "`insects`: 3 classes. Trained on 1,200 images and measured on 24 others" in text
    assert "4 to 10 of a class. 5 of those have a near-duplicate" in text
    assert "/home" not in text
    for row in (
        "| figure | of the validation split | standard error |",
        "| accuracy | 75.0% | 8.8% |",
        "| balanced accuracy (mean per class) | 65.0% | 10.0% |",
        "| accuracy without near-duplicates | 70.0% |  |",
        "| cross-entropy, nats | 1.250 |  |",
        "| expected calibration error | 12.5% | |",
    ):
        assert row in text.splitlines()
    assert "- 3 of 4 `cat` were taken for `ant`." in text
    assert "less than half the time: `cat` 25%." in text
    assert "25% of its answers are" in text and "off by 12.5 points" in text
    assert "`convlens train lenet5 --seed 0`; 2 minutes on cpu, 2 threads" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 seconds"), (12.3, "12 seconds"), (64, "1 minute"), (600, "10 minutes")],
)
def test_how_long_it_took_is_told_in_minutes_or_in_seconds(seconds, words):
    assert f"`convlens train lenet5 --seed 0`; {words} on cpu" in card(record(seconds=seconds))


MORE = {
    "validation_accuracy_interval": [0.55, 0.88],
    "validation_balanced_accuracy_interval": [0.5, 0.8],
    "validation_top5_accuracy": None,  # of three classes
    "validation_top5_accuracy_interval": None,
    "validation_macro_f1": 0.625,
    "validation_macro_f1_interval": [0.5, 0.75],
    "validation_classes_without_images": 1,
}
TEST = {
    "test_loss": 1.5,
    "test_accuracy": 0.7,
    "test_mean_class_accuracy": 0.6,
    "test_images": 1200,
    "test_standard_error": 0.0132,
    "test_macro_f1": 0.55,
}


def test_a_card_has_intervals_and_the_figures_of_test():
    text = card(record(**MORE, **TEST))
    titles = "| figure | of the validation split | standard error | 95 % interval "
    for row in (
        f"{titles}| of `test/` | standard error | 95 % interval |",
        "| accuracy | 75.0% | 8.8% | 55.0% to 88.0% | 70.0% | 1.3% |  |",
        "| balanced accuracy (mean per class) | 65.0% | 10.0% | 50.0% to 80.0% | 60.0% |  |  |",
        "| macro F1 | 62.5% |  | 50.0% to 75.0% | 55.0% |  |  |",
        "| cross-entropy, nats | 1.250 |  |  | 1.500 |  |  |",
        "| expected calibration error | 12.5% | | | | | |",
    ):
        assert row in text.splitlines()
    assert "top-5" not in text and "ROC-AUC" not in text  # nobody knows them
    assert "4 to 10 of a class (classes without images, which no mean has in it: 1)." in text
    assert " 1,200 more, of `test/`, were measured at the end: nothing was chosen on them." in text
    untested = card(record(**MORE))
    assert "`test/`" not in untested
    several = card(record(**MORE), record(1, **MORE))  # each has its own interval
    assert "interval |" not in several and "| macro F1 | 62.5% ± 0.0% |  |" in several


def test_several_seeds_have_a_mean_and_its_standard_error():
    text = card(record(), record(1, validation_accuracy=0.85))
    assert "2 runs, seeds 0, 1." in text
    assert "| accuracy | 80.0% ± 5.0% | 8.8% |" in text.splitlines()


def test_a_hold_out_is_called_one():
    text = card(record(split="holdout", holdout_accuracy=0.75), holdout=0.1)
    assert "held out of `train/`" in text and "validation" not in text


def test_nothing_left_without_near_duplicates_is_a_dash():
    assert "| accuracy without near-duplicates | – |  |" in card(
        record(validation_accuracy_without_near_duplicates=None)
    )


def test_what_is_not_known_of_near_duplicates_is_said_with_its_reason():
    assert "the training images is not known." in card(record(validation_near_duplicates=None))
    unknown = {"validation_near_duplicates_unknown": "9 of 24 images resemble a training image"}
    text = card(record(validation_near_duplicates=None, **unknown))
    assert "is not known: 9 of 24 images resemble a training image.\n" in text
    text = card(record(**unknown))
    assert "5 of those have a near-duplicate among the training images for certain; 9 of 24" in text
    assert "resemble a training image.\n" in text
