"""Runs as they are on disk, and their page while they train."""

import contextlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch
import uvicorn
from pages import PATIENCE, hosted
from playwright.sync_api import Page, expect
from small_runs import small_run

from convlens.errors import Diverged
from convlens.explorer import serving
from convlens.explorer.beside import PageBeside
from convlens.explorer.growth import Growth
from convlens.explorer.live import Live, live_application
from convlens.explorer.network import Network
from convlens.explorer.runs import Runs, find_runs, is_training
from convlens.explorer.server import configuration
from convlens.inference import Classifier
from convlens.training.callbacks import Callback
from convlens.training.run_folder import RunFolder


@pytest.fixture
def begun(finished_run: Path) -> Path:
    """The run as it was before its first epoch was over."""
    for name in ("metrics.json", "history.csv", "state.pt"):
        (finished_run / name).unlink()
    for weights in finished_run.glob("*.safetensors"):
        weights.unlink()
    return finished_run


@pytest.fixture
def interrupted(finished_run: Path) -> Path:
    """The run as it was after its first epoch of two."""
    (finished_run / "metrics.json").unlink()
    lines = (finished_run / "history.csv").read_text().splitlines()
    (finished_run / "history.csv").write_text("\n".join(lines[:2]) + "\n")
    return finished_run


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def trained_by() -> Iterator[Callable[[Path], subprocess.Popen]]:
    """trained_by(run): another program that holds the run as a trainer does."""
    programs = []

    def start(run: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, run / ".lock"]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        programs.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == b"held\n"
        return program

    yield start
    for program in programs:
        program.communicate()


def test_what_is_told_of_a_run_before_during_and_after(begun, trained_by):
    runs = Runs([begun])
    (run,) = runs.all()
    assert (run["state"], run["epoch"], run["epochs"]) == ("stopped", 0, 2)
    assert (run["name"], run["recipe"], run["network"]) == ("run", "lenet5plus", "LeNet5")
    assert not run["opens"]
    program = trained_by(begun)
    assert is_training(begun)
    assert runs.all()[0]["state"] == "training"
    program.kill()  # whose lock's file stays
    program.wait()
    assert not is_training(begun)


def test_the_time_that_is_left_follows_from_the_epochs_that_were(interrupted, trained_by):
    history = RunFolder(interrupted).read_history()
    (run,) = Runs([interrupted]).all()
    assert (run["state"], run["epoch"], run["left"]) == ("stopped", 1, None)
    assert run["accuracy"] == history["validation_accuracy"][0]
    assert run["speed"] == history["images_per_second"][0]
    trained_by(interrupted)
    os.utime(interrupted / "history.csv")  # the epoch is over at this moment
    left = Runs([interrupted]).all()[0]["left"]
    assert 0 <= left <= round(history["seconds"][0], 1)  # to which it is told


def test_runs_are_found_below_a_folder_and_keep_their_numbers(finished_run, tmp_path):
    root = tmp_path / "runs"
    for name in "b", "folds/a":
        shutil.copytree(finished_run, root / name)
    (root / ".hidden").mkdir()
    assert find_runs(root) == [root / "b", root / "folds" / "a"]
    runs = Runs([root])
    assert [run["name"] for run in runs.all()] == ["b", "folds/a"]
    assert {run["state"] for run in runs.all()} == {"finished"}
    before = runs.all()[0]["stamp"]
    shutil.rmtree(root / "b")
    gone, other = runs.all()
    assert (gone["state"], gone["stamp"] == before, other["name"]) == ("gone", False, "folds/a")
    (other_path := root / "folds" / "a" / "config.yaml").write_text("}{")
    assert runs.all()[1]["state"] == "damaged"
    assert runs.path(1) == other_path.parent


