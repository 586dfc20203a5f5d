"""`convlens evaluate`, `predict` and `export`: a trained network in use."""

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from convlens.cli.metrics import MEASURES, print_calibration, print_split
from convlens.cli.options import (
    Device,
    Folder,
    Images,
    Run,
    RunData,
    finish,
    read,
    say_data,
)
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.escape import csv_rows, visible
from convlens.fields import check_least
from convlens.files import as_unicode
from convlens.logs import say

if TYPE_CHECKING:
    from convlens.data import Dataset, Split
    from convlens.inference import Classifier, Predictions
    from convlens.inference.int8 import Check
    from convlens.training.device import Machine

Fast = Annotated[
    bool,
    arg(help="Fold batch norms in and use bf16 where it pays; logits agree to a percent or two."),
]
Int8 = Annotated[
    bool,
    arg(
        help="Compute in whole numbers of eight bits with onnxruntime, on a CPU: scales are found "
        "on training images; refused where it costs more than 0.3 points of accuracy on others."
    ),
]
EnsembleOption = Annotated[
    tuple[Path, ...],
    arg(metavar="RUN …", help="Answer with the mean of the probabilities of these runs too."),
]
Tta = Annotated[
    bool, arg(help="Test-time augmentation: the mean over ten shifted and mirrored views.")
]


@dataclass(frozen=True)
class EvaluateOptions(Reading):
    """Options of `convlens evaluate`."""

    run: Run
    data: RunData = None
    device: Device = "auto"
    ensemble: EnsembleOption = ()
    tta: Tta = False
    fast: Fast = False
    int8: Int8 = False
    without_near_duplicates: bool = False
    """Leave out the images of other splits that have a near-duplicate in train/."""
    out: Folder = None
    """A folder for metrics.json, confusion matrix, figures of each class and worst mistakes."""


def evaluate(arguments: Sequence[str]) -> None:
    """Measure cross-entropy and accuracy of a trained network on every split of a data set.

    A folder per class alone, which is not the run's own, is measured as one.
    """
    options = read(EvaluateOptions, arguments, "evaluate", evaluate.__doc__)
    from convlens import formats
    from convlens.data.listing import note
    from convlens.files import make_folder, write_json
    from convlens.reporting.run_pages import write_evaluation
    from convlens.training.run_folder import RunFolder

    machine, classifier, notes = _open(options)
    run = RunFolder(options.run)
    dataset = run.open_for(classifier, options.data, options)
    whole = dataset.flat if options.data is not None and not run.is_of(dataset) else None
    if changed := run.what_changed(dataset, options):
        notes = [*notes, f"note       {changed}"]
    say_data(dataset, as_one=whole is not None)
    say(f"device     {machine.describe()}")
    for line in notes:
        say(line)
    if options.without_near_duplicates:
        if whole is not None or not len(dataset.train):
            raise UserError(
                f"{dataset.place} has no train/ in which near-duplicates could be; leave out "
                "--without-near-duplicates"
            )
        dataset = _without_near_duplicates(dataset)
    splits = {name: split for name, split in dataset.splits.items() if len(split)}
    here = {label for split in splits.values() for label in split.labels.tolist()}
    if lacking := [name for n, name in enumerate(classifier.class_names) if n not in here]:
        say(note(lacking, "no image here, of those that the network knows"))
    if whole is not None:
        say("note       a folder per class alone, measured as one")
        splits = {"all": whole}
    out = options.out
    if out is not None:  # before the work, so that a bad name costs nothing
        if RunFolder(out).was_configured:
            raise UserError(
                f"{out} is a run, whose own record would be replaced; give another folder",
                option="out",
            )
        make_folder(out)
    seen = {name: classifier.evaluate(split) for name, split in splits.items()}
    metrics: dict[str, Any] = {}
    for name, evaluation in seen.items():
        metrics |= {f"{name}_{what}": getattr(evaluation, what) for what in MEASURES}
        metrics |= {f"{name}_{what}": value for what, value in evaluation.measures().items()}
        print_split(name, metrics)
    first = next(name for name in ("validation", "all", "test", "train") if name in seen)
    metrics |= seen[first].calibration()
    print_calibration(metrics)
    if out is not None:
        write_json(out / "metrics.json", {"format": formats.FORMAT, **metrics})
        write_evaluation(seen[first], splits[first].images, out)
        if "test" in seen and first != "test":
            (out / "test").mkdir(exist_ok=True)
            write_evaluation(seen["test"], splits["test"].images, out / "test")
        say(f"wrote      {out}")


