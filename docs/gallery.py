"""Draws the pictures of gallery.md anew: `make gallery`, or `python docs/gallery.py [WEIGHTS]`.

The network is `convnet`; that of the growth of features is a `quick` run, trained here where
runs/gallery does not hold it yet (a minute on two cores), because the committed weights are those
of the last epoch only. The data set is found as by every verb.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from convlens.data import resolve

PICTURES = Path(__file__).parent / "pictures"
QUICK = Path("runs/gallery")

# What `look` is asked for, and which of its pictures are kept under which name.
LOOKS = {
    "--view activations filters attribution invariance neighbors embedding feature-visualization": {
        "activations-accordion-image_0001-conv1": "activations-accordion-image_0001-conv1",
        "activations-camera-image_0001-conv2": "activations-conv2",
        "filters": "filters",
        "attribution-accordion-image_0001": "attribution",
        "invariance": "invariance",
        "neighbors": "neighbors",
        "embedding": "embedding",
        "feature-visualization-classes": "feature-visualization",
    },
    "--view activations --layer stage4.relu2": {
        "activations-accordion-image_0001-stage4.relu2": "activations-last-layer",
    },
    "--view filters --layer relu2": {
        "filters-relu2": "filters-composite",
        "kernels-relu2": "kernels",
    },
    "--view patches --layer relu2": {"patches-relu2": "patches"},
    "--view deconvolution --layer stage1.relu2": {"deconvolution-stage1.relu2": "deconvolution"},
    # of most images the network is sure whatever the square hides; of this one it is not
    "validation/headphone/image_0031.jpg --view occlusion": {
        "occlusion-headphone-image_0031": "occlusion",
    },
}
GROWTH = {"--view growth --layer stage1.relu2": {"growth-stage1.relu2": "growth"}}


def main(weights: str = "weights/convnet.safetensors") -> None:
    data, _ = resolve()
    if not (QUICK / "metrics.json").exists():
        convlens("train", "quick", "--snapshots", "--overwrite", "--out", str(QUICK))
    for network, looks in (Path(weights), LOOKS), (QUICK, GROWTH):
        for options, kept in looks.items():
            with tempfile.TemporaryDirectory() as folder:
                look = ("look", str(network.resolve()), *options.split(), "--out", folder)
                convlens(*look, "--data", str(data), cwd=data)  # where images have short names
                for source, name in kept.items():
                    keep(Path(folder, f"{source}.png"), PICTURES / f"{name}.png")


def convlens(*arguments: str, cwd: Path | None = None) -> None:
    subprocess.run([sys.executable, "-m", "convlens", *arguments], check=True, cwd=cwd)


def keep(source: Path, target: Path) -> None:
    """The same pixels in fewer bytes. A smaller picture would take more of them: scaled squares
    have blurred edges, which do not compress."""
    with Image.open(source) as picture:
        picture.convert("RGB").save(target, optimize=True)
    print(f"kept       {target} ({target.stat().st_size / 1000:.0f} kB)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
