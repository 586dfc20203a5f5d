# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 2: convolutional networks on small images
#
# Deep Learning Course. The headings below are those of the assignment's section 1.2, “Your
# Implementation”; before them stand a summary, and what its ambiguous lines were taken to mean.
#
# `convlens report` executes this notebook. Every number in the text is computed from the results
# folder by the cell that prints it, and every listing is read from the installed package, so neither
# can go stale. Nothing is trained here: the cells read what `convlens reproduce` left in the folders
# named below. To train everything anew, set `RETRAIN = True` (about an hour on two cores), or run
# `convlens reproduce`, which continues where it was cut.

# %% tags=["parameters"]
RESULTS = "../results"
WEIGHTS = "../weights"
DATA = None
READING = {}

# %%
RETRAIN = False

# %% tags=["hide-input"]
import html
import inspect
import io
import json
import math
import shlex
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from IPython.display import Image, Markdown, display
from PIL import Image as Picture

from convlens import figures, formats, models, recipes
from convlens.data import augment, batches, open_dataset
from convlens.errors import UserError
from convlens.escape import markdown_code, visible
from convlens.files import read_csv
from convlens.inference import Classifier, metrics
from convlens.inference.confusion import most_confused
from convlens.inference.measures import LABELS as MEASURES
from convlens.inference.measures import shares
from convlens.look import assigned_images
from convlens.look.arrays.activations import activations, map_statistics
from convlens.look.arrays.deconvolution import deconvolution
from convlens.look.arrays.filters import composite_filters, first_filters
from convlens.look.arrays.layers import layer_table, to_text
from convlens.look.arrays.top_patches import crop, top_activating_patches
from convlens.models.hooks import conv_relu_layers
from convlens.reporting.tables import ensembles_table
from convlens.training import criterion, ema, initialization, optim, schedule, step, trainer
from convlens.training.run_folder import RunFolder

torch.set_num_threads(1)  # one image at a time needs no more
RESULTS, WEIGHTS = Path(RESULTS), Path(WEIGHTS)
if RETRAIN:
    places = ["--results", RESULTS.resolve(), "--weights", WEIGHTS.resolve()]
    places += ["--data", Path(DATA).resolve()] if DATA else []
    project = RESULTS.resolve().parent
    command = [sys.executable, "-m", "convlens", "reproduce", *map(str, places)]
    subprocess.run(command, cwd=project, check=True)

# %% tags=["hide-input"]
# Reading the results -------------------------------------------------------------------------

if not (RESULTS / "summary.json").exists():
    raise UserError(f"{RESULTS} holds no summary.json; `convlens reproduce` makes it")
RECORDS = [
    formats.read_metrics(record)
    for record in json.loads((RESULTS / "summary.json").read_text(encoding="utf-8"))
    if record.get("validation_accuracy") is not None
]
RUNS = {}  # of each recipe the record of its lowest seed: the one with a folder and weights
for record in sorted(RECORDS, key=lambda record: record["seed"]):
    RUNS.setdefault(record["recipe"], record)
ORDER = ["lenet5", "lenet5plus", "convnet", "resnet18", "resnet18_stride2"]
ORDER = [name for name in ORDER if name in RUNS] + [name for name in RUNS if name not in ORDER]
MISSING = "*There is no record of `{}` in the results; `convlens reproduce` makes it.*"
TIERS = {0.65: 5, 0.67: 8, 0.69: 12, 0.71: 15}  # validation accuracy: points, from the assignment


def history(recipe):
    run = RunFolder(RESULTS / recipe)
    return run.read_history() if (run.path / "history.csv").exists() else None


def confusion(recipe):
    """int, shape (C, C), rows true; and the C class names."""
    header, *rows = read_csv(RESULTS / recipe / "confusion.csv")
    return np.array([[int(count) for count in row[1:]] for row in rows]), tuple(header[1:])


@cache
def trained(recipe):
    """The network of a recipe's weights file; None where there is none."""
    path = WEIGHTS / f"{recipe}.safetensors"
    if not path.exists():
        return None
    network = Classifier.load(path)
    if network.class_names != CLASSES:
        raise UserError(
            f"{path} knows other classes than {RESULTS}; give the networks of these results with "
            "`weights` (in the notebook, WEIGHTS)"
        )
    return network


@cache
def seen(recipe):
    """What a recipe's network makes of the validation images, its probabilities of the logits as
    they are, as the losses have them; None where there are no weights."""
    network = trained(recipe)
    if network is None:
        return None
    return network.evaluate(network.open_dataset(DATA, progress=False, **READING)).at(temperature=1)


def mean_per_class(recipe, split):
    """Mean of the accuracies of the classes; NaN where the results do not tell."""
    field, run = f"{split}_mean_class_accuracy", RunFolder(RESULTS / recipe)
    metrics = run.read_metrics() if run.is_finished else {}
    return RUNS[recipe].get(field, metrics.get(field, math.nan))


def measures(recipe):
    """What is known of a recipe on the validation images beside its accuracy, as metrics.json has
    it: from the results, else from the weights; empty where neither tells."""
    known = {name: RUNS[recipe].get(f"validation_{name}") for name in MEASURES}
    if known["macro_f1"] is None and seen(recipe) is not None:
        known = seen(recipe).measures()
    return {name: value for name, value in known.items() if value is not None}


def settings(recipe):
    """The recipe as it was run: by its config.yaml, else the package's with the run's epochs."""
    try:
        return RunFolder(RESULTS / recipe).read_config().recipe
    except UserError:
        if recipe not in recipes.RECIPES:
            return None
        return replace(recipes.RECIPES[recipe](), epochs=RUNS[recipe]["epochs"])


# Numbers in words ----------------------------------------------------------------------------

NBSP = "\N{NO-BREAK SPACE}"


def percent(share, digits=1):
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}{NBSP}%"


def error(share):
    """Standard error of an accuracy on the validation images: √(p·(1−p)/n)."""
    return math.sqrt(share * (1 - share) / N)


def accuracy(recipe):
    share = RUNS[recipe]["validation_accuracy"]
    return f"{100 * share:.1f}{NBSP}±{NBSP}{100 * error(share):.1f}{NBSP}%"


def compare(first, second):
    """Points by which `second` is better in validation, and how many standard errors that is."""
    a, b = (RUNS[recipe]["validation_accuracy"] for recipe in (first, second))
    spread = math.hypot(error(a), error(b))
    return 100 * (b - a), abs(b - a) / spread if spread else math.inf


