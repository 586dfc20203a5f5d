"""The benchmark's exactness: equal networks, right arithmetic, right judgment; never its speed."""

import contextlib
import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convlens import formats
from convlens.bench import EXPLORER, BenchOptions, Effort, bench, growth, processes, results
from convlens.bench.explorer import explorer_seconds
from convlens.bench.matrix import multiply_adds
from convlens.bench.peers import read_history, steady
from convlens.bench.ratios import compare, flops_per_image, pairwise, spread
from convlens.bench.rows import ROWS
from convlens.bench.training import train_for, training_rate, waiting
from convlens.data import open_dataset
from convlens.data.batches import Batches
from convlens.errors import UserError
from convlens.figures.speed import profile
from convlens.models import LeNet5, ResNet18
from convlens.training.device import choose
from convlens.training.trainer import EpochStats

MACHINE = {
    "processor": "Test CPU",
    "cores": 2,
    "memory_gb": 8,
    "gpu": None,
    "system": "Linux",
    "python": "3",
    "torch": "2",
    "threads": 2,
}


@pytest.fixture(scope="module")
def peer_modules():
    """benchmarks/peers as the scripts import it: modules beside each other."""
    sys.path.insert(0, str(processes.peers_folder()))
    try:
        names = ("networks", "image_folder", "plain_loop")
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(processes.peers_folder()))
        for name in names:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(("peer", "own"), [("resnet18", ResNet18), ("lenet5", LeNet5)])
def test_peer_network_gives_our_logits_with_our_weights(peer_modules, peer, own):
    torch.manual_seed(0)
    model, other = own(7).eval(), peer_modules["networks"].NETWORKS[peer](7).eval()
    for buffer in model.buffers():  # batch norm that does something
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(other(x), model(x))


def test_peer_decodes_and_normalizes_as_torchvision_documents(peer_modules, toy_data):
    folder = peer_modules["image_folder"]
    data = folder.ImageFolder(str(toy_data / "train"), folder.validation_transform)
    image, label = data[0]
    pixels = np.asarray(Image.open(data.samples[0][0])).astype(np.float64) / 255
    expected = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert len(data) == 60 and data.classes[label] == "blue_disc"
    np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=1e-6)


def test_peer_crop_keeps_size_and_stays_inside(peer_modules):
    image = Image.fromarray(np.full((40, 50, 3), 7, np.uint8))
    for _ in range(50):
        crop = peer_modules["image_folder"].random_resized_crop(image, 64)
        assert crop.size == (64, 64)
        assert np.asarray(crop).min() == 7  # nothing from outside the image


def test_flops_count_three_passes_of_two_operations():
    # LeNet5 by hand: 64²·32·75 + 16²·64·800 + 1024·1021 + 1021·84 + 84·101
    by_hand = 9_830_400 + 13_107_200 + 1_045_504 + 85_764 + 8_484
    assert multiply_adds("lenet5", 101) == by_hand
    assert flops_per_image(by_hand) == 6 * by_hand
    assert flops_per_image(multiply_adds("resnet18", 101)) == pytest.approx(0.89e9, rel=0.01)


def test_spread_and_pairwise_are_exact():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2, "low": 1, "high": 3, "values": [3, 1, 2]}
    assert pairwise([4, 9, 10], [2, 3, 10])["values"] == [2, 3, 1]
    assert pairwise([4], [2], scale=10)["median"] == 20


@given(
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=7),
    st.lists(st.floats(0.1, 10), min_size=7, max_size=7),
)
def test_what_slows_both_of_a_pair_leaves_the_ratio(rates, slowness):
    ours, peer = zip(*rates, strict=True)
    slowed = [[rate * s for rate, s in zip(side, slowness, strict=False)] for side in (ours, peer)]
    assert pairwise(*slowed)["median"] == pytest.approx(pairwise(ours, peer)["median"])


def test_compare_judges_by_ratio_and_tolerance():
    old = _values(
        {"resnet18": 4.0, "lenet5": 8.0, "waiting": 0.01, "inference": 2.0, "seconds-to-71": 60.0}
    )
    new = _values(
        {"resnet18": 3.5, "lenet5": 6.7, "waiting": 0.5, "matrix-rate": 0.3, "inference": None}
        | {"seconds-to-71": 600.0}
    )
    judged = {row["name"]: row for row in compare(new, old, 0.15)}
    assert judged.keys() == {"resnet18", "lenet5", "inference"}
    assert judged["resnet18"]["change"] == pytest.approx(-0.125)
    assert {name for name, row in judged.items() if row["worse"]} == {"lenet5", "inference"}
    assert not any(row["worse"] for row in compare(new, {"inference": {"value": None}}, 0.15))


