"""`convlens tune`: what is tried, what is kept, and that nothing is lost."""

import csv
import dataclasses
import logging
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import optuna
import pytest

from convlens import cli, fields
from convlens.errors import Diverged, UserError
from convlens.recipes import RECIPES, find_recipe
from convlens.recipes.spaces import SPACES, Range
from convlens.training.run_folder import RunFolder
from convlens.training.trainer import EpochStats
from convlens.tune import trials as work
from convlens.tune import tune as search

CPU = {"device": "cpu", "precision": "fp32"}
QUICK = {"size": 16, "train_size": 16, "early_size": 16, "batch_size": 16}


def tiny(**changes):
    return dataclasses.replace(RECIPES["lenet5plus"](), **QUICK, **changes)


def rows(folder):
    with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def played(monkeypatch):
    """Training is played: the accuracy is known beforehand, and every setting asked for is kept."""
    asked = []

    def accuracy(recipe, epoch):
        # best at a learning rate of 2e-3; grows over the epochs
        return max(0.0, 0.9 - 100 * abs(recipe.learning_rate - 2e-3)) * epoch / recipe.epochs

    class Played:
        def __init__(self, config, dataset, machine):
            self.recipe = config.recipe
            asked.append(dataclasses.replace(config, convolutions={}))

        def start(self):
            return SimpleNamespace(history=[])

        def fit(self, state, folder, on_epoch, callbacks):
            logging.getLogger("convlens").info("epoch lines go to the log")
            for name in work.HEAVY:
                (folder.path / name).touch()
            if self.recipe.learning_rate > 0.015:
                raise Diverged("the loss is nan")
            for epoch in range(1, self.recipe.epochs + 1):
                row = {"epoch": epoch, "holdout_accuracy": accuracy(self.recipe, epoch)}
                state.history.append(row)
                on_epoch(EpochStats(row, "holdout", 1.0, 0.0))

    monkeypatch.setattr(work, "Trainer", Played)
    monkeypatch.setattr(work, "choose_algorithms", lambda *_, **__: {})
    return asked


def test_a_search_tries_the_recipes_own_setting_and_finds_a_better_one(
    played, toy_data, tmp_path, told, capsys, drawn
):
    folder = tmp_path / "tune"
    recipe = tiny(epochs=4)
    best = search(recipe, out=folder, trials=16, data=toy_data, holdout=0.25, **CPU)
    assert played[0].recipe == recipe
    assert all((c.holdout, c.seed, c.recipe.epochs) == (0.25, 0, 4) for c in played)
    table = rows(folder)
    assert len(table) == len(played) == 16
    assert [float(row["learning_rate"]) for row in table] == [
        c.recipe.learning_rate for c in played
    ]
    ended = [row for row in table if row["state"] == "complete"]
    stopped = [row for row in table if row["state"] == "pruned"]
    assert len(ended) + len(stopped) == 16
    assert all(int(row["epochs"]) == 4 for row in ended)
    # the first five give the median; none is stopped before a third of its epochs
    assert stopped and all(int(row["trial"]) >= 5 for row in stopped if row["accuracy"])
    assert all(2 <= int(row["epochs"]) < 4 for row in stopped if row["accuracy"])

    assert best["accuracy"] == max(float(row["accuracy"]) for row in ended)
    assert best["accuracy"] > best["own"] == float(table[0]["accuracy"])
    assert best["standard_error"] == pytest.approx(
        (best["accuracy"] * (1 - best["accuracy"]) / 15) ** 0.5  # 3 of 12 in each of 5 classes
    )
    file = find_recipe(folder / "best.yaml")
    # with what the search was asked for; but the budget of a trial is not a setting
    asked = {"size": 16, "batch_size": 16, **best["options"]}
    assert file == fields.replace(RECIPES["lenet5plus"](), asked)
    assert (folder / "tuning.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert out.count("\ntrial ") == 16 and "epoch lines" not in out
    assert "judged on  15 images held out of train/" in out
    first = folder / "trials" / "000"
    assert "epoch lines go to the log" in (first / "log.txt").read_text(encoding="utf-8")
    assert {path.name for path in first.iterdir()} == {"config.yaml", "log.txt", "lock"}


def test_a_trials_log_is_written_where_nobody_listens(played, toy_data, tmp_path, capsys):
    search(tiny(epochs=4), out=tmp_path / "tune", trials=1, data=toy_data, **CPU)
    log = tmp_path / "tune" / "trials" / "000" / "log.txt"
    assert log.read_text(encoding="utf-8") == "epoch lines go to the log\n"
    assert capsys.readouterr().out == ""


def test_a_search_goes_on_as_if_it_had_never_stopped(played, toy_data, tmp_path):
    options = {"data": toy_data, "seed": 3, **CPU}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    search(tiny(epochs=4), out=whole, trials=9, **options)
    search(tiny(epochs=4), out=parts, trials=6, **options)
    search(tiny(epochs=4), out=parts, trials=6, **options)  # nothing is left to do
    assert len(rows(parts)) == 6
    search(tiny(epochs=4), out=parts, trials=9, **options)
    assert rows(parts) == rows(whole)
    assert len(played) == 18


@pytest.mark.parametrize("calls", [1, 2, 20, 21, 22, 40])
def test_a_search_that_was_cut_tries_what_it_would_have_tried(
    calls, played, toy_data, tmp_path, monkeypatch
):
    options = {"trials": 6, "data": toy_data, "seed": 3, **CPU}
    search(tiny(epochs=4), out=tmp_path / "whole", **options)
    left = iter(range(calls))
    suggest = optuna.Trial.suggest_float

    def cut(*arguments, **limits):  # in the middle of what a trial is to be, or before that
        if next(left, None) is None:
            raise KeyboardInterrupt
        return suggest(*arguments, **limits)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "suggest_float", cut)
        with pytest.raises(KeyboardInterrupt):
            search(tiny(epochs=4), out=tmp_path / "cut", **options)
    search(tiny(epochs=4), out=tmp_path / "cut", **options)

    def tried(folder):
        return [{k: v for k, v in row.items() if k != "trial"} for row in rows(folder)]

    assert tried(tmp_path / "cut") == tried(tmp_path / "whole")


