"""Tables by hand."""

import pytest

from convlens.reporting.tables import (
    compact_table,
    ensembles_table,
    mean,
    measures_table,
    results_table,
    standard_error,
)

RECORD = {
    "recipe": "lenet5",
    "epochs": 3,
    "train_loss": 1.0,
    "train_accuracy": 0.5,
    "validation_loss": 2.0,
    "validation_accuracy": 0.25,
    "validation_mean_class_accuracy": 0.125,
    "validation_images": 1911,
    "validation_standard_error": 0.01,
    "validation_mean_class_standard_error": 0.015,
    "validation_near_duplicates": 7,
    "validation_accuracy_without_near_duplicates": 0.2,
    "seconds": 90,
    "device": "cpu, 2 threads",
}


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.5], "50.0%"), ([0.5, None], "50.0%"), ([None], "–"), ([0.4, 0.6], "50.0% ± 10.0%")],
)
def test_means(values, text):
    assert mean([{"a": value} for value in values], "a", "{:.1%}") == text


def test_a_standard_error_is_the_spread_over_the_root_of_their_number():
    assert standard_error([1, 2, 3, 4]) == pytest.approx((5 / 3) ** 0.5 / 2)


def test_a_recipe_is_a_row_with_what_reproduces_it():
    assert results_table([RECORD]).splitlines()[2:] == [
        "| `lenet5` | 1 | 3 | 1.000 | 50.0% | 2.000 | 25.0% | 20.0% | 12.5% "
        "| 2 on cpu, 2 threads | `convlens reproduce lenet5` |",
        "",
        "On 1,911 images an accuracy has a standard error of 1.0 points and a mean per class one "
        "of 1.5; the accuracies on two random halves of them differ by 2.0 points (one standard "
        "deviation). 7 of them have a near-duplicate in `train/`.",
    ]


def test_several_seeds_share_a_row():
    other = {**RECORD, "validation_accuracy": 0.35, "validation_standard_error": 0.013}
    table = results_table([RECORD, other])  # the standard error of 25 and 35 is 5
    assert "| `lenet5` | 2 |" in table and "30.0% ± 5.0%" in table
    assert "standard error of 1.0 to 1.3 points" in table


def test_what_a_record_does_not_say_is_a_dash():
    unknown = [name for name in RECORD if "near_duplicates" in name or "error" in name]
    older = {**RECORD, **dict.fromkeys(unknown)}
    assert "| 25.0% | – | 12.5% |" in results_table([older, {**RECORD, "recipe": "convnet"}])
    assert ". An unknown number of them have a near-duplicate" in results_table([older])


def test_the_time_is_that_of_the_fastest_seed_on_what_it_ran():
    slow = {**RECORD, "model": "LeNet5", "seconds": 600, "device": "cpu, 1 thread"}
    slow |= {"precision": "fp32"}
    fast = {**slow, "seed": 1, "seconds": 150, "precision": "bf16"}
    assert "| 2 on cpu, 1 thread, bf16 |" in results_table([slow, fast])
    assert "| 10 on cpu, 1 thread, fp32 |" in results_table([slow])
    assert "| 2 min, cpu, 1 thread, bf16 |" in compact_table([slow, fast])
    assert "| < 1 on cpu, 1 thread, fp32 |" in results_table([{**slow, "seconds": 12}])


def test_more_measures_and_the_figures_of_test_are_listed_where_they_are_known():
    more = {
        "validation_macro_f1": 0.5,
        "validation_top5_accuracy": None,
        "test_accuracy": 0.75,
        "test_mean_class_accuracy": 0.625,
        "test_macro_roc_auc": 0.875,
        "test_macro_f1": 0.375,
    }
    other = {**RECORD, "recipe": "convnet", **more}
    titles, _, first, second, _, _, _, *rest = results_table([RECORD, other]).splitlines()
    assert " | mean per class | test accuracy | test mean per class | minutes | " in titles
    assert "| 12.5% | – | – | 2 on cpu, 2 threads |" in first
    assert "| 12.5% | 75.0% | 62.5% | 2 on cpu, 2 threads |" in second
    assert rest == [
        "| recipe | images of | balanced accuracy (mean per class) | top-5 accuracy "
        "| macro precision | macro F1 | macro ROC-AUC |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
        "| `convnet` | validation | 12.5% | – | – | 50.0% | – |",
        "| `convnet` | test | 62.5% | – | – | 37.5% | 87.5% |",
    ]
    assert measures_table([RECORD]) == ""


def test_an_ensemble_is_a_row_and_single_networks_share_one():
    record = {
        "recipe": "lenet5",
        "seeds": [0, 1],
        "tta": False,
        "validation_loss": 2.0,
        "validation_accuracy": 0.25,
        "validation_mean_class_accuracy": 0.125,
        "validation_accuracy_without_near_duplicates": None,
        "command": "convlens evaluate a --ensemble b",
    }
    alone = [
        {**record, "seeds": [seed], "tta": True, "validation_accuracy": value, "command": "c"}
        for seed, value in ((0, 0.4), (1, 0.6))
    ]
    assert ensembles_table([record, *alone]).splitlines()[2:] == [
        "| `lenet5` | 2 | 2.000 | 25.0% | – | 12.5% | `convlens evaluate a --ensemble b` |",
        "| `lenet5`, TTA | 1 (2 seeds) | 2.000 ± 0.000 | 50.0% ± 10.0% | – | 12.5% ± 0.0% | `c` |",
    ]
    short = ensembles_table([record], commands=False)
    assert short.splitlines()[0].endswith("| mean per class |") and "evaluate" not in short


def test_the_compact_table_has_means_and_the_most_accurate_first():
    """Also of records that lack what older versions did not measure."""
    best = {**RECORD, "recipe": "convnet", "validation_accuracy": 0.9}
    records = [{**r, "model": "LeNet5"} for r in (RECORD, {**RECORD, "seconds": 210}, best)]
    assert compact_table(records).splitlines()[2:] == [
        "| `convnet` | LeNet5 | 90.0% | 12.5% | 2 min, cpu, 2 threads |",
        "| `lenet5` | LeNet5 | 25.0% | 12.5% | 2 min, cpu, 2 threads |",
    ]
