"""What the explorer knows: one or two runs, the data set if there is one, uploaded images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from convlens.data.dataset import Dataset, center_crop
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.explorer.images import UPLOADS_KEPT, Images
from convlens.explorer.network import Network
from convlens.explorer.survey import Survey, Surveyor
from convlens.training.run_folder import RunFolder
from convlens.training.spinning import follow

EXAMPLES = 8


class Explorer:
    """What the page can ask about.

    Args:
        networks: To be compared; the first one's data set is that of all.
        datasets: One and the same, loaded as each of the networks wants it; empty without one.
        keep: How many uploaded images are kept.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        datasets: Sequence[Dataset] = (),
        keep: int = UPLOADS_KEPT,
    ):
        self.networks = list(networks)
        loaded = {dataset.loading: dataset for dataset in datasets}
        self.dataset = loaded.get(self.networks[0].loading)
        self.images = Images(loaded, {network.loading for network in networks}, keep)
        self.surveys = [
            Survey(network, loaded[network.loading].center_crop(network.size))
            for network in networks
            if loaded
        ]
        self.surveyor = Surveyor(self.surveys)

    @classmethod
    def open(
        cls,
        runs: Sequence[Path],
        data: Path | str | None = None,
        reading: Reading | None = None,
        keep: int = UPLOADS_KEPT,
    ) -> "Explorer":
        """Open run folders or weights files, and the data set of the first.

        Args:
            runs: One or two.
            data: The data set; else the first run's own, else as in training. Where none is given
                and the usual one has other classes, there is none: images can be uploaded all the
                same.
            reading: How the data set is to be read, beyond the run's own way.
            keep: How many uploaded images are kept.

        Raises:
            UserError: for what cannot be opened, and for a data set that was asked for and has a
                class that the first network does not know.
        """
        follow()
        networks = [Network.of_run(run) for run in runs]
        folders = [RunFolder(run) for run in runs]
        first, folder = networks[0], folders[0]
        # What cannot be read cannot be shown, and is no reason to show nothing.
        reading = replace((reading or Reading()).reading, skip_bad=True)
        dataset = folder.open_dataset(*first.loading, data, reading)
        try:
            dataset = first.classifier.aligned(dataset, str(folder))
        except UserError:
            if data is not None:
                raise
            return cls(networks, keep=keep)
        for network, each in zip(networks, folders, strict=True):
            network.is_at_home = _is_home(each, folder, dataset, reading)
        datasets = {first.loading: dataset}
        for network in networks[1:]:
            if network.loading not in datasets:
                other = folder.open_dataset(*network.loading, dataset.place, reading)
                datasets[network.loading] = other.with_classes(dataset.classes)
        return cls(networks, list(datasets.values()), keep)

    def pixels(self, image: str, network: Network) -> np.ndarray:
        """An image as the network is given it, uint8, (size, size, 3). KeyError as `Images`."""
        return center_crop(self.images.pixels(image, network.loading), network.size)

    def examples(self) -> list[str]:
        """Validation images to begin with, of classes spread over all of them."""
        if self.dataset is None:
            return []
        labels = self.dataset.validation.labels
        known = np.unique(labels)
        classes = known[np.linspace(0, len(known) - 1, min(EXAMPLES, len(known))).astype(int)]
        return [f"v{np.flatnonzero(labels == label)[0]}" for label in classes]

    def watch(self, give_way: Callable[[], None]) -> None:
        """Begin the surveys in the background. give_way: called between their batches."""
        self.surveyor.give_way = give_way
        self.surveyor.start()

    def close(self) -> None:
        """End the surveys."""
        self.surveyor.stop()


def _is_home(
    folder: RunFolder, first: RunFolder, dataset: Dataset, reading: Reading
) -> bool | None:
    """Whether a run was on that data set, split as `first`'s is read; None of weights alone."""
    if not folder.was_configured:
        return None
    config = folder.read_config()
    if not config.digest:
        return None
    usual = first.read_config() if first.was_configured else Reading()
    own = replace(config.reading, skip_bad=True)
    return dataset.is_known_by(config.digest) and own == reading.over(usual)
