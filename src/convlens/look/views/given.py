"""What a view is given: images and data sets in whatever form a caller has them."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from convlens.data.dataset import Dataset, Rows, Split
from convlens.data.names import ADJECTIVES
from convlens.data.readahead import will_need
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode
from convlens.inference.classifier import Classifier
from convlens.inference.prediction import find_images
from convlens.look.arrays.activations import activations
from convlens.models.hooks import blank_image, check_numbers

ASSIGNED = ("accordion/image_0001", "camera/image_0001")


class NamedImage(NamedTuple):
    """An image and what it is called in titles and file names, as a rule its path.

    pixels: uint8, shape (H, W, 3).
    """

    name: str
    pixels: np.ndarray

    @property
    def title(self) -> str:
        """The name as it can be drawn."""
        return visible(as_unicode(self.name))

    @property
    def short(self) -> str:
        """The last two parts of the title, without a suffix: "cat/image_0001"."""
        return visible(as_unicode("/".join(self._parts())))

    @property
    def stem(self) -> str:
        """The same for a file: "cat-image_0001"."""
        return "-".join(self._parts())

    def _parts(self) -> list[str]:
        path = PurePath(self.name)
        parts = [part for part in path.parts if part not in (path.anchor, "..")]
        return [*parts[-2:-1], *(PurePath(name).stem for name in parts[-1:])]


OneImage: TypeAlias = Path | str | Image.Image | np.ndarray | NamedImage
SomeImages: TypeAlias = OneImage | Sequence[OneImage]
Data: TypeAlias = Dataset | Path | str | None


def read_image(classifier: Classifier, image: OneImage, name: str = "image") -> NamedImage:
    """The image as the network is given it, uint8, (size, size, 3).

    Args:
        classifier: Says how large an image is.
        image: A file, a Pillow image, pixels (uint8, (H, W, 3)), or pixels with a name.
        name: Of an image that has none.

    Raises:
        UserError: for a file that is not there or cannot be decoded, and for a folder.
    """
    if isinstance(image, NamedImage):
        return NamedImage(image.name, classifier.decode(image.pixels))
    if isinstance(image, str | Path):
        if Path(image).is_dir():
            raise UserError(f"{image} is a folder; give one image of it", option="image")
        find_images([image])  # raises where there is none
        name = str(image)
    elif isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "") or name)
    return NamedImage(name, classifier.decode(image))


def read_images(classifier: Classifier, images: SomeImages) -> list[NamedImage]:
    """One image or several as the network is given them; of a folder all that are in it.

    Raises:
        UserError: as `read_image`, for a folder without images, and where nothing is given.
    """
    if isinstance(images, str | Path | Image.Image | NamedImage) or (
        isinstance(images, np.ndarray) and images.ndim == 3
    ):
        images = [images]
    found: list[NamedImage] = []
    for number, image in enumerate(images, 1):
        if isinstance(image, str | Path):
            found += [read_image(classifier, path) for path in find_images([image])]
        else:
            found.append(read_image(classifier, image, f"image {number}"))
    if not found:
        raise UserError("no image is given; name one or several with `images`", option="images")
    return found


def open_data(classifier: Classifier, data: Data) -> Dataset:
    """A data set as the network is given it; a folder is opened as `open_dataset` does.

    Raises:
        UserError: for one that cannot be opened, was decoded to another size, or has a class that
            the network does not know.
    """
    dataset = data if isinstance(data, Dataset) else classifier.open_dataset(data)
    dataset = classifier.aligned(dataset)
    if dataset.size not in (classifier.size, classifier.loaded_size):
        raise UserError(
            f"{dataset.place} was decoded to {dataset.size}×{dataset.size} pixels and "
            f"{classifier.name} is given {classifier.size}×{classifier.size}; open it with the "
            "classifier's own open_dataset",
            option="data",
        )
    return dataset.center_crop(classifier.size)


def filled(dataset: Dataset, name: str) -> Split:
    """The split of that name. Raises UserError where it has no image."""
    split = dataset.split(name)
    if not len(split):
        raise UserError(
            f"{dataset.place} has no {ADJECTIVES[name]} image, of which this view is made; give a "
            "data set that has some",
            option="data",
        )
    return split


def assigned_images(dataset: Dataset) -> list[NamedImage]:
    """The two images whose activations the assignment asks for, named by their paths.

    Of another data set the first training images of the first two classes.
    """
    found: dict[str, tuple[str, np.ndarray]] = {}
    for split in dataset.train, dataset.validation:
        for row, path in enumerate(split.paths):
            if path.rpartition("/")[2].startswith("image_0001."):
                name = "/".join(PurePath(path).with_suffix("").parts[-2:])
                found[name] = (path, split.images[row])
    if all(name in found for name in ASSIGNED):
        chosen = [found[name] for name in ASSIGNED]
    else:
        train = next(split for split in dataset.splits.values() if len(split))
        first = np.unique(train.labels, return_index=True)[1][:2]
        chosen = [(train.paths[row], train.images[row]) for row in first.tolist()]
    return [NamedImage(path, np.array(image)) for path, image in chosen]


def rows_of(images: np.ndarray | Rows, rows: np.ndarray) -> np.ndarray:
    """Some images of a split, read together: uint8, rows.shape + (H, W, 3)."""
    will_need(images, rows.ravel())
    return np.asarray(images[rows.ravel()]).reshape(*rows.shape, *images.shape[1:])


def describe_prediction(classifier: Classifier, pixels: np.ndarray) -> str:
    """Say what the network takes an image for: "cat 93.1%".

    pixels: uint8, (size, size, 3).
    """
    (shares,) = classifier.probabilities(classifier.logits(pixels[None]))
    best = int(shares.argmax())
    return f"{classifier.class_names[best]} {float(shares[best]):.1%}"


def check_maps_of(classifier: Classifier, layer: str, maps: Sequence[int]) -> int:
    """How many maps, or features, the layer has.

    Raises:
        UserError: where there is no such layer, or it does not have one of `maps`.
    """
    blank = blank_image(classifier.model, classifier.size)
    count = activations(classifier.model, blank, [layer])[layer].shape[1]
    check_numbers(maps, count, f"layer {layer} has no map")
    return count