def _without_near_duplicates(dataset: "Dataset") -> "Dataset":
    """The data set without the images of other splits that have a near-duplicate in train/."""
    from convlens.data.tools.near_duplicates.leak import near_duplicates_in_train

    rest = dataset
    for name, split in dataset.splits.items():
        if name == "train" or not len(split):
            continue
        found = near_duplicates_in_train(dataset.root, dataset.train, split)
        if found.images is None:
            raise UserError(f"which images are near-duplicates cannot be told: {found.unknown}")
        if found.others is None:
            raise UserError(f"every {name} image has a near-duplicate in train/; none is left")
        say(
            f"left out   {found.count:,} of {len(found.images):,} {name} images, which have a "
            "near-duplicate in train/"
        )
        if found.unknown:
            say(f"not known  {found.unknown}")
        rest = dataclasses.replace(rest, **{name: split.take(found.others)})
    return rest


@dataclass(frozen=True)
class PredictOptions(Reading):
    """Options of `convlens predict`; those of a data set are for --int8."""

    run: Run
    images: Images
    """Files or folders."""
    top: int = 1
    """How many classes of each image, most probable first."""
    format: Literal["text", "csv", "json"] = "text"
    """Of the output; CSV has a row for each image and class."""
    device: Device = "auto"
    ensemble: EnsembleOption = ()
    tta: Tta = False
    fast: Fast = False
    int8: Int8 = False
    data: RunData = None


def predict(arguments: Sequence[str]) -> None:
    """Name the most probable classes of images, or of all images in folders.

    What cannot be answered is told on stderr, a line each, and the status is 1; 2 if nothing can.
    """
    options = read(PredictOptions, arguments, "predict", predict.__doc__)
    if not options.images:
        raise UserError("predict needs an image or a folder after the run")
    check_least("top", options.top, 1)
    machine, classifier, notes = _open(options)
    predictions = classifier.predict(options.images, top=options.top, skip_bad=True)
    if options.format == "json":
        records = [{**dataclasses.asdict(p), "path": as_unicode(p.path)} for p in predictions]
        say(json.dumps(records, indent=2, allow_nan=False))
    elif options.format == "csv":
        _write_csv(predictions)
    elif predictions:
        say(f"device     {machine.describe()}")
        for note in notes:
            say(note)
        for each in predictions:
            pairs = zip(each.classes, each.probabilities, strict=True)
            said = ", ".join(f"{name} {share:.1%}" for name, share in pairs)
            say(visible(f"{as_unicode(each.path)}: {said}"))
    finish(predictions.failed, predictions.left_out, any_answer=bool(predictions))


def _write_csv(predictions: "Predictions") -> None:
    rows = [
        [as_unicode(each.path), rank, name, f"{share:.6f}"]
        for each in predictions
        for rank, (name, share) in enumerate(zip(each.classes, each.probabilities, strict=True), 1)
    ]
    header = ["image", "rank", "class", "probability"]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(csv_rows([header, *rows]))
    if sys.stdout.isatty():
        say(table.getvalue().removesuffix("\n"))
        return
    if isinstance(sys.stdout, io.TextIOWrapper):  # a table is read elsewhere, not spoken here
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdout.write(table.getvalue())