def in_errors(distance, recipe):
    """ ", 2.0 standard errors": nothing for a recipe that is right on all images and so has none."""
    spread = error(RUNS[recipe]["validation_accuracy"])
    return f", {distance / spread:.1f} standard errors" if spread else ""


def difference(first, second):
    points, ratio = compare(first, second)
    if ratio >= 2:
        verdict = f"{ratio:.1f} standard errors of the difference: more than chance"
    else:
        verdict = f"{ratio:.1f} standard errors of the difference: too little to tell from chance"
    return f"{points:+.1f} points ({verdict})".replace("-", "−")


def points_of(recipe):
    return max(
        (points for tier, points in TIERS.items() if RUNS[recipe]["validation_accuracy"] >= tier),
        default=0,
    )


def tier(recipe):
    """The highest tier of the assignment's table that a result reaches."""
    reached = [t for t in TIERS if RUNS[recipe]["validation_accuracy"] >= t]
    if not reached:
        return "none"
    return f"{percent(max(reached), 0)}{NBSP}({TIERS[max(reached)]}{NBSP}points)"


def names(words):
    words = [markdown_code(word) for word in words]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def plural(count, noun):
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


# Showing -------------------------------------------------------------------------------------

figure_number = 0


def text(*paragraphs):
    display(Markdown("\n\n".join(paragraph for paragraph in paragraphs if paragraph)))


def table(header, rows, align=""):
    """A Markdown table; align: a character a column, "r" for numbers."""
    align = align.ljust(len(header), "l")[: len(header)]
    rules = ["---:" if side == "r" else ":---" for side in align]
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, rules, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def show_code(*objects):
    """The source of modules, classes and functions, as it is in the package."""
    for thing in objects:
        module = thing if inspect.ismodule(thing) else sys.modules[inspect.unwrap(thing).__module__]
        path = module.__name__.replace(".", "/") + ".py"
        part = "" if inspect.ismodule(thing) else f", `{thing.__qualname__}`"
        source = textwrap.dedent(inspect.getsource(thing)).strip()
        text(f"##### Listing: `{path}`{part}\n\n```python\n{source}\n```")


def show(picture, caption):
    """A figure, or a PNG file, with its numbered caption."""
    global figure_number
    if isinstance(picture, Path):
        if not picture.exists():
            text(f"*The results hold no `{picture.parent.name}/{picture.name}`.*")
            return
        png = picture.read_bytes()
    else:
        buffer = io.BytesIO()
        picture.savefig(buffer, dpi=150, bbox_inches="tight", metadata={"Software": None})
        png = buffer.getvalue()
    figure_number += 1
    display(Image(png, alt=html.unescape(caption.replace("`", ""))))
    text(f"**Figure {figure_number}.** {caption}")


# %% tags=["hide-input"]
# What is known of the images -----------------------------------------------------------------

DATASET = open_dataset(DATA, progress=False, **READING)
CLASSES = DATASET.classes
COUNTS = np.bincount(DATASET.validation.labels, minlength=len(CLASSES))  # of validation images
N, C = int(COUNTS.sum()), len(CLASSES)


def check_data(recipe):
    """Stop where a recipe's results are of another data set: no figure may be of that one."""
    unlike = None
    if (RESULTS / recipe / "confusion.csv").exists():
        matrix, classes = confusion(recipe)
        if classes != CLASSES:
            unlike = f"{len(classes)} classes ({classes[0]}, …)", f"{C} ({CLASSES[0]}, …)"
        elif not np.array_equal(matrix.sum(axis=1), COUNTS):
            unlike = f"{matrix.sum():,} validation images", f"{N:,}, others of the same classes"
    elif RUNS[recipe].get("validation_images") not in (None, N):
        unlike = f"{RUNS[recipe]['validation_images']:,} validation images", f"{N:,}"
    if unlike:
        raise UserError(
            f"the results of {recipe} are of {unlike[0]} and {DATASET.root} has {unlike[1]}; give "
            "the data set that they were measured on with `data` (in the notebook, DATA)"
        )


for name in ORDER:
    check_data(name)
