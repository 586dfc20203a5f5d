"""What `convlens reproduce` trains, collects and averages."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from convlens.cli import main
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.recipes import RECIPES
from convlens.reporting.tables import ensembles_table
from convlens.reproduce import ReproduceOptions, complete, reproduce
from convlens.training.config import RunConfig, make_config
from convlens.training.parallel import train_all
from convlens.training.record import SUMMARY_FIELDS
from convlens.training.run_folder import RunFolder


def options(folder, data, **others):
    return ReproduceOptions(
        data=data,
        runs=folder / "runs",
        results=folder / "results",
        weights=folder / "weights",
        device="cpu",
        precision="fp32",
        **{"seeds": 2, **others},
    )


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_reproduce_collects_every_run_and_repeats_none(toy_data, tmp_path, told, capsys):
    asked = options(tmp_path, toy_data, epochs=1)
    reproduce(("lenet5plus", "lenet5"), asked)
    records = read(tmp_path / "results" / "summary.json")
    pairs = [(name, seed) for name in ("lenet5", "lenet5plus") for seed in (0, 1)]
    assert [(r["recipe"], r["seed"]) for r in records] == pairs
    assert list(records[0]) == list(SUMMARY_FIELDS)
    weights = {path.name for path in (tmp_path / "weights").glob("[!.]*")}
    assert weights == {"lenet5.safetensors", "lenet5plus.safetensors"}
    assert (tmp_path / "results" / "lenet5" / "history.csv").exists()
    cards = tmp_path / "results" / "cards"
    assert {p.name for p in cards.iterdir()} == {"lenet5.md", "lenet5plus.md"}
    assert "2 runs, seeds 0, 1." in (cards / "lenet5.md").read_text(encoding="utf-8")
    table = (tmp_path / "results" / "summary.md").read_text(encoding="utf-8")
    start = "On 20 images an accuracy has a standard error of "
    (uncertainty,) = (line for line in table.splitlines() if line.startswith(start))
    assert "| `lenet5plus` | validation | " in table  # more measures, below it
    assert capsys.readouterr().out.splitlines()[-1] == uncertainty
    reproduce(("lenet5plus",), asked)
    assert "epoch" not in capsys.readouterr().out
    assert len(read(tmp_path / "results" / "summary.json")) == 4
    with pytest.raises(UserError, match="other settings than those asked for now"):
        reproduce(("lenet5",), dataclasses.replace(asked, epochs=2))


def test_a_time_makes_a_short_trial(toy_data, tmp_path):
    asked = options(tmp_path, toy_data, time="30s")
    assert asked.is_short and asked.config("lenet5", 1).time == "30s"
    assert not options(tmp_path, toy_data).is_short
    with pytest.raises(UserError, match="`time` and `epochs` do not go together"):
        reproduce(("lenet5",), dataclasses.replace(asked, epochs=2))
    with pytest.raises(UserError, match="`time` soon is no time; write it as 90s, 5m or 1h30m"):
        reproduce(("lenet5",), dataclasses.replace(asked, time="soon"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("option", "value"), [("seeds", 0), ("workers", 0), ("epochs", 0)])
def test_numbers_that_make_no_sense_are_told_before_anything_is_trained(option, value, tmp_path):
    with pytest.raises(UserError, match=f"`{option}` {value} is out of range") as told:
        reproduce(("lenet5",), ReproduceOptions(runs=tmp_path / "runs", **{option: value}))
    assert told.value.options == (option,)
    with pytest.raises(UserError, match="there is no recipe 'lenet'; did you mean lenet5"):
        reproduce(("lenet",), ReproduceOptions(runs=tmp_path / "runs"))
    assert list(tmp_path.iterdir()) == []


def flat(metrics):
    """With the two ends of an interval under names of their own."""
    pairs = ((n, v if isinstance(v, list) else [v]) for n, v in metrics.items())
    return {(name, i): value for name, values in pairs for i, value in enumerate(values)}


def test_what_an_older_version_did_not_measure_is_measured_on_the_weights(
    finished_run, told, capsys
):
    whole = read(finished_run / "metrics.json")
    assert complete(finished_run) == whole  # nothing is missing
    assert capsys.readouterr().out == ""
    missing = ("train_images", "calibrated_error", "validation_standard_error", "format")
    missing += ("validation_macro_f1", "validation_accuracy_interval")
    old = {name: value for name, value in whole.items() if name not in missing}
    old["validation_duplicates"] = old.pop("validation_near_duplicates")
    (finished_run / "metrics.json").write_text(json.dumps(old), encoding="utf-8")
    card = finished_run / "MODEL_CARD.md"
    kept = card.read_text(encoding="utf-8")
    card.unlink()
    assert flat(complete(finished_run)) == pytest.approx(flat(whole))
    assert flat(read(finished_run / "metrics.json")) == pytest.approx(flat(whole))
    assert card.read_text(encoding="utf-8") == kept
    assert capsys.readouterr().out.startswith(f"measuring  {finished_run} once more")


def test_weights_that_are_not_those_of_the_record_are_not_measured_for_it(finished_run):
    metrics = read(finished_run / "metrics.json")
    del metrics["train_images"]
    metrics["validation_accuracy"] -= 0.3
    (finished_run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(UserError, match="give the data set it was trained on with `data`"):
        complete(finished_run)


def test_a_record_of_an_older_version_keeps_its_place_and_lacks_what_it_lacked(
    finished_run, toy_data, tmp_path
):
    """Results of before are read in today's words; what they do not say stays None."""
    asked = options(tmp_path, toy_data, epochs=2, seeds=1)
    config = dataclasses.replace(
        RunFolder(finished_run).read_config(), recipe=asked.config("lenet5plus", 0).recipe
    )
    (tmp_path / "runs").mkdir()
    run = shutil.move(finished_run, tmp_path / "runs" / "lenet5plus-s0")
    RunFolder(run).write_config(config)
    (tmp_path / "results").mkdir()
    old = {"recipe": "lenet5", "seed": 7, "epochs": 3, "validation_duplicates": 4, "seconds": 60}
    old |= {"device": "cpu", "validation_images": 20}
    (tmp_path / "results" / "summary.json").write_text(json.dumps([old]), encoding="utf-8")
    reproduce(("lenet5plus",), asked)
    first, second = read(tmp_path / "results" / "summary.json")
    assert (first["validation_near_duplicates"], first["train_loss"]) == (4, None)
    assert first.keys() == second.keys() and second["recipe"] == "lenet5plus"


