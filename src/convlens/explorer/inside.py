"""What the explorer knows: one or two runs, the data set if there is one, uploaded images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from convlens.data.dataset import Dataset, center_crop
from convlens.explorer.images import UPLOADS_KEPT, Images
from convlens.explorer.network import Network
from convlens.explorer.survey import Survey, Surveyor
from convlens.training.run_folder import RunFolder

EXAMPLES = 8


class Explorer:
    """What the page can ask about.

    Args:
        networks: To be compared; the first one's data set is that of all.
        datasets: By the size that their images are decoded to, one for each size of the networks;
            empty without a data set.
        keep: How many uploaded images are kept.
    """

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
            Survey(network, datasets[network.loaded_size].center_crop(network.size))
            for network in networks
            if datasets
        ]
        self.surveyor = Surveyor(self.surveys)

    @classmethod
    def open(
        cls, runs: Sequence[Path], data: Path | str | None = None, keep: int = UPLOADS_KEPT
    ) -> "Explorer":
        """Open run folders or weights files, and the data set of the first.

        Args:
            runs: One or two.
            data: The data set; else the first run's own, else as in training. Where none is given
                and the usual one has other classes, there is none: images can be uploaded all the
                same.
            keep: How many uploaded images are kept.

        Raises:
            UserError: for what cannot be opened, and for a data set that was asked for and has
                other classes.
        """
        networks = [Network.of_run(run) for run in runs]
        first, folder = networks[0], RunFolder(runs[0])
        # What cannot be read cannot be shown, and is no reason to show nothing.
        dataset = folder.open_dataset(first.loaded_size, data, skip_bad=True)
        if data is not None:
            first.classifier.check_classes(dataset, str(folder))
        elif dataset.classes != first.classifier.class_names:
            return cls(networks, keep=keep)
        datasets = {first.loaded_size: dataset}
        for network in networks[1:]:
            size = network.loaded_size
            if size not in datasets:
                datasets[size] = folder.open_dataset(size, dataset.root, skip_bad=True)
        return cls(networks, datasets, keep)

    def pixels(self, image: str, network: Network) -> np.ndarray:
        """An image as the network is given it, uint8, (size, size, 3). KeyError as `Images`."""
        return center_crop(self.images.pixels(image, network.loaded_size), network.size)

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
        """End the surveys."""
        self.surveyor.stop()
