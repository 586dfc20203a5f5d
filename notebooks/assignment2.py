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
# Deep Learning Course. The three questions stand under the headings of the assignment's section 1.2,
# “Your Implementation”, each with code that runs: the networks, the loss, the training loop and the
# plots, in plain PyTorch. The cells train the networks for a short while; the results are those of
# longer trainings by the package ConvLens, whose faster and more careful version of the same code is the
# appendix. Every number in the text is computed by the cell that prints it, from the folders named
# below; `convlens reproduce` fills them, and `convlens report` makes this notebook, its web page and
# its PDF.

# %% tags=["hide-input"]
try:
    import convlens  # noqa: F401
except ImportError:

    class Missing(ImportError):
        """Shown as its sentence alone."""

        def _render_traceback_(self):
            return [str(self)]

    raise Missing(
        "This notebook needs Python 3.11 or newer, the package ConvLens and the folders results/ and "
        "weights/ of its project: in that project's folder run `pip install '.[report]'`, then open "
        "notebooks/assignment2.ipynb there."
    ) from None

# %% tags=["parameters"]
RESULTS = "../results"
WEIGHTS = "../weights"
DATA = None
READING = {}

# %%
TRAIN = 3  # epochs of the short trainings in the cells, about a minute in all; 0 leaves them out

# %% tags=["hide-input"]
import html
import inspect
import io
import json
import math
import shlex
import sys
import textwrap
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown, display
from PIL import Image as Picture

from convlens import figures, formats, models, recipes
from convlens.data import augment as augmentation
from convlens.data import batches, open_dataset, trivial_augment
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
from convlens.look.arrays.layers import layer_table
from convlens.look.arrays.top_patches import crop, top_activating_patches
from convlens.models.hooks import conv_relu_layers
from convlens.models.layers import convolution, drop_path, pooling
from convlens.reporting import sentences
from convlens.reporting.sentences import listed, percent, plural, table
from convlens.training import criterion, ema, initialization, optim, schedule, step, trainer
from convlens.training.run_folder import RunFolder

UserError._render_traceback_ = lambda problem: [str(problem)]  # the sentence is enough
RESULTS, WEIGHTS = Path(RESULTS), Path(WEIGHTS)

# %% tags=["hide-input"]
# Reading the results -------------------------------------------------------------------------

if not (RESULTS / "summary.json").exists():
    raise UserError(
        f"this notebook shows results that lie beside it, and {RESULTS} holds no summary.json; "
        "`convlens reproduce` makes it"
    )
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
BEST = "convnet" if "convnet" in RUNS or "quick" not in RUNS else "quick"  # its coarse, short form
OF_1 = ("lenet5", "lenet5plus", BEST)  # the networks of question 1
MISSING = "*There is no record of `{}` in the results; `convlens reproduce` makes it.*"


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
def given(recipe):
    """The data set as a recipe's network is given it."""
    return trained(recipe).open_dataset(DATA, progress=False, **READING)


@cache
def seen(recipe):
    """What a recipe's network makes of the validation images, its probabilities of the logits as
    they are, as the losses have them; None where there are no weights."""
    network = trained(recipe)
    return None if network is None else network.evaluate(given(recipe)).at(temperature=1)


def mean_per_class(recipe, split):
    """Mean of the accuracies of the classes; NaN where the results do not tell."""
    field, run = f"{split}_mean_class_accuracy", RunFolder(RESULTS / recipe)
    metrics = run.read_metrics() if run.is_finished else {}
    return RUNS[recipe].get(field, metrics.get(field, math.nan))


def measures(recipe, split="validation"):
    """What is known of a recipe on those images beside its accuracy, as metrics.json has it: from
    the results, else of the validation images from the weights; empty where neither tells."""
    fields = {name: name for name in MEASURES}
    fields["balanced_accuracy"] = "mean_class_accuracy"  # as the results call it
    known = {name: RUNS[recipe].get(f"{split}_{field}") for name, field in fields.items()}
    if known["macro_f1"] is None and split == "validation":
        known = {} if seen(recipe) is None else seen(recipe).measures()
    return {name: value for name, value in known.items() if value is not None}


