"""Curves for other programs, and callbacks: told by runs of two tiny epochs."""

import builtins
import csv
import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import convlens as cl
from convlens.data import open_dataset
from convlens.errors import Diverged, UserError
from convlens.files import read_csv
from convlens.recipes import RECIPES
from convlens.training.callbacks import Callbacks
from convlens.training.config import RunConfig, make_config
from convlens.training.device import Machine
from convlens.training.distributed import World
from convlens.training.loggers import COLUMNS, StepsCsv, _rows_until
from convlens.training.pace import Pace
from convlens.training.run import resume, train
from convlens.training.run_folder import RunFolder
from convlens.training.step import StepStats
from convlens.training.trainer import Trainer

TINY = {
    "epochs": 2,
    "batch_size": 16,
    "size": 16,
    "train_size": 16,
    "early_size": 16,
    "device": "cpu",
    "precision": "fp32",
}
STEPS = 60 // 16  # of an epoch of toy_data
FP32 = Machine(torch.device("cpu"), "fp32", "for the test")


class Told(cl.Callback):
    """Keeps what it is told, in order; `stop` is where it stops the run."""

    def __init__(self, stop=None):
        self.heard, self.losses, self.stop = [], [], stop

    def hear(self, *what):
        self.heard.append(what)
        if what == self.stop:
            raise cl.StopTraining

    def begin(self, trainer, state, folder):
        self.hear("begin", trainer.config.seed, len(state.history))

    def step(self, state, stats):
        self.losses.append((stats.loss, stats.correct, state.optimizers[0].param_groups[0]["lr"]))
        self.hear("step", state.step)

    def epoch(self, state, stats):
        self.hear("epoch", stats.epoch)

    def end(self, run):
        self.hear("end", run.metrics["epochs"])

    def close(self):
        self.hear("close")


class Cut(cl.Callback):
    """Ctrl-C in the middle of the second epoch."""

    def step(self, state, stats):
        if state.step == STEPS + 2:
            raise KeyboardInterrupt


@dataclasses.dataclass
class Logged:
    """A run that its callback stopped after one epoch, that was resumed and cut in the second, and
    resumed again; what was told each time, and what the stopped run was found to be."""

    told: list[Told]
    folder: Path
    stopped: dict

    @property
    def run(self):
        return cl.Run(self.folder)