@pytest.fixture
def short(monkeypatch):
    """lenet5 of one epoch, as the recipe itself."""
    recipe = dataclasses.replace(RECIPES["lenet5"](), epochs=1)
    monkeypatch.setitem(RECIPES, "lenet5", lambda: recipe)
    return recipe


def test_ensembles_are_what_their_commands_print(short, toy_data, tmp_path, capsys):
    reproduce(("lenet5",), options(tmp_path, toy_data, seeds=3))
    records = read(tmp_path / "results" / "ensembles.json")
    alone = [([seed], True) for seed in range(3)]
    several = [0, 1, 2]
    assert [(r["seeds"], r["tta"]) for r in records] == [
        (several, False),
        *alone,
        (several, True),
    ]
    for record in records:
        capsys.readouterr()
        main([*record["command"].split()[1:], "--device", "cpu"])
        seen = [line for line in capsys.readouterr().out.splitlines() if "validation" in line][-1]
        assert f"accuracy {record['validation_accuracy']:.2%}" in seen
        assert f"mean per class {record['validation_mean_class_accuracy']:.2%}" in seen
        assert f"loss {record['validation_loss']:.4f}" in seen
        without = record["validation_accuracy_without_near_duplicates"]
        assert without == record["validation_accuracy"]  # random noise is never the same twice
    table = ensembles_table(records)
    assert table in (tmp_path / "results" / "summary.md").read_text(encoding="utf-8")
    singles = [r["validation_accuracy"] for r in records if len(r["seeds"]) == 1]
    error = np.std(singles, ddof=1) / np.sqrt(3)
    row = next(line for line in table.splitlines() if "| 1 (3 seeds) |" in line)
    assert row.startswith("| `lenet5`, TTA |")
    assert f"| {np.mean(singles):.1%} ± {error:.1%} |" in row


