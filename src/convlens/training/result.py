"""A finished run, as a person asks for it."""

import html
from pathlib import Path
from typing import Any

import numpy as np

from convlens.html import Picture, picture, table
from convlens.inference.classifier import Classifier
from convlens.inference.label_audit import LabelAudit
from convlens.inference.measures import LABELS
from convlens.training.config import RunConfig
from convlens.training.run_folder import RunFolder


class Run:
    """A finished run: its figures, its pictures and its network.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._files = RunFolder(self.folder)

    @property
    def config(self) -> RunConfig:
        """Everything that decided the run."""
        return self._files.read_config()

    @property
    def metrics(self) -> dict[str, Any]:
        """Loss, accuracy and more measures on every split, and how far they can be trusted."""
        return self._files.read_metrics()

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The columns of history.csv, each of shape (epochs,)."""
        return self._files.read_history()

    @property
    def classifier(self) -> Classifier:
        """The network to use, in evaluation mode."""
        return self._files.classifier()

    def label_errors(self, data: Path | str | None = None) -> LabelAudit:
        """Which labels of a data set, by default the run's own, its network finds improbable.

        Raises UserError where the data set has other classes or has changed since the training.
        """
        from convlens.training.label_audit import audit_labels

        return audit_labels(self.folder, data)

    @property
    def figures(self) -> dict[str, Picture]:
        """The run's pictures by their names: curves, confusion, per_class, worst, …"""
        return {path.stem: Picture(path) for path in sorted(self.folder.glob("*.png"))}

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """Its figures and its curves, for a notebook."""
        metrics = self.metrics
        splits = [name.removesuffix("_loss") for name in metrics if name.endswith("_loss")]
        splits = [split for split in splits if not split.startswith("last")]
        columns = {
            name: label
            for name, label in {"accuracy": "accuracy", **LABELS}.items()
            if any(metrics.get(f"{split}_{_key(name)}") is not None for split in splits)
        }
        rows = [
            (
                split,
                f"{metrics[f'{split}_loss']:.4f}",
                *(_percent(metrics.get(f"{split}_{_key(name)}")) for name in columns),
            )
            for split in splits
        ]
        about = (
            f"{metrics['recipe']}: {metrics['model']}, {metrics['epochs']} epochs, seed "
            f"{metrics['seed']}, {metrics['seconds'] / 60:.1f} minutes on {metrics['device']}"
        )
        curves = picture((self.folder / "curves.png").read_bytes(), "learning curves", 640)
        figures = table(("", "loss, nats", *columns.values()), rows)
        return f"<p>{html.escape(about)}</p>{figures}{curves}"


def _key(name: str) -> str:
    """The balanced accuracy under its older name, which stands in every record."""
    return "mean_class_accuracy" if name == "balanced_accuracy" else name


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
