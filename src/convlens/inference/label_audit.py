"""The labels of a data set's images as networks judge them, in words and as a table."""

import html
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convlens.data import Dataset
from convlens.escape import visible
from convlens.html import table
from convlens.inference.label_errors import LabelErrors

COLUMN = 17  # characters of the findings' headings
PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong.

    path: of its file, relative to the data set's root. split, row: where it is in the data set.
    given, suggested: classes, by number, and how probable both are, 0..1. in_sample: whether the
    network was trained on it, so that it may have remembered the label.
    """

    path: str
    split: str
    row: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float
    in_sample: bool

    @property
    def doubt(self) -> float:
        """How improbable the given class is, 0..1."""
        return 1 - self.given_probability


@dataclass(frozen=True)
class Judged:
    """N images of a data set and what is said of their labels.

    splits: the names of their splits, shape (N,). rows: int64, shape (N,), where they are in them.
    probabilities: of the C classes, float32, shape (N, C). errors: of the N labels.
    """

    splits: np.ndarray
    rows: np.ndarray
    probabilities: np.ndarray
    errors: LabelErrors

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self) -> dict[str, int]:
        """How many of the images are in each split that has some."""
        names, counts = np.unique(self.splits, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class LabelAudit:
    """Which labels of a data set may be wrong.

    dataset: opened as the networks are given it. classes: C names, in the order of the labels.
    judges: what judged, in words. unseen: the images that were judged by networks that had not been
    trained on them. seen: those that were judged by one that had, whose doubts are fewer. notes:
    sentences on what is not known.
    """

    dataset: Dataset
    classes: tuple[str, ...]
    judges: str
    unseen: Judged
    seen: Judged
    notes: tuple[str, ...] = ()

    def suspects(self) -> list[Suspect]:
        """The images whose labels are suspected, the most doubtful first."""
        found = [*self._suspects(self.unseen, False), *self._suspects(self.seen, True)]
        return sorted(found, key=lambda suspect: (suspect.given_probability, suspect.path))

    def _suspects(self, judged: Judged, in_sample: bool) -> Iterator[Suspect]:
        errors = judged.errors
        for i in errors.ranking.tolist():
            split, row = str(judged.splits[i]), int(judged.rows[i])
            yield Suspect(
                path=self.dataset.split(split).paths[row],
                split=split,
                row=row,
                given=int(errors.labels[i]),
                suggested=int(errors.suggested[i]),
                given_probability=float(errors.given_probability[i]),
                suggested_probability=float(errors.suggested_probability[i]),
                in_sample=in_sample,
            )

    def image(self, suspect: Suspect) -> np.ndarray:
        """Its pixels as the networks are given them, uint8, shape (size, size, 3)."""
        return np.asarray(self.dataset.split(suspect.split).images[suspect.row])

    def render(self) -> str:
        """The findings as plain text, a heading a line."""
        unseen, seen = self.unseen.errors, self.seen.errors
        names = [visible(name) for name in self.classes]
        lines = [_line("labels", f"judged by {self.judges}")]
        if len(unseen):
            lines += [
                _line(
                    "out of sample",
                    f"{_places(self.unseen)}, which no judge was trained on; "
                    f"{unseen.agreement:.1%} have the class that it finds most probable",
                ),
                _line("suspected", f"{unseen.suspected.sum():,} labels of these"),
                *(
                    _line("", f"{names[given]} → {names[suggested]}: {number:,}")
                    for given, suggested, number, _ in unseen.pairs(PAIRS_SHOWN)
                ),
                _line(
                    "estimated",
                    f"{unseen.estimated:,.0f} labels of these are wrong; errors of the network's "
                    "own count among them",
                ),
            ]
        if len(seen):
            lines += [
                _line("in sample", f"{_places(self.seen)}, which the network was trained on"),
                _line(
                    "suspected",
                    f"{seen.suspected.sum():,} labels of these; it has learned wrong labels "
                    "too, so it doubts few of them",
                ),
            ]
        return "\n".join([*lines, *(_line("not known", note) for note in self.notes)])

    def _repr_html_(self) -> str:
        """How many labels are suspected and in which classes, for a notebook."""
        rows = [
            (kind, f"{len(judged):,}", f"{int(judged.errors.suspected.sum()):,}")
            for kind, judged in (("out of sample", self.unseen), ("in sample", self.seen))
            if len(judged)
        ]
        pairs = [
            (self.classes[given], self.classes[suggested], f"{number:,}", f"{estimate:,.1f}")
            for given, suggested, number, estimate in self.unseen.errors.pairs(PAIRS_SHOWN)
        ]
        text = f"<p>{html.escape(f'Labels judged by {self.judges}')}</p>"
        text += table(("", "images", "suspected"), rows)
        return text + (table(("given", "suggested", "suspected", "estimated"), pairs) * bool(pairs))


def _places(judged: Judged) -> str:
    return ", ".join(f"{count:,} images of {name}/" for name, count in judged.counts().items())


def _line(heading: str, what: object) -> str:
    return f"{heading:<{COLUMN}}{what}"
