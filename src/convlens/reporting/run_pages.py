"""What a run folder shows: the tables and the pictures of a finished run."""

from pathlib import Path

import numpy as np
from torch import Tensor

from convlens import figures
from convlens.data.dataset import Rows
from convlens.data.normalize import Normalize
from convlens.files import write_csv
from convlens.inference.metrics import Evaluation

WORST = 24  # images in worst.png


def write_curves(history: dict[str, np.ndarray], folder: Path) -> None:
    """Write curves.png from the columns of history.csv."""
    figures.save(figures.learning_curves(history), folder / "curves.png")


def write_batch(
    images: Tensor,
    targets: Tensor,
    normalize: Normalize,
    class_names: tuple[str, ...],
    folder: Path,
) -> None:
    """Write batch.png: a training batch as the network sees it, up to 32 images of it."""
    picture = figures.batch(
        images[:32].cpu().numpy(),
        targets[:32].cpu().numpy(),
        normalize.mean.tolist(),
        normalize.std.tolist(),
        class_names,
    )
    figures.save(picture, folder / "batch.png")


def per_class_rows(evaluation: Evaluation) -> list[list[object]]:
    """What per_class.csv says: a line of titles, then one a class, in the classes' order.

    images: of the class; predicted: taken for it. recall (the accuracy of the class), precision and
    f1 have their 95 % intervals beside them (_low, _high). All in 0..1, and empty where undefined.
    """
    shares = ("recall", "precision", "f1")
    titles = [f"{name}{end}" for name in shares for end in ("", "_low", "_high")]
    rows: list[list[object]] = [["class", "images", "predicted", *titles, "roc_auc"]]
    columns = [evaluation.confusion.sum(axis=1), evaluation.confusion.sum(axis=0)]
    for name in shares:
        columns += [getattr(evaluation, name), *getattr(evaluation, f"{name}_interval").T]
    columns.append(evaluation.roc_auc)
    for name, *values in zip(evaluation.class_names, *columns, strict=True):
        rows.append([name, *("" if np.isnan(value) else value for value in values)])
    return rows


def write_evaluation(evaluation: Evaluation, images: np.ndarray | Rows, folder: Path) -> None:
    """Write confusion.csv and .png, per_class.csv and .png, reliability.png and worst.png.

    images: uint8, (N, H, W, 3), of the evaluated split.
    """
    classes = evaluation.class_names
    matrix = [[name, *row] for name, row in zip(classes, evaluation.confusion, strict=True)]
    write_csv(folder / "confusion.csv", [["true \\ predicted", *classes], *matrix])
    write_csv(folder / "per_class.csv", per_class_rows(evaluation))
    figures.save(figures.confusion(evaluation.confusion, classes), folder / "confusion.png")
    counts = evaluation.confusion.sum(axis=1)
    drawn = figures.per_class(evaluation.recall, counts, classes, evaluation.precision)
    figures.save(drawn, folder / "per_class.png")
    seen = evaluation.reliability
    drawn = figures.reliability(seen.confidence, seen.accuracy, seen.count, seen.error)
    figures.save(drawn, folder / "reliability.png")
    wrong = np.flatnonzero(evaluation.predicted != evaluation.labels)
    order = wrong[np.argsort(-evaluation.losses[wrong], kind="stable")][:WORST]
    figures.save(
        figures.worst(
            np.asarray(images[order]),
            evaluation.labels[order],
            evaluation.predicted[order],
            evaluation.probabilities[order, evaluation.predicted[order]],
            classes,
        ),
        folder / "worst.png",
    )
