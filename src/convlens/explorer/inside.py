"""What the explorer knows: one or two runs, the data set if there is one, uploaded images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from convlens.data.dataset import Dataset, center
from convlens.explorer.images import UPLOADS_KEPT, Images
from convlens.explorer.network import Network
from convlens.explorer.survey import Survey, Surveyor
from convlens.training.run import check_classes, open_as

EXAMPLES = 8


class Explorer:
    """networks: to be compared, the first one's data set is theirs all. datasets: by the size that
    their images are decoded to, one for each size of the networks; empty without a data set."""

    def __init__(
        self,
        networks: Sequence[Network],
        datasets: dict[int, Dataset] | None = None,
        keep: int = UPLOADS_KEPT,
    ):
        self.networks = list(networks)
        datasets = datasets or {}
        self.dataset = datasets.get(self.networks[0].loaded_size)
        self.images = Images(datasets, {network.loaded_size for network in networks}, keep)
        self.surveys = [
            Survey(network, datasets[network.loaded_size].center(network.size))
            for network in networks if datasets
        ]  # fmt: skip
        self.surveyor = Surveyor(self.surveys)

    @classmethod
    def open(
        cls, runs: Sequence[Path], data: Path | None = None, keep: int = UPLOADS_KEPT
    ) -> "Explorer":
        """Of run folders or weights files. data: as for `open_for` of the first.

        Where none is given and the usual one has other classes, there is none: images can be
        uploaded all the same. UserError for what cannot be opened.
        """
        networks = [Network.of_run(run) for run in runs]
        first = networks[0]
        dataset = open_as(runs[0], data, first.loaded_size)
        if data is not None:
            check_classes(first.trained, runs[0], dataset)
        elif dataset.classes != first.trained.classes:
            return cls(networks, keep=keep)
        datasets = {first.loaded_size: dataset}
        for network in networks[1:]:
            size = network.loaded_size
            if size not in datasets:
                datasets[size] = open_as(runs[0], dataset.root, size)
        return cls(networks, datasets, keep)

    def pixels(self, image: str, network: Network) -> np.ndarray:
        """An image as the network is given it, uint8, (size, size, 3). KeyError as `Images`."""
        return center(self.images.pixels(image, network.loaded_size), network.size)

    def labels(self, network: Network, split: str) -> np.ndarray:
        """int64, (N,): the classes of "validation" or "train" by the network's own numbers.

        -1 where it was not trained on the class.
        """
        known = {name: number for number, name in enumerate(network.trained.classes)}
        numbers = np.array([known.get(name, -1) for name in self.dataset.classes])
        return numbers[getattr(self.dataset, split).labels]

    def examples(self) -> list[str]:
        """Validation images to begin with, of classes spread over all of them."""
        if self.dataset is None:
            return []
        labels = self.dataset.validation.labels
        count = min(EXAMPLES, self.dataset.num_classes)
        classes = np.linspace(0, self.dataset.num_classes - 1, count).astype(int)
        return [f"v{np.flatnonzero(labels == label)[0]}" for label in classes]

    def watch(self, give_way: Callable[[], None]) -> None:
        """Begin the surveys in the background. give_way: called between their batches."""
        self.surveyor.give_way = give_way
        self.surveyor.start()

    def close(self) -> None:
        self.surveyor.stop()
