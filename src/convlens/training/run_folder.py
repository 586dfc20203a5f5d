"""The run folder: what a run writes and what later verbs read.

    config.yaml        everything that decides the run: recipe, data set, seed, machine
    history.csv        a row an epoch
    last.safetensors   the weights after the last epoch (their average, if the recipe has one)
    best.safetensors   the weights to use: with a hold-out the best epoch on it, else `last`
    state.pt           the full training state; `convlens train --resume` continues from it
    snapshots/         with `--snapshots`: the weights after some epochs, in half precision
    metrics.json       loss and accuracy on both splits, once the run is finished

A weights file carries all that is needed to use it (`Trained`) in its safetensors metadata, so it
can stand in wherever a run folder is asked for.
"""

import csv
import io
import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from convlens.data.cache import decode
from convlens.data.dataset import center
from convlens.errors import UserError
from convlens.files import replacing
from convlens.models import MODELS
from convlens.recipes.recipe import magnified


@dataclass(frozen=True)
class Trained:
    """A network with all that is needed to use it on an image.

    network: its name in convlens.models. options: its constructor's keyword arguments.
    classes: C names in the order of the logits. size: side of its images, pixels. zoom: how much
    larger images are loaded, of which it is given the middle.
    mean, std: float32, shape (3,), of the training images in 0..1. recipe, commit: its origin.
    temperature: what its logits are divided by before they are read as probabilities, > 0.
    """

    model: nn.Module
    network: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    size: int
    mean: Tensor
    std: Tensor
    recipe: str
    commit: str
    temperature: float = 1.0
    zoom: float = 1.0

    @property
    def loaded_size(self) -> int:
        """Side of the images as they are loaded, pixels."""
        return magnified(self.size, self.zoom)

    def decode(self, path: Path | str) -> np.ndarray:
        """A file as the network is given it, uint8, (size, size, 3); UserError as `decode`."""
        return center(decode(path, self.loaded_size), self.size)


def build(network: str, options: dict[str, Any], num_classes: int, size: int) -> nn.Module:
    """The network of that name; the one that flattens its maps is told the images' size."""
    if network == "LeNet5":
        options = {"size": size, **options}
    return MODELS[network](num_classes, **options)


@cache
def source_commit() -> str:
    """Commit of the source this program runs from, "-dirty" if it was changed; "" if unknown."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        here = Path(__file__).parent
        result = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()


def save_weights(path: Path, trained: Trained, half: bool = False) -> None:
    """Write a weights file, atomically; with `half`, floats in half precision (float16)."""
    tensors = {}
    for name, tensor in trained.model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = tensor.half() if half and tensor.is_floating_point() else tensor
    metadata = {
        "format": "pt",
        "convlens": json.dumps(
            {
                "network": trained.network,
                "options": trained.options,
                "classes": trained.classes,
                "size": trained.size,
                "mean": trained.mean.tolist(),
                "std": trained.std.tolist(),
                "recipe": trained.recipe,
                "commit": trained.commit,
                "temperature": trained.temperature,
                "zoom": trained.zoom,
            },
            ensure_ascii=False,
        ),
    }
    with replacing(path) as temporary:
        # not safetensors' save_file, which makes a file that only its owner may read
        temporary.write_bytes(save(tensors, metadata))


def load_trained(run: Path | str) -> Trained:
    """The network of a run folder (its `best` weights) or of a weights file, in evaluation mode.

    Raises UserError when there is none, or when it is not one that ConvLens wrote.
    """
    path = Path(run)
    if path.is_dir():
        path = path / "best.safetensors"
        if not path.exists():
            raise UserError(f"{run} holds no best.safetensors; give the folder of a trained run")
    if not path.exists():
        raise UserError(f"{run} does not exist; give a run folder or a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["convlens"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = build(
            metadata["network"], metadata["options"], len(metadata["classes"]), metadata["size"]
        )
        model.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        )
        return Trained(
            model=model.eval(),
            network=metadata["network"],
            options=metadata["options"],
            classes=tuple(metadata["classes"]),
            size=metadata["size"],
            mean=torch.tensor(metadata["mean"]),
            std=torch.tensor(metadata["std"]),
            recipe=metadata["recipe"],
            commit=metadata["commit"],
            # files of version 0.1 have neither
            temperature=metadata.get("temperature", 1.0),
            zoom=metadata.get("zoom", 1.0),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        raise UserError(
            f"{path} is not a weights file of ConvLens ({type(problem).__name__}); give a run "
            "folder or a file that `convlens train` wrote"
        ) from None


def save_snapshot(run: Path, trained: Trained, epoch: int) -> None:
    """Keep the weights as they are after that epoch (counted from 1), in half precision."""
    (run / "snapshots").mkdir(exist_ok=True)
    save_weights(run / "snapshots" / f"epoch-{epoch:04d}.safetensors", trained, half=True)


def load_snapshots(run: Path | str) -> dict[int, Trained]:
    """The networks that a run kept, by epoch, in order. UserError where it kept none."""
    files = sorted(Path(run).glob("snapshots/epoch-*.safetensors"))
    if not files:
        raise UserError(
            f"{run} holds no snapshots; train with --snapshots and give the run's folder"
        )
    return {int(file.stem.removeprefix("epoch-")): load_trained(file) for file in files}


def write_history(run: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv, atomically, a row an epoch."""
    with replacing(run / "history.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys())
        writer.writeheader()
        writer.writerows(history)


def read_history(run: Path | str) -> dict[str, np.ndarray]:
    """history.csv as columns, float64, shape (epochs,). Raises UserError when it is damaged."""
    path = Path(run) / "history.csv"
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    except (ValueError, TypeError, IndexError):
        raise UserError(
            f"{path} is damaged; `convlens train --resume {run}` writes it anew"
        ) from None


def write_yaml(path: Path, content: dict) -> None:
    """Write YAML, atomically, in the order of the dictionary."""
    with replacing(path) as temporary:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict | list) -> None:
    """Write JSON, atomically, indented."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def save_state(run: Path, state: dict) -> None:
    """Write the full training state, atomically."""
    buffer = io.BytesIO()  # torch itself writing to a full disk raises no OSError
    torch.save(state, buffer)
    with replacing(run / "state.pt") as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(run: Path) -> dict | None:
    """The state of the last finished epoch; None when not even one was finished."""
    path = run / "state.pt"
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise UserError(
            f"{path} cannot be read ({type(problem).__name__}); start a new run"
        ) from None
