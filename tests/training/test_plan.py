"""A run that has so long, on a machine whose times are decreed: it ends in time, and says how."""

import dataclasses
import pickle
import re
import shlex
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from convlens.cli.train_options import parse_train
from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.recipes import RECIPES
from convlens.recipes.lengths import lengths
from convlens.training import cost as cost_module
from convlens.training import finish as finish_module
from convlens.training import plan as plan_module
from convlens.training import run as run_module
from convlens.training import timekeeper as timekeeper_module
from convlens.training import trainer as trainer_module
from convlens.training.callbacks import Callback
from convlens.training.config import RunConfig, make_config
from convlens.training.cost import Clock, Cost, measure
from convlens.training.device import choose
from convlens.training.distributed import ALONE, World
from convlens.training.duration import in_words, seconds_of
from convlens.training.folds import cross_validate
from convlens.training.measuring import Measurements
from convlens.training.pace import Pace
from convlens.training.parallel import train_all
from convlens.training.plan import TooShort, choices_of, choose_in_time
from convlens.training.result import Run
from convlens.training.run import resume, train
from convlens.training.schedule import schedule
from convlens.training.trainer import Trainer

TINY = {"size": 16, "batch_size": 8, "schedule": "cosine", "device": "cpu", "precision": "fp32"}
BATCHES = 7  # of toy data: 60 images


class Machine:
    """What everything takes, in seconds that only pass by decree.

    step: of training. early: its share where images are smaller in the first epochs. image: of an
    image that is evaluated. pages: the last of a run. factors: by which steps take longer from a
    moment on, as beside other programs. stopped: for how long the process did not run.
    """

    def __init__(self):
        self.now, self.step, self.image, self.pages = 1000.0, 1.0, 0.02, 6.0
        self.early, self.factors, self.stopped = 0.5, {}, 0.0

    def train(self, early):
        factors = sorted(self.factors.items(), reverse=True)
        factor = next((f for t, f in factors if self.now >= t), 1.0)
        self.now += self.step * factor * (self.early if early else 1.0)


@pytest.fixture
def machine(monkeypatch, toy_data):
    machine = Machine()
    began = machine.now
    monkeypatch.setattr(time, "perf_counter", lambda: machine.now)
    monkeypatch.setattr(time, "process_time", lambda: machine.now - machine.stopped)

    def taking(module, name, seconds):
        real = getattr(module, name)

        def slow(*arguments, **options):
            answer = real(*arguments, **options)
            machine.now += seconds(*arguments)
            return answer

        monkeypatch.setattr(module, name, slow)

    def step(state, batch):
        machine.train(early=state.size_at(state.epoch) < state.recipe.size_at(1.0))
        return real_step(state, batch)

    real_step = trainer_module.train_step
    monkeypatch.setattr(trainer_module, "train_step", step)
    monkeypatch.setattr(cost_module, "train_step", step)
    monkeypatch.setattr(cost_module.timeit, "repeat", lambda *_, **__: [0.0055])  # a loop
    taking(World, "evaluate", lambda world, classifier, split: machine.image * len(split))
    taking(run_module, "finish", lambda *_: machine.pages)
    machine.data, machine.took = toy_data, lambda: machine.now - began
    machine.run = lambda folder, given, **options: train(
        "lenet5", data=toy_data, out=folder, time=given, **{**TINY, **options}
    )
    return machine


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("300", 300), ("1.5h", 5400), ("2 min", 120)],
)
def test_a_time_is_read_as_a_person_writes_it(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("number", "text"),
    [(90, "90s"), (1e6, "1000000s"), (0.5, "0.5s"), (np.int64(20), "20s"), (np.float32(2), "2s")],
)
def test_a_number_is_of_seconds(number, text):
    assert choices_of("lenet5", {"time": number})[0].config.time == text


@pytest.mark.parametrize("time", ["9" * 400 + "h", 10**400, 1e300, "100000h"])
def test_no_run_takes_ten_years(time):
    with pytest.raises(UserError, match="`time` must not be more than ten years; give less"):
        seconds_of(choices_of("lenet5", {"time": time})[0].config.time)


@pytest.mark.parametrize("text", ["", "5x", "m5", "-5m", "1m2h", "5m ago", "five"])
def test_what_is_no_time_is_told(text):
    with pytest.raises(UserError, match="is no time; write it as 90s, 5m or 1h30m"):
        seconds_of(text)


@given(st.integers(0, 10**6))
def test_a_time_in_words_is_read_as_the_same(seconds):
    assert seconds_of(in_words(seconds)) == seconds