def settings(recipe):
    """The recipe as it was run: by its config.yaml, else the package's with the run's epochs."""
    try:
        return RunFolder(RESULTS / recipe).read_config().recipe
    except UserError:
        if recipe not in recipes.RECIPES:
            return None
        return replace(recipes.RECIPES[recipe](), epochs=RUNS[recipe]["epochs"])


def accuracy(recipe):
    return sentences.with_error(RUNS[recipe]["validation_accuracy"], N)


def difference(first, second):
    return sentences.difference(RUNS[first], RUNS[second], N)


def tier(recipe):
    return sentences.tier(RUNS[recipe])


# Showing -------------------------------------------------------------------------------------

figure_number = 0


def text(*paragraphs):
    display(Markdown("\n\n".join(paragraph for paragraph in paragraphs if paragraph)))


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
        plt.close(picture)
        png = buffer.getvalue()
    figure_number += 1
    display(Image(png, alt=html.unescape(caption.replace("`", ""))))
    text(f"**Figure {figure_number}.** {caption}")


# %% tags=["hide-input"]
# What is known of the images -----------------------------------------------------------------

SIZE = next((Classifier.load(path).size for path in sorted(WEIGHTS.glob("*.safetensors"))), 64)
DATASET = open_dataset(DATA, size=SIZE, progress=False, **READING)
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
tested = max((RUNS[name].get("test_images") or 0 for name in ORDER), default=0)
text(
    sentences.of_the_demo(DATASET.name),
    f"{C} classes; {plural(len(DATASET.train), 'training image')} and {plural(N, 'validation image')} "
    f"of {SIZE}×{SIZE} pixels"
    + (f", and {plural(tested, 'test image')}, on which nothing was chosen. " if tested else ". ")
    + (
        f"One row a recipe, of seed {RUNS[ORDER[0]]['seed']}, whose curves, pictures and weights the "
        "rest of the report draws on."
        if ORDER
        else ""
    ),
    table(header, rows, "l" + "r" * (len(header) - 2)),
    f"Losses are mean cross-entropies in nats, against one-hot labels without smoothing. ± is, "
    f"everywhere before the appendix, the standard error √(p·(1−p)/n) of an accuracy p measured on the "
    f"n = {N:,} validation images. “Mean per class” is the mean of the {C} validation accuracies of "
    "the single classes.",
    seeds
    and "Training draws at random too: "
    + "; ".join(
        f"over {len(v)} seeds `{name}` has a mean validation accuracy of {percent(v.mean())}, from "
        f"{percent(v.min())} to {percent(v.max())}"
        for name, v in seeds.items()
    )
    + ".",
    "All figures are of the networks as they are after the last epoch (their weight average, where "
    "the recipe keeps one). No epoch was picked on the validation images: during training they are "
    "looked at for the curves alone. The packaged recipes were settled on a hold-out carved from "
    "`train/` (see `docs/LOG.md`).",
    short
    and f"{listed(short)} {'has' if len(short) == 1 else 'have'} learned less than half of the training "
    "images (the epochs stand in the last section before the appendix): such rows show that everything runs, not what the "
    "networks can do.",
    partial
    and f"Short trials: {listed(partial)} {'was' if len(partial) == 1 else 'were'} trained on a share of "
    "the training images only, which the command in the last section before the appendix tells; the "
    "training columns are of that share.",
    missing and MISSING.format("`, `".join(missing)),
)
if ORDER:
    show(
        figures.compare([RUNS[name] for name in ORDER]),
        "Accuracy of every recipe on both splits, as in the table, and the assignment's tiers.",
    )