def test_growth_shows_the_last_epoch_s_network(finished_run, own_cache):
    now = Growth(finished_run).now()
    assert now["epoch"] == 2
    assert now["image"]["class"] == "blue_disc"
    classifier = Classifier.load(finished_run / "last.safetensors")
    image = RunFolder(finished_run).open_dataset(*classifier.loading).validation.images[:1]
    shares = classifier.probabilities(classifier.logits(image))[0]
    best = classifier.class_names[shares.argmax()]
    assert now["classes"][0] == {"name": best, "share": pytest.approx(shares.max(), rel=1e-5)}
    assert [layer["name"] for layer in now["layers"]] == ["relu1", "pool1", "relu2", "pool2"]
    assert all(layer["picture"].startswith("data:image/png;base64,") for layer in now["layers"])


@contextlib.contextmanager
def living(*roots: Path) -> Iterator[str]:
    live = Live(roots)
    with hosted(live_application(live), live) as base:
        yield base


def test_an_epoch_that_ends_is_an_event(begun, finished_run, toy_data):
    """The page hears of it and is answered what there is; before, it is told that there is none."""
    with living(begun) as base, httpx.Client(base_url=base, timeout=30) as client:
        assert "live.js" in client.get("/").text
        early = client.get("/api/0/growth.json")
        assert (early.status_code, early.json()["error"]) == (
            404,
            "no epoch has been finished yet",
        )
        assert client.get("/api/0/history.json").json() == {"columns": [], "rows": []}
        assert client.get("/api/7/history.json").status_code == 404
        with client.stream("GET", "/api/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = (line.partition(": ")[2] for line in events.iter_lines() if "data: " in line)
            assert json.loads(next(lines))[0]["epoch"] == 0
            columns = "epoch,learning_rate,train_loss,validation_loss,validation_accuracy,seconds"
            (begun / "history.csv").write_text(f"{columns}\n1,0.1,2.0,1.5,0.25,3.5\n")
            (run,) = json.loads(next(lines))
            assert (run["epoch"], run["accuracy"], run["loss"]) == (1, 0.25, 1.5)
        assert client.get("/api/0/history.json").json()["rows"][0][-1] == 3.5
        assert client.get("/inside/0/api/site.json").status_code == 404  # it has no weights yet
        assert client.get("/no-such-file.js").status_code == 404
        began = time.monotonic()
    assert time.monotonic() - began < 12  # nobody waits for the events' end


def test_the_page_of_a_run_that_has_gone_on_is_of_its_newest_weights(finished_run, toy_data):
    """What is open stays as it is until its page is loaded anew."""
    with living(finished_run) as base, httpx.Client(base_url=base, timeout=30) as client:

        def answered() -> list[float]:
            return client.get("/inside/0/api/0/v0/prediction.json").json()["probabilities"]

        client.get("/inside/0/")
        before = answered()
        trained = Classifier.load(finished_run)
        next(trained.model.parameters()).data.neg_()
        trained.save(finished_run / "best.safetensors")
        assert answered() == before
        client.get("/inside/0/")
        assert answered() != before


def test_a_finished_run_is_looked_into_below_the_page(finished_run, toy_data):
    with living(finished_run) as base, httpx.Client(base_url=base, timeout=60) as client:
        client.get("/api/runs.json")
        assert client.get("/inside/0").headers["location"] == "0/"
        assert "main.js" in client.get("/inside/0/").text
        site = client.get("/inside/0/api/site.json").json()
        assert [run["name"] for run in site["runs"]] == ["run"]
        image = (toy_data / "validation" / "blue_disc" / "image_0001.png").read_bytes()
        sent = client.post("/inside/0/images", content=image, headers={"Host": base[7:-1]})
        assert sent.json()["width"] == 64
        changed = client.post("/inside/0/api/0/touched?layers=0", content=bytes(3 * 16 * 16))
        assert changed.status_code == 200


def test_a_damaged_run_is_told_to_be_one_and_leads_nowhere(finished_run):
    whole = Runs([finished_run]).all()[0]
    assert (whole["state"], whole["opens"], whole["why"]) == ("finished", True, None)
    weights = finished_run / "best.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (run,) = Runs([finished_run]).all()
    assert (run["state"], run["opens"]) == ("damaged", False)
    assert run["why"] == "best.safetensors cannot be read"
    with living(finished_run) as base, httpx.Client(base_url=base, timeout=60) as client:
        client.get("/api/runs.json")
        page = client.get("/inside/0/")
        assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
        assert "best.safetensors is not a weights file" in page.text
        assert '<a href="../../">All runs</a>' in page.text
        assert client.get("/inside/0/api/site.json").json()["error"]


def test_a_damaged_record_costs_no_more_than_its_own_views(finished_run):
    (finished_run / "history.csv").write_text("not, a\ntable", encoding="utf-8")
    (finished_run / "metrics.json").write_text("{", encoding="utf-8")
    network = Network.of_run(finished_run)
    assert network.history == {"columns": [], "rows": []} and network.summary is None


@pytest.mark.parametrize("kind", ["begun", "folder", "finished"])
def test_explore_opens_the_page_that_fits(kind, request, finished_run, monkeypatch):
    """Of a run before its first epoch, and of a folder of runs, that of runs."""
    asked = []
    monkeypatch.setattr(serving, "watch", lambda roots, *_, **__: asked.append(roots))
    monkeypatch.setattr(serving, "serve", lambda explorer, *_: asked.append(explorer))
    if kind == "begun":
        request.getfixturevalue("begun")
    path = finished_run.parent if kind == "folder" else finished_run
    serving.explore(path)
    (shown,) = asked
    assert shown == [path] if kind != "finished" else shown.networks[0].name == "run"


@pytest.mark.parametrize("rank", [0, 1])
def test_the_page_beside_a_run_ends_with_it_and_is_the_first_process_s(rank, tmp_path, monkeypatch):
    started: list[subprocess.Popen] = []
    asked: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options) -> subprocess.Popen:
        asked.append(command)
        started.append(popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    beside = PageBeside()
    trainer = SimpleNamespace(world=SimpleNamespace(rank=rank))
    beside.begin(trainer, None, RunFolder(tmp_path / "run"))
    beside.close()
    assert len(started) == 1 - rank
    for command, process in zip(asked, started, strict=True):
        assert command[-5:] == ["convlens", "explore", str(tmp_path / "run"), "--port", "0"]
        assert process.poll() is not None


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """An empty page, which may write nothing to its console."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


def after_epochs(run: Path, epochs: int) -> None:
    """The run as it is once so many epochs are over, its last row repeated."""
    head, row, *_ = (run / "history.csv").read_text().splitlines()
    rows = [",".join([str(epoch + 1), *row.split(",")[1:]]) for epoch in range(epochs)]
    (run / "part").write_text("\n".join([head, *rows]) + "\n")
    (run / "part").rename(run / "history.csv")  # at once, as a trainer does
    os.utime(run / "last.safetensors")


def test_curves_grow_by_an_epoch_as_soon_as_the_server_says_so(page, interrupted, trained_by):
    """No sooner and never by asking again and again."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    trained_by(interrupted)
    with living(interrupted) as base:
        page.goto(base)
        curve = page.locator(".chart").first.locator("path.curve").last
        dots = page.locator(".chart").first.locator("circle.dot")
        expect(dots).to_have_count(2)  # one epoch is no line yet
        for epochs in 2, 3, 4:
            after_epochs(interrupted, epochs)
            expect(curve).to_have_attribute("d", re.compile(rf"^M[^ML]+(L[^ML]+){{{epochs - 1}}}$"))
            expect(page.locator("tbody tr")).to_contain_text(f"{epochs} of")
            expect(page.locator("section.grown")).to_contain_text(f"After epoch {epochs}")
        chart = page.locator(".chart").first
        chart.focus()
        page.keyboard.press("End")
        expect(page.locator(".curves .readout").first).to_contain_text("Epoch 4: ")
        assert asked.count("history.json") == asked.count("growth.json") == 4
        assert (asked.count("events"), asked.count("runs.json")) == (1, 0)


def test_two_runs_stand_over_one_another_until_one_is_unticked(page, interrupted, tmp_path):
    shutil.copytree(interrupted, other := tmp_path / "other")
    after_epochs(interrupted, 3)
    after_epochs(other, 2)
    history = RunFolder(interrupted).read_history()
    with living(tmp_path) as base:
        page.goto(base)
        accuracy = page.get_by_role("img", name="Accuracy of the runs")
        lines = accuracy.locator("path.curve")
        expect(lines).to_have_count(2)
        shapes = [line.get_attribute("d").count("L") for line in lines.all()]
        assert shapes == [1, 2]  # each as long as its run, on one axis
        colors = {line.evaluate("e => getComputedStyle(e).stroke") for line in lines.all()}
        dashes = {line.evaluate("e => getComputedStyle(e).strokeDasharray") for line in lines.all()}
        assert len(colors) == 2
        assert len(dashes) == 2  # for those who see no color
        accuracy.focus()
        page.keyboard.press("Home")
        share = f"{100 * history['validation_accuracy'][0]:.1f}\N{NO-BREAK SPACE}%"
        told = page.locator(".curves .readout").first
        expect(told).to_have_text(f"Epoch 1: other {share}, run {share}")
        page.keyboard.press("End")
        expect(told).to_have_text(f"Epoch 3: run {share}")
        page.get_by_role("checkbox", name="other", exact=True).uncheck()
        expect(page.locator(".legend").first.locator(".key")).to_have_text(["train", "validation"])
        page.get_by_role("checkbox", name="run", exact=True).uncheck()
        expect(page.locator(".live")).to_contain_text("Tick a run")


def test_who_looks_changes_nothing_and_may_go(browser, page, interrupted, trained_by):
    def files() -> dict[str, tuple[int, int]]:
        found = ((path, path.stat()) for path in interrupted.rglob("*"))
        return {str(path): (stat.st_mtime_ns, stat.st_size) for path, stat in found}

    program = trained_by(interrupted)
    before = files()
    with living(interrupted) as base:
        other = browser.new_page()
        for each in page, other:
            each.goto(base)
            expect(each.locator(".grown-layers figure")).to_have_count(4)
        other.close()  # in the middle of its events
        assert program.poll() is None
        assert is_training(interrupted)
        assert files() == before
        after_epochs(interrupted, 2)
        expect(page.locator("tbody tr")).to_contain_text("2 of")  # the other one goes on


@contextlib.contextmanager
def living_at(port: int, *roots: Path) -> Iterator[None]:
    live = Live(roots)
    server = uvicorn.Server(configuration(live_application(live)))
    live.end_with(server)
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def test_a_connection_that_drops_comes_back_by_itself(browser, interrupted, trained_by):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    trained_by(interrupted)
    page = browser.new_page()  # which may complain: nobody answers it for a while
    page.set_default_timeout(PATIENCE)
    row, banner = page.locator("tbody tr"), page.locator(".banner")
    with living_at(port, interrupted):
        page.goto(f"http://127.0.0.1:{port}/")
        expect(row).to_contain_text("1 of")
        expect(banner).to_be_hidden()
    expect(banner).to_contain_text("This page ended with its run or was stopped")
    expect(page.locator(".chart")).to_have_count(2)  # what was seen stays
    after_epochs(interrupted, 2)
    with living_at(port, interrupted):
        expect(row).to_contain_text("2 of")
        expect(banner).to_be_hidden()
        expect(page.locator("section.grown")).to_contain_text("After epoch 2")
    page.context.set_offline(True)
    expect(banner).to_be_visible()
    page.close()


def test_a_run_that_is_killed_has_stopped(page, interrupted, trained_by):
    program = trained_by(interrupted)
    with living(interrupted) as base:
        page.goto(base)
        row = page.locator("tbody tr")
        expect(row).to_contain_text("trains")
        expect(page.locator(".lead")).to_contain_text("1 in training")
        program.kill()
        program.wait()
        expect(row).to_contain_text("stopped")
        expect(page.locator(".lead")).to_contain_text("0 in training")
        expect(row.locator("td").last).not_to_be_empty()
        expect(page.locator(".chart")).to_have_count(2)  # what it reached
        expect(row.get_by_role("link", name="look inside")).to_be_visible()


class Ends(Callback):
    """Looks at the page after the first epoch, then lets the run end in its own way."""

    def __init__(self, way: str, page: Page):
        self.way, self.page = way, page
        self.told: list[str] = []

    def epoch(self, state, stats) -> None:
        row = self.page.locator("tbody tr")
        expect(row).to_contain_text(f"{len(state.history)} of 2")
        expect(row).to_contain_text("trains")
        if self.way == "diverges":
            with torch.no_grad():
                next(state.model.parameters()).fill_(math.nan)


@pytest.mark.parametrize("way", ["finishes", "diverges"])
def test_how_a_run_ends_is_seen(way, page, toy_data, tmp_path):
    """In the page that goes along from before the first epoch on; what it learned stays."""
    (tmp_path / "runs").mkdir()
    with living(tmp_path / "runs") as base:
        page.goto(base)
        expect(page.locator(".lead")).to_contain_text("There is no run yet")
        ends = contextlib.nullcontext() if way == "finishes" else pytest.raises(Diverged)
        with ends:
            small_run(tmp_path / "runs" / "one", toy_data, epochs=2, callbacks=[Ends(way, page)])
        row = page.locator("tbody tr")
        words = {"finishes": "finished", "diverges": "training has diverged; lower `learning_rate`"}
        expect(row).to_contain_text(words[way])
        expect(row).to_contain_text({"finishes": "2 of 2", "diverges": "1 of 2"}[way])
        expect(page.locator(".lead")).to_contain_text("0 in training")
        expect(page.locator(".chart")).to_have_count(2)
        expect(page.locator("main")).not_to_contain_text("NaN")
        if way == "finishes":
            row.get_by_role("link", name="look inside").click()
            expect(page.locator(".bars li").first).to_be_visible()


def test_the_page_goes_along_with_a_run_that_trains(page, interrupted, trained_by, tmp_path):
    history = (interrupted / "history.csv").read_text()
    shutil.copytree(interrupted, other := tmp_path / "other")
    finished = history.splitlines()
    (other / "metrics.json").write_text("{}")
    with living(tmp_path) as base:
        trained_by(interrupted)
        page.goto(base)
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.locator("th")).to_have_text(["other", "run"])
        running = rows.nth(1)
        expect(running).to_contain_text("trains")
        expect(running).to_contain_text("1 of 2")
        expect(rows.nth(0).get_by_role("link", name="look inside")).to_be_visible()
        expect(running.get_by_role("link")).to_have_count(0)  # its weights change
        boxes = page.locator("tbody input")
        assert [box.is_checked() for box in boxes.all()] == [False, True]
        expect(page.locator(".chart")).to_have_count(2)
        expect(page.locator("section.grown h2")).to_have_text("What run sees")
        expect(page.locator(".grown-layers figure")).to_have_count(4)
        expect(page.locator("section.grown")).to_contain_text("After epoch 1")

        second = finished[1].split(",")
        second[0] = "2"
        (interrupted / "history.csv").write_text("\n".join([*finished, ",".join(second)]) + "\n")
        os.utime(interrupted / "last.safetensors")
        expect(running).to_contain_text("2 of 2")
        expect(page.locator("section.grown")).to_contain_text("After epoch 2")
        page.get_by_label("Epoch", exact=True).fill("0")  # back to the one before
        expect(page.locator("section.grown")).to_contain_text("After epoch 1")

        boxes.nth(0).check()
        expect(page.locator(".legend").first.locator(".key")).to_have_text(["other", "run"])
        expect(page.locator(".chart").first.locator("path.curve")).to_have_count(2)
        page.get_by_role("button", name="Epoch", exact=True).click()
        expect(rows.locator("th")).to_have_text(["run", "other"])