@given(
    step=st.floats(0.001, 10),
    image=st.floats(0, 0.1),
    whole=st.integers(1, 2000),
    left=st.floats(1, 1e5),
    most=st.integers(1, 10**6),
    early=st.floats(0.1, 1),
    early_fraction=st.floats(0, 1),
)
def test_what_fits_is_no_longer_than_the_time_and_wastes_little_of_it(
    step, image, whole, left, most, early, early_fraction
):
    sizes = {"early": early, "early_fraction": early_fraction}
    cost = Cost(step, image, monitored=50, last=500, most=most, **sizes)
    epochs, steps = cost.fit(left, whole, 3)
    if not epochs:
        assert most == 0 or left < cost.end + cost.epoch + 1.001 * step
        return
    pace = Pace(epochs, steps)
    assert steps <= whole
    assert cost.of(pace, 0) <= left * (1 + 1e-9)
    as_long_as_can_be = epochs * steps >= min(most, whole * epochs)
    assert as_long_as_can_be or cost.of(Pace(epochs, steps + 1), 0) > left * (1 - 1e-9)


@given(early=st.floats(0.1, 1), early_fraction=st.floats(0, 1), epochs=st.integers(2, 40))
def test_what_is_left_is_the_sum_of_its_steps(early, early_fraction, epochs):
    """Where the sizes change between two epochs; within one, a part of that epoch's steps more."""
    cost = Cost(2.0, 0.0, 0, 0, keeping=0.0, early=early, early_fraction=early_fraction)
    pace = Pace(epochs, 10)
    for done in range(epochs):
        begun = [pace.progress(pace.steps_until(epoch)) for epoch in range(done, epochs)]
        expected = sum(20.0 * (early if over < early_fraction else 1) for over in begun)
        assert cost.of(pace, 10 * done) == pytest.approx(expected, abs=20.0 + 1e-6)
    assert cost.of(pace, pace.total) == 0


@pytest.mark.parametrize(("fraction", "slower"), [(0.3, 1.0), (1.0, 1.0), (0.6, 2.0)])
def test_smaller_images_of_the_first_epochs_are_planned_with(machine, fraction, slower, tmp_path):
    machine.step = 2.0
    machine.factors = {machine.now + 50: slower}  # another program begins, while images are small
    network = {"stem_stride": 2, "widths": (4, 4, 4, 4)}
    sizes = {"early_size": 8, "early_fraction": fraction}
    options = {"data": machine.data, "time": "5m", "model_options": network, **TINY, **sizes}
    run = train("quick", out=tmp_path / "run", **options)
    assert 0.9 * 300 <= machine.took() <= 300
    assert bool(run.config.replanned) == (slower > 1)


@pytest.mark.parametrize("given", ["100s", "4m"])
def test_a_run_ends_in_its_time_with_its_learning_rate(machine, tmp_path, given, told, capsys):
    run = machine.run(tmp_path / "run", given)
    seconds = seconds_of(given)
    assert 0.9 * seconds <= machine.took() <= seconds
    lines = capsys.readouterr().out.splitlines()
    first, time_line, plan_line = [x for x in lines if x.startswith(("time", "plan"))][:3]
    assert first == f"time       {in_words(seconds)}: reads the images and times a few steps here"
    assert time_line.startswith(
        f"time       {in_words(seconds)}: 4 s have passed, a step takes 1 s"
    )
    epochs, steps = run.config.recipe.epochs, run.config.recipe.steps_per_epoch or BATCHES
    assert plan_line == (
        f"plan       lenet5, {epochs} epochs of {steps} steps"
        f"{'' if steps == BATCHES else f' of the {BATCHES} that all images make'}: as asked"
    )
    rate = run.config.recipe.learning_rate
    last = schedule("cosine", 1 - 0.5 / (epochs * steps), run.config.recipe.warmup)
    planned_once = not run.config.replanned
    assert not planned_once or run.history["learning_rate"][-1] == pytest.approx(rate * last)
    assert run.history["learning_rate"][-1] < 0.05 * rate


@pytest.mark.parametrize(
    "factors", [{1030: 3.0}, {1004: 0.4}, {1020: 4.0, 1060: 1.0}], ids=["slow", "fast", "while"]
)
def test_a_run_beside_other_programs_ends_in_time_and_its_command_repeats_it(
    machine, tmp_path, toy_data, factors
):
    machine.factors = factors
    run = machine.run(tmp_path / "run", "120s")
    assert 108 <= machine.took() <= 126
    config, rates = run.config, run.history["learning_rate"]
    assert config.replanned
    assert rates[-1] < 0.05 * config.recipe.learning_rate
    command = run.metrics["command"]
    assert f"--replanned {' '.join(config.replanned)}" in command and "--time" not in command
    machine.factors = {}
    asked, _ = parse_train(shlex.split(command)[2:])
    again = train(asked.config, data=toy_data, out=tmp_path / "again")
    mine, theirs = (load_file(each.folder / "last.safetensors") for each in (run, again))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert again.history["learning_rate"].tolist() == rates.tolist()


