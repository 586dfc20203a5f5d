"""Train the recipes whose results are quoted, and collect what was measured into small files."""

import itertools
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from tyro.conf import arg

from convlens import formats
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.fields import Bounds, check_bounds
from convlens.files import make_folder, replacing, write_json
from convlens.inference.classifier import Classifier
from convlens.inference.ensemble import ensemble, log_mean
from convlens.inference.metrics import score
from convlens.recipes import RECIPES, find_recipe
from convlens.reporting.card import model_card
from convlens.reporting.run_pages import write_evaluation
from convlens.reporting.tables import ensembles_table, results_table, uncertainty_in_words
from convlens.training.config import RunConfig, make_config
from convlens.training.finish import write_card
from convlens.training.parallel import train_all
from convlens.training.plan import check_planned
from convlens.training.record import (
    MEASURED,
    SUMMARY_FIELDS,
    find_near_duplicates,
    uncertainty,
)
from convlens.training.run_folder import RunFolder
from convlens.training.splits import Monitored, monitored_splits

logger = logging.getLogger(__name__)

# What is kept of a run besides its record: what the notebook and the README draw on.
KEPT = (
    "metrics.json",
    "history.csv",
    "per_class.csv",
    "confusion.csv",
    "curves.png",
    "confusion.png",
    "per_class.png",
    "worst.png",
    "batch.png",
    "reliability.png",
)
# Networks in an ensemble at most: what it costs grows with each, what it gains less and less.
ENSEMBLE = 5


@dataclass(frozen=True)
class ReproduceOptions(Reading):
    """How often and how long recipes are trained, on what, and where the results go."""

    seeds: Annotated[int, Bounds(1)] = 1
    """Runs of each recipe, with seeds 0, 1, …, or from first_seed on."""
    first_seed: Annotated[int, Bounds(0)] = 0
    """The first of the seeds, where those before it were trained elsewhere or earlier: their
    records stay, and the averages have of them the network of seed 0 in `weights`."""
    epochs: Annotated[int | None, Bounds(1)] = None
    """For a short trial; else each recipe's own."""
    time: Annotated[str | None, arg(metavar="TIME")] = None
    """That each run may take, for a short trial: 90s, 5m. How many epochs that is, is measured; on
    a machine that is too slow for any, a run takes longer."""
    max_train_images: Annotated[int | None, Bounds(1)] = None
    """Train on about this many images at most, for a short trial; by default all."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """The data set; else CONVLENS_DATA, data/caltech101-64, the demo set."""
    runs: Path = Path("runs/reproduce")
    """The folder for the run folders."""
    results: Path = Path("results")
    """The folder for summary.json and, of seed 0, tables and pictures."""
    weights: Path = Path("weights")
    """The folder for the networks of seed 0, in half precision."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """cpu, cuda or mps; auto takes the fastest there is."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the training passes; auto measures which is faster."""
    workers: Annotated[int, Bounds(1)] = 1
    """Runs at a time, each with its share of the threads; their output goes to RUN.log."""

    @property
    def end_seed(self) -> int:
        """The first seed that is not trained any more."""
        return self.first_seed + self.seeds

    @property
    def is_short(self) -> bool:
        """Whether the runs are not those whose results are quoted."""
        return any(x is not None for x in (self.epochs, self.time, self.max_train_images))

    def config(self, name: str, seed: int) -> RunConfig:
        """What decides a recipe's run with that seed."""
        shared = ("time", "max_train_images", "device", "precision")
        options = {option: getattr(self, option) for option in shared} | asdict(self.reading)
        if self.epochs is not None:
            options["epochs"] = self.epochs
        if self.data is not None:
            options["data"] = self.data
        check_planned(self.time, options)
        return make_config(name, {**options, "seed": seed})


