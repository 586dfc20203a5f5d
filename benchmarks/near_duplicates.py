"""How many near-duplicates `data audit` finds, and how many of those it finds are none.

python benchmarks/near_duplicates.py [DIR]

Caltech-101's classes Faces and Faces_easy hold the same photographs, one whole and one cropped,
under the same file names. Pairs of the two classes with one name are what should be found; pairs
with different names are counted as mistakes, although some are shots of one person a second apart.
"""

import sys
import time
from pathlib import PurePosixPath

import numpy as np

from convlens.data import open_dataset
from convlens.data.tools.near_duplicates import within


def main() -> None:
    dataset = open_dataset(sys.argv[1] if len(sys.argv) > 1 else None)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    files = [PurePosixPath(p) for p in (*dataset.train.paths, *dataset.validation.paths)]
    start = time.perf_counter()
    pairs = within(images)
    print(f"{len(images):,} images compared in {time.perf_counter() - start:.1f} s")

    faces = {"Faces", "Faces_easy"}
    names = [{f.name for f in files if f.parent.name == name} for name in faces]
    expected = len(names[0] & names[1])
    rows = [
        (files[i], files[j], similarity)
        for i, j, similarity in zip(pairs.first, pairs.second, pairs.similarity, strict=True)
        if {files[i].parent.name, files[j].parent.name} == faces
    ]
    for least in 0.9, 0.95, 0.98:
        found = [a.name == b.name for a, b, similarity in rows if similarity >= least]
        print(
            f"similarity ≥ {least:.2f}: {sum(found)} of {expected} found, recall "
            f"{sum(found) / expected:.1%}; {len(found)} named, precision "
            f"{np.mean(found) if found else float('nan'):.1%}"
        )


if __name__ == "__main__":
    main()