LARGEST = np.argsort(-COUNTS, kind="stable")[: min(8, max(1, C // 10))]
CALTECH = C == 101 and {"Faces", "Faces_easy", "accordion", "camera"} <= set(CLASSES)

# %% [markdown]
# ## Summary of the results

# %% tags=["hide-input"]
TESTED = [  # where the data set has test/
    field
    for field in ("test_accuracy", "test_mean_class_accuracy")
    if any(RUNS[name].get(field) is not None for name in ORDER)
]
rows = []
for name in ORDER:
    run = RUNS[name]
    rows.append(
        (
            f"`{name}`",
            f"{run['train_loss']:.3f}",
            percent(run["train_accuracy"]),
            f"{run['validation_loss']:.3f}",
            accuracy(name),
            percent(run["validation_mean_class_accuracy"]),
            *(percent(math.nan if run.get(f) is None else run[f]) for f in TESTED),
            tier(name),
        )
    )
header = (
    "recipe",
    "train loss",
    "train accuracy",
    "validation loss",
    "validation accuracy",
    "mean per class",
    *(field.replace("_", " ").replace("mean class accuracy", "mean per class") for field in TESTED),
    "tier reached",
)
short = [name for name in ORDER if RUNS[name]["train_accuracy"] < 0.5]
seeds = {name: [r["validation_accuracy"] for r in RECORDS if r["recipe"] == name] for name in ORDER}
seeds = {name: np.array(values) for name, values in seeds.items() if len(values) > 1}
partial = [
    name
    for name in ORDER
    if {"--max-train-images", "--images"} & set(shlex.split(RUNS[name]["command"]))
]
missing = [
    name
    for name, recipe in recipes.RECIPES.items()  # one that begins with weights has no result of its own
    if name not in RUNS and not recipe().follows_weights
]
text(
    table(header, rows, "l" + "r" * (len(header) - 2)),
    f"Losses are mean cross-entropies in nats, against one-hot labels without smoothing. ± is the "
    f"standard error √(p·(1−p)/n) of an accuracy p measured on the n = {N:,} validation images. "
    f"“Mean per class” is the mean of the {C} validation accuracies of the single classes.",
    "All figures are of the networks as they are after the last epoch (their weight average, where "
    "the recipe keeps one). No epoch was picked on the validation images: during training they are "
    "looked at for the curves alone. The packaged recipes were settled on a hold-out carved from "
    "`train/` (see `docs/LOG.md`)."
    + "".join(
        f" Over {len(v)} seeds `{name}` has a mean validation accuracy of {percent(v.mean())}, "
        f"with a standard error of {100 * v.std(ddof=1) / math.sqrt(len(v)):.1f} points."
        for name, v in seeds.items()
    ),
    short
    and f"{names(short)} {'has' if len(short) == 1 else 'have'} learned less than half of the training "
    "images (the epochs stand in the last section): such rows show that everything runs, not what the "
    "networks can do.",
    partial
    and f"Short trials: {names(partial)} {'was' if len(partial) == 1 else 'were'} trained on a share of "
    "the training images only, which the command in the last section tells; the training columns "
    "are of that share.",
    missing and MISSING.format("`, `".join(missing)),
)
if ORDER:
    show(
        figures.compare(
            [record for name in ORDER for record in RECORDS if record["recipe"] == name]
        ),
        "Accuracy of every recipe on both splits, and the tiers of the assignment's table.",
    )

# %% tags=["hide-input"]
measured = {name: found for name in ORDER if (found := measures(name))}
columns = [m for m in MEASURES if any(m in found for found in measured.values())]
if measured:
    text(
        "**More measures of the same answers**, on the validation images:",
        table(
            ("recipe", *(MEASURES[column] for column in columns)),
            [
                (f"`{name}`", *(percent(found.get(column, math.nan)) for column in columns))
                for name, found in measured.items()
            ],
            "l" + "r" * len(columns),
        ),
        "The mean of the class accuracies is also called balanced accuracy, and macro recall. "
        "Precision is the share of the images taken for a class that are of it, F1 the harmonic mean "
        "of precision and recall, ROC-AUC how often a class's probability is higher for an image of "
        "the class than for another; macro is the mean over the classes.",
    )

# %% tags=["hide-input"]
smallest, largest = int(COUNTS.min()), int(COUNTS.max())
chance = COUNTS.max() / N
text(
    "**What the numbers rest on.** "
    f"The networks are to tell {C} classes apart. "
    + (
        f"A validation class has between {smallest} and {plural(largest, 'image')}; the largest "
        f"({names(CLASSES[i] for i in LARGEST)}) {'holds' if len(LARGEST) == 1 else 'hold'} "
        f"{percent(COUNTS[LARGEST].sum() / N, 0)} of all. "
        if largest > smallest
        else f"Every class has {plural(largest, 'validation image')}. "
    )
    + f"Guessing evenly would be right in {percent(1 / C)} of the cases, always naming the largest "
    f"class in {percent(chance)}. "
    + (
        "Where few classes hold many images, overall accuracy follows them; the mean per class "
        "gives every class the same weight, so both are reported."
        if largest > smallest
        else ""
    ),
    CALTECH
    and "This is Caltech-101 without its background class, every image scaled to 64×64. `Faces` and "
    "`Faces_easy` are the same photographs, cropped differently, and near-duplicates stand on both "
    "sides of the split, so the validation accuracies are somewhat flattering; they compare "
    f"networks on one split rather than promise an accuracy elsewhere. One run on {N} images cannot "
    "tell accuracies a point apart.",
)

# %% [markdown]
# ## What the ambiguous lines were taken to mean
#
# | The assignment says | It was taken to mean |
# | :--- | :--- |
# | 5×5 convolutions, no padding named | Padding 2, so that a convolution keeps its map's size and both 4×4 pools divide it without a rest (64 → 16 → 4 at 64×64). Without padding the second pool would drop the edge of an 11×11 map, 47 % of it. |
# | a fully connected layer with 1021 neurons | Literally 1021, although 1024 numbers enter it at 64×64 and 1021 may be a slip of the pen. |
# | a fully connected softmax layer | The layer is linear and gives logits; its softmax is `predict_proba`. The loss takes the logits, because the logarithm of a softmax is exact and stable only when both are computed together. |
# | one-hot encoding for labels | Labels are one-hot vectors from the batch to the loss, which is −Σ target · log softmax(logits). |
# | loss and accuracy on the training set | Measured after training, in evaluation mode, over the whole unaugmented training set. The learning curves show instead the running mean over the augmented batches of an epoch, with dropout on, which is usually worse. |
# | accuracy | The share of all images that are classified rightly; the mean per class stands beside it. |
# | the structure of LeNet-5 for ten classes | The listed layer sizes win over the sketch's; only the last layer follows the number of classes. |
# | “your above CNN model (after completing Q1)” | The best network of question 1 whose first two convolutions have 32 and 64 filters. |
# | the activation of the first conv layer | The output after its ReLU; where batch norm stands between convolution and ReLU, after both. |
# | conv_2 of ResNet-18: “stride 2×2” | In the paper the stride belongs to the max-pool that opens the stage. Both readings were trained, see question 3. |

# %% [markdown]
# ## 1.2.1 Implement and improve a CNN model
#
# ### (a) LeNet5
#
# The network, exactly the layers of the assignment. Batch norm and dropout are options that are off
# here and on in part (b).

# %% tags=["hide-input"]
show_code(models.lenet5, recipes.lenet5)

# %% tags=["hide-input"]
if network := trained("lenet5"):
    text(
        f"Its layers on an image of {network.size}×{network.size}; “field” is the receptive field "
        "of one unit and “stride” the distance of neighboring fields, in pixels of the image.",
        to_text(layer_table(network.model, network.size)),
    )

# %% [markdown]
# Labels become one-hot in the batch, and stay so up to the loss. One loop trains every network of this
# notebook, in steps that are all alike; one function scores every split.

# %% tags=["hide-input"]
show_code(
    batches.one_hot,
    batches.Batches,
    trainer.Trainer.fit,
    trainer.Trainer._train_epoch,
    step.train_step,
    criterion.Criterion,
    metrics.score,
)

# %% [markdown]
# #### Results of (a)


# %% tags=["hide-input"]
def report_run(recipe):
    """Loss and accuracy on both splits in words, and what the curves add."""
    run, curves = RUNS[recipe], history(recipe)
    gap = 100 * (run["train_accuracy"] - run["validation_accuracy"])
    text(
        table(
            ("`" + recipe + "`", "cross-entropy (nats)", "accuracy", "mean per class"),
            [
                (
                    split,
                    f"{run[f'{split}_loss']:.3f}",
                    percent(run["train_accuracy"]) if split == "train" else accuracy(recipe),
                    percent(mean_per_class(recipe, split)),
                )
                for split in ("train", "validation")
            ],
            "lrrr",
        ),
        f"After {plural(run['epochs'], 'epoch')} the training accuracy is "
        + ("" if abs(gap) < 0.05 else f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'} ")
        + ("equal to the validation accuracy. " if abs(gap) < 0.05 else "the validation accuracy. ")
        + (after_lowest(recipe, curves) if curves is not None else ""),
    )


def after_lowest(recipe, curves):
    """What became of the validation loss after its lowest point, and of the accuracy meanwhile."""
    losses, accuracies = curves["validation_loss"], curves["validation_accuracy"]
    lowest = int(np.argmin(losses))
    if lowest == len(losses) - 1:
        return "The validation loss was still at its lowest in the last epoch."
    start, end = percent(accuracies[lowest]), percent(accuracies[-1])
    meanwhile = f"stayed at {end}" if start == end else f"went from {start} to {end}"
    if losses[-1] - losses[lowest] < 0.05 * losses[lowest]:
        return (
            f"The validation loss was lowest after epoch {lowest + 1} and ended within 5 % of that, "
            f"while the validation accuracy {meanwhile}."
        )
    return (
        f"The validation loss was lowest after epoch {lowest + 1} ({losses[lowest]:.3f} nats) and rose "
        f"to {losses[-1]:.3f} by the end, while the validation accuracy {meanwhile}. "
        + how_sure(recipe, accuracies[-1] >= accuracies[lowest])
    )


def how_sure(recipe, accuracy_held):
    """Whether a risen loss is over-fitting, by what the network's confidence is worth."""
    answers = seen(recipe)
    if answers is None:
        return ""
    confidence, right = float(answers.probabilities.max(axis=1).mean()), answers.accuracy
    numbers = f"its mean confidence on these images is {percent(confidence)}, its accuracy {percent(right)}"
    chance = 2 * error(right)
    if confidence <= right + chance:
        return f"That is no over-confidence: {numbers}."
    gap = RUNS[recipe]["train_accuracy"] - RUNS[recipe]["validation_accuracy"]
    told = f"The network is surer than it is right: {numbers}."
    if gap <= chance:
        return told
    unseen = " that accuracy alone does not show" if accuracy_held else ""
    return f"{told} That is over-fitting{unseen}."


def show_curves(recipe):
    curves = history(recipe)
    if curves is None:
        text(f"*The results hold no history of `{recipe}`.*")
    else:
        show(figures.learning_curves(curves), f"Learning curves of `{recipe}`.")


if "lenet5" in RUNS:
    report_run("lenet5")
    show_curves("lenet5")
else:
    text(MISSING.format("lenet5"))

# %% [markdown]
# ### (b) Improving the accuracy
#
# Two steps. `lenet5plus` keeps every layer of LeNet5 and changes how it is trained, with the means the
# assignment lists and with augmentation. `convnet` changes the network too: convolutions that look
# closely before the map shrinks, residual blocks, and an average over the last map in place of large
# fully connected layers.

# %% tags=["hide-input"]
show_code(models.convnet, recipes.lenet5plus, recipes.convnet)

# %% [markdown]
# Regularization, initialization, schedule and weight averaging. L1 and L2 penalties are options of
# every recipe, also where it prefers decoupled weight decay.

# %% tags=["hide-input"]
show_code(optim, schedule, initialization, ema)

# %% [markdown]
# Augmentation works on whole batches, each image with random parameters of its own.

# %% tags=["hide-input"]
show_code(augment)
if augmented := next((name for name in ("convnet", "lenet5plus") if name in RUNS), None):
    show(
        RESULTS / augmented / "batch.png",
        f"A training batch of `{augmented}` as the network sees it.",
    )

# %% tags=["hide-input"]
chosen = [name for name in ("lenet5", "lenet5plus", "convnet", "resnet18") if name in RUNS]
flat = {}
for name in chosen:
    if recipe := settings(name):
        values = dict(vars(recipe))
        values |= {f"{k.replace('_', ' ')}": v for k, v in values.pop("model_options").items()}
        values |= {f"augment: {k}": v for k, v in vars(values.pop("augment")).items()}
        flat[name] = {k.replace("_", " "): v for k, v in values.items() if k != "name"}
keys = list(dict.fromkeys(key for values in flat.values() for key in values))


def said(value):
    """A setting as a person writes it."""
    if value is None or value is False or value == 0:
        return "–"
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


differing = [key for key in keys if len({said(values.get(key)) for values in flat.values()}) > 1]
if len(flat) > 1:
    text(
        "What differs between the recipes (– is off or not applicable; an option given on the command "
        "line stands in the last section):",
        table(
            ("setting", *(f"`{name}`" for name in flat)),
            [(key, *(said(values.get(key)) for values in flat.values())) for key in differing],
        ),
    )

# %% [markdown]
# #### Results of (b)

# %% tags=["hide-input"]
for name in ("lenet5plus", "convnet"):
    if name in RUNS:
        report_run(name)
        show_curves(name)
    else:
        text(MISSING.format(name))

# %% tags=["hide-input"]
steps = [name for name in ("lenet5", "lenet5plus", "convnet") if name in RUNS]
REASONS = {
    "lenet5 lenet5plus": "The convolutions, pools and linear layers are the same; what differs is in the "
    "table above.",
    "lenet5plus convnet": "Here the network changes, and with it whatever the table above shows.",
    "lenet5 convnet": "Network and training change together.",
}


def gaps(first, second):
    """How the distance between the splits changed from one recipe to the next, and on which side."""
    fitted = [RUNS[name]["train_accuracy"] for name in (first, second)]
    was, now = (
        100 * (RUNS[name]["train_accuracy"] - RUNS[name]["validation_accuracy"])
        for name in (first, second)
    )
    if min(fitted) < 0.5:
        return (
            "As long as training is this far from its end, the gap between the splits says little."
        )
    if abs(now - was) <= 1:
        return f"The gap between training and validation accuracy stays at about {now:.0f} points."
    change = 100 * (fitted[1] - fitted[0])
    if now < was:
        return (
            f"The gap between training and validation accuracy shrinks from {was:.1f} to {now:.1f} "
            "points: "
            + (
                "less is learned by heart, which is what regularization and augmentation are for."
                if change < -1
                else "the training images are fitted no less closely, and what is learned carries over "
                "to more of the others."
            )
        )
    return (
        f"The gap between training and validation accuracy grows from {was:.1f} to {now:.1f} points: "
        + (
            "the training images are fitted more closely, and the others gain less."
            if change > 1
            else "the training images are fitted no more closely, and fewer of the others are told."
        )
    )


if steps:
    sentences = [
        f"- `{a}` → `{b}`: {accuracy(a)} → {accuracy(b)}, {difference(a, b)}. {REASONS[f'{a} {b}']} "
        f"{gaps(a, b)}"
        for a, b in pairwise(steps)
    ]
    best_of_1 = max(steps, key=lambda name: RUNS[name]["validation_accuracy"])
    text(
        "#### What changed the accuracy, and by how much",
        "\n".join(sentences),
        len(steps) > 1
        and "Several settings change at once in a step, so these numbers credit the step as a whole, "
        "not its parts. The standard error of a difference is taken as if the two accuracies had been "
        "measured on different images, which is cautious, since the images are the same.",
        "**Tiers.** "
        + " ".join(
            f"`{name}` with {percent(RUNS[name]['validation_accuracy'])} "
            + (
                f"reaches {tier(name)}."
                if points_of(name)
                else f"stays below {percent(0.65, 0)}, the lowest tier."
            )
            for name in steps
        ),
        f"The best network of question 1 is `{best_of_1}`."
        + (
            f" It stands {100 * (RUNS[best_of_1]['validation_accuracy'] - 0.71):.1f} points above the "
            f"highest tier{in_errors(RUNS[best_of_1]['validation_accuracy'] - 0.71, best_of_1)}."
            if points_of(best_of_1) == 15
            else ""
        ),
    )

# %% tags=["hide-input"]
if (RESULTS / "ensembles.json").exists():
    ENSEMBLES = json.loads((RESULTS / "ensembles.json").read_text(encoding="utf-8"))
    text(
        "#### What averaging adds",
        "Not part of the assignment: the mean of the probabilities of ten views of an image, shifted and "
        "mirrored (test-time augmentation, TTA), of several networks trained from different seeds, and "
        "of both.",
        ensembles_table(
            [r for r in ENSEMBLES if r["recipe"] in ("lenet5plus", "convnet")], commands=False
        ),
    )
if (RESULTS / "ablation.md").exists():
    text(
        "#### What each technique is worth alone",
        "One thing is changed at a time, on images held out of `train/`; `python "
        "benchmarks/ablation.py` measures it.",
        (RESULTS / "ablation.md").read_text(encoding="utf-8"),
    )

# %% [markdown]
# #### Which mistakes remain


# %% tags=["hide-input"]
def worst_classes(matrix, classes, most=5):
    """The classes of the lowest F1 that is not 1, as a table; "" where there is none."""
    right, images, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = shares(right, images), shares(right, predicted)
    f1 = np.where(images > 0, shares(2 * right, images + predicted), math.nan)
    worst = [c for c in np.argsort(f1, kind="stable")[:most] if f1[c] < 1]
    if not worst:
        return ""
    return table(
        ("hardest classes", "images", "recall", "precision", "F1"),
        [
            (
                markdown_code(classes[c]),
                images[c],
                *(percent(m[c], 0) for m in (recall, precision, f1)),
            )
            for c in worst
        ],
        "lrrrr",
    )


def report_mistakes(recipe, pictures):
    """The confusions in words, and those pictures of the run folder."""
    if not (RESULTS / recipe / "confusion.csv").exists():
        text(f"*The results hold no confusion matrix of `{recipe}`.*")
        return
    matrix, classes = confusion(recipe)
    wrong = int(matrix.sum() - matrix.trace())
    pairs = most_confused(matrix, top=3)
    share = matrix.diagonal() / np.maximum(matrix.sum(axis=1), 1)
    perfect = int((share == 1).sum())
    nothing = int(((share == 0) & (matrix.sum(axis=1) > 0)).sum())
    listed = "; ".join(
        f"{markdown_code(classes[i])} taken for {markdown_code(classes[j])} ({count} of {matrix[i].sum()})"
        for i, j, count, _ in pairs
    )
    text(
        f"`{recipe}` is wrong on {wrong} of {matrix.sum():,} validation images. "
        + (f"Its most frequent confusions: {listed}. " if pairs else "")
        + f"{perfect} of {len(classes)} classes are recognized without a mistake, {nothing} not once.",
        worst_classes(matrix, classes),
    )
    for picture in pictures:
        show(RESULTS / recipe / f"{picture}.png", f"{MISTAKES[picture]}, `{recipe}`.")


MISTAKES = {
    "per_class": "Validation accuracy of each class",
    "confusion": "Confusion on the validation images",
    "worst": "The mistakes with the largest loss among the validation images",
}
if steps:
    report_mistakes(best_of_1, MISTAKES)

# %% [markdown]
# ## 1.2.2 Visualize layer activation
#
# A forward hook on the ReLU behind a convolution keeps what passes through, and is removed
# afterwards; drawing is apart from it.

# %% tags=["hide-input"]
show_code(
    conv_relu_layers,
    activations,
    figures.activations,
    first_filters,
    figures.filters,
)


# %% tags=["hide-input"]

with_weights = [name for name in ORDER if (WEIGHTS / f"{name}.safetensors").exists()]
candidates = [name for name in with_weights if name in ("lenet5", "lenet5plus", "convnet")]
ranked = sorted(candidates, key=lambda name: -RUNS[name]["validation_accuracy"])
LOOKED_AT = next(iter(ranked or with_weights), None)
if LOOKED_AT is None:
    text(
        "*The weights folder holds no network of these results, so there are no activations to show.*"
    )
else:
    text(
        f"The network is `{LOOKED_AT}`"
        + (
            ", the best of question 1 whose weights are at hand."
            if ranked
            else ", because no network of question 1 is at hand."
        )
    )

# %%
if LOOKED_AT:
    network = trained(LOOKED_AT)
    dataset = network.open_dataset(DATA, progress=False, **READING)
    layers = conv_relu_layers(network.model, network.size)[:2]
    paths, images = zip(*assigned_images(dataset), strict=True)  # uint8, (size, size, 3) each
    maps = activations(network.model, network.inputs(images), layers)  # (2, 32 | 64, h, w)
    image_names = [str(Path(path).with_suffix("")) for path in paths]
    for layer, which in zip(layers, ("first", "second"), strict=False):
        for image, values, name in zip(images, maps[layer], image_names, strict=True):
            show(
                figures.activations(
                    image, values, f"{LOOKED_AT}, {layer}: {name}", percentile=99.5
                ),
                f"The {len(values)} activations of the {which} convolution, for {markdown_code(name)}.",
            )
    show(
        figures.filters(first_filters(network.model)),
        f"The filters of the first convolution of `{LOOKED_AT}`, in the order of its maps.",
    )

# %% [markdown]
# #### What the maps show
#
# To say it with numbers, each map is compared with pictures that anyone can compute from the image:
# its brightness; its darkness; its edges, all of them or those of one direction; its color, all of
# it or one of red, green, blue and yellow against its opposite. A map counts as following the kind
# of picture it correlates with best, if by 0.5 or more.


# %%
def simple_pictures(image, height, width):
    """Of each kind the pictures of `image`, uint8 (H, W, 3), that maps of that size may follow."""
    small = Picture.fromarray(image).resize((width, height), Picture.Resampling.BOX)
    red, green, blue = np.moveaxis(np.asarray(small, dtype=float), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    down, across = np.gradient(luma)
    opposites = red - green, blue - (red + green) / 2
    return {
        "brightness": [luma],
        "darkness": [-luma],
        "edges": [
            np.hypot(down, across),
            *(np.maximum(d, 0) for d in (down, -down, across, -across)),
        ],
        "color": [
            np.ptp(small, axis=2),
            *(np.maximum(s * o, 0) for o in opposites for s in (1, -1)),
        ],
    }


def kinds_of_maps(image, maps):
    """How many of the maps, float (C, h, w), follow each kind of picture, none, or are nowhere > 0."""
    pictures = simple_pictures(image, *maps.shape[1:])
    kinds = dict.fromkeys([*pictures, "none of these", "dead"], 0)
    for values in maps:
        fits = {
            kind: max(
                np.corrcoef(values.ravel(), picture.ravel())[0, 1] if picture.std() > 0 else 0
                for picture in candidates
            )
            for kind, candidates in pictures.items()
            if values.std() > 0
        }
        best = max(fits, key=fits.get, default=None)
        if values.max() <= 0:
            best = "dead"
        elif best is None or fits[best] < 0.5:
            best = "none of these"
        kinds[best] += 1
    return kinds


# %% tags=["hide-input"]
if LOOKED_AT:
    counts = {
        (layer, name): kinds_of_maps(image, values)
        for layer in layers
        for image, values, name in zip(images, maps[layer], image_names, strict=True)
    }
    answers = network.probabilities(network.logits(np.stack(images)))  # (2, C)
    silent = {layer: float((maps[layer] <= 0).mean()) for layer in layers}
    alike = {}  # cosine between the two images' vectors of map means
    for layer in layers:
        a, b = maps[layer].mean(axis=(2, 3))
        alike[layer] = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    first, second = layers
    simple = {
        layer: sum(
            count
            for (where, _), kinds in counts.items()
            for kind, count in kinds.items()
            if where == layer and kind not in ("none of these", "dead")
        )
        / (2 * maps[layer].shape[1])
        for layer in layers
    }
    in_first = {
        kind: sum(counts[first, name][kind] for name in image_names)
        for kind in ("brightness", "darkness", "edges", "color")
    }
    commonest = max(in_first, key=in_first.get)
    dead = {
        layer: int((maps[layer].max(axis=(0, 2, 3)) <= 0).sum()) for layer in layers
    }  # on both images
    sizes = {layer: f"{maps[layer].shape[3]}×{maps[layer].shape[2]}" for layer in layers}
    kinds = list(next(iter(counts.values())))
    text(
        table(
            ("layer", "image", "map size", *kinds),
            [
                (f"`{a}`", markdown_code(b), sizes[a], *found.values())
                for (a, b), found in counts.items()
            ],
            "lll" + "r" * len(kinds),
        ),
        f"- *The first layer{' is close to the pixels' if simple[first] >= 0.5 else ''}.* "
        f"{percent(simple[first], 0)} of its maps follow one kind of these pictures"
        + (f", most often {commonest}. " if in_first[commonest] else ". ")
        + "Such a map can be read as the image under one filter: the object's outline or its bright, "
        "dark or colored areas stand where they are in the photograph."
        + (
            ""
            if simple[first] >= 0.5
            else " Most maps follow none, so this layer is not, or not only, a set of such filters."
        ),
        "- *The second layer* has "
        f"maps of {sizes[second]} where the first has {sizes[first]}, and in it "
        f"{percent(simple[second], 0)} of the maps follow one kind of picture, "
        + (
            "fewer than in the first: its units combine several first-layer maps over a larger field, "
            "and what most of them add up to is none of these simple pictures."
            if simple[second] < min(0.5, simple[first] - 0.05)
            else "fewer than in the first: its units combine several first-layer maps over a larger field."
            if simple[second] < simple[first] - 0.05
            else "no fewer than in the first: on these two images its maps are still as close to the "
            "pixels as those before."
        ),
        f"- *Silence.* Behind the ReLU {percent(silent[first], 0)} of the first layer's values are zero and "
        f"{percent(silent[second], 0)} of the second's. "
        + (
            "The second is the sparser: a unit there answers more rarely. "
            if silent[second] > silent[first] + 0.02
            else "The second is not sparser here. "
        )
        + (
            f"{plural(dead[first], 'map')} of the first layer and {plural(dead[second], 'map')} of the "
            "second are zero everywhere on both images; two images cannot say whether they ever "
            "respond."
            if sum(dead.values())
            else "No map is zero everywhere on both images."
        ),
        "- *Telling the images apart.* The network takes "
        + " and ".join(
            f"{markdown_code(name)} for {markdown_code(CLASSES[answer.argmax()])} ({percent(answer.max())})"
            for name, answer in zip(image_names, answers, strict=True)
        )
        + ". The mean strengths of the maps, as a vector, have a cosine of "
        f"{alike[first]:.2f} between the two images in the first layer and {alike[second]:.2f} in the "
        "second"
        + (
            ": which maps are strong depends more on the image further up."
            if alike[second] < alike[first] - 0.01
            else ": which maps are strong depends on the image no more than in the first."
        ),
    )

# %% [markdown]
# #### What excites the second layer
#
# A map shows where a unit answers; three more views tell to what. *Top-activating patches*: of all
# training images, the places that excite a map most, cut to what the unit sees. *Deconvolution* (Zeiler and
# Fergus 2014): what in such a patch did it, by carrying the activation back through pools, ReLUs and
# filters to the pixels. *Composite filters*: the second layer's kernels read maps and have no colors,
# but chained with the first layer's they make one filter in color, as if there were no ReLU between
# (expanded weights, Voss et al. 2021).

# %% tags=["hide-input"]
show_code(top_activating_patches, deconvolution, composite_filters)

# %%
if LOOKED_AT:
    second = layers[-1]
    found = top_activating_patches(network, dataset.train.images, second)
    strongest = {  # of each image the four maps with the largest mean
        name: map_statistics(values).by_strength()[:4]
        for name, values in zip(image_names, maps[second], strict=True)
    }
    chosen = tuple(dict.fromkeys(number for numbers in strongest.values() for number in numbers))
    projections, patches = [], []
    for number in chosen:
        excited, boxes = dataset.train.images[found.rows[number]], found.boxes[number]
        projected = deconvolution(
            network.model,
            network.inputs(excited),
            second,
            [number] * len(boxes),
            found.positions[number],
        )
        projections.append([crop(*pair, 0) for pair in zip(projected, boxes, strict=True)])
        patches.append([crop(*pair) for pair in zip(excited, boxes, strict=True)])
    show(
        figures.deconvolution(
            np.array(projections),
            np.array(patches),
            chosen,
            found.values[list(chosen)],
            f"{LOOKED_AT}, {second}: projections (left) and training patches (right)",
        ),
        "What the second convolution answers to: "
        + "; ".join(
            f"the maps strongest for {markdown_code(name)} are {', '.join(map(str, numbers))}"
            for name, numbers in strongest.items()
        )
        + ". Each has a scale of its own, gray is 0.",
    )
    composites = composite_filters(network.model, second, network.size)
    show(
        figures.filters(composites),
        f"The composite filters of the second convolution of `{LOOKED_AT}`, in the order of its maps.",
    )


# %% tags=["hide-input"]
def likeness(pictures):
    """Mean correlation of all pairs of k pictures, (k, h, w, 3)."""
    flat = pictures.reshape(len(pictures), -1).astype(float)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    pairs = flat @ flat.T
    return (pairs.sum() - pairs.trace()) / max(len(flat) * (len(flat) - 1), 1)


def cut(rows, boxes):
    images = dataset.train.images
    return np.stack([crop(images[row], box) for row, box in zip(rows, boxes, strict=True)])


if LOOKED_AT:
    answering = np.flatnonzero(found.values[:, 0] > 0)  # not dead on all training images
    drawn = np.random.default_rng(0).integers(0, len(dataset.train), found.rows.shape)
    alike_patches, alike_drawn, classes_patches, classes_drawn, fits = [], [], [], [], []
    for number in answering:
        cuts = cut(found.rows[number], found.boxes[number])
        alike_patches.append(likeness(cuts))
        alike_drawn.append(likeness(cut(drawn[number], found.boxes[number])))
        classes_patches.append(len(np.unique(dataset.train.labels[found.rows[number]])))
        classes_drawn.append(len(np.unique(dataset.train.labels[drawn[number]])))
        mean_patch = cuts.mean(axis=0)  # (h, w, 3); a correlation needs it normalized by color
        mean_patch = network.normalize(torch.from_numpy(mean_patch).permute(2, 0, 1)[None])
        mean_patch = mean_patch[0].permute(1, 2, 0).numpy()
        if mean_patch.std() > 0 and composites[number].std() > 0:
            fits.append(np.corrcoef(mean_patch.ravel(), composites[number].ravel())[0, 1])
    k = found.rows.shape[1]
    together, apart = np.mean(alike_patches), np.mean(alike_drawn)
    kinds, by_chance = np.mean(classes_patches), np.mean(classes_drawn)
    fit = float(np.median(fits)) if fits else 0.0
    asleep = len(found.values) - len(answering)
    shared = len(chosen) < sum(map(len, strongest.values()))
    text(
        f"- *{'One arrangement a map' if together > 0.5 else 'What the patches share'}.* The {k} training patches that excite a map most correlate with one "
        f"another by {together:.2f} on average; patches at the same places of images drawn at random by "
        f"{apart:.2f}. "
        + (
            "So a map of the second layer answers to one arrangement of light and color, in whatever "
            "image it stands, and the projections show which part of the patch counts."
            if together > max(0.5, apart + 0.1)
            else "So the patches of a map have more in common than chance gives them, though not one "
            "arrangement of light and color."
            if together > apart + 0.1
            else "So what the patches of a map have in common is little that pixels show."
        ),
        f"- *{'Parts, not objects' if kinds > 0.6 * by_chance else 'Few classes a map'}.* Those {k} patches come from {kinds:.1f} different classes on average, "
        f"and {k} training images drawn at random from {by_chance:.1f}. "
        + (
            "The features of this layer are shared by many classes, as is to be expected where a unit "
            "sees a few pixels only; telling the classes apart is left to the layers above."
            if kinds > 0.6 * by_chance
            else "Maps of this layer answer mostly to a few classes already."
        )
        + (
            " Some of the strongest maps are the same for both images."
            if shared
            else " The strongest maps of the two images are not the same ones."
        ),
        "- *What the weights say by themselves.* The composite filter of a map correlates with the mean "
        f"of its {k} patches by {fit:.2f} (median over the maps). "
        + (
            "The chain of both kernels thus tells roughly which colors and directions a map looks for; "
            "what it leaves open is the work of the ReLU between the layers, which lets a unit demand "
            "several things at once instead of adding them up."
            if fit > 0.3
            else "The chain of both kernels alone does not tell what a map looks for: what stands between "
            "them, the ReLU above all, is not to be left out."
        ),
        asleep
        and f"- *Dead maps.* {plural(asleep, 'map')} of {len(found.values)} {'answers' if asleep == 1 else 'answer'} to nothing in the whole "
        "training set.",
    )

# %% [markdown]
# ## 1.2.3 ResNet Implementation
#
# ResNet-18 after He et al. 2016, with labels one-hot as before, trained by the same loop.

# %% tags=["hide-input"]
show_code(models.resnet18, recipes.resnet18, recipes.resnet18_stride2)

# %% [markdown]
# **The two readings of conv_2's stride.** The assignment writes “stride 2×2” at the end of conv_2's
# line, behind the description of its blocks. In the paper (table 1) the stride of 2 in that stage
# belongs to the 3×3 max-pool, and the blocks keep the map's size: this is `resnet18`, the network
# everyone knows by that name. Read literally, the stage's blocks stride as well. If each of its four
# convolutions did, a 64×64 image would have shrunk to a single pixel inside conv_2, and the three
# stages behind it would have nothing left to look at; so `resnet18_stride2` strides once more in the
# stage's first block, as the paper does in every later stage. From there on its maps have a quarter
# of the pixels.

# %% tags=["hide-input"]
STAGES = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
readings = [name for name in ("resnet18", "resnet18_stride2") if name in RUNS]
loaded = {name: trained(name) for name in readings}
loaded = {name: network for name, network in loaded.items() if network}
if loaded:
    shapes = {}
    for name, network in loaded.items():
        blank = torch.zeros(1, 3, network.size, network.size)
        found = activations(network.model, blank, STAGES)
        shapes[name] = ["×".join(map(str, found[stage].shape[1:])) for stage in STAGES]
    text(
        "Output of each stage (channels × height × width):",
        table(
            ("stage", *(f"`{name}`" for name in shapes)),
            [
                (stage, *sizes)
                for stage, *sizes in zip(
                    ("conv_1", "max-pool", "conv_2", "conv_3", "conv_4", "conv_5"),
                    *shapes.values(),
                    strict=True,
                )
            ],
            "lrr",
        ),
    )
for name in ("resnet18", "resnet18_stride2"):
    if name in RUNS:
        report_run(name)
        show_curves(name)
    else:
        text(MISSING.format(name))
if len(readings) == 2:
    points, ratio = compare("resnet18_stride2", "resnet18")
    text(
        f"From the literal reading to the paper's, accuracy changes by "
        f"{difference('resnet18_stride2', 'resnet18')}. "
        + (
            "Neither has been trained to an end, so this does not judge the readings."
            if min(RUNS[name]["train_accuracy"] for name in readings) < 0.5
            else "The larger maps pay: at this image size the early loss of resolution costs accuracy."
            if ratio >= 2 and points > 0
            else "The smaller maps did better here."
            if ratio >= 2
            else "On these images the two readings cannot be told apart."
        )
    )


# %% tags=["hide-input"]
def cost(recipe):
    """Parameters and multiply-adds of one image, from the layer table."""
    rows = layer_table(trained(recipe).model, trained(recipe).size)
    return sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)


if "resnet18" in RUNS and steps:
    best = max(RUNS[name]["validation_accuracy"] for name in steps)
    resnet, rival = RUNS["resnet18"], RUNS[best_of_1]
    points, ratio = compare(best_of_1, "resnet18")
    unfinished = [n for n in ("resnet18", best_of_1) if RUNS[n]["train_accuracy"] < 0.5]
    if ratio < 2:
        headline = "ResNet-18 neither wins nor loses"
    else:
        headline = "ResNet-18 wins" if points > 0 else "ResNet-18 does not win"
    paragraphs = [
        f"**{headline}.** Against `{best_of_1}`, the best network of question 1, it has "
        f"{accuracy('resnet18')} to {accuracy(best_of_1)}: {difference(best_of_1, 'resnet18')}. "
        f"By the assignment's table it "
        + (
            f"would reach {tier('resnet18')}."
            if points_of("resnet18")
            else "would stay below the lowest tier."
        )
    ]
    if {"resnet18", best_of_1} <= set(with_weights):
        (mine, work), (theirs, rival_work) = cost("resnet18"), cost(best_of_1)
        first_block = shapes["resnet18"][1].split("×", 1)[1]
        last_stage = shapes["resnet18"][5].split("×", 1)[1]
        paragraphs.append(
            f"In size, ResNet-18 has {mine / 1e6:.1f} million parameters to {theirs / 1e6:.1f} million, and "
            f"takes {work / 1e6:,.0f} million multiply-adds an image to {rival_work / 1e6:,.0f} "
            "million. It was not drawn for images this small: its first convolution and its max-pool "
            f"were made for 224×224 pixels, and here they leave maps of {first_block} to the first block "
            f"and {last_stage} to the last stage"
            + (
                ", where a 3×3 convolution meets mostly padding."
                if max(map(int, last_stage.split("×"))) <= 2
                else "."
            )
        )
    if unfinished:
        paragraphs.append(
            f"But {names(unfinished)} had learned less than half of the training images when training "
            "stopped, so this compares how fast the networks start, not how good they get."
        )
    elif ratio >= 2 and points < 0:
        fits = f"({percent(resnet['train_accuracy'])} to {percent(rival['train_accuracy'])})"
        if resnet["train_accuracy"] >= rival["train_accuracy"] - 0.03:
            paragraphs.append(
                f"It fits the training images about as well {fits}, so it lacks no capacity; what it "
                "learns carries over less well. With so few images a class, a network that keeps its "
                "resolution longer has the better prior: that is consistent with these numbers, though "
                "they do not prove it."
            )
        else:
            paragraphs.append(
                f"It also fits the training images less well {fits}. That points to what its stem "
                "throws away in the first layers, which is missing on both splits, or to a training "
                "that is too short for it; these numbers cannot tell which."
            )
    elif ratio >= 2:
        paragraphs.append(
            "Depth with shortcuts would explain it: the signal and its gradient pass the identity "
            "paths, so many convolutions can be trained from few images. But the recipes differ too, "
            "and these numbers do not tell the network's part from theirs."
        )
    else:
        paragraphs.append(
            f"Two networks of different depth arrive at the same accuracy within chance (training "
            f"{percent(resnet['train_accuracy'])} and {percent(rival['train_accuracy'])}): with these "
            "images and recipes neither has the advantage."
        )
    if "lenet5plus" in RUNS and best_of_1 != "lenet5plus":
        paragraphs.append(
            f"Against `lenet5plus`, the shallow network, ResNet-18 stands at "
            f"{difference('lenet5plus', 'resnet18')}."
        )
    text(*paragraphs)
if "resnet18" in RUNS:
    report_mistakes("resnet18", ["per_class"])

# %% [markdown]
# ## How these results were made

# %% tags=["hide-input"]
rows = []
for name in ORDER:
    run, network = RUNS[name], trained(name)
    parameters = sum(p.numel() for p in network.model.parameters()) if network else None
    rows.append(
        (
            f"`{name}`",
            f"{parameters:,}" if parameters else "–",
            run["epochs"],
            run["seed"],
            f"{run['seconds'] / 60:.1f}",
            f"{run['device']}, {run['precision']}",
            run["torch"],
            f"`{run['commit']}`" if run["commit"] else "–",
        )
    )
text(
    table(
        ("recipe", "parameters", "epochs", "seed", "minutes", "machine", "torch", "commit"),
        rows,
        "lrrrr",
    ),
    "The commands, each of which trains one network from its first random weight:",
    "```sh\n" + "\n".join(visible(RUNS[name]["command"]) for name in ORDER) + "\n```",
    "`convlens reproduce` runs them all and continues where it was cut; `convlens evaluate "
    "weights/NAME.safetensors` checks a number of this notebook; `convlens report` makes the notebook, "
    "its web page and its PDF again.",
)

# %% [markdown]
# ## Appendix: the code of the other figures
#
# The two that carry most of the report; `batch`, `compare`, `per_class` and `worst` are made likewise,
# in `convlens/figures/`.

# %% tags=["hide-input"]
show_code(figures.learning_curves, figures.confusion)