def test_a_trial_that_diverges_is_counted_and_does_not_end_the_search(
    played, toy_data, tmp_path, monkeypatch, told, capsys
):
    space = {"learning_rate": Range(5e-3, 2e-2), "epochs": (4,)}
    monkeypatch.setitem(SPACES, "lenet5plus", space)
    search(tiny(epochs=4), out=tmp_path / "tune", trials=8, data=toy_data, **CPU)
    table = rows(tmp_path / "tune")
    diverged = [row for row in table if float(row["learning_rate"]) > 0.015]
    assert diverged
    assert all((row["state"], row["accuracy"]) == ("pruned", "") for row in diverged)
    assert len(table) == 8
    assert capsys.readouterr().out.count("diverged") == len(diverged)


def test_an_accuracy_that_is_no_number_judges_no_trial(played, toy_data, tmp_path, monkeypatch):
    """Were it told to the study, the search would have a best trial that nothing is better than."""
    fit = work.Trainer.fit

    def lost(self, state, folder, on_epoch, callbacks):
        if self.recipe.learning_rate != tiny().learning_rate:
            row = {"epoch": 1, "holdout_accuracy": float("nan")}
            state.history.append(row)
            on_epoch(EpochStats(row, "holdout", 1.0, 0.0))
        fit(self, state, folder, on_epoch, callbacks)

    monkeypatch.setattr(work.Trainer, "fit", lost)
    best = search(tiny(epochs=4), out=tmp_path / "tune", trials=3, data=toy_data, **CPU)
    assert best["trial"] == 0
    states = [(row["state"], row["accuracy"]) for row in rows(tmp_path / "tune")[1:]]
    assert states == [("pruned", "")] * 2


def test_a_search_in_which_nothing_was_trained_to_its_end_says_so(played, toy_data, tmp_path):
    recipe = tiny(epochs=4, learning_rate=0.019)  # diverges
    with pytest.raises(UserError, match=r"no trial of .* was trained to its end"):
        search(recipe, out=tmp_path / "tune", trials=1, data=toy_data, **CPU)
    assert len(rows(tmp_path / "tune")) == 1


