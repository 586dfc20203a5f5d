"""ConvLens trains small convolutional networks on a folder of images and shows what they learned.

    import convlens as cl

    run = cl.train("convnet", data="photos/", out="runs/mine")
    classifier = cl.load("runs/mine")
    classifier.predict(["a.jpg"], top=3)

One image goes from disk to loss through these, in order: `data.sources` finds it, `data.cache`
decodes it once to uint8, `data.batches` deals it into a seeded batch with a one-hot label,
`data.augment` turns the batch into normalized floats, `models` gives logits, and
`training.trainer` minimizes their cross-entropy, the `training.criterion`. `training.run_folder` is
what remains; an `inference.Classifier` answers from it, `look` and `figures` show what was learned,
and `reporting` hands it over.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from convlens import look as look
    from convlens import models as models
    from convlens import recipes as recipes
    from convlens.data.dataset import Dataset as Dataset
    from convlens.data.opening import open_dataset as open_dataset
    from convlens.errors import UserError as UserError
    from convlens.explorer.serving import explore as explore
    from convlens.inference.classifier import Classifier as Classifier
    from convlens.inference.classifier import load as load
    from convlens.inference.ensemble import ensemble as ensemble
    from convlens.recipes.recipe import Recipe as Recipe
    from convlens.reporting.notebook import report as report
    from convlens.training.callbacks import Callback as Callback
    from convlens.training.callbacks import StopTraining as StopTraining
    from convlens.training.result import Run as Run
    from convlens.training.run import resume as resume
    from convlens.training.run import train as train

# Where each public name is; torch takes seconds to import, so none is before it is asked for.
_PUBLIC = {
    "Callback": "convlens.training.callbacks",
    "Classifier": "convlens.inference.classifier",
    "Dataset": "convlens.data.dataset",
    "Recipe": "convlens.recipes.recipe",
    "Run": "convlens.training.result",
    "StopTraining": "convlens.training.callbacks",
    "UserError": "convlens.errors",
    "ensemble": "convlens.inference.ensemble",
    "explore": "convlens.explorer.serving",
    "load": "convlens.inference.classifier",
    "open_dataset": "convlens.data.opening",
    "report": "convlens.reporting.notebook",
    "resume": "convlens.training.run",
    "train": "convlens.training.run",
}
_PACKAGES = ("look", "models", "recipes")

__all__ = [
    "Callback",
    "Classifier",
    "Dataset",
    "Recipe",
    "Run",
    "StopTraining",
    "UserError",
    "__version__",
    "ensemble",
    "explore",
    "load",
    "look",
    "models",
    "open_dataset",
    "recipes",
    "report",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"convlens.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'convlens' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
