"""The card's words follow the numbers."""

import numpy as np

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
        "| of the validation split | value | standard error |",
        "| accuracy | 75.0% | 8.8% |",
        "| accuracy, mean per class | 65.0% | 10.0% |",
        "| accuracy without near-duplicates | 70.0% |  |",
        "| cross-entropy, nats | 1.250 | |",
        "| expected calibration error | 12.5% | |",
    ):
        assert row in text.splitlines()
    assert "- 3 of 4 `cat` were taken for `ant`." in text
    assert "less than half the time: `cat` 25%." in text
    assert "25% of its answers are" in text and "off by 12.5 points" in text
    assert "`convlens train lenet5 --seed 0`; 2 minutes on cpu, 2 threads" in text


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