@pytest.fixture(scope="module")
def logged(toy_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged") / "run"
    told = [Told(("step", 2)), Told(), Told()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(folder.parent / "cache"))
        patch.setattr("convlens.training.run.choose_algorithms", lambda *_: {})
        run = train("lenet5", data=toy_data, out=folder, log=["csv"], callbacks=told[:1], **TINY)
        stopped = run.metrics
        with pytest.raises(KeyboardInterrupt):
            resume(folder, log=["csv", "tensorboard"], callbacks=[told[1], Cut()])
        with open(folder / "steps.csv", "ab") as file:
            file.write(b"2,9,0.")  # as a kill while writing leaves it
        resume(folder, callbacks=told[2:])
    return Logged(told, folder, stopped)


def events(folder):
    """What TensorBoard reads of a folder."""
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def test_callbacks_hear_of_everything_in_order(logged):
    begin = [("step", step) for step in range(1, STEPS + 1)]
    rest = [("step", step) for step in range(STEPS + 1, 2 * STEPS + 1)]
    assert [callback.heard for callback in logged.told] == [
        [("begin", 0, 0), *begin, ("epoch", 1), ("end", 1), ("close",)],
        [("begin", 0, 1), *rest[:2], ("close",)],
        [("begin", 0, 1), *rest, ("epoch", 2), ("end", 2), ("close",)],
    ]


def test_a_run_that_a_callback_stops_is_whole(logged):
    assert logged.stopped["epochs"] == 1
    assert logged.stopped["validation_images"] == 20
    assert logged.run.metrics["epochs"] == 2


def test_steps_csv_has_every_step_once_with_its_own_figures(logged):
    run, (first, _, second) = logged.run, logged.told
    header, *rows = read_csv(run.folder / "steps.csv")
    assert header == COLUMNS
    assert [row[:2] for row in rows] == [
        [str(1 + step // STEPS), str(1 + step)] for step in range(2 * STEPS)
    ]
    told = [*first.losses, *second.losses]
    expected = [(float(loss), int(correct) / 16, rate) for loss, correct, rate in told]
    assert [tuple(map(float, row[2:])) for row in rows] == expected
    # an epoch's mean is what history.csv says of it
    for epoch in 1, 2:
        losses = [loss for loss, _, _ in expected[STEPS * (epoch - 1) : STEPS * epoch]]
        assert run.history["train_loss"][epoch - 1] == pytest.approx(np.mean(losses), rel=1e-12)


def test_tensorboard_reads_each_epoch_once_and_the_figures_at_the_end(logged):
    run = logged.run
    assert len(list(run.folder.glob("events.out.tfevents.*"))) == 1
    seen = events(run.folder)
    columns = {
        "loss/train": "train_loss",
        "accuracy/train": "train_accuracy",
        "loss/validation": "validation_loss",
        "accuracy/validation": "validation_accuracy",
        "mean_class_accuracy/validation": "validation_mean_class_accuracy",
        "learning_rate": "learning_rate",
        "images_per_second": "images_per_second",
    }
    for tag, column in columns.items():
        found = seen.Scalars(tag)
        assert [each.step for each in found] == [1, 2]
        assert [each.value for each in found] == pytest.approx(run.history[column], rel=1e-6)
        assert found[0].wall_time < found[1].wall_time
    [final] = seen.Scalars("final/validation_accuracy")
    assert (final.step, final.value) == (2, pytest.approx(run.metrics["validation_accuracy"]))
    for name in "batch", "confusion":
        [picture] = seen.Images(name)
        with Image.open(run.folder / f"{name}.png") as drawn:
            assert (picture.width, picture.height) == drawn.size
    [text] = seen.Tensors("config/text_summary")
    assert "name: lenet5" in text.tensor_proto.string_val[0].decode()


def test_an_overwritten_run_leaves_no_curves(logged, tmp_path):
    folder = RunFolder(tmp_path)
    for path in logged.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.is_file() else b"")
    folder.begin(logged.run.config)
    assert not list(tmp_path.glob("events.*")) and not (tmp_path / "steps.csv").exists()


def test_a_logger_does_not_make_another_run(toy_data, tmp_path):
    plain = make_config("lenet5", TINY)
    asked = dataclasses.replace(plain, log=("csv",))
    assert asked.differs_from(plain) == plain.differs_from(asked) == []
    assert asked.command() == f"{plain.command()} --log csv"
    assert RunConfig.from_dict(asked.as_dict()) == asked
    with pytest.raises(UserError, match="`log` is 'wandb'; choose from tensorboard, csv"):
        make_config("lenet5", {"log": ["wandb"]})


def test_on_epoch_may_stop_a_run_too(toy_data):
    dataset = open_dataset(toy_data, size=16)
    recipe = dataclasses.replace(RECIPES["lenet5"](), epochs=3, batch_size=16, size=16)
    recipe = dataclasses.replace(recipe, train_size=16, early_size=16)
    trainer = Trainer(RunConfig(recipe), dataset, FP32)

    def stop(stats):
        raise cl.StopTraining

    assert len(trainer.fit(trainer.start(), on_epoch=stop).history) == 1


class Two(World):
    """One of two processes, the other of which has the same figures, and stops when this is."""

    def __init__(self, stops=0.0):
        super().__init__(0, 2)
        object.__setattr__(self, "stops", stops)

    def sum_(self, tensor):
        return tensor.add_(self.stops) if tensor.ndim == 0 else tensor.mul_(2)


def test_every_process_stops_when_one_does():
    assert not Callbacks([]).wants_to_stop(Two())
    assert Callbacks([]).wants_to_stop(Two(stops=1.0))


def test_of_several_processes_the_first_writes_what_all_have_found(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.25)
    state = SimpleNamespace(pace=Pace(1, 2), step=0, history=[], optimizers=[optimizer])
    # each process' loss is twice its share of the batch's; see StepStats
    found = [(torch.tensor(1.5), torch.tensor(3)), (torch.tensor(0.5), torch.tensor(4))]
    for rank, expected in (0, [COLUMNS, ["1", "1", "1.5", "0.6", "0.25"],
                               ["1", "2", "0.5", "0.8", "0.25"]]), (1, None):  # fmt: skip
        world = Two()
        object.__setattr__(world, "rank", rank)
        trainer = SimpleNamespace(world=world, batches=SimpleNamespace(size=10))
        folder = RunFolder(tmp_path / str(rank))
        folder.path.mkdir()
        logger = StepsCsv()
        logger.begin(trainer, state, folder)
        for state.step, (loss, correct) in enumerate(found, 1):
            logger.step(state, StepStats(loss, correct, 0.0))
        logger.close()
        path = folder.path / "steps.csv"
        assert (read_csv(path) if path.exists() else None) == expected


def test_the_steps_of_a_run_that_diverges_are_kept(toy_data, tmp_path):
    with pytest.raises(Diverged):
        train(
            "lenet5",
            data=toy_data,
            out=tmp_path / "wild",
            log=["csv"],
            **{**TINY, "learning_rate": 1e30},
        )
    rows = list(csv.reader((tmp_path / "wild/steps.csv").read_text().splitlines()))[1:]
    assert rows and not np.isfinite(float(rows[-1][2]))


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"epoch,step\n\xff", b"1" * 200_000, b'"', b"\x00\n"]
)
def test_what_is_no_steps_csv_is_replaced(content, tmp_path):
    (tmp_path / "steps.csv").write_bytes(content)
    assert _rows_until(tmp_path / "steps.csv", 9) == []


def test_without_tensorboard_one_sentence_says_what_to_install_and_nothing_is_written(
    toy_data, tmp_path, monkeypatch
):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="`log` tensorboard needs TensorBoard; install it with"):
        train("lenet5", data=toy_data, out=tmp_path / "run", log=["tensorboard"], **TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("callbacks", [print, [print], ["csv"], 3])
def test_what_is_no_callback_is_refused(callbacks, toy_data, tmp_path):
    with pytest.raises(UserError, match="which is no Callback; give objects of a subclass"):
        train("lenet5", data=toy_data, out=tmp_path / "run", callbacks=callbacks, **TINY)
    assert not (tmp_path / "run").exists()


def test_one_callback_needs_no_list():
    told = Told()
    assert Callbacks(told).all == [told]


def test_all_callbacks_are_closed_even_if_one_cannot_be():
    class Stuck(cl.Callback):
        def close(self):
            raise RuntimeError("stuck")

    first, last = Told(), Told()
    with pytest.raises(RuntimeError, match="stuck"):
        Callbacks([first, Stuck(), last]).close()
    assert first.heard == last.heard == [("close",)]