def test_seeds_are_trained_in_two_goes(short, toy_data, tmp_path, capsys):
    """As on two machines: of the first seed there is then what is kept of it, and no run."""
    parts = tmp_path / "parts"
    reproduce(("lenet5",), options(tmp_path / "whole", toy_data, seeds=3))
    reproduce(("lenet5",), options(parts, toy_data, seeds=1))
    shutil.rmtree(parts / "runs")
    reproduce(("lenet5",), options(parts, toy_data, seeds=2, first_seed=1))
    assert {path.name for path in (parts / "runs").iterdir()} == {"lenet5-s1", "lenet5-s2"}
    assert [r["seed"] for r in read(parts / "results" / "summary.json")] == [0, 1, 2]
    both = [where / "results" for where in (parts, tmp_path / "whole")]
    apart, together = (
        (results / "cards" / "lenet5.md").read_text(encoding="utf-8").split("## Reproduce")[0]
        for results in both
    )
    assert apart == together
    ours, theirs = (read(results / "ensembles.json") for results in both)
    for record, other in zip(ours, theirs, strict=True):
        assert (record["seeds"], record["tta"]) == (other["seeds"], other["tta"])
        # of seed 0 the weights are kept in half precision
        assert record["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-3)
    capsys.readouterr()
    main([*ours[0]["command"].split()[1:], "--device", "cpu"])
    assert f"accuracy {ours[0]['validation_accuracy']:.2%}" in capsys.readouterr().out


def test_runs_side_by_side_are_the_runs_one_after_the_other(short, toy_data, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as each of the workers has: the same sums, to the last bit
    try:
        reproduce(("lenet5",), options(tmp_path / "a", toy_data))
        reproduce(("lenet5",), options(tmp_path / "b", toy_data, workers=2))
    finally:
        torch.set_num_threads(threads)
    for seed in 0, 1:
        a, b = (Classifier.load(tmp_path / side / "runs" / f"lenet5-s{seed}") for side in "ab")
        for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        log = tmp_path / "b" / "runs" / f"lenet5-s{seed}.log"
        assert "epoch   1/1 " in log.read_text(encoding="utf-8")
    a, b = (read(tmp_path / side / "results" / "ensembles.json") for side in "ab")
    for ours, theirs in zip(a, b, strict=True):
        command = theirs["command"].replace(str(tmp_path / "b"), str(tmp_path / "a"))
        assert {**theirs, "command": command} == ours


def test_a_run_that_cannot_be_trained_stops_none_of_the_others(short, toy_data, tmp_path):
    wrong = RunConfig(dataclasses.replace(short, batch_size=0), data=str(toy_data))
    asked = {
        tmp_path / "first": wrong,
        tmp_path / "second": make_config(short, {"data": toy_data, "device": "cpu"}),
    }
    finished = []
    with pytest.raises(UserError, match="first: `batch_size` 0 is out of range"):
        for run in train_all(asked, workers=2):
            finished.append(run)
    assert finished == [tmp_path / "second"]
    assert RunFolder(tmp_path / "second").read_metrics()["epochs"] == 1


def test_workers_end_with_who_started_them(toy_data, tmp_path):
    """A killed parent tells its workers nothing; what they print to is open while they live."""
    command = [
        *(sys.executable, "-m", "convlens", "reproduce", "lenet5", "--seeds", "2"),
        *("--workers", "2", "--epochs", "100000", "--data", str(toy_data)),
        *("--runs", str(tmp_path), "--results", str(tmp_path), "--weights", str(tmp_path)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        logs = [tmp_path / f"lenet5-s{seed}.log" for seed in (0, 1)]
        patience = time.monotonic() + 120
        while not all(log.exists() and "epoch   2/" in log.read_text("utf-8") for log in logs):
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.2)
        process.kill()
        process.communicate(timeout=60)