def reproduce(names: Sequence[str] = (), options: ReproduceOptions | None = None) -> None:
    """Train recipes from several seeds, then fill the folders of results and of weights.

    A finished run is kept, a cut one continued; what an older version did not measure of a finished
    one is measured on its weights. summary.json, and summary.md with the same as a table, are
    written after every run; records of other recipes and seeds in them stay.

    Args:
        names: Of the recipes; all of them if there is none.
        options: How they are trained, and where the results go.

    Raises:
        UserError: for an unknown recipe, bad options and a run that could not be trained.
    """
    options = options or ReproduceOptions()
    check_bounds(options)
    # those that begin with trained weights have no result of their own
    all_of_them = [name for name, recipe in RECIPES.items() if not recipe().follows_weights]
    names = list(names or all_of_them)
    for name in names:
        find_recipe(name)  # raises where there is none
        if name not in RECIPES:
            raise UserError(
                f"{name} is a recipe of your own, of which no result is quoted; train it with "
                "`convlens train`, or name one of ConvLens's"
            )
    asked = {
        options.runs / f"{name}-s{seed}": options.config(name, seed)
        for seed in range(options.first_seed, options.end_seed)
        for name in names
    }
    for run in train_all(asked, options.workers):
        _collect(complete(run, options.data), run, options)
    if not options.is_short:
        for name in names:
            _measure_ensembles(name, options)
    logger.info("%s", uncertainty_in_words(_read_records(options.results / "summary.json")))


def complete(run: Path, data: Path | str | None = None) -> dict[str, Any]:
    """The metrics of a finished run, with all fields.

    Those that an older version did not measure are measured now, on the weights that the run has
    left.

    Args:
        run: The run folder.
        data: Where its data set lies now, if it has moved.

    Raises:
        UserError: when the weights are not as accurate on the data set as the run had found.
    """
    folder = RunFolder(run)
    metrics = folder.read_metrics()
    if metrics.keys() >= MEASURED:
        return metrics
    config, classifier = folder.read_config(), folder.classifier("last")
    dataset = folder.open_for(classifier, data)
    splits = monitored_splits(config, dataset)
    logger.info("measuring  %s once more, for what it was not asked then", run)
    seen = classifier.evaluate(splits.monitored)
    found_then = metrics[f"{splits.name}_accuracy"]
    if abs(seen.accuracy - found_then) > 0.01:
        raise UserError(
            f"{run} found {found_then:.1%} right and its weights now find {seen.accuracy:.1%}; "
            "give the data set it was trained on with `data`",
            option="data",
        )
    near_duplicates = find_near_duplicates(dataset.root, splits)
    found = {
        "train_images": len(splits.train),
        **uncertainty(splits.name, seen, near_duplicates),
    }
    metrics = {"format": formats.FORMAT, **metrics, **found, **metrics}
    write_evaluation(seen, splits.monitored.images, run)
    write_card(folder, metrics)
    folder.write_metrics(metrics)
    return metrics


def _collect(metrics: dict[str, Any], run: Path, options: ReproduceOptions) -> None:
    """Add one run to the results; of seed 0 also the tables, the pictures and the weights."""
    name, seed, results = metrics["recipe"], metrics["seed"], options.results
    make_folder(results)
    make_folder(options.weights)
    path = results / "summary.json"
    others = [r for r in _read_records(path) if (r["recipe"], r["seed"]) != (name, seed)]
    # what an older version did not measure stays empty until its run is collected again
    records: list[dict[str, Any]] = [
        {field: r.get(field) for field in SUMMARY_FIELDS} for r in [*others, metrics]
    ]
    order = list(RECIPES)
    records.sort(key=lambda r: (order.index(r["recipe"]), r["seed"]))
    write_json(path, records)
    _write_tables(results)
    weights = options.weights / f"{name}.safetensors"
    if seed == 0:
        (results / name).mkdir(exist_ok=True)
        for kept in KEPT:
            shutil.copyfile(run / kept, results / name / kept)
        Classifier.load(run).save(weights, half=True)
    if weights.is_file() and (results / name).is_dir():
        _write_card([r for r in records if r["recipe"] == name], run, options)


def _read_records(path: Path) -> list[dict[str, Any]]:
    """The records in a file of results, in today's words; none where there is no file."""
    if not path.exists():
        return []
    return [formats.read_metrics(r) for r in json.loads(path.read_text(encoding="utf-8"))]


