"""How many planted wrong labels `data audit --folds` finds.

python benchmarks/label_errors.py demo DIR…

Of each set's train/, 5 % of the images are labeled wrong: once as any other class, once as one that
the networks take the image's class for. The folds are trained on that, and the images that they
have not seen are ranked and suspected. Written are precision and recall of those suspected, and of
as many as were planted from the top of the ranking, with the ROC-AUC of the ranking; the same for
the other rules and rankings of the paper, from which ours was chosen; and the ranking of images by
a network that was trained on them. An image that was labeled wrong before counts as right, so that
precision is a little better than written.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import convlens
from convlens.data import Dataset, open_dataset, split_per_class
from convlens.data.tools.demo import make_demo
from convlens.files import on_disk, write_json
from convlens.inference.label_errors import LabelErrors, by_class, by_noise_rate, find
from convlens.training.folds import cross_validate
from convlens.training.label_audit import audit_labels

Random = np.random.Generator
WHERE = Path(__file__).parents[1] / "results" / "label-errors.json"


def planted_set(
    dataset: Dataset, rows: np.ndarray, labels: np.ndarray, folder: Path
) -> dict[str, int]:
    """Copy those images of train/ into the classes `labels`, and validation/ as it is.

    Returns the place in `rows` of each copy in train/, by its path.
    """
    places: dict[str, int] = {}
    for place, (row, label) in enumerate(zip(rows.tolist(), labels.tolist(), strict=True)):
        source = dataset.train.paths[row]
        name = f"train/{dataset.classes[label]}/{place:06d}{Path(source).suffix}"
        places[name] = place
        _copy(dataset.root / on_disk(source), folder / on_disk(name))
    validation = dataset.validation
    for place, (source, label) in enumerate(zip(validation.paths, validation.labels, strict=True)):
        name = f"validation/{dataset.classes[label]}/{place:06d}{Path(source).suffix}"
        _copy(dataset.root / on_disk(source), folder / on_disk(name))
    return places


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def wrong_labels(true: np.ndarray, share: float, odds: np.ndarray, random: Random) -> np.ndarray:
    """`true` with a share changed into another class, drawn by `odds`, (C, C), rows true."""
    labels = true.copy()
    for i in random.permutation(len(true))[: round(share * len(true))]:
        others = odds[true[i]].astype(float)
        others[true[i]] = 0
        labels[i] = random.choice(len(others), p=others / others.sum())
    return labels


def roc_auc(score: np.ndarray, truth: np.ndarray) -> float:
    """How often a planted image is ranked before another one; ties count half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(truth.sum())
    below = ranks[truth].sum() - positives * (positives + 1) / 2
    return float(below / (positives * (len(truth) - positives)))


def of_ranking(score: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """ROC-AUC, and the share planted among as many from the top as were planted."""
    top = np.argsort(-score, kind="stable")[: int(wrong.sum())]
    return {"roc_auc": roc_auc(score, wrong), "precision_at_planted": float(wrong[top].mean())}


def of_set(chosen: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """How many images are chosen, and their precision and recall."""
    hits = int((chosen & wrong).sum())
    return {
        "images": int(chosen.sum()),
        "precision": hits / max(1, int(chosen.sum())),
        "recall": hits / int(wrong.sum()),
    }


def rankings(probabilities: np.ndarray, errors: LabelErrors) -> dict[str, np.ndarray]:
    """The rankings that were tried, each a score that is high for a doubtful label."""
    margin = errors.suggested_probability - errors.given_probability
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
    return {
        "self-confidence": -errors.given_probability,
        "normalized margin": margin,
        "confidence-weighted entropy": -errors.given_probability / np.maximum(entropy, 1e-9),
    }


def rules(probabilities: np.ndarray, errors: LabelErrors) -> dict[str, np.ndarray]:
    """The rules that were tried, each the images that it suspects."""
    labels, joint = errors.labels, errors.joint
    above = probabilities >= errors.thresholds
    confident = np.where(above, probabilities, -1).argmax(axis=1)
    return {
        "another class preferred": errors.suggested_probability > errors.given_probability,
        "confident joint": above.any(axis=1) & (confident != labels),
        "by class": by_class(probabilities, labels, joint),
        "by noise rate": by_noise_rate(probabilities, labels, joint),
        "both (ours)": errors.suspected,
    }


def measure(name: str, dataset: Dataset, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each way to plant wrong labels into a set."""
    rows = np.arange(len(dataset.train))
    if asked.images < len(rows):
        rows, _ = split_per_class(dataset.train.labels, asked.images / len(rows), seed=0)
    true = dataset.train.labels[rows]
    odds = np.ones((dataset.num_classes, dataset.num_classes))
    records = []
    for kind in ("any class", "confusable class"):
        labels = wrong_labels(true, asked.share, odds, np.random.default_rng(asked.seed))
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            places = planted_set(dataset, rows, labels, folder / "data")
            options = {} if asked.epochs is None else {"epochs": asked.epochs}
            options |= {"data": folder / "data", "seed": asked.seed, "device": "cpu"}
            start = time.perf_counter()
            cross_validate(asked.recipe, asked.folds, out=folder / "folds", **options)
            seconds = time.perf_counter() - start
            audit = audit_labels(folder / "folds", device="cpu")
            one = audit_labels(folder / "folds" / "fold-1", device="cpu")
        paths = audit.dataset.train.paths
        place = np.array([places[path] for path in paths])
        train = np.flatnonzero(audit.unseen.splits == "train")
        probabilities = audit.unseen.probabilities[train]
        here = place[audit.unseen.rows[train]]
        errors, wrong = find(probabilities, labels[here]), labels[here] != true[here]
        odds = 1e-6 + np.stack(
            [probabilities[true[here] == c].mean(axis=0) for c in range(dataset.num_classes)]
        )
        seen = place[one.seen.rows]
        right = probabilities.argmax(axis=1) == true[here]
        record = {
            "set": name,
            "planted_as": kind,
            "images": len(here),
            "classes": dataset.num_classes,
            "planted": int(wrong.sum()),
            "accuracy": float(right.mean()),
            "estimated": errors.estimated,
            **{f"suspected_{k}": v for k, v in of_set(errors.suspected, wrong).items()},
            **of_ranking(-errors.given_probability, wrong),
            "suggested_right": float((errors.suggested == true[here])[wrong].mean()),
            "in_sample": of_ranking(-one.seen.errors.given_probability, labels[seen] != true[seen]),
            "rankings": {
                k: of_ranking(v, wrong) for k, v in rankings(probabilities, errors).items()
            },
            "rules": {k: of_set(v, wrong) for k, v in rules(probabilities, errors).items()},
            "recipe": asked.recipe,
            "epochs": asked.epochs,
            "folds": asked.folds,
            "seed": asked.seed,
            "seconds": round(seconds, 1),
            "version": convlens.__version__,
        }
        print(json.dumps(record, indent=1), flush=True)
        records.append(record)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sets", nargs="+", help="demo, or folders with train/ and validation/")
    parser.add_argument("--images", type=int, default=4000, help="of each set's train/, at most")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are planted")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--epochs", type=int, help="of each fold; else the recipe's own")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WHERE)
    asked = parser.parse_args()
    records = []
    with tempfile.TemporaryDirectory() as made:
        for name in asked.sets:
            folder = make_demo(Path(made) / "demo") if name == "demo" else Path(name)
            records += measure(folder.resolve().name, open_dataset(folder), asked)
    write_json(asked.out, records)


if __name__ == "__main__":
    main()
