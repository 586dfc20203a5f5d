"""A trained network with all that is needed to use it on an image."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from convlens.data import Dataset, Rows, Split, center_crop, loaded_size, open_dataset
from convlens.data.batches import batches_of, to_tensor
from convlens.data.dataset import Loading
from convlens.data.decode import Fit, decode, to_rgb, to_square
from convlens.data.names import class_name as composed
from convlens.data.normalize import Normalize
from convlens.errors import UserError, did_you_mean
from convlens.inference import weights_file
from convlens.inference.calibration import TemperatureScaling
from convlens.inference.export import Export, export
from convlens.inference.fast import FastInference
from convlens.inference.metrics import Evaluation, score
from convlens.inference.prediction import Prediction, Predictions, search

# Images in a forward pass: the maps of more no longer fit into a CPU's caches.
BATCH = 64


def images_at_once(size: int, device: torch.device) -> int:
    """How many images of `size` pixels go into a forward pass: a divisor of BATCH.

    On a CPU fewer of those larger than 64 pixels, so that their maps take no more memory.
    """
    fitting = BATCH * 64**2 // size**2 if device.type == "cpu" and size > 64 else BATCH
    return 1 << max(fitting, 1).bit_length() - 1


@dataclass(frozen=True)
class Origin:
    """Where a network is from; what a weights file says beside what is needed to use it.

    network: its class in `convlens.models`. options: its constructor's keyword arguments.
    recipe: what trained it. commit: of the ConvLens that did, "" where that is not known.
    begun_with: SHA-256 of the file of weights that its training began with, "" for random ones.
    """

    network: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    commit: str = ""
    begun_with: str = ""


class Classifier(nn.Module):
    """A network that knows its images and its classes.

    Any module that takes normalized images, float (N, 3, size, size), or (N, 1, size, size) of
    gray ones, and gives logits can be wrapped, to be measured, asked and looked into.

    Args:
        model: The network.
        class_names: C names, in the order of the logits.
        normalize: What its images are normalized by; of one mean, it makes gray of them.
        size: Side of its images, pixels.
        crop_pct: Share of a loaded image's side that it is given, of the middle, 0 to 1.
        fit: What becomes of an image that is not square: "squash", "crop" or "pad".
        temperature: What its logits are divided by before they are read as probabilities, > 0.
        origin: Where the network is from.

    Raises:
        UserError: for values that no network can have, and names of classes that are not one each.

    Attributes:
        model, normalize, class_names, size, crop_pct, fit, origin: as given.
        scaling: The `TemperatureScaling` that every probability goes through.
    """

    def __init__(  # noqa: PLR0913 - all but the first two are words of a weights file
        self,
        model: nn.Module,
        class_names: Sequence[str],
        normalize: Normalize | None = None,
        *,
        size: int = 64,
        crop_pct: float = 1.0,
        fit: Fit = "squash",
        temperature: float = 1.0,
        origin: Origin | None = None,
    ):
        super().__init__()
        _check_given(model, class_names, size, crop_pct, fit, temperature)
        self.model = model
        self.normalize = Normalize() if normalize is None else normalize
        self.scaling = TemperatureScaling(temperature)
        self.class_names = tuple(class_names)
        self.size, self.crop_pct = size, crop_pct
        self.fit: Fit = fit
        self.origin = origin or Origin(network=type(model).__name__)

    # What it is

    @property
    def name(self) -> str:
        """The network's name, for titles."""
        return self.origin.network or type(self.model).__name__

    @property
    def temperature(self) -> float:
        """What the logits are divided by before they are read as probabilities."""
        return self.scaling.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.scaling.temperature = value

    @property
    def loaded_size(self) -> int:
        """Side of the images as they are loaded, pixels."""
        return loaded_size(self.size, self.crop_pct)

    @property
    def loading(self) -> Loading:
        """How images are loaded for it."""
        return Loading(self.loaded_size, self.fit)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.model.parameters(), self.normalize.mean).device

    def with_model(self, model: nn.Module, **changes: Any) -> "Classifier":
        """The same with another network; `changes` are arguments of the constructor."""
        arguments = {
            "class_names": self.class_names,
            "normalize": copy.deepcopy(self.normalize),
            "size": self.size,
            "crop_pct": self.crop_pct,
            "fit": self.fit,
            "temperature": self.temperature,
            "origin": self.origin,
        }
        return Classifier(model, **{**arguments, **changes})

    def extra_repr(self) -> str:
        return (
            f"{len(self.class_names)} classes, size={self.size}, crop_pct={self.crop_pct:g}, "
            f"fit={self.fit!r}, temperature={self.temperature:g}"
        )

    def label(self, class_name: str) -> int:
        """The number of a class. Raises UserError for one that it does not know.

        An accent may be written as one character or two: a Mac's files have two.
        """
        if class_name in self.class_names:
            return self.class_names.index(class_name)
        known = list(map(composed, self.class_names))
        if composed(class_name) in known:
            return known.index(composed(class_name))
        hint = did_you_mean(
            class_name, self.class_names, otherwise="; choose a class of its data set"
        )
        raise UserError(f"{self.name} was not trained on a class {class_name!r}{hint}")

    # From images to answers

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, C), of images as they are decoded: (N, 3, size, size), 0..255."""
        return self.model(self._as_read(self.normalize(images)))

    def _as_read(self, inputs: Tensor) -> Tensor:
        """In the type of the network's weights, which may be float64."""
        floats = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return inputs.to(next(floats, inputs.dtype))

    def decode(self, image: Path | str | Image.Image | np.ndarray) -> np.ndarray:
        """A file, a Pillow image or pixels as the network is given them, uint8, (size, size, 3).

        Raises UserError for a file that cannot be decoded.
        """
        if isinstance(image, np.ndarray):
            if image.shape in ((self.size, self.size, 3), (self.loaded_size, self.loaded_size, 3)):
                return center_crop(image, self.size)
            image = Image.fromarray(image)
        if isinstance(image, Image.Image):
            pixels = to_square(to_rgb(image), self.loaded_size, self.fit)
        else:
            pixels = decode(image, self.loaded_size, self.fit)
        return center_crop(pixels, self.size)

    def inputs(self, images: np.ndarray | Rows | Sequence[np.ndarray]) -> Tensor:
        """Images as the network reads them: float32, (N, channels, size, size), on its device.

        images: uint8, (N, size, size, 3), or larger by `crop_pct`.
        """
        pixels = np.stack(images) if isinstance(images, list | tuple) else np.asarray(images)
        pixels = center_crop(pixels, self.size)
        return self._as_read(self.normalize(to_tensor(pixels).to(self.device)))

    @torch.inference_mode()
    def logits(self, images: np.ndarray | Rows, batch_size: int | None = None) -> np.ndarray:
        """Logits, float32, (N, C), in evaluation mode and full precision: the one forward loop.

        images: uint8, (N, size, size, 3), or larger by `crop_pct`; a memory map is read a batch at
        a time. batch_size: by default `images_at_once`. The network comes back in the mode it had.
        """
        batch_size = batch_size or images_at_once(self.size, self.device)
        training = self.model.training
        self.model.eval()
        images = center_crop(images, self.size)
        try:
            logits = [
                self._checked(self(batch.to(self.device))).float().cpu()
                for batch in batches_of(images, batch_size)
            ]
        finally:
            self.model.train(training)
        nothing = torch.empty(0, len(self.class_names))
        return torch.cat([nothing, *logits]).numpy()

    def _checked(self, answers: Any) -> Tensor:
        """The logits of a module of somebody's own. Raises UserError where they are none."""
        count = len(self.class_names)
        if isinstance(answers, Tensor) and answers.dim() == 2 and answers.shape[1] == count:
            return answers
        given = (
            f"a tensor of shape {tuple(answers.shape)}"
            if isinstance(answers, Tensor)
            else (f"a {type(answers).__name__}")
        )
        raise UserError(
            f"{self.name} gives {given} where {count} logits an image are asked for, one for each "
            "of `class_names`; wrap a module that gives these",
            option="class_names",
        )

    def probabilities(self, logits: np.ndarray | Tensor) -> np.ndarray:
        """Class probabilities, float32, (N, C), of logits; at the temperature, rows sum to 1.

        Raises UserError where they would be no numbers.
        """
        return self._finite(self.scaling.probabilities(logits))

    def evaluate(
        self, data: "Dataset | Split | Path | str | None" = None, split: str = "validation"
    ) -> Evaluation:
        """Measure the network on every image of a split, unaugmented.

        Args:
            data: A data set, one of its splits, or a folder as `open_dataset` takes it.
            split: "train", "validation" or "test", of a data set; of one that is not split also
                "all": every image, which measures a network only where it was not trained on them.

        Raises:
            UserError: for a data set that cannot be opened or has a class that it does not know,
                and for a split without images.
        """
        if not isinstance(data, Split):
            dataset = data if isinstance(data, Dataset) else self.open_dataset(data)
            data = self.aligned(dataset).split(split)
        if not len(data):
            raise UserError("there are no images to measure by; give others", option="data")
        logits = self._finite(self.logits(data.images))
        return score(logits, np.asarray(data.labels), self.class_names, self.temperature)

    def predict(
        self,
        images: "Iterable[Path | str] | Path | str",
        top: int = 1,
        batch_size: int = 256,
        *,
        skip_bad: bool = False,
    ) -> Predictions:
        """The `top` most probable classes of each image, in the order given.

        Args:
            images: Files, and folders that hold some: anywhere below, by name or by content.
            top: How many classes of each image, most probable first.
            batch_size: How many images are decoded before they are asked about.
            skip_bad: Answer for the other images where some cannot be; the result's `failed` says
                which, and why.

        Raises:
            UserError: for an image that is not there or cannot be decoded and a folder without
                images, unless with `skip_bad`.
        """
        found = search([images] if isinstance(images, str | Path) else images)
        predictions = Predictions(failed=found.failed, left_out=found.left_out)
        if found.failed and not skip_bad:
            raise UserError(found.failed[0][1])
        paths, top = found.images, min(top, len(self.class_names))
        for start in range(0, len(paths), batch_size):
            readable, pixels = [], []
            for path in paths[start : start + batch_size]:
                try:
                    pixels.append(self.decode(path))
                except UserError as problem:
                    if not skip_bad:
                        raise
                    predictions.failed.append((str(path), str(problem)))
                else:
                    readable.append(path)
            if not readable:
                continue
            probabilities = self.probabilities(self._finite(self.logits(np.stack(pixels))))
            best = torch.from_numpy(probabilities).topk(top)
            for path, values, rows in zip(readable, best.values, best.indices, strict=True):
                names = tuple(self.class_names[row] for row in rows)
                predictions.append(Prediction(str(path), names, tuple(values.tolist())))
        return predictions

    def _finite(self, answers: np.ndarray) -> np.ndarray:
        """The answers as they are; UserError where one is no number."""
        if np.isfinite(answers).all():
            return answers
        raise UserError(
            f"{self.name} answers with what is no number: its weights are too large for its "
            "arithmetic; train it again with a lower `learning_rate`",
            option="learning_rate",
        )

    # Data sets

    def open_dataset(self, data: Path | str | None = None, **options: Any) -> Dataset:
        """A data set as the network is given it; `options` as `open_dataset` takes them.

        It may lack some of the network's classes. Raises UserError for one that has others.
        """
        dataset = open_dataset(data, size=self.loaded_size, fit=self.fit, **options)
        return self.aligned(dataset).center_crop(self.size)

    def aligned(self, dataset: Dataset, name: str = "") -> Dataset:
        """The data set with its labels as the network numbers its classes, by their names.

        name: how the message calls the network. Raises UserError for a class it does not know.
        """
        try:
            return dataset.with_classes(self.class_names)
        except KeyError as problem:
            raise UserError(
                f"{name or self.name} was not trained on the class {problem.args[0]} of "
                f"{dataset.place}; give a data set of its classes with `data`",
                option="data",
            ) from None

    def check_classes(self, dataset: Dataset, name: str = "") -> None:
        """Raise UserError when the data set's classes are not the network's.

        name: how the message calls the network.
        """
        if list(map(composed, dataset.classes)) != list(map(composed, self.class_names)):
            raise UserError(
                f"{name or self.name} knows {len(self.class_names)} classes and {dataset.place} "
                f"has {dataset.num_classes}, not the same ones; give the data set it was trained "
                "on with `data`",
                option="data",
            )

    # Files

    def save(self, path: Path | str, *, half: bool = False) -> Path:
        """Write a weights file, atomically; with `half`, floats in half precision (float16)."""
        origin = self.origin
        about = weights_file.About(
            network=origin.network,
            options=origin.options,
            class_names=self.class_names,
            size=self.size,
            crop_pct=self.crop_pct,
            fit=self.fit,
            mean=tuple(self.normalize.mean.tolist()),
            std=tuple(self.normalize.std.tolist()),
            temperature=self.temperature,
            recipe=origin.recipe,
            commit=origin.commit,
            begun_with=origin.begun_with,
        )
        weights_file.write(Path(path), self.model, about, half=half)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> "Classifier":
        """The network of a run folder (its `best` weights) or of a weights file, to be used.

        Raises UserError when there is none, or when it is not one that ConvLens wrote.
        """
        model, about = weights_file.read(path)
        return cls(
            model,
            about.class_names,
            Normalize(about.mean, about.std),
            size=about.size,
            crop_pct=about.crop_pct,
            fit=about.fit,
            temperature=about.temperature,
            origin=Origin(
                about.network, about.options, about.recipe, about.commit, about.begun_with
            ),
        )

    def export(self, path: Path | str, *, layers: Sequence[str] | None = None) -> Export:
        """Write one file for other programs: ONNX, or torch.export's for a name in `.pt2`.

        Arguments, result and errors are those of `convlens.inference.export.export`.
        """
        return export(self, Path(path), layers)

    def fast(self, dtype: torch.dtype = torch.float32) -> "Classifier":
        """The same answers sooner: batch norms folded in, channels-last, products in `dtype`."""
        return self.with_model(FastInference(self.model, dtype))


def load(run: Path | str) -> Classifier:
    """The classifier of a run folder (its `best` weights) or of a weights file.

    Raises UserError when there is none, or when it is not one that ConvLens wrote.
    """
    return Classifier.load(run)


def _check_given(
    model: Any, class_names: Sequence[str], size: int, crop_pct: float, fit: str, temperature: float
) -> None:
    """Raise UserError for arguments of a `Classifier` that cannot be."""
    if not isinstance(model, nn.Module):
        raise UserError(
            f"`model` is a {type(model).__name__}; give a torch.nn.Module", option="model"
        )
    names = tuple(class_names)
    if not names or len(set(names)) < len(names):
        raise UserError(
            "`class_names` must be a list with a name of its own for each class",
            option="class_names",
        )
    for name, value, is_sound, must in (
        ("size", size, size >= 1, "1 or more, in pixels"),
        ("crop_pct", crop_pct, 0 < crop_pct <= 1, "above 0, up to 1"),
        ("fit", fit, fit in get_args(Fit), f"one of {', '.join(get_args(Fit))}"),
        ("temperature", temperature, 0 < temperature < float("inf"), "above 0"),
    ):
        if not is_sound:
            raise UserError(f"`{name}` {value} is not possible; it must be {must}", option=name)