def _write_tables(results: Path) -> None:
    """Write summary.md, both tables, from what is in `results`."""
    text = results_table(_read_records(results / "summary.json"))
    if ensembles := _read_records(results / "ensembles.json"):
        text += "\n" + ensembles_table(ensembles)
    with replacing(results / "summary.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_card(records: list[dict[str, Any]], run: Path, options: ReproduceOptions) -> None:
    """Write the recipe's model card, of what is kept of seed 0; run: one of any seed."""
    name, cards = records[0]["recipe"], options.results / "cards"
    cards.mkdir(exist_ok=True)
    first = Classifier.load(options.weights / f"{name}.safetensors")
    confusion = RunFolder(options.results / name).read_confusion()
    card = model_card(records, first, RunFolder(run).read_config(), confusion)
    with replacing(cards / f"{name}.md") as temporary:
        temporary.write_text(card, encoding="utf-8")


def _measure_ensembles(name: str, options: ReproduceOptions) -> None:
    """Measure what TTA and averaging the recipe's seeds gain, and put it into ensembles.json.

    Equal to `ensemble` of the same networks, but every network sees every view once.
    """
    networks = _networks(name, options)
    several = f"TTA and {len(networks)} seeds" if len(networks) > 1 else "TTA"
    logger.info("averaging  %s: %s", name, several)
    alone = [[network] for network in sorted(networks, key=networks.__getitem__)]
    together = [list(networks)]
    asked = [(alone, True)]
    if len(networks) > 1:
        asked = [(together, False), (alone + together, True)]
    records = []
    for groups, tta in asked:
        for group, figures in _averaged(groups, tta, options.data):
            first, *others = map(str, group)
            also = f" --ensemble {' '.join(others)}" if others else ""
            records.append(
                {
                    "recipe": name,
                    "seeds": sorted(networks[network] for network in group),
                    "tta": tta,
                    **figures,
                    "command": f"convlens evaluate {first}{also}{' --tta' if tta else ''}",
                }
            )
    path = options.results / "ensembles.json"
    records += [record for record in _read_records(path) if record["recipe"] != name]
    order = list(RECIPES)
    records.sort(key=lambda r: order.index(r["recipe"]))
    write_json(path, records)
    _write_tables(options.results)


def _networks(name: str, options: ReproduceOptions) -> dict[Path, int]:
    """The recipe's networks to average, with their seeds: runs that are finished, and of seed 0
    what is kept of it where its run is not here."""
    runs = {options.runs / f"{name}-s{seed}": seed for seed in range(options.end_seed)}
    finished = [(run, seed) for run, seed in runs.items() if RunFolder(run).is_finished]
    kept = options.weights / f"{name}.safetensors"
    if finished[0][1] == 0 or not kept.is_file():
        return dict(finished[:ENSEMBLE])
    # last, for it is the first's data set that they are evaluated on
    return {**dict(finished[: ENSEMBLE - 1]), kept: 0}


def _averaged(
    groups: list[list[Path]], tta: bool, data: Path | None
) -> Iterator[tuple[list[Path], dict[str, Any]]]:
    """Each group of networks, whose probabilities are averaged, with what it is right about."""
    members = {path: ensemble([path], tta) for path in dict.fromkeys(itertools.chain(*groups))}
    run = next(path for path in members if path.is_dir())
    dataset = RunFolder(run).open_for(members[run], data)
    answers: dict[Path, Tensor] = {}
    for path, member in members.items():
        member.check_classes(dataset, str(path))
        answers[path] = member.scaling(torch.from_numpy(member.logits(dataset.validation.images)))
    splits = Monitored(dataset.train, dataset.validation, "validation")
    rest = find_near_duplicates(dataset.root, splits).others
    for group in groups:
        averaged = log_mean([answers[path] for path in group]).numpy()
        seen = score(averaged, np.asarray(dataset.validation.labels), dataset.classes)
        yield (
            group,
            {
                "validation_loss": seen.loss,
                "validation_accuracy": seen.accuracy,
                "validation_mean_class_accuracy": seen.mean_class_accuracy,
                "validation_accuracy_without_near_duplicates": (
                    None if rest is None else seen.take(rest).accuracy
                ),
            },
        )