def _values(values: dict) -> dict:
    return {name: {"value": value} for name, value in values.items()}


def test_waiting_is_the_share_of_all_steps_that_went_to_batches():
    seen = [EpochStats({}, "validation", 3.0, 1.0), EpochStats({}, "validation", 1.0, 0.5)]
    assert waiting(seen) == 1.5 / 4


def test_our_training_is_measured_an_epoch_at_a_time_and_a_slow_data_path_shows(
    toy_data, monkeypatch
):
    epoch = Batches.epoch

    def slow(self, number):
        for batch in epoch(self, number):
            time.sleep(0.05)
            yield batch

    monkeypatch.setattr(Batches, "epoch", slow)
    dataset, machine = open_dataset(toy_data, progress=False), choose("cpu", "fp32")
    first, second = train_for("lenet5", dataset, machine, epochs=2, images=30)
    assert [first.epoch, second.epoch] == [1, 2]
    for seen in first, second:
        assert 0.05 < seen.data_seconds < seen.train_seconds
        assert seen.row["images_per_second"] * seen.train_seconds == pytest.approx(30)


def test_the_rate_of_our_training_leaves_the_first_epoch_out(toy_data, monkeypatch):
    rows = [{"images_per_second": rate} for rate in (1.0, 300.0, 100.0, 200.0)]
    seconds = (9.0, 1.0, 3.0, 2.0)
    seen = [EpochStats(row, "validation", s, 0.1) for row, s in zip(rows, seconds, strict=True)]
    monkeypatch.setattr("convlens.bench.training.train_for", lambda *_: seen)
    measured = training_rate("lenet5", str(toy_data), images=60, epochs=4)
    assert measured["images_per_second"] == 200 and measured["start_seconds"] == 9
    assert measured["waiting"] == pytest.approx(0.4 / 15)


def test_growth_copies_are_all_different_and_cover_all_classes(toy_data, tmp_path):
    dataset = open_dataset(toy_data, progress=False)
    growth.write_copies(dataset, 130, tmp_path / "grown")
    grown = open_dataset(tmp_path / "grown", progress=False)
    assert (len(grown.train), len(grown.validation)) == (130, 5)
    assert grown.classes == dataset.classes
    assert len(np.unique(grown.train.images.reshape(130, -1), axis=0)) == 130
    growth.write_copies(dataset, 7, tmp_path / "few")
    assert len(open_dataset(tmp_path / "few", progress=False).train) == 7


