"""Tables of trained runs as Markdown: what the README, the cards and the notebook quote."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from convlens.escape import markdown, markdown_code
from convlens.inference.measures import LABELS

Record = dict[str, Any]

MORE = {name: label for name, label in LABELS.items() if name != "balanced_accuracy"}


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of `values`, at least two: s/√n."""
    return statistics.stdev(values) / math.sqrt(len(values))


def mean(records: Sequence[Record], field: str, form: str) -> str:
    """The records' mean of a field, with ± its standard error where there are several.

    Args:
        records: Those in which the field is None are left out; where none is left, the mean is –.
        field: Of a record.
        form: How a number is written, such as "{:.1%}".
    """
    values = [record[field] for record in records if record[field] is not None]
    if not values:
        return "–"
    middle = form.format(statistics.mean(values))
    if len(values) == 1:
        return middle
    return f"{middle} ± {form.format(standard_error(values))}"


def results_table(records: Sequence[Record]) -> str:
    """The records of results/summary.json, a row a recipe, and how far its figures can be trusted.

    ± is the standard error over a recipe's seeds; minutes are the fastest seed's. Where records
    have figures of test/, they stand beside those of validation; where they have more measures, a
    second table lists them.
    """
    tested = _some_know(records, "test_accuracy")
    titles = [
        "recipe",
        "seeds",
        "epochs",
        "train loss",
        "train accuracy",
        "validation loss",
        "validation accuracy",
        "without near-duplicates",
        "mean per class",
        *["test accuracy", "test mean per class"] * tested,
        "minutes",
        "reproduce with",
    ]
    rows = []
    for name in dict.fromkeys(record["recipe"] for record in records):
        mine = [record for record in records if record["recipe"] == name]
        rows.append(
            [
                markdown_code(name),
                str(len(mine)),
                str(mine[0]["epochs"]),
                mean(mine, "train_loss", "{:.3f}"),
                mean(mine, "train_accuracy", "{:.1%}"),
                mean(mine, "validation_loss", "{:.3f}"),
                mean(mine, "validation_accuracy", "{:.1%}"),
                mean(mine, "validation_accuracy_without_near_duplicates", "{:.1%}"),
                mean(mine, "validation_mean_class_accuracy", "{:.1%}"),
                *_means(mine, ("test_accuracy", "test_mean_class_accuracy") * tested),
                _minutes(mine),
                markdown_code(f"convlens reproduce {name}" + _seeds(mine)),
            ]
        )
    rules = [":--"] + ["--:"] * (len(titles) - 2) + [":--"]
    text = _table(titles, rules, rows) + "\n" + uncertainty_in_words(records) + "\n"
    more = measures_table(records)
    return f"{text}\n{more}" if more else text


def compact_table(records: Sequence[Record]) -> str:
    """What a stranger asks first of the records of results/summary.json, a row a recipe.

    Means over a recipe's seeds, the most accurate first, without errors: `results_table` has them.
    """
    titles = ["recipe", "network", "validation accuracy", "mean per class", "training time"]
    names = dict.fromkeys(record["recipe"] for record in records)
    groups = [[r for r in records if r["recipe"] == name] for name in names]
    groups.sort(key=lambda mine: -statistics.mean(r["validation_accuracy"] for r in mine))
    rows = [
        [
            markdown_code(mine[0]["recipe"]),
            markdown(mine[0]["model"]),
            *(
                f"{statistics.mean(record[field] for record in mine):.1%}"
                for field in ("validation_accuracy", "validation_mean_class_accuracy")
            ),
            _minutes(mine).replace(" on ", " min, ", 1),
        ]
        for mine in groups
    ]
    return _table(titles, [":--", ":--", "--:", "--:", "--:"], rows)


