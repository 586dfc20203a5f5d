"""Predictions for images outside the data set, preprocessed exactly as in evaluation."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from convlens.data.sources import IMAGE_SUFFIXES
from convlens.errors import UserError
from convlens.inference.metrics import compute_logits
from convlens.training.run_folder import Trained


@dataclass(frozen=True)
class Prediction:
    """path: the image. classes, probabilities: the most probable classes, best first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The images named, and those anywhere below the folders named, sorted within each folder.

    Raises UserError for a path that does not exist and a folder without images.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                Path(folder) / name
                for folder, _, names in os.walk(path)
                for name in names
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            )
            if not inside:
                raise UserError(f"{path} holds no image; give an image or a folder with images")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist; give an image or a folder with images")
    return found


def predict(
    trained: Trained,
    paths: Iterable[Path | str],
    *,
    top: int = 1,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> list[Prediction]:
    """The `top` most probable classes of each image, in the order given.

    Raises UserError for an image that cannot be decoded.
    """
    top = min(top, len(trained.classes))
    paths = list(paths)
    trained.model.to(device)
    predictions = []
    for start in range(0, len(paths), batch_size):
        chunk = paths[start : start + batch_size]
        images = np.stack([trained.decode(path) for path in chunk])
        logits = compute_logits(trained.model, images, trained.mean, trained.std, device=device)
        best = (torch.from_numpy(logits) / trained.temperature).softmax(dim=1).topk(top)
        for path, values, indices in zip(chunk, best.values, best.indices, strict=True):
            names = tuple(trained.classes[i] for i in indices)
            predictions.append(Prediction(str(path), names, tuple(values.tolist())))
    return predictions
