"""The sets of images that `datasets.py` makes of what packages ship.

Each function writes `train/` and `validation/`, a folder per class, into a folder that is there;
`python` is the interpreter of the peers' environment.
"""

import gzip
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from convlens.data.tools.demo import make_demo
from convlens.errors import UserError
from convlens.files import whole_folder

FASHION = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)


def digits(folder: Path, python: Path) -> None:
    """scikit-learn's handwritten digits, gray, 8×8 pixels: of each digit a fifth validates."""
    program = (
        "import sys, numpy, sklearn.datasets as of; found = of.load_digits(); "
        "numpy.savez(sys.stdout.buffer, images=found.images, target=found.target)"
    )
    done = subprocess.run([python, "-c", program], stdout=subprocess.PIPE, check=True)
    found = np.load(io.BytesIO(done.stdout))
    pixels = (found["images"] * 255 / 16).round().astype(np.uint8)
    for digit in range(10):
        mine = np.random.default_rng(digit).permutation(pixels[found["target"] == digit])
        validation, train = np.split(mine, [len(mine) // 5])
        write(folder / "train" / str(digit), train)
        write(folder / "validation" / str(digit), validation)


def fashion_mnist(folder: Path, python: Path) -> None:
    """Fashion-MNIST, gray, 28×28: the first 600 of each class, and 200 of its test images.

    All 60,000 would keep one core busy for hours with most recipes.
    """
    if not FASHION.is_dir():
        raise UserError(
            f"{FASHION} is missing; install Debian's package dataset-fashion-mnist, or name the "
            "other sets with `sets`",
            option="sets",
        )
    for split, prefix, count in ("train", "train", 600), ("validation", "t10k", 200):
        images = read_idx(FASHION / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(FASHION / f"{prefix}-labels-idx1-ubyte.gz")
        for label, name in enumerate(GARMENTS):
            write(folder / split / name, images[labels == label][:count])


def read_idx(path: Path) -> np.ndarray:
    """A file in MNIST's format: two zeros, the type 8 for bytes, the axes, their lengths, bytes."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def write(folder: Path, images: np.ndarray) -> None:
    """images: uint8, shape (N, H, W)."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05d}.png")


def demo(folder: Path, python: Path) -> None:
    """ConvLens's embedded set: 101 classes of warped glyphs in color, 64×64."""
    make_demo(folder / "all", progress=False)
    for split in "train", "validation":
        (folder / "all" / split).rename(folder / split)
    shutil.rmtree(folder / "all")


SETS: dict[str, Callable[[Path, Path], None]] = {
    "demo": demo,
    "digits": digits,
    "fashion-mnist": fashion_mnist,
}


def made(name: str, home: Path, python: Path) -> Path:
    """The set of that name: HOME/NAME, made there if it is missing.

    python: the interpreter of the peers' environment, which has what some sets come with.
    """
    if not (home / name).is_dir():
        with whole_folder(home / name) as temporary:
            SETS[name](temporary, python)
    return home / name