# %% tags=["hide-input"]
measured = {
    (name, split): found
    for name in ORDER
    for split in ("validation", "test")
    if (found := measures(name, split))
}
columns = [m for m in MEASURES if any(m in found for found in measured.values())]
if measured:
    those = " and the ".join(dict.fromkeys(f"{split} images" for _, split in measured))
    text(
        f"**More measures of the same answers**, on the {those}:",
        table(
            ("recipe", "images of", *(MEASURES[column] for column in columns)),
            [
                (f"`{name}`", split, *(percent(found.get(c, math.nan)) for c in columns))
                for (name, split), found in measured.items()
            ],
            "ll" + "r" * len(columns),
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
        f"({listed(CLASSES[i] for i in LARGEST)}) {'holds' if len(LARGEST) == 1 else 'hold'} "
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
# | 5×5 convolutions, no padding named | Padding 2, so that a convolution keeps its map's size and both 4×4 pools divide it evenly (64 → 16 → 4 at 64×64). Without padding the second pool would drop the edge of an 11×11 map, 47 % of it. |
# | a fully connected layer with 1021 neurons | Literally 1021, although 1024 numbers enter it at 64×64 and 1021 may be a slip of the pen. |
# | a fully connected softmax layer | The layer is linear and gives logits; its softmax is `predict_proba`. The loss takes the logits, because the logarithm of a softmax is exact and stable only when both are computed together. |
# | one-hot encoding for labels | Labels are one-hot vectors from the batch to the loss, which is −Σ target · log softmax(logits). |
# | loss and accuracy on the training set | Measured after training, in evaluation mode, over the whole unaugmented training set. The learning curves show instead the running mean over the augmented batches of an epoch, with dropout on, which is usually worse. |
# | accuracy | The share of all images that are classified rightly; the mean per class stands beside it. |
# | the structure of LeNet-5 for ten classes | The listed layer sizes win over the sketch's; only the last layer follows the number of classes. |
# | “your above CNN model (after completing Q1)” | The best network of question 1 whose first two convolutions have 32 and 64 filters. |
# | the activation of the first conv layer | The output after its ReLU; where batch norm stands between convolution and ReLU, after both. |
# | conv_2 of ResNet-18: “stride 2×2” | In the paper the stride belongs to the max-pool that opens the stage. Both readings are in question 3. |

# %% [markdown]
# ## 1.2.1 Implement and improve a CNN model
#
# ### (a) LeNet5
#
# The images as tensors, and the labels as one-hot vectors; the short trainings use a part of the
# training images.

# %%
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
rows = torch.randperm(len(DATASET.train))[:1500].sort().values.numpy()


def tensors(images, labels):
    """Images as floats, (N, 3, H, W), and their labels one-hot, (N, classes)."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2) / 255
    return pixels, F.one_hot(torch.from_numpy(np.array(labels)).long(), C).float()


x_train, y_train = tensors(DATASET.train.images[rows], DATASET.train.labels[rows])
x_valid, y_valid = tensors(DATASET.validation.images[:], DATASET.validation.labels)
mean, std = x_train.mean((0, 2, 3), keepdim=True), x_train.std((0, 2, 3), keepdim=True)
x_train, x_valid = (x_train - mean) / std, (x_valid - mean) / std

# %% [markdown]
# The network, exactly the layers of the assignment. Batch norm and dropout are off here and on in
# part (b); the softmax is in the loss.


# %%
class LeNet5(nn.Module):
    def __init__(self, num_classes, size=64, improved=False):
        super().__init__()
        norm1d, norm2d = (nn.BatchNorm1d, nn.BatchNorm2d) if improved else (nn.Identity,) * 2
        bias = not improved  # batch norm brings its own shift
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2, bias=bias)
        self.bn1, self.relu1, self.pool1 = norm2d(32), nn.ReLU(), nn.MaxPool2d(4, 4)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2, bias=bias)
        self.bn2, self.relu2, self.pool2 = norm2d(64), nn.ReLU(), nn.MaxPool2d(4, 4)
        self.drop1, self.drop2 = nn.Dropout(0.25 * improved), nn.Dropout(0.25 * improved)
        self.fc1 = nn.Linear(64 * (size // 16) ** 2, 1021, bias=bias)
        self.bn3, self.relu3 = norm1d(1021), nn.ReLU()
        self.fc2 = nn.Linear(1021, 84, bias=bias)
        self.bn4, self.relu4 = norm1d(84), nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x):
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.relu3(self.bn3(self.fc1(self.drop1(x.flatten(1)))))
        x = self.relu4(self.bn4(self.fc2(self.drop2(x))))
        return self.fc3(x)  # logits; their softmax is the network's answer


def layers_of(network):
    """Each layer's name, kind, output for one image, and number of parameters."""
    rows = []

    def note(layer, inputs, output):
        size = "×".join(map(str, output.shape[1:]))
        rows.append((names[layer], type(layer).__name__, size, numbers(layer)))

    def numbers(layer):
        return f"{sum(parameter.numel() for parameter in layer.parameters()):,}"

    names = {layer: name for name, layer in network.named_children()}
    names = {k: v for k, v in names.items() if not isinstance(k, nn.Identity | nn.Dropout)}
    hooks = [layer.register_forward_hook(note) for layer in names]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, SIZE, SIZE))
    for hook in hooks:
        hook.remove()
    return [*rows, ("in all", "", "", numbers(network))]