def _open(
    options: EvaluateOptions | PredictOptions,
) -> "tuple[Machine, Classifier, list[str]]":
    """The machine, on it one classifier of all the runs asked for, and lines that tell more."""
    from convlens.inference import Classifier, ensemble
    from convlens.training.device import choose

    if options.int8 and options.fast:
        raise UserError("--int8 and --fast are two ways to be faster; give one of them")
    if options.int8 and options.device not in ("auto", "cpu"):
        raise UserError(f"--int8 is for a CPU, not for --device {options.device}; leave out one")
    device = "cpu" if options.int8 else options.device
    machine = choose(device, "auto" if options.fast else "fp32")
    runs, notes = (options.run, *options.ensemble), []
    members: Sequence[Classifier] = [Classifier.load(run) for run in runs]
    if options.fast:
        members = [member.fast(machine.dtype) for member in members]
    if options.int8:
        found = [_in_int8(*each, options.data, options) for each in zip(runs, members, strict=True)]
        members = [member for member, _ in found]
        notes = [f"int8       {check}" for _, check in found]
    return machine, ensemble(members, tta=options.tta).to(machine.device), notes


def _in_int8(
    run: Path, classifier: "Classifier", data: Path | None, reading: Reading
) -> "tuple[Classifier, Check]":
    """A run's network in int8, made with its own data set, and what that costs."""
    from convlens.inference.int8 import need_packages, to_int8

    need_packages()  # before a data set is read
    return to_int8(classifier, *_calibration(run, classifier, data, reading))


def _calibration(
    run: Path, classifier: "Classifier", data: Path | None, reading: Reading
) -> "tuple[Split, Split, str]":
    """Images that a run was trained on, images that it was not, and the name of these."""
    from convlens.training.run_folder import RunFolder
    from convlens.training.splits import monitored_splits

    folder = RunFolder(run)
    dataset = folder.open_dataset(classifier.loaded_size, classifier.fit, data, reading)
    dataset = classifier.aligned(dataset, str(run))
    if folder.was_configured and (config := folder.read_config()).has_holdout:
        splits = monitored_splits(config, dataset)
        return splits.train, splits.monitored, "held-out"
    return dataset.train, dataset.validation, "validation"


@dataclass(frozen=True)
class ExportOptions(Reading):
    """Options of `convlens export`; those of a data set are for --int8."""

    run: Run
    format: Literal["onnx", "torch"] = "onnx"
    """ONNX, for onnxruntime; or torch.export's .pt2, for torch without ConvLens."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file; else model.onnx or model.pt2 in the run folder, or beside the weights file."""
    layers: Annotated[tuple[str, ...] | None, arg(metavar="NAME …")] = None
    """Outputs besides the two; else the layers after each convolution's ReLU, in int8 none."""
    int8: Int8 = False
    data: RunData = None


def export(arguments: Sequence[str]) -> None:
    """Write a network as one file for other programs, which takes images and gives probabilities.

    Its input `images` is uint8, (N, side, side, 3); its outputs are `logits`, `probabilities` and
    the layers by name. The file is loaded back and compared with the network before it is kept.
    """
    options = read(ExportOptions, arguments, "export", export.__doc__)
    from convlens.inference import Classifier

    run, out = options.run, options.out
    classifier = Classifier.load(run)
    suffix = ".onnx" if options.format == "onnx" else ".pt2"
    if options.int8 and (options.format != "onnx" or options.layers):
        raise UserError("--int8 is for --format onnx without --layers; leave these out")
    if out is None:
        name = f"-int8{suffix}" if options.int8 else suffix
        out = run / f"model{name}" if run.is_dir() else run.with_name(f"{run.stem}{name}")
    elif out.suffix != suffix:
        raise UserError(f"--out {out} must end in {suffix} for --format {options.format}")
    if options.int8:
        from convlens.inference.int8 import export_int8, need_packages

        need_packages()
        splits = _calibration(run, classifier, options.data, options)
        runner, check = export_int8(classifier, out, *splits)
        say("outputs    logits, probabilities")
        say(f"checked    in {runner}: {check}")
        say(f"wrote      {out}")
        return
    written = classifier.export(out, layers=options.layers)
    say(f"outputs    {', '.join(written.outputs)}")
    say(
        f"checked    in {written.runner}: at most {written.difference:.1e} of an output's largest "
        "value from torch's answer"
    )
    say(f"wrote      {written.path}")