def test_another_search_and_other_files_are_left_alone(played, toy_data, tmp_path):
    search(tiny(epochs=4), out=tmp_path / "tune", trials=1, data=toy_data, **CPU)
    with pytest.raises(UserError, match="holds a search with other settings; repeat its command"):
        search(tiny(epochs=5), out=tmp_path / "tune", trials=1, data=toy_data, **CPU)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match="is in use and holds no search"):
        search(tiny(), out=tmp_path / "mine", data=toy_data)
    assert len(played) == 1


def test_a_search_over_options_that_are_called_otherwise_now_is_left_alone(
    played, toy_data, tmp_path, monkeypatch
):
    space = SPACES["lenet5plus"]
    monkeypatch.setitem(SPACES, "lenet5plus", space | {"momentum": Range(0.8, 0.99)})
    search(tiny(epochs=4), out=tmp_path / "tune", trials=1, data=toy_data, **CPU)
    monkeypatch.setitem(SPACES, "lenet5plus", space)
    with pytest.raises(UserError, match="holds a search of an earlier version"):
        search(tiny(epochs=4), out=tmp_path / "tune", trials=2, data=toy_data, **CPU)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trials": 0}, "`trials` 0 is too small; the least is 1"),
        ({"workers": 0}, "`workers` 0 is too small"),
        ({"seed": -1}, "`seed` -1 is out of range; give 0 up"),
        ({"max_train_images": 0}, "`max_train_images` 0 is out of range"),
        ({"holdout": 0.0}, "`holdout` 0.0 is out of range"),
        ({"epochs": 0}, "`epochs` 0 is out of range"),
        (
            {"crop_pct": 0.85},
            r"`crop_pct` 0.85 lies outside of what is searched \(1.0, .*\); leave",
        ),
        ({"learning_rate": 9.0}, "`learning_rate` 9.0 lies outside of what is searched"),
        ({"folds": 3, "fold": 1}, "`holdout` and `folds` do not go together"),
    ],
)
def test_bad_options_are_told_before_anything_is_written(options, sentence, toy_data, tmp_path):
    with pytest.raises(UserError, match=sentence) as told:
        search(tiny(), out=tmp_path / "tune", data=toy_data, **options)
    assert set(options) & set(told.value.options)
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("convlens.tune")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as stop:
        cli.main(["tune", "lenet5"])
    assert stop.value.code == 2
    assert "install it with `pip install optuna`" in capsys.readouterr().err


SCRIPT = """
from convlens.logs import to_stdout
from convlens.tune import tune
if __name__ == "__main__":
    to_stdout()
    tune("lenet5plus", out={folder!r}, trials={trials}, workers={workers}, data={data!r},
         holdout=0.25, device="cpu", precision="fp32", epochs={epochs}, **{quick})
"""


def started(path, folder, data, **values):
    """A process that searches, in a group of its own so that it can be killed with its workers."""
    script = SCRIPT.format(quick=QUICK, folder=str(folder), data=str(data), **values)
    path.write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        start_new_session=True,
    )


def epochs_of(run):
    return len(RunFolder(run).read_history()["epoch"])


def test_killed_with_its_workers_a_search_loses_no_trial_and_no_epoch(toy_data, tmp_path):
    folder = tmp_path / "tune"
    options = {"epochs": 30, "trials": 3, "workers": 2}
    process = started(tmp_path / "search.py", folder, toy_data, **options)
    half = [folder / "trials" / name for name in ("000", "001")]
    while process.poll() is None and not all(
        (run / "history.csv").exists() and epochs_of(run) >= 5 for run in half
    ):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = [epochs_of(run) for run in half]
    assert all(5 <= epochs < 30 for epochs in done)

    process = started(tmp_path / "search.py", folder, toy_data, **options)
    told, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, "")
    assert len(re.findall(r"^trial ", told, re.MULTILINE)) == 3
    table = rows(folder)
    assert len(table) == 3 and {row["state"] for row in table} <= {"complete", "pruned"}
    # the two that were cut kept their folders and went on in them
    names = sorted(path.name for path in (folder / "trials").iterdir())
    assert names[:2] == ["000", "001"] and len(names) == 3
    for run in half:
        logged = re.findall(r"^epoch +(\d+)/30", (run / "log.txt").read_text("utf-8"), re.MULTILINE)
        # an epoch that was saved but not yet logged, or logged anew, at most
        assert abs(len(logged) - int(logged[-1])) <= 1
        assert [int(n) for n in logged] == sorted(int(n) for n in logged)
