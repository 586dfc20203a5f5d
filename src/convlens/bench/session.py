"""What the measurements of one benchmark share."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlens.bench import processes
from convlens.bench.peers import Effort
from convlens.data.dataset import Dataset

Rows = dict[str, dict[str, Any]]  # of bench.json, by name


@dataclass(frozen=True)
class Session:
    """What the measurements share.

    folder: temporary, for caches. weights: convnet's, if there are any. earlier: rows measured
    before, on this machine. peer_epochs: of the plain loop's timed runs; () leaves them out.
    """

    dataset: Dataset
    folder: Path
    effort: Effort
    weights: str | None
    earlier: Rows
    peer_epochs: tuple[int, ...]
    keep: Path

    @property
    def environment(self) -> dict[str, str]:
        """Caches of their own: the user's are left alone, and nothing is warm by accident."""
        return {
            "CONVLENS_CACHE": str(self.folder / "cache"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
        }

    def train(self, recipe: str, images: int, epochs: int) -> dict[str, Any]:
        """Our training in a fresh process."""
        asked = {"recipe": recipe, "data": self.dataset.root, "images": images, "epochs": epochs}
        return processes.ours("training_rate", self.environment, **asked)

    def epoch_images(self, recipe: str) -> int:
        """How many images make epochs of `effort.seconds` in all, at least two batches.

        Found by a first short run, which also fills the cache.
        """
        effort = self.effort
        rate = self.train(recipe, effort.images, epochs=2)["images_per_second"]
        wanted = int(rate * effort.seconds / (effort.epochs - 1))
        return max(256, min(wanted, len(self.dataset.train)))


def today() -> str:
    """The date, as it stands in bench.json."""
    return datetime.date.today().isoformat()
