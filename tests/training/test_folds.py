import dataclasses
import json
import math
import statistics

import numpy as np
import pytest

from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.recipes import RECIPES
from convlens.training import run as runs
from convlens.training.run_folder import load_trained
from convlens.training.folds import cross_validate
from convlens.training.trainer import Config, monitored_splits

OPTIONS = {"device": "cpu", "precision": "fp32"}


def tiny():
    return dataclasses.replace(
        RECIPES["lenet5plus"](), epochs=1, batch_size=16, size=16, train_size=16, early_size=16
    )


def test_the_folds_cover_train_without_overlap_and_never_touch_validation(toy_data):
    dataset = open_dataset(toy_data, size=16)
    held_out = []
    for fold in range(1, 6):
        config = Config(tiny(), str(toy_data), folds=5, fold=fold)
        splits = monitored_splits(config, dataset)
        kept, part = splits["train"], splits["holdout"]
        assert set(kept.paths) | set(part.paths) == set(dataset.train.paths)
        assert not set(kept.paths) & set(part.paths)
        per_class = np.bincount(part.labels, minlength=5)
        assert per_class.max() - per_class.min() <= 1  # 12 of each class in 5 parts
        held_out += part.paths
    assert sorted(held_out) == sorted(dataset.train.paths)


def test_means_and_standard_errors_over_the_folds_and_nothing_is_repeated(
    toy_data, tmp_path, capsys
):
    options = {"data": toy_data, "seed": 2, **OPTIONS}
    result = cross_validate(tiny(), tmp_path / "cv", 3, **options)
    records = [runs.read_metrics(tmp_path / "cv" / f"fold-{i}") for i in (1, 2, 3)]
    assert result["records"] == records
    assert json.loads((tmp_path / "cv" / "cross-validation.json").read_text()) == result
    accuracies = [record["holdout_accuracy"] for record in records]
    assert result["holdout_accuracy"] == statistics.mean(accuracies)
    assert result["holdout_accuracy_standard_error"] == pytest.approx(
        statistics.stdev(accuracies) / math.sqrt(3)
    )
    assert sum(record["holdout_images"] for record in records) == 60
    assert not any("validation" in name for name in records[0])
    assert records[1]["command"].endswith("--folds 3 --fold 2 --seed 2")
    assert load_trained(tmp_path / "cv" / "fold-2").temperature == records[1]["temperature"] != 1

    (tmp_path / "cv" / "fold-2" / "metrics.json").unlink()  # as if it had been cut at the end
    capsys.readouterr()
    again = cross_validate(tiny(), tmp_path / "cv", 3, **options)
    told = capsys.readouterr().out
    assert again == result
    assert told.count("data set") == 1 and "train loss" not in told  # none was trained again
    with pytest.raises(UserError, match="trained with other settings than those asked for now"):
        cross_validate(tiny(), tmp_path / "cv", 4, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folds": 1, "fold": 1}, "--fold 1 of --folds 1 is out of range"),
        ({"folds": 3, "fold": 4}, "--fold 4 of --folds 3 is out of range"),
        ({"fold": 1}, "--fold 1 of --folds 0 is out of range"),
        ({"folds": 3, "fold": 1, "holdout": 0.1}, "--holdout and --folds do not go together"),
    ],
)
def test_folds_that_make_no_sense(options, sentence, toy_data, tmp_path):
    with pytest.raises(UserError, match=sentence):
        runs.start(tiny(), tmp_path / "run", data=toy_data, **options)
    assert not (tmp_path / "run").exists()
