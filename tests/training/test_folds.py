import dataclasses
import json
import math
import statistics

import numpy as np
import pytest

from convlens import formats
from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.recipes import RECIPES
from convlens.training.config import RunConfig
from convlens.training.folds import MEASURES, CrossValidation, cross_validate
from convlens.training.run_folder import RunFolder
from convlens.training.splits import monitored_splits

OPTIONS = {"device": "cpu", "precision": "fp32"}


def tiny():
    return dataclasses.replace(
        RECIPES["lenet5plus"](), epochs=2, batch_size=16, size=16, train_size=16, early_size=16
    )


def test_the_folds_cover_train_without_overlap_and_never_touch_validation(toy_data):
    dataset = open_dataset(toy_data, size=16)
    held_out = []
    for fold in range(1, 6):
        splits = monitored_splits(RunConfig(tiny(), folds=5, fold=fold), dataset)
        kept, part = splits.train, splits.monitored
        assert splits.name == "holdout"
        assert set(kept.paths) | set(part.paths) == set(dataset.train.paths)
        assert not set(kept.paths) & set(part.paths)
        per_class = np.bincount(part.labels, minlength=5)
        assert per_class.max() - per_class.min() <= 1  # 12 of each class in 5 parts
        held_out += part.paths
    assert sorted(held_out) == sorted(dataset.train.paths)


def test_means_and_standard_errors_over_the_folds_and_nothing_is_repeated(
    toy_data, tmp_path, told, capsys
):
    options = {"data": toy_data, "seed": 2, **OPTIONS}
    out = tmp_path / "cv"
    result = cross_validate(tiny(), 3, out=out, **options)
    folders = [RunFolder(out / f"fold-{i}") for i in (1, 2, 3)]
    records = [folder.read_metrics() for folder in folders]
    assert result["records"] == records
    written = json.loads((out / "cross-validation.json").read_text())
    assert written == result and written["format"] == formats.FORMAT
    for name, source in MEASURES.items():
        values = [record[source] for record in records]
        assert result[name] == statistics.mean(values)
        assert result[f"{name}_standard_error"] == pytest.approx(
            statistics.stdev(values) / math.sqrt(3)
        )
    assert sum(record["holdout_images"] for record in records) == 60
    assert not any("validation" in name for name in records[0])
    assert records[1]["command"].endswith("--folds 3 --fold 2 --device cpu --precision fp32")
    for folder, record in zip(folders, records, strict=True):
        # each keeps the best epoch, by its own hold-out, with its own temperature
        accuracy = folder.read_history()["holdout_accuracy"]
        assert record["best_epoch"] == 2 - np.argmax(accuracy[::-1])
        assert record["holdout_accuracy"] == accuracy.max()
        assert record["last_holdout_accuracy"] == accuracy[-1]
        temperature = Classifier.load(folder.path).temperature
        assert temperature == record["temperature"] != RECIPES["lenet5plus"]().temperature

    (out / "fold-2" / "metrics.json").unlink()  # as if it had been cut at the end
    capsys.readouterr()
    again = cross_validate(tiny(), 3, out=out, **options)
    lines = capsys.readouterr().out
    assert again.keys() == result.keys()
    assert again["records"][0] == records[0] and again["records"][2] == records[2]
    assert lines.count("data set") == 1 and "train loss" not in lines  # none was trained again
    with pytest.raises(UserError, match="trained with other settings than those asked for now"):
        cross_validate(tiny(), 4, out=out, **options)


def test_folds_that_make_no_sense(toy_data, tmp_path):
    with pytest.raises(UserError, match="`folds` 1 is too small; the least is 2") as told:
        cross_validate(tiny(), 1, out=tmp_path / "cv", data=toy_data)
    assert told.value.options == ("folds",)
    with pytest.raises(UserError, match="`folds` 61 is more than there are training images"):
        cross_validate(tiny(), 61, out=tmp_path / "cv", data=toy_data, **OPTIONS)
    with pytest.raises(UserError, match="`holdout` and `folds` do not go together"):
        cross_validate(tiny(), 3, out=tmp_path / "cv", data=toy_data, holdout=0.4, **OPTIONS)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; give another folder with `out`"):
        cross_validate(tiny(), 3, out=tmp_path / "file", data=toy_data)
    assert not (tmp_path / "cv").exists()


def test_means_show_themselves_in_a_notebook():
    recipe = "<img src=x onerror=alert(1)>"
    values = dict.fromkeys(MEASURES, 0.5) | {f"{n}_standard_error": 0.25 for n in MEASURES}
    shown = CrossValidation(recipe=recipe, folds=3, **values)._repr_html_()
    assert "<img" not in shown and "&lt;img src=x onerror=alert(1)&gt;, 3 folds" in shown
    assert "0.5000" in shown and "0.2500" in shown
