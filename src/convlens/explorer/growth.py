"""A network while it trains: its first filters and what its layers make of one image, now.

The weights are read from the run folder, where the trainer replaces them after every epoch.
"""

import base64
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from convlens.data.dataset import center_crop
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.explorer import pictures
from convlens.explorer.network import Network
from convlens.explorer.pictures import short
from convlens.training.run_folder import RunFolder

FILTERS = 32  # of the first layer
MAPS = 8  # of each layer, always the same ones, so that one epoch can be laid beside another
TOP = 3  # classes
GAP = 96  # gray between maps

logger = logging.getLogger(__name__)


class Growth:
    """One run's network at its last epoch, for one validation image of its own data set.

    Its methods are called by one thread at a time.
    """

    def __init__(self, path: Path):
        self.folder = RunFolder(path)
        self._image: tuple[str, str | None, np.ndarray] | None = None

    def now(self) -> dict[str, Any]:
        """What there is to show. Raises UserError before the first epoch and for what is damaged.

        Pictures are data URLs: `filters`, and a strip of maps for each of `layers`.
        """
        classifier = self.folder.classifier("last")
        network = Network(classifier, self.folder.path.name)
        name, label, loaded = self._shown(network)
        pixels = center_crop(loaded, network.size)
        seen = network.look("", pixels)
        shares = classifier.probabilities(seen.logits)[0]
        best = np.argsort(-shares, kind="stable")[:TOP].tolist()
        names = classifier.class_names
        layers = []
        for stage, maps, scale in zip(network.stages, seen.maps, seen.scales, strict=True):
            if len(stage.shape) != 3 or stage.field is None:
                continue
            shown = maps[0][:MAPS]
            gap = (0, 0), (0, max(1, shown.shape[2] // 24))
            drawn = [
                np.pad(pictures.sprite(one[None], scale), gap, constant_values=GAP) for one in shown
            ]
            row = np.hstack(drawn)[:, : -gap[1][1]]
            layers.append(
                {"name": stage.name, "maps": len(shown), "of": len(maps[0]), "picture": _url(row)}
            )
        return {
            "epoch": self._epoch(),
            "image": {"name": name, "class": label, "picture": _url(pixels)},
            "classes": [{"name": names[c], "share": short([shares[c]], 6)[0]} for c in best],
            "filters": _url(_filters(network)),
            "layers": layers,
        }

    def _epoch(self) -> int:
        try:
            return len(self.folder.read_history()["epoch"])
        except (OSError, UserError, KeyError):
            return 0

    def _shown(self, network: Network) -> tuple[str, str | None, np.ndarray]:
        """An image's name, its class and its pixels as they are loaded; gray without a data set."""
        if self._image is None:
            try:
                reading = replace(Reading(), skip_bad=True)
                dataset = self.folder.open_dataset(*network.loading, None, reading)
                split = dataset.validation
                label = dataset.classes[split.labels[0]]
                self._image = split.paths[0], label, np.array(split.images[0])
            except UserError as problem:
                logger.warning("data set   %s", problem)
                blank = np.full((network.loading.size,) * 2 + (3,), 128, np.uint8)
                self._image = "a gray image, for want of the data set", None, blank
        return self._image


def _filters(network: Network) -> np.ndarray:
    """The first layer's filters side by side, each by a scale of its own: uint8, (h, w, 3)."""
    name = next(stage.convolution for stage in network.stages if stage.convolution)
    module = cast(nn.Conv2d, network.model.get_submodule(name.partition("#")[0]))
    weight = module.weight.detach().cpu().numpy()[:FILTERS]  # (F, channels, kh, kw)
    if weight.shape[1] not in (1, 3):
        weight = weight.mean(axis=1, keepdims=True)
    cells = []
    for each in weight.transpose(0, 2, 3, 1):
        cell = pictures.on_gray(each, pictures.largest(each) or 1.0)
        cells.append(np.pad(cell, ((1, 1), (1, 1), (0, 0)), constant_values=255))
    columns = -(-len(cells) // 2)
    cells += [np.full_like(cells[0], 255)] * (columns * 2 - len(cells))
    return pictures.tiled(np.stack(cells), columns)


def _url(pixels: np.ndarray) -> str:
    return f"data:image/png;base64,{base64.b64encode(pictures.png(pixels)).decode()}"
