"""The command line: one verb, one function call. `convlens VERB --help` shows the defaults."""

import csv
import dataclasses
import difflib
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

import convlens
from convlens.errors import UserError

if TYPE_CHECKING:
    from convlens.recipes import Recipe
    from convlens.training.run_folder import Trained
    from convlens.training.distributed import World
    from convlens.training.device import Machine

# torch takes seconds to import, so verbs import what they run only once their options are read.

DataOption = Annotated[
    Path | None,
    arg(metavar="DIR", help="The data set; else CONVLENS_DATA, data/caltech101-64, the demo set."),
]
FolderOption = Annotated[Path | None, arg(metavar="DIR")]
RunArgument = Annotated[
    Positional[Path], arg(metavar="RUN", help="A run folder or a weights file.")
]
ImagesArgument = Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE …")]
View = Literal[
    "activations", "filters", "layers", "attribution", "occlusion", "invariance", "neighbors",
    "patches", "deconvolution", "growth", "optimized", "embedding",
]
DeviceOption = Annotated[
    str, arg(metavar="DEVICE", help="cpu, cuda or mps; auto takes the fastest there is.")
]

FastOption = Annotated[
    bool, arg(help="Batch norms folded in, bf16 where it pays; logits agree to a percent or two.")
]
AlsoOption = Annotated[
    tuple[Path, ...],
    arg(metavar="RUN …", help="Answer with the mean of the probabilities of these runs too."),
]
ViewsOption = Annotated[
    bool, arg(help="Test-time augmentation: the mean over ten shifted and mirrored views.")
]


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; bad input ends with one sentence on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        _dispatch(VERBS, arguments, "convlens")
        sys.stdout.flush()
    except UserError as problem:
        print(f"convlens: {problem}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # `| head` has read enough. Python flushes once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        # Wherever a verb reads or writes: no permission, a full disk, a file in a folder's place.
        where = f"{problem.filename} cannot be used: " if problem.filename else ""
        what = problem.strerror or problem
        print(f"convlens: {where}{what}; make room or name another place", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("convlens: stopped", file=sys.stderr)
        sys.exit(130)


def _dispatch(verbs: dict, arguments: list[str], prog: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {prog} VERB …\n\n{_summary(convlens)}\n")
        for name, verb in verbs.items():
            about = f"one of {', '.join(verb)}" if isinstance(verb, dict) else _summary(verb)
            print(f"  {name:<10} {about}")
        print(f"\n{prog} VERB --help shows the options of one.")
        return
    name, *rest = arguments
    if name == "--version":
        print(f"convlens {convlens.__version__}")
        return
    verb = _lookup(verbs, name, f"{prog} has no verb")
    if isinstance(verb, dict):
        _dispatch(verb, rest, f"{prog} {name}")
    elif verb is train:
        from convlens.training.distributed import joined

        with joined() as world:
            train(rest, world)
    elif int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            f"torchrun starts several processes, and only train shares its work among them; run "
            f"`{prog} {name}` without torchrun"
        )
    else:
        tyro.cli(verb, args=rest, prog=f"{prog} {name}", config=(tyro.conf.FlagCreatePairsOff,))


def _summary(what: object) -> str:
    """The first line of a docstring; nothing where there is none, as under `python -OO`."""
    return (what.__doc__ or "").strip().partition("\n")[0]


def _at_least(least: int, option: str, value: int) -> None:
    if value < least:
        raise UserError(f"{option} {value} is too small; the least is {least}")


def _lookup(table: dict, name: str, what: str):
    """table[name]; else a UserError that knows what was probably meant."""
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UserError(f"{what} {name!r}{hint} (there are {', '.join(table)})")


# data


def data_audit(data: DataOption = None, *, size: int = 64, out: FolderOption = None) -> None:
    """Name everything that is wrong with a data set, or worth knowing before trusting a number.

    Args:
        size: Side of the decoded images, pixels.
        out: A folder for duplicates.csv and pictures of the pairs.
    """
    from convlens.data.tools.audit import audit
    from convlens.data.sources import resolve

    _at_least(1, "--size", size)
    root, source = resolve(data)
    print(f"data set   {root} ({source})")
    found = audit(root, size)
    print(found.render())
    if out is not None:
        from convlens.reporting.near_duplicate_pages import write_pairs

        for path in write_pairs(found, out):
            print(f"wrote      {path}")
    if found.problems or found.unreadable:
        raise UserError(f"{root} is not in order; mend what is listed above")


def data_split(
    source: Annotated[Positional[Path], arg(metavar="DIR")],
    out: Path,
    *,
    fraction: float = 0.9,
    seed: int = 0,
) -> None:
    """Copy a folder-per-class data set into train/ and validation/, per class and seeded.

    Args:
        source: A data set that is not split.
        out: The new folder.
        fraction: Share of each class's images that trains, rounded down.
        seed: Of the draw.
    """
    from convlens.data.split import write_split

    _at_least(0, "--seed", seed)
    print(f"wrote      {write_split(source, out, fraction, seed)}")


def data_fetch(
    name: Positional[Literal["caltech101"]],
    *,
    out: Path = Path("data/caltech101-64"),
    size: int = 64,
) -> None:
    """Download a public data set (137 MB), check it, scale it and split it 90/10.

    Args:
        name: Which data set.
        out: The new folder.
        size: Side of the images, pixels.
    """
    from convlens.data.tools.fetch import fetch_caltech101

    _at_least(1, "--size", size)
    print(f"wrote      {fetch_caltech101(out, size=size)}")


def data_demo(*, out: Path = Path("data/demo"), seed: int = 0) -> None:
    """Make the embedded demo set: 101 classes of warped glyphs on cluttered backgrounds.

    Args:
        out: The new folder.
        seed: Of everything random in it.
    """
    from convlens.data.tools.demo import make_demo

    _at_least(0, "--seed", seed)
    print(f"wrote      {make_demo(out, seed)}")


# train


def train(arguments: list[str], world: "World") -> None:
    """Train a recipe into a run folder, or --resume one."""
    from convlens.recipes import RECIPES, Recipe
    from convlens.training import run as runs

    @dataclass(frozen=True)
    class New:
        """Train a recipe; every field of it is an option, shown with the recipe's own value."""

        recipe: Annotated[Recipe, arg(name="")]
        data: DataOption = None
        out: FolderOption = None
        """The run folder; runs/RECIPE-sSEED if not given."""
        seed: int = 0
        """Of the weights, the batches' order and all augmentation."""
        split_seed: int = 0
        """Of the split of a data set that has none."""
        holdout: float = 0.0
        """Share of train/ held out and monitored in the place of validation/, 0 to 0.9."""
        folds: int = 0
        """Cross-validation inside train/: so many runs, each with another part held out."""
        fold: int = 0
        """Of --folds only this one, counted from 1; 0 means all."""
        images: int = 0
        """Train on about this many images, the same share of each class; 0 means all."""
        teacher: Annotated[tuple[Path, ...], arg(metavar="RUN …")] = ()
        """Runs whose mean probabilities are learned too, with --distillation."""
        device: DeviceOption = "auto"
        precision: Literal["auto", "fp32", "bf16"] = "auto"
        """Of the training passes; auto measures which is faster."""
        skip_bad: bool = False
        """Leave out files that cannot be read, and list them."""
        snapshots: bool = False
        """Keep the weights after epochs 1, 2, 5, 10, 20, 40, … for `look --view growth`."""
        overwrite: bool = False
        """Replace the run that is in the run folder."""

    @dataclass(frozen=True)
    class Resume:
        """Continue a run from its last finished epoch, or train a finished one further."""

        resume: Annotated[Path, arg(metavar="RUN")]
        """The run folder."""
        epochs: int | None = None
        """The new number of epochs in all; more than before trains a finished run further."""
        data: FolderOption = None
        """The data set, where it has moved since."""

    flags = (tyro.conf.FlagCreatePairsOff, tyro.conf.UsePythonSyntaxForLiteralCollections)
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        asked = tyro.cli(Resume, args=arguments, prog="convlens train", config=flags)
        run = asked.resume
        metrics = runs.resume(run, epochs=asked.epochs, data=asked.data, world=world)
    else:
        if not arguments or arguments[0].startswith("-"):
            print("usage: convlens train RECIPE [OPTIONS]  or  convlens train --resume RUN\n")
            for name, recipe in RECIPES.items():
                print(f"  {name:<17} {_summary(recipe)}")
            print("\nconvlens train RECIPE --help shows the options and the recipe's own values.")
            print("A file that `convlens tune` wrote, best.yaml, is a recipe too.")
            if arguments in (["-h"], ["--help"]):
                return
            raise UserError("train needs a recipe or --resume RUN")
        name, *rest = arguments
        if name.endswith((".yaml", ".yml")):
            from convlens.recipes.options import read_recipe

            recipe = read_recipe(Path(name), RECIPES)
            name = f"{recipe.name}-{Path(name).stem}"
        else:
            recipe = _lookup(RECIPES, name, "there is no recipe")()
        asked = tyro.cli(
            New, args=rest, prog=f"convlens train {name}", default=New(recipe), config=flags
        )
        run = asked.out or Path("runs") / f"{name}-s{asked.seed}"
        options = {f.name: getattr(asked, f.name) for f in dataclasses.fields(asked)}
        del options["recipe"], options["out"]
        if asked.folds and not asked.fold:
            run = asked.out or Path(f"{run}-folds")
            _print_folds(_cross_validate(asked.recipe, run, options, world))
            print(f"wrote      {run}")
            return
        metrics = runs.start(asked.recipe, run, **options, world=world)
    for split in [key.removesuffix("_loss") for key in metrics if key.endswith("_loss")]:
        _print_split(split, *(metrics[f"{split}_{what}"] for what in _MEASURES))
        if f"{split}_duplicates" in metrics:
            _print_doubts(split, metrics)
    _print_calibration(metrics)
    print(f"wrote      {run}")


def _cross_validate(recipe: "Recipe", folder: Path, options: dict, world: "World") -> dict:
    from convlens.training.folds import cross_validate

    del options["fold"]
    if options.pop("overwrite"):
        raise UserError(f"--overwrite and --folds do not go together; remove {folder} instead")
    return cross_validate(recipe, folder, options.pop("folds"), **options, world=world)


def _print_folds(result: dict) -> None:
    """Each fold's accuracy, then the means with their standard errors."""
    for fold, record in enumerate(result["records"], 1):
        print(
            f"fold {fold:<5} accuracy {record['holdout_accuracy']:.2%}  mean per class "
            f"{record['holdout_mean_class_accuracy']:.2%}"
        )
    for label, name in (
        ("accuracy", "holdout_accuracy"),
        ("mean per class", "holdout_mean_class_accuracy"),
        ("without near duplicates", "holdout_accuracy_without_duplicates"),
    ):
        if name in result:
            error = 100 * result[f"{name}_standard_error"]
            print(f"{label} {result[name]:.2%} ± {error:.2f} points")


_MEASURES = ("loss", "accuracy", "mean_class_accuracy")


def _print_split(name: str, loss: float, accuracy: float, mean_class_accuracy: float) -> None:
    print(
        f"{name:<10} loss {loss:.4f}  accuracy {accuracy:.2%}  "
        f"mean per class {mean_class_accuracy:.2%}"
    )


def _print_doubts(split: str, metrics: dict) -> None:
    """The line under a split's figures: how far they can be trusted."""
    line = (
        f"{'':<10} ± {100 * metrics[f'{split}_standard_error']:.1f} and "
        f"{100 * metrics[f'{split}_mean_class_standard_error']:.1f} points (standard errors)"
    )
    if doubles := metrics[f"{split}_duplicates"]:
        line += f"; {doubles:,} of {metrics[f'{split}_images']:,} images also in training"
    if doubles and (rest := metrics[f"{split}_accuracy_without_duplicates"]) is not None:
        line += f", without them accuracy {rest:.2%}"
    print(line)


def _print_calibration(metrics: dict) -> None:
    line = f"calibration error {metrics['calibration_error']:.1%}"
    if metrics["temperature"] != 1:
        line += f", {metrics['calibrated_error']:.1%} at temperature {metrics['temperature']:.2f}"
    print(line)


# evaluate, predict, look


def _load(paths: list[Path], views: bool, fast: "Machine | None") -> "Trained":
    """The network of each run, made fast for that machine, and all of them combined into one."""
    from convlens.inference.ensemble import combine
    from convlens.inference.fast import FastInference
    from convlens.training.run_folder import load_trained

    members = [load_trained(path) for path in paths]
    if fast:
        members = [
            dataclasses.replace(member, model=FastInference(member.model, fast.dtype))
            for member in members
        ]
    return combine(members, views)


def evaluate(
    run: RunArgument,
    *,
    data: FolderOption = None,
    device: DeviceOption = "auto",
    also: AlsoOption = (),
    views: ViewsOption = False,
    fast: FastOption = False,
    without_duplicates: bool = False,
    out: FolderOption = None,
) -> None:
    """Cross-entropy and accuracy of a trained network on both splits.

    Args:
        data: The data set; else the run's own, else as in training.
        without_duplicates: Leave out validation images that have a near duplicate in train/.
        out: A folder for metrics.json, confusion matrix, per-class accuracy and worst mistakes.
    """
    import numpy as np

    from convlens.inference.calibration import calibration
    from convlens.data.tools.near_duplicates import leaked
    from convlens.inference.metrics import evaluate as measure
    from convlens.training.run_folder import write_json
    from convlens.training.device import choose
    from convlens.training.run import open_for, write_evaluation

    machine = choose(device, "auto" if fast else "fp32")
    trained = _load([run, *also], views, machine if fast else None)
    dataset = open_for(trained, run, data)
    print(f"data set   {dataset.describe()}")
    print(f"device     {machine.describe()}")
    if without_duplicates:
        doubles = leaked(dataset.root, dataset.train, dataset.validation)
        if doubles.all():
            raise UserError("every validation image has a near duplicate in train/; none is left")
        print(f"left out   {doubles.sum():,} of {len(doubles):,} validation images, which have a "
              "near duplicate in train/")
        rest = dataset.validation.take(np.flatnonzero(~doubles))
        dataset = dataclasses.replace(dataset, validation=rest)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the work, so that a bad name costs nothing
    model = trained.model.to(machine.device)
    metrics = {}
    for name, split in (("train", dataset.train), ("validation", dataset.validation)):
        seen = measure(model, split, trained.mean, trained.std, device=machine.device)
        metrics |= {f"{name}_{what}": getattr(seen, what) for what in _MEASURES}
        _print_split(name, *(metrics[f"{name}_{what}"] for what in _MEASURES))
    metrics |= calibration(seen.logits, seen.labels, trained.temperature)
    _print_calibration(metrics)
    if out is not None:
        write_json(out / "metrics.json", metrics)
        images = dataset.validation.images
        write_evaluation(seen, images, dataset.classes, out, trained.temperature)
        print(f"wrote      {out}")


def predict(
    run: RunArgument,
    images: ImagesArgument,
    *,
    top: int = 1,
    format: Literal["text", "csv", "json"] = "text",
    device: DeviceOption = "auto",
    also: AlsoOption = (),
    views: ViewsOption = False,
    fast: FastOption = False,
) -> None:
    """The most probable classes of images, or of all images in folders.

    Args:
        images: Files or folders.
        top: How many classes of each image, most probable first.
        format: Of the output; CSV has a row for each image and class.
    """
    from convlens.inference.prediction import find_images
    from convlens.inference.prediction import predict as ask
    from convlens.training.device import choose

    if not images:
        raise UserError("predict needs an image or a folder after the run")
    _at_least(1, "--top", top)
    machine = choose(device, "auto" if fast else "fp32")
    trained = _load([run, *also], views, machine if fast else None)
    predictions = ask(trained, find_images(images), top=top, device=machine.device)
    if format == "json":
        print(json.dumps([dataclasses.asdict(p) for p in predictions], indent=2))
    elif format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", "rank", "class", "probability"])
        for p in predictions:
            for rank, pair in enumerate(zip(p.classes, p.probabilities, strict=True), 1):
                writer.writerow([p.path, rank, pair[0], f"{pair[1]:.6f}"])
    else:
        print(f"device     {machine.describe()}")
        for p in predictions:
            pairs = zip(p.classes, p.probabilities, strict=True)
            print(f"{p.path}: " + ", ".join(f"{name} {share:.1%}" for name, share in pairs))


def look(
    run: RunArgument,
    images: ImagesArgument = (),
    *,
    view: tuple[View, ...] = ("activations", "filters"),
    target: Annotated[str | None, arg(metavar="CLASS")] = None,
    layer: Annotated[str | None, arg(metavar="NAME")] = None,
    map: tuple[int, ...] = (),
    data: FolderOption = None,
    out: Path = Path("looks"),
) -> None:
    """Draw what a network sees: activations, filters, layers, and what speaks for a class.

    Args:
        images: Files or folders; else the assignment's two, or the first two classes' first ones.
        view: What to draw; layers is a table, printed.
        target: The class that attribution, occlusion and invariance ask about, else the predicted
            one; and that an image is optimized for, else the first ones.
        layer: Whose maps to show, by the name that `--view layers` or a title tells; else the first
            two convolutions' activations, the first one's filters, patches, deconvolution and
            growth of the deepest layer that sees parts only, and images optimized for the logits.
        map: Which of its maps, by number; else all, the strongest, or the first.
        data: The data set; else the run's own, else as in training.
        out: The folder for the pictures.
    """
    from convlens.look.views import draw

    for path in draw(run, images, view, data, out, target, layer, map):
        print(f"wrote      {path}")


# export


def export(
    run: RunArgument,
    *,
    format: Literal["onnx", "torch"] = "onnx",
    out: Annotated[Path | None, arg(metavar="FILE")] = None,
    layers: Annotated[tuple[str, ...] | None, arg(metavar="NAME …")] = None,
) -> None:
    """Write a network as one file for other programs, which takes images and gives probabilities.

    Its input `images` is uint8, (N, side, side, 3); its outputs are `logits`, `probabilities` and
    the layers by name. The file is loaded back and compared with the network before it is kept.

    Args:
        format: ONNX, for onnxruntime; or torch.export's .pt2, for torch without ConvLens.
        out: The file; else model.onnx or model.pt2 in the run folder, or beside the weights file.
        layers: Outputs besides the two; else the layers after each convolution's ReLU.
    """
    from convlens.inference.export import export_onnx, export_torch
    from convlens.training.run_folder import load_trained

    trained = load_trained(run)
    suffix = ".onnx" if format == "onnx" else ".pt2"
    if out is None:
        out = run / f"model{suffix}" if run.is_dir() else run.with_suffix(suffix)
    elif out.suffix != suffix:
        raise UserError(f"--out {out} must end in {suffix} for --format {format}")
    written = (export_onnx if format == "onnx" else export_torch)(trained, out, layers)
    print(f"outputs    {', '.join(written.outputs)}")
    print(
        f"checked    in {written.runner}: at most {written.difference:.1e} of an output's largest "
        "value from torch's answer"
    )
    print(f"wrote      {written.path}")


# explore


def explore(
    run: RunArgument,
    other: Annotated[Positional[Path | None], arg(metavar="RUN2")] = None,
    *,
    data: FolderOption = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    browser: bool = False,
    export: FolderOption = None,
    images: tuple[Path, ...] = (),
) -> None:
    """Serve a page on which to look inside a network, or two side by side, until it is stopped.

    Args:
        other: A second run, shown beside the first on the same images.
        data: The data set; else the run's own, else as in training.
        host: The address to listen at; all but this computer's own ask for a token.
        port: The port to listen at; 0 takes any that is free.
        browser: Open the page in the browser.
        export: Instead of serving, write the page with all its views into this folder, for any
            file server; a page that --export wrote there before is replaced.
        images: For --export: files or folders; else a few validation images and the worst mistakes.
    """
    from convlens.explorer.inside import Explorer

    if images and export is None:
        raise UserError("--images are chosen for --export DIR; the page itself takes any image")
    if export is None:
        try:
            from convlens.explorer.server import serve
        except ModuleNotFoundError as missing:
            raise UserError(
                f'explore needs {missing.name}; install it with `pip install "convlens[explorer]"`'
            ) from None
    explorer = Explorer.open([run] if other is None else [run, other], data)
    about = explorer.dataset.describe() if explorer.dataset else "none that has the run's classes"
    print(f"data set   {about}")
    if export is None:
        serve(explorer, host, port, browser)
    else:
        from convlens.explorer.export import write_page

        print(f"wrote      {write_page(explorer, export, images)}")


# reproduce, report


def report(
    *,
    results: Path = Path("results"),
    weights: Path = Path("weights"),
    data: DataOption = None,
    out: Path = Path("notebooks"),
) -> None:
    """Execute the assignment's notebook and export it to HTML and PDF.

    Args:
        results: The folder that `reproduce` filled.
        weights: The folder of the trained networks.
        out: The folder for assignment2.ipynb, .html and .pdf.
    """
    from convlens.reporting.notebook import make_report

    for path in make_report(results, weights, data, out):
        print(f"wrote      {path}")


def reproduce(
    names: Annotated[Positional[tuple[str, ...]], arg(metavar="RECIPE …")] = (),
    *,
    seeds: int = 1,
    epochs: int | None = None,
    images: int = 0,
    data: DataOption = None,
    runs: Path = Path("runs/reproduce"),
    results: Path = Path("results"),
    weights: Path = Path("weights"),
    device: DeviceOption = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    workers: int = 1,
) -> None:
    """Train every recipe that the README quotes and collect what was measured.

    Finished runs are not repeated and cut ones are resumed.

    Args:
        names: Recipes; all if none is given.
        seeds: Runs of each recipe, with seeds 0, 1, ….
        epochs: For a short trial; else each recipe's own.
        images: Train on about this many images, for a short trial; 0 means all.
        runs: The folder for the run folders.
        results: The folder for summary.json and, of seed 0, tables and pictures.
        weights: The folder for the networks of seed 0, in half precision.
        precision: Of the training passes; auto measures which is faster.
        workers: Runs at a time, each with its share of the threads; their output goes to RUN.log.
    """
    from convlens.recipes import RECIPES
    from convlens.reproduce import reproduce as collect

    _at_least(1, "--seeds", seeds)
    _at_least(1, "--workers", workers)
    for name in names:
        _lookup(RECIPES, name, "there is no recipe")
    collect(
        names or tuple(RECIPES), seeds=seeds, epochs=epochs, images=images, data=data, runs=runs,
        results=results, weights=weights, device=device, precision=precision,
        workers=workers,
    )  # fmt: skip
    print(f"wrote      {results} and {weights}")


def tune(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE")],
    *,
    trials: int = 30,
    epochs: int | None = None,
    images: int = 0,
    holdout: float = 0.1,
    workers: int = 1,
    seed: int = 0,
    data: DataOption = None,
    split_seed: int = 0,
    device: DeviceOption = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    out: FolderOption = None,
) -> None:
    """Search the options of a recipe that matter most, on images held out of train/.

    The same command continues a search that was cut, and started a second time helps it.

    Args:
        recipe: Its space is in convlens/recipes/spaces.py.
        trials: Settings to try in all; the recipe's own is the first.
        epochs: Of a trial; else the recipe's own number.
        images: Train on about this many images; 0 means all.
        holdout: Share of train/ that settings are judged on, 0 to 0.9; validation/ is not read.
        workers: Processes; they share the cores.
        seed: Of the search and of every trial.
        split_seed: Of the split of a data set that has none.
        precision: Of the training passes; auto measures which is faster.
        out: The folder of the search; runs/tune-RECIPE if not given.
    """
    from convlens.recipes import RECIPES
    from convlens.tune.search import tune as search

    chosen = _lookup(RECIPES, recipe, "there is no recipe")()
    folder = out or Path("runs") / f"tune-{recipe}"
    best = search(
        chosen, folder, trials=trials, epochs=epochs, images=images, holdout=holdout,
        workers=workers, seed=seed, data=data, split_seed=split_seed, device=device,
        precision=precision,
    )  # fmt: skip
    own = "" if best["own"] is None else f"; the recipe's own setting {best['own']:.2%}"
    print(
        f"best       {best['accuracy']:.2%} (trial {best['trial']}; standard error "
        f"{100 * best['standard_error']:.1f} points){own}"
    )
    print("           the best of many is flattered by chance: compare several seeds or --folds")
    for name, value in best["options"].items():
        print(f"           {name} {value}")
    print(f"wrote      {folder}; train it with `convlens train {folder / 'best.yaml'}`")


def bench(
    *,
    only: tuple[str, ...] = (),
    explore: bool = False,
    quick: bool = False,
    pairs: int | None = None,
    against: Path | None = None,
    tolerance: float = 0.15,
    long: bool = False,
    peer_epochs: tuple[int, ...] = (10, 16, 24),
    large: bool = False,
    data: DataOption = None,
    results: Path = Path("results"),
    weights: Path = Path("weights"),
) -> None:
    """Measure how fast this machine trains, ours and the loops people write today in turn.

    Needs a quiet machine.

    Args:
        only: Rows of the table, or growth; all if none is given.
        explore: Only the rows of the explorer.
        quick: Fewer and shorter pairs.
        pairs: Times that ours and the peer are measured in turn.
        against: A bench.json measured before; status 1 if a ratio has become worse.
        tolerance: The share by which a ratio may be worse than in --against.
        long: Also time the plain ResNet-18 loop to 71 %, up to an hour; else the kept time is used.
        peer_epochs: The lengths of that loop's schedule to try with --long; the fastest counts.
        large: Growth up to a million images, 16 GB on disk for a while.
        results: The folder for bench.json, bench.md and bench.png.
        weights: The folder that holds convnet.safetensors.
    """
    from convlens.bench import EXPLORER
    from convlens.bench import bench as measure

    only = (*only, *EXPLORER) if explore else only
    held = measure(
        only, quick=quick, pairs=pairs, data=data, against=against, tolerance=tolerance,
        long=long, peer_epochs=peer_epochs, large=large, results_folder=results,
        weights_folder=weights,
    )  # fmt: skip
    if not held:
        sys.exit(1)


VERBS: dict[str, Callable | dict[str, Callable]] = {
    "data": {"audit": data_audit, "split": data_split, "fetch": data_fetch, "demo": data_demo},
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "look": look,
    "export": export,
    "explore": explore,
    "report": report,
    "reproduce": reproduce,
    "tune": tune,
    "bench": bench,
}