def measures_table(records: Sequence[Record]) -> str:
    """Top-5 accuracy, macro precision, F1 and ROC-AUC of records, a row a recipe and split.

    Balanced accuracy, the mean per class, stands first for comparison. Recipes whose records have
    none of them are left out; "" where none has any.
    """
    rows = []
    for name in dict.fromkeys(record["recipe"] for record in records):
        mine = [record for record in records if record["recipe"] == name]
        for split in ("validation", "test"):
            if _some_know(mine, f"{split}_macro_f1"):
                fields = ("mean_class_accuracy", *MORE)
                figures = _means(mine, [f"{split}_{field}" for field in fields])
                rows.append([markdown_code(name), split, *figures])
    if not rows:
        return ""
    titles = ["recipe", "images of", LABELS["balanced_accuracy"], *MORE.values()]
    return _table(titles, [":--", ":--"] + ["--:"] * (len(titles) - 2), rows)


def _some_know(records: Sequence[Record], field: str) -> bool:
    """Whether a record has a figure; older ones have fewer, and not every data set has test/."""
    return any(record.get(field) is not None for record in records)


def _means(records: Sequence[Record], fields: Sequence[str]) -> list[str]:
    """The mean of each field in percent, – where no record has it."""
    return [mean([{f: None, **record} for record in records], f, "{:.1%}") for f in fields]


def ensembles_table(records: Sequence[Record], commands: bool = True) -> str:
    """The records of results/ensembles.json; of single networks the mean over the seeds.

    Args:
        records: The measured ensembles.
        commands: With a column of what prints each row, which needs a wide page.
    """
    titles = [
        "averaged",
        "networks",
        "validation loss",
        "validation accuracy",
        "without near-duplicates",
        "mean per class",
        *["reproduce with"] * commands,
    ]
    groups: dict[tuple[str, int, bool], list[Record]] = {}
    for record in records:
        key = (record["recipe"], len(record["seeds"]), record["tta"])
        groups.setdefault(key, []).append(record)
    rows = []
    for (recipe, size, tta), mine in groups.items():
        rows.append(
            [
                markdown_code(recipe) + ", TTA" * tta,
                f"{size}" + f" ({len(mine)} seeds)" * (len(mine) > 1),
                mean(mine, "validation_loss", "{:.3f}"),
                mean(mine, "validation_accuracy", "{:.1%}"),
                mean(mine, "validation_accuracy_without_near_duplicates", "{:.1%}"),
                mean(mine, "validation_mean_class_accuracy", "{:.1%}"),
                *[markdown_code(mine[0]["command"])] * commands,
            ]
        )
    return _table(titles, [":--"] + ["--:"] * 5 + [":--"] * commands, rows)


def uncertainty_in_words(records: Sequence[Record]) -> str:
    """What the choice of the validation images adds to the figures, and how many have leaked."""

    def span(field: str, form: str = "{:.1f}", times: float = 100) -> str:
        values = [record[field] for record in records if record[field] is not None]
        if not values:
            return "an unknown number"
        low, high = (form.format(times * value) for value in (min(values), max(values)))
        return low if low == high else f"{low} to {high}"

    leaked = span("validation_near_duplicates", "{:,.0f}", 1)
    return (
        f"On {span('validation_images', '{:,.0f}', 1)} images an accuracy has a standard error of "
        f"{span('validation_standard_error')} points and a mean per class one of "
        f"{span('validation_mean_class_standard_error')}; the accuracies on two random halves of "
        f"them differ by {span('validation_standard_error', times=200)} points (one standard "
        f"deviation). {leaked[0].upper()}{leaked[1:]} of them have a near-duplicate in `train/`."
    )


def _table(titles: Sequence[str], rules: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (titles, rules, *rows))


def _seeds(records: Sequence[Record]) -> str:
    """The option of `reproduce` that trains as many seeds as there are; none for the usual one."""
    return f" --seeds {len(records)}" if len(records) > 1 else ""


def _minutes(records: Sequence[Record]) -> str:
    """The time of the fastest run, which other programs disturbed least, and on what it ran."""
    fastest = min(records, key=lambda record: record["seconds"])
    where = ", ".join(filter(None, (fastest["device"], fastest.get("precision"))))
    minutes = fastest["seconds"] / 60
    return f"{f'{minutes:.0f}' if minutes >= 0.5 else '< 1'} on {markdown(where)}"
