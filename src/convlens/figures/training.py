"""Pictures of training: the curves, a batch as the network sees it, the recipes side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convlens.figures.style import (
    BLUE,
    GRAY,
    VERMILION,
    bare,
    check_classes,
    in_color,
    new_figure,
    shorten,
    styled,
)

# The assignment's table: points by the validation accuracy from which there are so many.
TIERS = {0.65: 5, 0.67: 8, 0.69: 12, 0.71: 15}


@styled
def learning_curves(history: Mapping[str, np.ndarray]) -> Figure:
    """Loss (nats) and accuracy against the epoch, side by side.

    history: the columns of history.csv, each of shape (epochs,): epoch, train_loss, train_accuracy
    and, where the run measured them, validation_loss, validation_accuracy and
    validation_mean_class_accuracy, or the same with holdout; losses in nats, accuracies in 0..1;
    NaN for an epoch without a measurement.
    """
    monitored = "holdout" if "holdout_loss" in history else "validation"
    series = (  # column, label, line
        ("train_{}", "training (running mean over batches as augmented)", {"color": VERMILION}),
        (f"{monitored}_{{}}", f"{monitored} (evaluation mode)", {"color": BLUE}),
        (
            f"{monitored}_mean_class_{{}}",
            f"{monitored}, mean per class",
            {"color": BLUE, "linestyle": (0, (2, 1.5)), "linewidth": 1},
        ),
    )
    epochs = np.asarray(history["epoch"])
    figure = new_figure(height=3.3)
    loss, accuracy = figure.subplots(1, 2)
    handles = {}
    for ax, quantity, scale in (loss, "loss", 1), (accuracy, "accuracy", 100):
        for column, label, line in series:
            values = np.asarray(history.get(column.format(quantity), np.nan), dtype=float) * scale
            if not np.isfinite(values).any():
                continue
            measured = np.isfinite(values)
            style = {"linewidth": 1.6, **line}
            marker = "o" if measured.sum() <= 12 else None
            (drawn,) = ax.plot(
                epochs[measured], values[measured], marker=marker, markersize=3, **style
            )
            handles.setdefault(label, drawn)
        ax.grid(True)
        ax.set(xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    loss.set_ylim(bottom=0)
    accuracy.set(title="Accuracy", ylabel="accuracy (%)", ylim=(0, 100))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


@styled
def batch(
    images: np.ndarray,
    targets: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
) -> Figure:
    """Up to 32 images of a training batch as the network sees them, denormalized and clipped.

    images: float, normalized, shape (B, 3, H, W), or (B, 1, H, W) of gray. targets: float, shape
    (B, C), rows summing to 1: one-hot, smoothed or mixed; the title gives the class, or the classes
    with at least 5 %. mean, std: of the normalization, three numbers or one, for values in 0..1.
    classes: the C names.
    """
    images, targets = np.asarray(images)[:32], np.asarray(targets)
    check_classes(targets.shape[1], classes)
    scale = np.reshape(std, (-1, 1, 1)), np.reshape(mean, (-1, 1, 1))
    shown = in_color((images * scale[0] + scale[1]).clip(0, 1).transpose(0, 2, 3, 1))
    columns = min(len(shown), 8)
    rows = -(-len(shown) // columns)
    figure = new_figure(height=rows * 1.32 + 0.3, width=max(columns, 3))
    figure.suptitle("A training batch as the network sees it")
    for i, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        bare(ax)
        if i >= len(shown):
            ax.set_visible(False)
            continue
        ax.imshow(shown[i], interpolation="nearest")
        order = np.argsort(-targets[i], kind="stable")[:2]
        mixed = [
            (shorten(classes[int(c)], 12), targets[i, c]) for c in order if targets[i, c] >= 0.05
        ]
        if len(mixed) == 2:
            title = " +\n".join(f"{name} {share:.2f}" for name, share in mixed)
        else:
            title = shorten(classes[int(order[0])], 18)
        ax.set_title(title, fontsize=6.3, pad=2)
    return figure


@styled
def compare(results: Sequence[Mapping]) -> Figure:
    """Training and validation accuracy of several recipes, with the assignment's tiers.

    results: records of results/summary.json; of each, `recipe`, `train_accuracy` and
    `validation_accuracy` (0..1) are read. Records of one recipe are its seeds: the dot is their
    mean, the bar one standard error. Recipes stand in the order of their first record.
    """
    recipes = list(dict.fromkeys(record["recipe"] for record in results))
    figure = new_figure(height=0.45 * len(recipes) + 1.1)
    ax = figure.subplots()
    lowest = 1.0
    for row, recipe in enumerate(recipes):
        records = [record for record in results if record["recipe"] == recipe]
        dots = []
        for column, name, color, offset in (
            ("train_accuracy", "training", VERMILION, -9),
            ("validation_accuracy", "validation", BLUE, 9),
        ):
            values = 100 * np.array([record[column] for record in records])
            mean, n = values.mean(), len(values)
            error = values.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
            lowest = min(lowest, mean / 100)
            dots.append(mean)
            ax.errorbar(
                mean, row, xerr=error or None, fmt="o", markersize=5, color=color, capsize=4
            )
            text = f"{mean:.1f}" + (f" ± {error:.1f} (n={n})" if n > 1 else "")
            ax.annotate(
                f"{name} {text}" if row == 0 else text,
                (mean, row),
                (0, offset),
                textcoords="offset points",
                color=color,
                ha="center",
                va="center",
                fontsize=7.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        ax.plot(dots, [row, row], color="#BBBBBB", linewidth=1.2, zorder=2)
    for tier in TIERS:
        ax.axvline(100 * tier, color=GRAY, linewidth=0.6, zorder=1)
        ax.annotate(
            f"{100 * tier:.0f}",
            (100 * tier, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=6,
            color=GRAY,
        )
    ax.set_yticks(range(len(recipes)), [shorten(recipe, 26) for recipe in recipes])
    ax.set_ylim(len(recipes) - 0.4, -0.6)
    ax.set_xlim(min(60, 10 * np.floor(10 * lowest) - 3), 103)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("accuracy (%); gray lines: the assignment's tiers")
    return figure