text(table(("layer", "kind", "output", "parameters"), layers_of(LeNet5(C, SIZE)), "llrr"))

# %% [markdown]
# The loss on one-hot labels, the score of a split, and the training loop, which all networks share.


# %%
def cross_entropy(logits, targets, smoothing=0.0):
    """Mean of −Σ target · log softmax(logits), in nats."""
    targets = (1 - smoothing) * targets + smoothing / targets.shape[1]
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


@torch.no_grad()
def score(network, x, y):
    """Cross-entropy and accuracy in evaluation mode."""
    network.eval()
    logits = torch.cat([network(batch) for batch in x.split(64)])
    right = logits.argmax(dim=1) == y.argmax(dim=1)
    return cross_entropy(logits, y).item(), right.float().mean().item()


def fit(network, epochs, learning_rate=1e-3, weight_decay=0.0, smoothing=0.0, change=None):
    """Trains in place; after every epoch a row of losses and accuracies."""
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=weight_decay)
    rows = []
    for epoch in range(1, epochs + 1):
        network.train()
        for batch in torch.randperm(len(x_train)).chunk(-(-len(x_train) // 128)):
            x, y = x_train[batch], y_train[batch]
            loss = cross_entropy(network(change(x) if change else x), y, smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rows.append((epoch, *score(network, x_train, y_train), *score(network, x_valid, y_valid)))
    return rows


# %% tags=["hide-input"]
def full(recipe, network):
    """The stored result in words; and what its weights do in the cells' own network."""
    if recipe not in RUNS:
        return MISSING.format(recipe)
    run = RUNS[recipe]
    told = (
        f"The stored run of `{recipe}`: {plural(run['epochs'], 'epoch')}, "
        f"{percent(run['train_accuracy'])} of the training images and {accuracy(recipe)} of the "
        "validation images."
    )
    if trained(recipe) is None:
        return told
    stored = trained(recipe).model.state_dict()
    if any(stored[name].shape != value.shape for name, value in network.state_dict().items()):
        return told  # of gray images
    network.load_state_dict(stored)
    x = trained(recipe).inputs(given(recipe).validation.images[:])
    loss, right = score(network, x, y_valid)
    return (
        f"{told} Its stored weights, loaded into the network of the cell above: "
        f"{percent(right)}, {loss:.3f} nats."
    )


def stem_stride(recipe):
    """The stride of a ConvNet's first convolution, 2 for large images and in a coarse network."""
    return trained(recipe).origin.options.get("stem_stride", 1) if trained(recipe) else 1


def report_training(rows, recipe, network):
    """The short training in this notebook beside the full one, whose network is like `network`."""
    if rows:
        text(
            f"Trained here for {plural(len(rows), 'epoch')} on {plural(len(x_train), 'image')}:",
            table(
                ("epoch", "train loss", "train accuracy", "validation loss", "validation accuracy"),
                [(e, f"{a:.3f}", percent(b), f"{c:.3f}", percent(d)) for e, a, b, c, d in rows],
                "rrrrr",
            ),
        )
    text(full(recipe, network))


# %%
torch.manual_seed(0)
report_training(fit(LeNet5(C, SIZE), TRAIN), "lenet5", LeNet5(C, SIZE))

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
        + ("" if curves is None else sentences.after_lowest(run, curves, seen(recipe), N)),
    )


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
# assignment lists (batch norm, dropout, weight decay, a better initialization) and with augmentation:


# %%
def initialize(network):
    """He et al. 2015: normal weights whose variance suits the ReLU."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            mode = "fan_out" if isinstance(layer, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def change(x):
    """Each image mirrored or not, magnified by up to 1.2 and moved within what that cuts off."""
    part = 1 - torch.rand(len(x)) * (1 - 1 / 1.2)  # of the side that is kept
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = torch.where(torch.rand(len(x)) < 0.5, part, -part)
    theta[:, 1, 1] = part
    theta[:, :, 2] = (torch.rand(len(x), 2) * 2 - 1) * (1 - part)[:, None]
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


torch.manual_seed(0)
report_training(
    fit(initialize(LeNet5(C, SIZE, improved=True)), TRAIN, 2e-3, 0.05, 0.05, change),
    "lenet5plus",
    LeNet5(C, SIZE, improved=True),
)

# %% [markdown]
# A ConvNet changes the network too: convolutions that look closely before the map shrinks, residual
# blocks, and an average over the last map in place of large fully connected layers.


# %%
class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a smaller map is reached by averaging 2×2 pixels."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.pool = nn.Identity() if inputs == channels else nn.AvgPool2d(2, ceil_mode=True)
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if inputs != channels:
            projection = nn.Conv2d(inputs, channels, 1, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x):
        x = self.pool(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ConvNet(nn.Module):
    def __init__(self, num_classes, stem_stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stem_stride, padding=1, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(32), nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(64), nn.ReLU()
        self.stage1, self.stage2 = ResidualBlock(64, 64), ResidualBlock(64, 128)
        self.stage3, self.stage4 = ResidualBlock(128, 256), ResidualBlock(256, 320)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(320, num_classes)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.fc(self.avgpool(x).flatten(1))


text(table(("layer", "kind", "output", "parameters"), layers_of(ConvNet(C)), "llrr"))
report_training([], BEST, ConvNet(C, stem_stride(BEST)))  # too slow to be trained here

# %% tags=["hide-input"]
if augmented := next((name for name in OF_1[:0:-1] if name in RUNS), None):
    show(
        RESULTS / augmented / "batch.png",
        f"A training batch of `{augmented}` as the network sees it.",
    )

# %% tags=["hide-input"]
chosen = [name for name in (*OF_1, "resnet18") if name in RUNS]
flat = {}
for name in chosen:
    if recipe := settings(name):
        with torch.device("meta"):  # the layers, without their numbers
            network = recipe.build(C)
        values = dict(vars(recipe))
        values["batch norm"] = any("BatchNorm" in type(m).__name__ for m in network.modules())
        values["dropout"] = values.pop("model_options").get("dropout", 0.0)
        values["label smoothing"] = values.pop("label_smoothing")
        values["part of the side that is read (crop_pct)"] = values.pop("crop_pct")
        values["weight averaging (ema_decay)"] = values.pop("ema_decay")
        values |= {f"augment: {k}": v for k, v in vars(values.pop("augment")).items()}
        flat[name] = {k.replace("_", " ") if "(" not in k else k: v for k, v in values.items()}
        flat[name].pop("name")
keys = list(dict.fromkeys(key for values in flat.values() for key in values))


def said(value):
    """A setting as a person writes it."""
    if value is None or value is False or value == 0:
        return "–"
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


differing = [key for key in keys if len({said(values.get(key)) for values in flat.values()}) > 1]
if len(flat) > 1:
    text(
        "What differs between the recipes (– is off):",
        table(
            ("setting", *(f"`{name}`" for name in flat)),
            [
                (
                    markdown_code(key) if "(" not in key else key,
                    *(said(v.get(key)) for v in flat.values()),
                )
                for key in differing
            ],
        ),
        "`crop_pct` is the part of an image's side, of its middle, that a network is given when it "
        "answers: one that was trained on crops, which magnify, answers best at their magnification "
        "(Touvron et al. 2019). Logits are divided by `temperature` before they are read as "
        "probabilities; it was chosen on images held out of `train/` and changes no answer. "
        "`ema_decay` is that of the moving average of the weights over the steps, which is what is "
        "kept. The optimizer `muon` takes steps whose matrices are orthogonalized (Jordan et al. 2024).",
    )

# %% [markdown]
# #### Results of (b)

# %% tags=["hide-input"]
for name in OF_1[1:]:
    if name in RUNS:
        report_run(name)
        show_curves(name)
    else:
        text(MISSING.format(name))

# %% tags=["hide-input"]
steps = [name for name in OF_1 if name in RUNS]


def reason(first, second):
    if (first, second) == ("lenet5", "lenet5plus"):
        return "The convolutions, pools and linear layers are the same; what differs is in the table above."
    if first == "lenet5":
        return "Network and training change together."
    return "Here the network changes, and with it whatever the table above shows."


if steps:
    told = [
        f"- `{a}` → `{b}`: {accuracy(a)} → {accuracy(b)}, {difference(a, b)}. {reason(a, b)} "
        f"{sentences.gap_between_splits(RUNS[a], RUNS[b])}"
        for a, b in pairwise(steps)
    ]
    best_of_1 = max(steps, key=lambda name: RUNS[name]["validation_accuracy"])
    text(
        "#### What changed the accuracy, and by how much",
        "\n".join(told),
        len(steps) > 1
        and "Several settings change at once in a step, so these numbers credit the step as a whole, "
        "not its parts. The standard error of a difference is taken as if the two accuracies had been "
        "measured on different images, which is cautious, since the images are the same.",
        "**Tiers.** "
        + " ".join(
            f"`{name}` with {percent(RUNS[name]['validation_accuracy'])} "
            + (
                f"reaches {tier(name)}."
                if sentences.points_of(RUNS[name])
                else f"stays below {percent(0.65, 0)}, the lowest tier."
            )
            for name in steps
        ),
        f"The best network of question 1 is `{best_of_1}`. "
        + sentences.above_the_tiers(RUNS[best_of_1], N),
    )

# %% tags=["hide-input"]
ENSEMBLES = []
if (RESULTS / "ensembles.json").exists():
    ENSEMBLES = json.loads((RESULTS / "ensembles.json").read_text(encoding="utf-8"))


def at_its_temperature(recipe):
    """`seen` with the loss of the logits divided by the network's temperature."""
    answers = seen(recipe)
    return metrics.score(answers.logits / trained(recipe).temperature, answers.labels, CLASSES)


def averages(recipe):
    """Rows of a table: a recipe's network alone, at temperature 1 and at its own, and averages."""
    known = [record for record in ENSEMBLES if record["recipe"] == recipe]
    alone, tempered = seen(recipe), at_its_temperature(recipe)
    rows = [("one, its logits as they are", alone.loss, alone.accuracy, alone.mean_class_accuracy)]
    if trained(recipe).temperature != 1:
        at = f"one, at its temperature of {trained(recipe).temperature:g}"
        rows.append((at, tempered.loss, tempered.accuracy, tempered.mean_class_accuracy))
    groups = {}
    for record in known:
        groups.setdefault((len(record["seeds"]), record["tta"]), []).append(record)
    for (count, tta), mine in groups.items():
        what = f"mean of {count}" if count > 1 else "one"
        fields = ("loss", "accuracy", "mean_class_accuracy")
        means = (np.mean([record[f"validation_{field}"] for record in mine]) for field in fields)
        rows.append((f"{what}{', ten views (TTA)' * tta}", *means))
    return rows


averaged = [
    name
    for name in OF_1[1:]
    if name in RUNS and trained(name) and any(r["recipe"] == name for r in ENSEMBLES)
]
if averaged:
    found = {name: averages(name) for name in averaged}
    text(
        "#### What averaging adds",
        "Not part of the assignment: the mean of the probabilities of ten views of an image, shifted and "
        "mirrored (test-time augmentation, TTA), of several networks trained from different seeds, and "
        "of both. Averages are of probabilities at the recipe's temperature:",
        table(
            ("recipe", "networks", "validation loss", "validation accuracy", "mean per class"),
            [
                (f"`{name}`", what, f"{loss:.3f}", sentences.with_error(right, N), percent(classes))
                for name, rows in found.items()
                for what, loss, right, classes in rows
            ],
            "llrrr",
        ),
        *(
            sentences.by_temperature(
                name,
                trained(name).temperature,
                (seen(name).loss, at_its_temperature(name).loss, rows[-1][1]),
            )
            for name, rows in found.items()
        ),
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
        + sentences.recognized(perfect, nothing, len(classes)),
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
# A forward hook on the ReLU behind a convolution catches what passes through, and is removed
# afterwards; drawing is apart from it.


# %%
def activation(network, layer, x):
    """What `layer` puts out for the images x, (N, maps, h, w)."""
    caught = []
    hook = layer.register_forward_hook(lambda layer, inputs, output: caught.append(output))
    with torch.no_grad():
        network.eval()(x)
    hook.remove()
    return caught[0]


def draw(image, maps):
    """The image, and beside it all of its maps on one scale, 8 or 16 in a row."""
    columns = 8 if len(maps) <= 32 else 16
    rows = -(-len(maps) // columns)
    part = columns / (columns + 2)  # of the width is the maps', the rest the image's
    figure = plt.figure(figsize=(8, 8 * part * rows / columns))
    whole, right = figure.subfigures(1, 2, width_ratios=(1 - part, part))
    axes = whole.subplots()
    axes.imshow(image)
    axes.axis("off")
    strongest = max(float(maps.quantile(0.995)), 1e-9)
    for axes, values in zip(right.subplots(rows, columns).flat, maps, strict=False):
        picture = axes.imshow(values, cmap="magma", vmin=0, vmax=strongest)
    for axes in right.axes:
        axes.axis("off")
    right.subplots_adjust(0, 0, 0.94, 1, 0.06, 0.06)
    figure.colorbar(picture, cax=figure.add_axes((0.975, 0.1, 0.01, 0.8))).ax.tick_params(
        labelsize=6
    )
    return figure


# %% tags=["hide-input"]
with_weights = [name for name in ORDER if (WEIGHTS / f"{name}.safetensors").exists()]
candidates = [name for name in with_weights if name in OF_1]
ranked = sorted(candidates, key=lambda name: -RUNS[name]["validation_accuracy"])
LOOKED_AT = next(iter(ranked or with_weights), None)
if LOOKED_AT is None:
    text(
        "*The weights folder holds no network of these results, so there are no activations to show.*"
    )
else:
    network = trained(LOOKED_AT)
    text(
        f"The network is `{LOOKED_AT}`"
        + (
            ", the best of question 1 whose weights are at hand. "
            if ranked
            else ", because no network of question 1 is at hand. "
        )
        + sentences.what_is_shown(LOOKED_AT, network.crop_pct, network.size)
    )

# %%
if LOOKED_AT:
    paths, images = zip(*assigned_images(DATASET), strict=True)  # uint8, (H, W, 3) each
    x = network.inputs(images)  # normalized as in training
    layers = conv_relu_layers(network.model, network.size)[:2]  # the names of two ReLUs
    maps = {
        layer: activation(network.model, network.model.get_submodule(layer), x) for layer in layers
    }
    for layer, which in zip(layers, ("first", "second"), strict=False):
        for image, values, path in zip(images, maps[layer], paths, strict=True):
            caption = f"The {len(values)} activations of the {which} convolution, for"
            show(draw(image, values), f"{caption} {markdown_code(Path(path).with_suffix(''))}.")

# %% tags=["hide-input"]
if LOOKED_AT:
    maps = {layer: values.numpy() for layer, values in maps.items()}
    image_names = [str(Path(path).with_suffix("")) for path in paths]
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


# %% tags=["hide-input"]
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
    as_it_answers = [image for _, image in assigned_images(given(LOOKED_AT))]
    answers = network.probabilities(network.logits(np.stack(as_it_answers)))  # (2, C)
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
if LOOKED_AT:
    second, dataset = layers[-1], given(LOOKED_AT)
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
    agreement = float(np.median(fits)) if fits else 0.0
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
        f"of its {k} patches by {agreement:.2f} (median over the maps). "
        + (
            "The chain of both kernels thus tells roughly which colors and directions a map looks for; "
            "what it leaves open is the work of the ReLU between the layers, which lets a unit demand "
            "several things at once instead of adding them up."
            if agreement > 0.3
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
# ResNet-18 after He et al. 2016 (table 1 and figure 5, with projections where the shape changes), with
# labels one-hot and the loop as before.


# %%
class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, inputs, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            projection = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + shortcut)


class ResNet18(nn.Module):
    def __init__(self, num_classes, conv2_stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)  # conv_1
        self.bn1, self.relu = nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)  # opens conv_2
        self.layer1 = nn.Sequential(BasicBlock(64, 64, conv2_stride), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128))  # conv_3
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256))  # conv_4
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512))  # conv_5
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