def test_training_on_rows_of_a_larger_cache_runs(toy_data, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen = growth.second_start(str(toy_data), str(tmp_path), steps=1)
    assert seen["training_images_per_second"] > 0 and seen["reading_images_per_second"] > 0


def _result(**rows) -> dict:
    return {"machine": MACHINE, "rows": rows}


def _measured(value: float, **more) -> dict:
    ratio = spread([0.9 * value, value, 1.1 * value])
    return {"value": value, "ratio": ratio, "date": "2026-01-02", **more}


def test_markdown_has_a_line_for_every_row_that_is_measured():
    runs = [{"seed": 0, "seconds": 50.0}, {"seed": 1, "seconds": None}]
    ours = {**spread([420.0]), "unit": "images/s"}
    peer = {**spread([100.0]), "unit": "images/s", "settings": {"workers": 2}}
    rows = {
        "resnet18": _measured(4.2, ours=ours, peer=peer),
        "waiting": _measured(0.004),
        "seconds-to-71": _measured(50.0, runs=runs),
        "time-to-71": {"value": None, "date": "2026-01-02", "peer": None},
    }
    text = results.markdown(_result(**rows))
    assert text.count("\n| ") == len(rows) + 2
    assert (
        "| resnet18 training against the plain loop | 4.2× (3.78× to 4.62×) | 420 images/s "
        "| 100 images/s (workers 2) | 2026-01-02 |"
    ) in text
    assert "| 0.4 % (0.36 % to 0.44 %) |" in text
    assert "50 s (45 s to 55 s), 1 of 2 seeds reach it" in text
    assert "timed only with --long" in text


def test_targets_of_a_gpu_are_its_own():
    row = {row.name: row for row in results.targets({"machine": {**MACHINE, "gpu": "a GPU"}})}
    assert (row["seconds-to-71"].must, row["seconds-to-71"].moonshot) == (10, 1)
    assert row["resnet18"] == ROWS["resnet18"]


def test_pictures_are_drawn(tmp_path):
    growing = [
        {"images": n, **{key: 10.0 * n for key, _, _ in results.GROWTH_COLUMNS[1:]}}
        for n in (10, 100)
    ]
    growing[0]["file_mb"] = None
    result = _result(resnet18=_measured(4.2), waiting=_measured(0.03))
    result["growth"] = {"date": "2026-01-02", "sizes": growing}
    written = [path.name for path in results.write_views(result, tmp_path)]
    assert written == ["bench.json", "bench.md", "bench.png", "growth.png"]
    for name in written[2:]:
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert pixels.std() > 5  # not blank
    assert profile(["conv", "relu"], [0.2, 0.1], 0.5, "a step").axes[0].get_title() == "a step"


def test_results_of_another_machine_are_not_added_to(tmp_path, told, capsys):
    path = tmp_path / "bench.json"
    results.write(path, _result(lenet5=_measured(8.0)))
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == formats.FORMAT
    assert "lenet5" in results.start(path, MACHINE)["rows"]
    assert results.start(path, {**MACHINE, "cores": 4})["rows"] == {}
    assert "another machine" in capsys.readouterr().out


def test_histories_are_read_and_damaged_ones_named(tmp_path):
    assert read_history(tmp_path) == []
    history = tmp_path / "history.csv"
    history.write_text("epoch,validation_accuracy,seconds\n1,0.5,7.5\n", encoding="utf-8")
    assert read_history(tmp_path) == [(7.5, 0.5)]
    history.write_text("epoch\n1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"history\.csv is damaged"):
        read_history(tmp_path)


def test_an_epoch_that_was_disturbed_counts_as_long_as_the_others():
    history = [(12.0, 0.1), (22.0, 0.2), (31.0, 0.3), (231.0, 0.4), (241.0, 0.5)]
    assert steady(history) == [12.0, 22.0, 32.0, 42.0, 52.0]
    assert steady(history[:1]) == [12.0]


def test_bad_input_is_told_in_a_sentence(toy_data, tmp_path):
    with pytest.raises(UserError, match="there is no row speed; there are resnet18, "):
        bench(BenchOptions(("speed",)))
    with pytest.raises(UserError, match="`pairs` 0 is out of range; give 1 up"):
        bench(BenchOptions(("lenet5",), pairs=0))
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        bench(BenchOptions(("lenet5",), against=tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"bad\.json is no result of bench"):
        results.load(tmp_path / "bad.json")
    unsplit = toy_data / "train"
    with pytest.raises(UserError, match="is not split, and the peers need"):
        bench(BenchOptions(("lenet5",), data=unsplit, results=tmp_path))


def test_programs_that_burn_a_core_end_with_their_block():
    before = set(psutil.Process().children())
    with processes.burning(2):
        burning = set(psutil.Process().children()) - before
        assert len(burning) == 2
    assert not any(each.is_running() for each in burning)


def test_a_broken_measurement_tells_why():
    with pytest.raises(RuntimeError, match="no such measure"):
        processes.run_json([sys.executable, "-c", "raise SystemExit('no such measure')"], {})
    words = processes.as_options({"batch": 64, "compile": True, "out": None})
    assert words == ["--batch", "64", "--compile"]


@pytest.fixture
def fake_processes(monkeypatch):
    """Every process answers at once; the list of who was asked for what, in order."""
    asked = []
    ours = {
        "training_rate": {
            "images_per_second": 400.0,
            "start_seconds": 1.0,
            "waiting": 0.004,
            "device": "cpu",
        },
        "matrix_rate": {"flops_per_second": 1e12},
        "inference_grid": {"best": {"way": "bf16", "batch": 16}, "grid": []},
        "inference_rate": {"images_per_second": 90.0, "difference": 0.01},
        "int8_rates": {
            "batch": 16,
            "images_per_second": 300.0,
            "grid": [],
            "before": 0.9,
            "after": 0.899,
            "images": 911,
            "split": "validation",
        },
        "caching": {"caching_images_per_second": 5.0, "cache_mb": 1.0},
        "second_start": {
            "start_seconds": 0.1,
            "reading_images_per_second": 9.0,
            "training_images_per_second": 7.0,
        },
        "explorer_seconds": [
            {"forward": 0.02, "image": 0.08, "click": 0.05, "touch": 0.03, "page": 0.1},
            {"forward": 0.01, "image": 0.06, "click": 0.05, "touch": 0.03, "page": 0.1},
            {"forward": 0.02, "image": 0.09, "click": 0.04, "touch": 0.03, "page": 0.3},
        ],
    }

    def run_ours(measure, environment, **arguments):
        asked.append((measure, arguments))
        if arguments.get("threads") == 1:  # the best that stays, beside another program
            return {**ours[measure], "images_per_second": 500.0}
        return ours[measure]

    def run_peer(script, environment, *arguments, **options):
        asked.append((script, options))
        fast = options.get("workers") == 1 or options.get("batch") == 64 or options.get("compile")
        return {"images_per_second": 100.0 if fast else 50.0, "start_seconds": 2.0}

    def time_ours(recipe, data, seed, folder):
        asked.append(("cold", {"seed": seed}))
        return {"seed": seed, "seconds": None if seed == 1 else 40.0 + seed}

    monkeypatch.setattr(processes, "ours", run_ours)
    monkeypatch.setattr(processes, "peer", run_peer)
    monkeypatch.setattr("convlens.bench.peers.time_ours", time_ours)

    def time_peer(data, epochs, settings, folder):
        return {"seconds": {9: 840.0, 5: None}.get(epochs, 900.0), "epochs": epochs}

    monkeypatch.setattr("convlens.bench.peers.time_peer", time_peer)
    monkeypatch.setattr("convlens.bench.peers.cores", lambda: 1)
    monkeypatch.setattr("convlens.bench.busy.cores", lambda: 2)
    monkeypatch.setattr(processes, "burning", lambda count: contextlib.nullcontext())
    return asked


def test_every_row_is_measured_in_turn_and_kept(toy_data, tmp_path, fake_processes):
    effort = Effort(pairs=3, seeds=3, growth=(60,), batches=(32,), inference_batches=(16, 64))
    (tmp_path / "convnet.safetensors").touch()  # no process looks into it
    where = {"data": toy_data, "results": tmp_path, "weights": tmp_path}
    assert bench(BenchOptions(**where, long=True, peer_epochs=(5, 9, 12)), effort=effort)
    result = results.load(tmp_path / "bench.json")
    value = {name: row["value"] for name, row in result["rows"].items()}
    share = 400 * 6 * multiply_adds("resnet18", 5) / 1e12
    assert value == {
        "resnet18": 4.0,
        "resnet18-tuned": 4.0,
        "lenet5": 4.0,
        "waiting": 0.004,
        "busy": 400 / 500,
        "inference": 0.9,
        "latency": 1.8,
        "int8": 3.0,
        "matrix-rate": pytest.approx(share),
        "seconds-to-71": 42.0,
        "time-to-71": 20.0,
        "explorer-image": 0.08,
        "explorer-click": 0.05,
        "explorer-touch": 0.03,
        "explorer-page": 0.1,
    }
    image = result["rows"]["explorer-image"]
    assert image["passes"]["values"] == pytest.approx([4, 6, 4.5])
    assert image["ours"]["settings"] == {"forward passes": 4.5}
    table = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| 80 ms (forward passes 4.5) | 20 ms (bare forward pass) |" in table
    assert [name for name, _ in fake_processes].count("explorer_seconds") == 1  # for all four
    assert [run["seconds"] for run in result["rows"]["seconds-to-71"]["runs"]] == [40, None, 42]
    assert result["rows"]["int8"]["ours"]["settings"] == {"batch": 16, "accuracy": "89.90%"}
    busy = result["rows"]["busy"]["peer"]
    assert busy["settings"] == {"threads": 1, "spins": "yes"} and len(busy["grid"]) == 4
    best = {"workers": 1, "batch": 32, "threads": 1}
    assert result["rows"]["resnet18"]["peer"]["settings"] == best
    assert len(result["rows"]["resnet18"]["peer"]["grid"]) == 3
    assert len(result["rows"]["resnet18-tuned"]["peer"]["grid"]) == 4  # and compiled
    assert result["rows"]["inference"]["peer"]["settings"] == {"batch": 64}
    peer = result["rows"]["time-to-71"]["peer"]  # the first at 71 %, not the shortest
    assert (peer["epochs"], [run["seconds"] for run in peer["schedules"]]) == (9, [None, 840, 900])
    assert [sizes["images"] for sizes in result["growth"]["sizes"]] == [60]
    # the pairs of the first row: after the grid of three and one run to find the epoch's length
    assert [name for name, _ in fake_processes[4:10]] == ["training_rate", "plain_loop.py"] * 3
    assert "2 of 3 seeds reach it" in table

    # a later run of one row keeps the others and the peer's long time
    del fake_processes[:]
    assert bench(BenchOptions(("seconds-to-71",), **where), effort=effort)
    assert [name for name, _ in fake_processes] == ["cold"] * 3
    kept = results.load(tmp_path / "bench.json")["rows"]
    assert kept.keys() == result["rows"].keys()
    assert kept["time-to-71"]["value"] == 20.0


def test_the_explorer_is_left_out_where_it_is_not_installed(
    toy_data, tmp_path, fake_processes, told, capsys, monkeypatch
):
    monkeypatch.setattr("convlens.bench.command.find_spec", lambda name: None)
    options = BenchOptions(data=toy_data, results=tmp_path)
    assert bench(options, effort=Effort(pairs=1, seeds=1, growth=(60,)))
    measured = results.load(tmp_path / "bench.json")["rows"]
    assert {name for name in ROWS if name not in measured} == {*EXPLORER, "int8"}
    told = capsys.readouterr().out
    assert "left out   the explorer, which needs starlette" in told
    assert "left out   int8, which needs trained weights of convnet and onnxruntime" in told
    with pytest.raises(UserError, match="the explorer needs starlette; install it"):
        bench(BenchOptions(("explorer-click",), data=toy_data, results=tmp_path))


def test_the_explorer_is_measured_as_its_page_asks(toy_weights, toy_data):
    seconds = explorer_seconds(str(toy_weights), str(toy_data), rounds=2)
    assert len(seconds) == 2
    for row in seconds:
        assert row.keys() == {"forward", "image", "click", "touch", "page"}
        assert all(0 < value < 60 for value in row.values())


def test_only_the_explorer_is_measured_where_that_is_asked(toy_data, tmp_path, fake_processes):
    bench(BenchOptions(explore=True, data=toy_data, results=tmp_path), effort=Effort(pairs=1))
    assert results.load(tmp_path / "bench.json")["rows"].keys() == set(EXPLORER)


def test_a_ratio_that_fell_is_found(toy_data, tmp_path, fake_processes, told, capsys):
    once = Effort(pairs=1)
    options = BenchOptions(("lenet5", "waiting"), data=toy_data, results=tmp_path)
    bench(options, effort=once)
    saved = results.load(tmp_path / "bench.json")
    saved["rows"]["lenet5"]["value"] = 4.5  # now 4.0, which is 11 % less
    results.write(tmp_path / "saved.json", saved)
    again = replace(options, only=("lenet5",), against=tmp_path / "saved.json")
    assert bench(again, effort=once)
    assert not bench(replace(again, tolerance=0.1), effort=once)
    assert "worse by more than 10%" in capsys.readouterr().out


def test_bench_measures_in_real_processes(toy_data, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    effort = Effort(
        pairs=1,
        seconds=0.01,
        warmup=1,
        grid_seconds=0.01,
        workers=(0,),
        batches=(16,),
        images=60,
        epochs=2,
    )
    monkeypatch.setattr("convlens.bench.peers.cores", lambda: 1)
    assert bench(BenchOptions(("lenet5",), data=toy_data, results=tmp_path), effort=effort)
    row = results.load(tmp_path / "bench.json")["rows"]["lenet5"]
    assert row["value"] == pytest.approx(row["ours"]["median"] / row["peer"]["median"])
    assert row["peer"]["settings"] == {"workers": 0, "batch": 16, "threads": 1}
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"bench.json", "bench.md", "bench.png"}


def test_the_plain_loop_goes_on_where_it_was_cut(toy_data, tmp_path):
    def run(folder, epochs_seen):
        script = (
            "import sys, plain_loop\n"
            "step, calls = plain_loop.train_step, []\n"
            "def counted(*a):\n"
            f"    if len(calls) == {epochs_seen} * 3: sys.exit(9)\n"
            "    calls.append(1); return step(*a)\n"
            "plain_loop.train_step = counted\n"
            f"sys.argv[1:] = [{str(toy_data)!r}, '--network', 'lenet5', '--workers', '0', "
            f"'--threads', '1', '--batch', '20', '--epochs', '3', '--out', {str(folder)!r}]\n"
            "plain_loop.main()\n"
        )
        command = [sys.executable, "-c", script]
        peers = processes.peers_folder()
        return subprocess.run(command, cwd=peers, check=False, capture_output=True).returncode

    assert run(tmp_path, 2) == 9  # cut in the third epoch
    assert len(read_history(tmp_path)) == 2
    first = read_history(tmp_path)
    assert run(tmp_path, 99) == 0
    history = read_history(tmp_path)
    assert history[:2] == first and len(history) == 3
    assert history[2][0] > first[1][0]
