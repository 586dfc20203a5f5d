"""The lines that tell what a run scores."""

import pytest

from convlens.cli.metrics import print_folds, print_run

RUN = {
    "epochs": 4,
    "train_loss": 0.5,
    "train_accuracy": 0.9,
    "train_mean_class_accuracy": 0.8,
    "holdout_loss": 1.25,
    "holdout_accuracy": 0.75,
    "holdout_mean_class_accuracy": 0.7,
    "holdout_images": 1200,
    "holdout_standard_error": 0.0123,
    "holdout_mean_class_standard_error": 0.02,
    "holdout_near_duplicates": 0,
    "holdout_accuracy_without_near_duplicates": 0.75,
    "calibration_error": 0.05,
    "calibrated_error": 0.02,
    "temperature": 1.0,
    "last_holdout_loss": 1.5,
    "last_holdout_accuracy": 0.74,
    "last_holdout_mean_class_accuracy": 0.7,
    "best_epoch": 4,
}
LINES = [
    "train      loss 0.5000  accuracy 90.00%  mean per class 80.00%",
    "holdout    loss 1.2500  accuracy 75.00%  mean per class 70.00%",
    "           ± 1.2 and 2.0 points (standard errors)",
    "calibration error 5.0%",
]


def test_both_splits_their_uncertainty_and_the_calibration_are_told(capsys):
    print_run(RUN)
    assert capsys.readouterr().out.splitlines() == LINES


@pytest.mark.parametrize(
    ("changes", "line", "told"),
    [
        ({"temperature": 0.9}, 3, "calibration error 5.0%, 2.0% at temperature 0.90"),
        (
            {"holdout_near_duplicates": 12, "holdout_accuracy_without_near_duplicates": 0.6},
            2,
            f"{LINES[2]}; 12 of 1,200 images also in training, without them accuracy 60.00%",
        ),
        (
            {"holdout_near_duplicates": 1200, "holdout_accuracy_without_near_duplicates": None},
            2,
            f"{LINES[2]}; 1,200 of 1,200 images also in training",
        ),
        ({"holdout_near_duplicates": None}, 2, LINES[2]),  # not looked for
        (
            {"holdout_near_duplicates": None, "holdout_near_duplicates_unknown": "all are alike"},
            3,
            "           not known which images are also in training: all are alike",
        ),
        (
            {"best_epoch": 3},
            3,
            "           of epoch 3, the best of 4; after the last, accuracy 74.00%",
        ),
    ],
)
def test_what_is_particular_about_a_run_is_told_too(changes, line, told, capsys):
    print_run({**RUN, **changes})
    lines = capsys.readouterr().out.splitlines()
    assert lines[line] == told
    assert len(lines) == 4 + len({"best_epoch", "holdout_near_duplicates_unknown"} & set(changes))


def test_more_measures_are_one_more_line_of_what_is_known(capsys):
    more = {
        "holdout_top5_accuracy": 0.931,
        "holdout_macro_precision": 0.66,
        "holdout_macro_f1": 0.642,
        "holdout_macro_roc_auc": 0.987,
        "holdout_accuracy_interval": [0.724, 0.774],
    }
    print_run({**RUN, **more})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] + lines[3:] == LINES
    assert lines[2] == (
        "           top-5 93.1%  macro precision 66.0%  F1 64.2%  ROC-AUC 98.7%; "
        "accuracy within 72.4% to 77.4% (95% interval)"
    )
    few = {"holdout_top5_accuracy": None, "holdout_macro_roc_auc": None}  # one class has images
    print_run({**RUN, **more, **few})
    assert "           macro precision 66.0%  F1 64.2%; accuracy" in capsys.readouterr().out


def test_the_test_images_are_told_beside_validation(capsys):
    named = ("loss", "accuracy", "mean_class_accuracy", "standard_error")
    test = {f"test_{name}": RUN[f"holdout_{name}"] for name in named}
    print_run({**RUN, **test, "test_mean_class_standard_error": 0.02})
    assert capsys.readouterr().out.splitlines() == [
        *LINES[:3],
        "test       loss 1.2500  accuracy 75.00%  mean per class 70.00%",
        *LINES[2:],
    ]


def test_folds_are_told_one_by_one_and_on_average(capsys):
    records = [
        {"last_holdout_accuracy": share, "last_holdout_mean_class_accuracy": share / 2}
        for share in (0.5, 0.7)
    ]
    means = {
        "holdout_accuracy": 0.6,
        "holdout_accuracy_standard_error": 0.1,
        "holdout_mean_class_accuracy": 0.3,
        "holdout_mean_class_accuracy_standard_error": 0.05,
    }
    print_folds({**means, "records": records})
    assert capsys.readouterr().out.splitlines() == [
        "fold 1     accuracy 50.00%  mean per class 25.00%",
        "fold 2     accuracy 70.00%  mean per class 35.00%",
        "accuracy 60.00% ± 10.00 points",
        "mean per class 30.00% ± 5.00 points",
    ]