text(table(("layer", "kind", "output", "parameters"), layers_of(ResNet18(C)), "llrr"))

# %%
torch.manual_seed(0)
report_training(fit(initialize(ResNet18(C)), TRAIN, change=change), "resnet18", ResNet18(C))

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
    points, ratio = sentences.distance(RUNS["resnet18_stride2"], RUNS["resnet18"], N)
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
    points, ratio = sentences.distance(RUNS[best_of_1], RUNS["resnet18"], N)
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
            if sentences.points_of(RUNS["resnet18"])
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
            f"But {listed(unfinished)} had learned less than half of the training images when training "
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
# ## Appendix: the package's code
#
# What trained the networks whose results stand above, read from the installed package. First what each
# technique is worth alone: one thing is changed at a time, on images held out of `train/`; `python
# benchmarks/ablation.py` measures it.

# %% tags=["hide-input"]
if (RESULTS / "ablation.md").exists():
    text((RESULTS / "ablation.md").read_text(encoding="utf-8"))

# %% [markdown]
# ### Networks

# %% tags=["hide-input"]
show_code(models.lenet5, models.convnet, models.resnet18, convolution, pooling, drop_path)

# %% [markdown]
# ### Recipes

# %% tags=["hide-input"]
show_code(recipes.lenet5, recipes.lenet5plus, recipes.convnet)
show_code(recipes.resnet18, recipes.resnet18_stride2)

# %% [markdown]
# ### Batches, augmentation, loss and loop

# %% tags=["hide-input"]
show_code(batches.one_hot, batches.Batches, augmentation, trivial_augment, criterion)
show_code(trainer.Trainer.fit, trainer.Trainer._train_epoch, step.train_step, metrics.score)

# %% [markdown]
# ### Optimizers, schedule, initialization and weight averaging

# %% tags=["hide-input"]
show_code(optim, schedule, initialization, ema)

# %% [markdown]
# ### What is seen inside

# %% tags=["hide-input"]
show_code(conv_relu_layers, activations, figures.activations, first_filters, figures.filters)
show_code(top_activating_patches, deconvolution, composite_filters)
show_code(figures.learning_curves, figures.confusion)