@pytest.mark.parametrize("disturbed", ["stopped", "busy", ""])
def test_how_long_the_last_pages_took_is_kept_if_nothing_disturbed_them(
    machine, tmp_path, monkeypatch, disturbed
):
    """As where a person has stopped the process for a while (Ctrl-Z, fg)."""

    class Disturbing(Callback):
        def end(self, run):
            if disturbed == "stopped":
                machine.now += 1000
                machine.stopped += 1000

    if disturbed == "busy":
        monkeypatch.setattr(timekeeper_module.Watch, "others", lambda _: 0.7)
    for folder in tmp_path / "first", tmp_path / "second":
        before = machine.now
        options = {"data": machine.data, "time": "60s", **TINY}
        train("lenet5", out=folder, callbacks=[Disturbing()], **options)
        assert machine.now - before - machine.stopped <= 60
        machine.stopped = 0.0
    kept = Measurements(torch.device("cpu")).values
    pages = {what: value for what, value in kept.items() if "last pages" in what}
    expected = (
        {} if disturbed == "busy" else {"seconds of the last pages of 1 split of 5 classes": 6}
    )
    assert pages == pytest.approx(expected, abs=1)


def test_a_run_that_is_resumed_has_what_is_left_of_its_time(machine, tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    def cut(stats):
        if stats.epoch == 2:
            raise Cut

    monkeypatch.setattr(plan_module, "PAIRS_A_SECOND", 1)  # there is no time for that, nor later
    monkeypatch.setattr(finish_module, "find_near_duplicates", lambda *_: pytest.fail("compared"))
    with pytest.raises(Cut):
        machine.run(tmp_path / "run", "100s", on_epoch=cut)
    spent = machine.took()  # to which starting and measuring belong
    machine.now += 10_000
    before = machine.now
    run = resume(tmp_path / "run")
    assert 88 <= spent + machine.now - before <= 100
    assert run.metrics["validation_near_duplicates"] is None
    assert run.history["learning_rate"][-1] < 0.05 * run.config.recipe.learning_rate


@pytest.mark.parametrize("given", ["0", "1s", 12])
def test_too_short_a_time_is_told_with_the_least_which_is_enough(machine, tmp_path, given):
    with pytest.raises(UserError, match="is too short: 4 s have passed, and") as told:
        machine.run(tmp_path / "run", given)
    assert not (tmp_path / "run").exists()
    least = int(str(told.value).split("takes ")[1].split(" s")[0])
    assert 15 <= least <= 25
    machine.run(tmp_path / "run", f"{least}s")


def test_a_table_of_runs_is_trained_whatever_the_machine_does_meanwhile(
    machine, tmp_path, toy_data, told, capsys
):
    config = make_config("lenet5", {"data": toy_data, "time": "10s", **TINY})
    run = tmp_path / "run"
    assert list(train_all({run: config})) == [run]
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if " too short: " in line)
    least, longer = re.fullmatch(
        r"time       too short: lenet5 takes (\d+)s at least on this machine, and is given (\d+)s",
        line,
    ).groups()
    assert 15 <= int(least) <= 25 and int(longer) == 2 * int(least)
    assert 0.9 * int(longer) <= machine.took() <= int(longer)
    assert Run(run).config.time == "10s"
    took = machine.took()
    assert list(train_all({run: config})) == [run]  # it is kept
    assert machine.took() == took


def test_too_short_a_time_is_known_in_every_process():
    told = pickle.loads(pickle.dumps(TooShort("too short", 12)))
    assert (str(told), told.least, told.options) == ("too short", 12, ("time",))


def test_no_run_is_longer_than_what_has_been_measured(machine, toy_data):
    def planned(given):
        choices = choices_of("lenet5", {"data": toy_data, "time": given, **TINY})
        clock = Clock(machine.now, seconds_of(given))
        return choose_in_time(choices, run_module.make_trainer, ALONE, clock)[0].pace_at(0)

    longest = planned("9999h")
    assert longest.total * 8 == pytest.approx(cost_module.MOST_IMAGES, rel=0.01)
    assert planned("10h").total < longest.total


def test_of_the_training_images_as_many_are_measured_as_there_is_time_for(toy_data):
    dataset = open_dataset(toy_data, size=64)
    trainer = Trainer(RunConfig(RECIPES["lenet5"]()), dataset, choose("cpu", "fp32"))
    train, monitored = len(dataset.train), len(dataset.validation)
    assert (measure(trainer).sample, measure(trainer).last) == (None, train + monitored)
    assert measure(trainer, seconds=3600).sample is None
    short = measure(trainer, seconds=1e-6)
    assert (short.sample, short.last) == (monitored, 2 * monitored)
    trainer.config = dataclasses.replace(trainer.config, train_sample=7)  # as it was asked for
    assert measure(trainer, seconds=3600).sample == 7


