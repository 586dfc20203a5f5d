"""How many near-duplicates `data audit` finds, and how many of those it finds are none.

python benchmarks/near_duplicates.py [DIR]
python benchmarks/near_duplicates.py --sets glyphs drawings satellite xrays cells demo digits DIR…

The first: Caltech-101's classes Faces and Faces_easy hold the same photographs, one whole and one
cropped, under the same file names. Pairs of the two classes with one name are what should be found;
pairs with different names are counted as mistakes, although some are shots of one person a second
apart.

The second: copies are planted into sets of several kinds, made by code or read from folders, and
counted once by similarity alone and once as found. A pair that was not planted counts as false,
although a folder may hold copies of its own. `digits` needs scikit-learn.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path, PurePosixPath

import numpy as np
from near_duplicate_sets import SETS
from PIL import Image

from convlens.data import open_dataset
from convlens.data.decode import to_square
from convlens.data.tools.demo import make_demo
from convlens.data.tools.near_duplicates import Pairs, within

Random = np.random.Generator


def rescaled(image: Image.Image, random: Random) -> Image.Image:
    share = random.uniform(0.5, 0.9)
    return image.resize([round(share * side) for side in image.size], Image.Resampling.BICUBIC)


def compressed(image: Image.Image, random: Random) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def mirrored(image: Image.Image, random: Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def recolored(image: Image.Image, random: Random) -> Image.Image:
    pixels = np.asarray(image) * random.uniform(0.85, 1.1, 3) + random.uniform(-12, 12, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def cropped(image: Image.Image, random: Random) -> Image.Image:
    w, h = np.round(random.uniform(0.7, 0.9, 2) * image.size).astype(int).tolist()
    left, top = random.integers(0, image.width - w + 1), random.integers(0, image.height - h + 1)
    return image.crop((left, top, left + w, top + h))


CHANGES = (rescaled, compressed, mirrored, recolored, cropped)


def images_of(name: str, count: int, random: Random) -> list[Image.Image]:
    """Some images of a set made by code, or of a folder."""
    if name in SETS:
        return SETS[name](count, random)
    with tempfile.TemporaryDirectory() as made:
        folder = make_demo(Path(made) / "demo") if name == "demo" else Path(name)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        chosen = [files[i] for i in random.permutation(len(files))[:count]]
        return [Image.open(file).convert("RGB") for file in chosen]


def measure_planted(name: str, count: int, copies: int) -> None:
    """Print a row: how many of the planted copies are found and how many pairs are false."""
    random = np.random.default_rng(0)
    images = images_of(name, count, random)
    count = len(images)
    chosen = random.permutation(count)[:copies]
    planted = [CHANGES[i % len(CHANGES)](images[row], random) for i, row in enumerate(chosen)]
    truth = {(int(row), count + i) for i, row in enumerate(chosen)}
    pixels = np.stack([to_square(image, 64) for image in [*images, *planted]])
    start = time.perf_counter()
    found = within(pixels, progress=False)
    seconds = time.perf_counter() - start
    alone = within(pixels[:count], progress=False)

    def rows(pairs: Pairs) -> set[tuple[int, int]]:
        return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))

    known, unsure = rows(found.known), rows(found.unsure)
    alike = len(np.unique([alone.unsure.first, alone.unsure.second]))
    print(
        f"| {PurePosixPath(name).name} | {count:,} | {len(truth & (known | unsure))} → "
        f"{len(truth & known)} of {copies} | {len((known | unsure) - truth):,} → "
        f"{len(known - truth):,} | {len(alone.known) + len(alone.unsure):,} → "
        f"{len(alone.known):,} | {alike / count:.0%} | {seconds:.0f} |",
        flush=True,
    )


def measure_faces(folder: Path | None) -> None:
    """Print what is found between Faces and Faces_easy."""
    dataset = open_dataset(folder)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    files = [PurePosixPath(p) for p in (*dataset.train.paths, *dataset.validation.paths)]
    start = time.perf_counter()
    found = within(images)
    print(f"{len(images):,} images compared in {time.perf_counter() - start:.1f} s")

    faces = {"Faces", "Faces_easy"}
    names = [{f.name for f in files if f.parent.name == name} for name in faces]
    expected = len(names[0] & names[1])

    def same(pairs: Pairs) -> list[bool]:
        both = [(files[i], files[j]) for i, j in zip(pairs.first, pairs.second, strict=True)]
        return [a.name == b.name for a, b in both if {a.parent.name, b.parent.name} == faces]

    known, unsure = same(found.known), same(found.unsure)
    for label, right in ("known", known), ("known and unsure", known + unsure):
        print(
            f"{label:<17} {sum(right)} of {expected} found, recall {sum(right) / expected:.1%}; "
            f"{len(right)} named, precision {np.mean(right) if right else float('nan'):.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="Caltech-101, instead of the usual")
    parser.add_argument("--sets", nargs="+", help=f"{', '.join(SETS)}, demo or folders")
    parser.add_argument("--images", type=int, default=1500, help="of each set, at most")
    parser.add_argument("--copies", type=int, default=100, help="planted into each set")
    arguments = parser.parse_args()
    if not arguments.sets:
        return measure_faces(arguments.folder)
    print("| set | images | copies found | false pairs | the same, nothing planted | unsure | s |")
    print("| :-- | --: | --: | --: | --: | --: | --: |")
    for name in arguments.sets:
        measure_planted(name, arguments.images, arguments.copies)


if __name__ == "__main__":
    main()
