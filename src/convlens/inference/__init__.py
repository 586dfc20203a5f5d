"""A trained network in use: asked, measured, calibrated, averaged, made fast and exported."""

from convlens.inference.calibration import TemperatureScaling
from convlens.inference.classifier import Classifier, Origin
from convlens.inference.ensemble import ensemble
from convlens.inference.metrics import Evaluation
from convlens.inference.prediction import Prediction, Predictions

__all__ = [
    "Classifier",
    "Evaluation",
    "Origin",
    "Prediction",
    "Predictions",
    "TemperatureScaling",
    "ensemble",
]