def test_the_folds_share_the_time(machine, tmp_path, toy_data):
    options = {"data": toy_data, "out": tmp_path / "cv", "time": "3m", **TINY}
    result = cross_validate("lenet5", 3, **options)
    assert 0.88 * 180 <= machine.took() <= 180
    assert len(result["records"]) == 3
    took = machine.took()
    cross_validate("lenet5", 3, **options)  # they are kept, whatever their lengths were
    assert machine.took() == took


# The choice of a recipe


NARROW = {"stem_stride": 2, "widths": (32, 64, 128, 160)}
COARSE = {"stem_stride": 2}
FINE = {"stem_stride": 1}
BEST = {"dropout": 0.0}


class Fake:
    """A trainer of 60 batches of 128, whose steps cost what its network's maps do."""

    def __init__(self, config):
        self.config, self.recipe = config, config.recipe
        self.splits, self.near_duplicates = None, {}
        self.batches = type("Batches", (), {"size": 128, "__len__": lambda self: 60})()

    def pace_at(self, epoch):
        recipe = self.config.recipe
        return Pace(recipe.epochs, recipe.steps_per_epoch or 60)


@pytest.mark.parametrize(
    ("given", "recipe", "options", "epochs"),
    [
        ("45s", "quick", NARROW, 9),
        ("90s", "quick", NARROW, 17),
        ("100s", "quick", NARROW, 19),
        ("2m", "quick", COARSE, 12),
        ("3m", "quick", COARSE, 21),
        ("4m", "quick", COARSE, 28),
        ("5m", "quick", FINE, 14),
        ("8m", "quick", FINE, 23),
        ("20m", "quick", FINE, 59),
        ("10h", "convnet", BEST, 60),
    ],
)
def test_the_longer_it_may_take_the_finer_is_the_network(
    monkeypatch, given, recipe, options, epochs
):
    monkeypatch.setattr(time, "perf_counter", lambda: 10.0)

    def measure(trainer, most_images, seconds):
        options = trainer.config.recipe.model_options
        step = 0.4 / options.get("stem_stride", 1) ** 2 / (2.2 if "widths" in options else 1)
        most = max(60 * 60, most_images // 128)
        share = trainer.config.recipe.early_fraction
        return Cost(step, 0.001, 911, 8677, most=most, early=0.6, early_fraction=share)

    monkeypatch.setattr("convlens.training.plan.measure", measure)
    monkeypatch.setattr("convlens.training.plan.look_for_near_duplicates", lambda *_: {})
    choices = choices_of(None, {"time": given, "seed": 3, "learning_rate": 0.01})
    clock = Clock(0.0, seconds_of(given))
    trainer, *_ = choose_in_time(choices, lambda config, world: Fake(config), ALONE, clock)
    chosen = trainer.config.recipe
    assert (chosen.name, chosen.model_options) == (recipe, options)
    assert chosen.epochs == pytest.approx(epochs, abs=4)
    assert (trainer.config.seed, chosen.learning_rate) == (3, 0.01)


def test_the_choices_are_recipes_that_can_be_repeated():
    first, *others = lengths()
    assert first.least_images == 0 and all(each.least_images > 0 for each in others)
    for length in (first, *others):
        command = RunConfig(length.recipe).command()
        assert parse_train(shlex.split(command)[2:])[0].config.recipe == length.recipe
        assert length.recipe.name in RECIPES


@pytest.mark.parametrize("option", ["epochs", "steps_per_epoch", "replanned"])
def test_a_time_and_what_follows_from_it_are_refused_together(option):
    with pytest.raises(UserError, match=f"`time` and `{option}` do not go together"):
        train("lenet5", time="5m", **{option: 3})


def test_without_a_recipe_a_time_is_needed():
    with pytest.raises(UserError, match="give a recipe, or with `time` how long it may take"):
        train()


def test_pretraining_is_not_planned(toy_data):
    with pytest.raises(UserError, match="`time` and `pretraining` do not go together"):
        train("lenet5", time="5m", pretraining=2, data=toy_data)


def test_images_are_compared_where_there_is_time_for_that_or_it_is_known(
    machine, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(plan_module, "PAIRS_A_SECOND", 60 * 20 / 4.1)  # 4.1 s, more than a tenth
        metrics = machine.run(tmp_path / "short", "40s").metrics
        assert metrics["validation_near_duplicates"] is None
        told = metrics["validation_near_duplicates_unknown"]
        assert told == "40s is too short to compare all images"
    assert machine.run(tmp_path / "long", "40s").metrics["validation_near_duplicates"] == 0
    monkeypatch.setattr(plan_module, "PAIRS_A_SECOND", 1)
    assert machine.run(tmp_path / "known", "40s").metrics["validation_near_duplicates"] == 0
