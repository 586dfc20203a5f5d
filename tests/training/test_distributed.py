"""Real processes: torchrun starts this very file (see `work`) or `-m convlens train`."""

import dataclasses
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convlens.data import open_dataset
from convlens.data.augment import Augment, augment
from convlens.data.batches import Batches, mix_seed, shard
from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.logs import to_stdout
from convlens.models import LeNet5
from convlens.recipes import RECIPES
from convlens.training import distributed
from convlens.training.config import RunConfig
from convlens.training.device import Machine
from convlens.training.distributed import ALONE, World, joined
from convlens.training.optim import penalty
from convlens.training.run_folder import RunFolder
from convlens.training.trainer import Trainer

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")
POLICY = Augment(
    scale=0.3,
    aspect=0.2,
    translate=0.1,
    rotate=15,
    flip=0.5,
    color=0.3,
    grayscale=0.1,
    erase=0.3,
    mixup=0.4,
    cutmix=0.4,
)
# 14 images are 7 pairs, so 2 processes and 3 get shares of different sizes
PLAIN = dataclasses.replace(
    RECIPES["lenet5"](),
    epochs=2,
    batch_size=14,
    optimizer="sgd",
    learning_rate=0.01,
    ema_decay=0.9,
    label_smoothing=0.1,
    l1=1e-5,
    l2=1e-3,
    augment=POLICY,
)
NORMED = dataclasses.replace(RECIPES["lenet5plus"](), epochs=2, batch_size=14)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def trained(recipe, dataset, folder, world=ALONE):
    """The trainer, and the state that it ends with."""
    config = RunConfig(recipe, str(dataset.root))
    trainer = Trainer(config, dataset, FP32, world)
    folder = RunFolder(folder, world)
    folder.begin(config)
    return trainer, trainer.fit(trainer.start(), folder)


def untimed(history):
    return [{k: v for k, v in row.items() if "second" not in k} for row in history]


def work(data: str, out: Path) -> None:
    """What each process does; its findings go to out/RANK.pt."""
    to_stdout()
    with joined() as world:
        print(f"rank {world.rank} prints")
        dataset = open_dataset(data, progress=False)
        found = {"gradients": gradients(world)}
        for name, recipe in ("plain", PLAIN), ("normed", NORMED):
            trainer, state = trained(recipe, dataset, out / name, world)
            found[name] = state.ema.module.state_dict()
            found[f"{name} history"] = untimed(state.history)
        found["dropout seed"] = torch.initial_seed()
        classifier = trainer.classifier(state)
        shared = world.evaluate(classifier, dataset.train)
        alone = classifier.evaluate(dataset.train)
        found["evaluations"] = [
            {f: torch.from_numpy(getattr(e, f)) for f in ("logits", "losses", "confusion")}
            for e in (shared, alone)
        ]
        found["folder"] = used(RunFolder(out / "normed", world))
        with poisoned_loss(on=world.rank == world.size - 1), pytest.raises(UserError) as stopped:
            trained(PLAIN, dataset, out / "poisoned", world)
        found["sentence"] = str(stopped.value)
        torch.save(found, out / f"{world.rank}.pt")


def used(folder: RunFolder) -> list:
    """What every process learns of a folder that the first alone reads."""

    def inside():
        # the others wait for this one: a second exchange in here would never end
        return folder.read_config().seed, len(folder.read_state()["history"]), folder.is_finished

    seen = [folder.first(inside), folder.classifier().size, folder.has_state]
    try:
        folder.read_metrics()
    except UserError as problem:
        seen.append(str(problem))
    return seen


def gradients(world: World) -> dict[str, torch.Tensor]:
    """Of the mean loss over 11 images, and penalties, in double precision."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(11, 3, 64, 64, dtype=torch.float64, generator=generator)
    targets = torch.rand(11, 5, dtype=torch.float64, generator=generator).softmax(dim=1)
    torch.manual_seed(0)
    model = LeNet5(5).double()
    network = world.wrap(model)
    mine = shard(11, world.rank, world.size)
    loss = F.cross_entropy(network(images[mine]), targets[mine], reduction="sum") / 11
    (loss * world.size + penalty(network, 1e-3, 1e-2)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def poisoned_loss(on: bool):
    """The second loss is nan, in this process only."""
    plain, calls = F.cross_entropy, itertools.count(1)

    def loss(*arguments, **options):
        return plain(*arguments, **options) * (torch.nan if on and next(calls) == 2 else 1)

    return mock.patch.object(F, "cross_entropy", loss)


@pytest.fixture(scope="module", params=[2, 3])
def worlds(request, toy_data, tmp_path_factory):
    """What each process of a world found, what one process alone finds, and what was printed."""
    out = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(out / "cache"))
        command = [*TORCHRUN, "--standalone", "--nproc-per-node", str(request.param), __file__]
        done = subprocess.run(
            [*command, str(toy_data), str(out)], capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        _, state = trained(PLAIN, open_dataset(toy_data), out / "alone")
    return [torch.load(out / f"{rank}.pt") for rank in range(request.param)], state, done.stdout


def test_the_gradient_is_that_of_the_whole_batch_in_double_precision(worlds):
    expected = gradients(World())
    for found in worlds[0]:
        torch.testing.assert_close(found["gradients"], expected, rtol=1e-9, atol=1e-14)


def test_without_batch_norm_the_network_is_that_of_one_process_to_rounding(worlds):
    ranks, alone, _ = worlds
    expected = dict(alone.ema.module.state_dict())
    torch.testing.assert_close(dict(ranks[0]["plain"]), expected, rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(ranks[0]["plain history"], alone.history, strict=True):
        assert mine == pytest.approx({k: theirs[k] for k in mine}, rel=1e-4)


@pytest.mark.parametrize("name", ["plain", "normed"])
def test_all_processes_end_with_the_same_network_and_history(worlds, name):
    first, *others = worlds[0]
    for other in others:
        assert all(torch.equal(first[name][k], other[name][k]) for k in first[name])
        assert first[f"{name} history"] == other[f"{name} history"]


def test_dropout_differs_among_processes_and_is_that_of_one_process_in_the_first(worlds):
    seeds = [found["dropout seed"] for found in worlds[0]]
    assert len(set(seeds)) == len(seeds)
    assert seeds[0] == mix_seed(0, 1)  # of the second and last epoch


def test_a_shared_evaluation_is_that_of_one_process_to_the_last_bit(worlds):
    for found in worlds[0]:
        shared, alone = found["evaluations"]
        assert len(shared["logits"]) == 60
        assert all(torch.equal(shared[k], alone[k]) for k in shared)


def test_a_loss_that_is_not_finite_in_one_process_stops_all_at_the_same_step(worlds):
    for found in worlds[0]:
        assert found["sentence"].startswith("the loss is nan in epoch 1, step 2:")


def test_all_processes_learn_what_the_first_reads_and_none_waits_for_ever(worlds):
    for found in worlds[0]:
        inside, size, has_state, sentence = found["folder"]
        assert (inside, size, has_state) == ((0, 2, False), 64, True)
        assert "holds no metrics.json" in sentence


def test_only_the_first_process_prints(worlds):
    lines = worlds[2].splitlines()
    assert "rank 0 prints" in lines
    assert not re.search("rank [1-9] prints", worlds[2])
    # two trainings of two epochs, and of the third not one
    assert len([line for line in lines if line.startswith("epoch ")]) == 4


@given(n=st.integers(0, 300), ranks=st.integers(1, 9), unit=st.integers(1, 8))
def test_shares_are_all_items_once_in_order_even_and_cut_at_units(n, ranks, unit):
    shares = [shard(n, rank, ranks, unit) for rank in range(ranks)]
    assert [i for share in shares for i in range(n)[share]] == list(range(n))
    units = [-(-(share.stop - share.start) // unit) for share in shares]
    assert max(units) - min(units) <= 1
    assert all(share.start % unit == 0 or share.start == n for share in shares)
    if unit == 2 and n >= 2 * ranks:
        assert min(share.stop - share.start for share in shares) >= 2


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_augmented_shares_are_slices_of_the_augmented_batch_to_the_last_bit(ranks, toy_data):
    split = open_dataset(toy_data).train
    normalize = Normalize([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    for n in 12, 15:
        whole = Batches(split, 5, n, seed=3).epoch(1)
        parts = [Batches(split, 5, n, 3, rank, ranks).epoch(1) for rank in range(ranks)]
        for batch, *shares in zip(whole, *parts, strict=True):
            expected = augment(batch, POLICY, normalize, 64)
            seen = [augment(share, POLICY, normalize, 64) for share in shares]
            for i in range(2):
                assert torch.equal(torch.cat([s[i] for s in seen]), expected[i])


def test_a_batch_too_small_for_the_processes_is_refused(toy_data):
    world = mock.Mock(wraps=World(), rank=0, size=8)
    recipe = dataclasses.replace(PLAIN, batch_size=15)
    with pytest.raises(UserError, match="batch of 15 images is too small for 8 processes"):
        Trainer(RunConfig(recipe), open_dataset(toy_data), FP32, world)


def test_processes_agree_whatever_dead_ones_have_left_in_the_store():
    store = torch.distributed.HashStore()
    for rank in (1, 2):  # of an attempt that ended when rank 2 had not yet understood
        store.set(f"ask {rank}", "old")
        store.set(f"answer {rank}", "old stale")
    store.set("understood 1", "stale")
    with ThreadPoolExecutor() as pool:
        first = [pool.submit(distributed._agree, store, rank, 3) for rank in (2, 1, 0)]
        words = {future.result(timeout=60) for future in first}
        again = [pool.submit(distributed._agree, store, rank, 3) for rank in (0, 1, 2)]
        later = {future.result(timeout=60) for future in again}
    assert len(words) == len(later) == 1
    assert words != later and words != {"stale"}


def command(toy_data, run, *options):
    return [
        "-m",
        "convlens",
        "train",
        "lenet5",
        "--data",
        str(toy_data),
        "--out",
        str(run),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--batch-size",
        "15",
        *options,
    ]


def printed_epochs(output):
    return [int(number) for number in re.findall(r"^epoch +(\d+)/", output, re.MULTILINE)]


def test_after_a_worker_is_killed_all_restart_from_the_last_epoch(toy_data, tmp_path):
    run, epochs = tmp_path / "run", 20
    elastic = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    job = subprocess.Popen(
        [*elastic, *command(toy_data, run, "--epochs", str(epochs), "--overwrite")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while job.poll() is None and not (
        (run / "history.csv").exists() and len(RunFolder(run).read_history()["epoch"]) >= 2
    ):
        time.sleep(0.01)
    *_, worker = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text("utf-8").split()
    os.kill(int(worker), signal.SIGKILL)
    done = len(RunFolder(run).read_history()["epoch"])
    output, errors = job.communicate(timeout=600)
    assert job.returncode == 0, errors
    assert "exitcode: -9" in errors
    assert done < epochs
    assert RunFolder(run).read_history()["epoch"].tolist() == list(range(1, epochs + 1))
    assert (run / "metrics.json").exists()
    # none is trained twice; the one after which the worker was killed may not have been printed
    printed = printed_epochs(output)
    assert printed == sorted(set(printed))
    assert printed[0] == 1
    assert len(printed) >= epochs - 1


def test_a_restart_does_not_continue_a_run_that_another_job_made(toy_data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("of another job")
    elastic = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    job = subprocess.run(
        [*elastic, *command(toy_data, run)], capture_output=True, text=True, timeout=600
    )
    assert job.returncode == 1
    # an attempt that torchrun cuts short may be silent, but not both of them
    assert job.stderr.count(f"convlens: {run} exists; --resume") in (1, 2)
    assert (run / "config.yaml").read_text() == "of another job"


@pytest.fixture
def hosts():
    """Two network namespaces joined by a virtual cable: (namespace, interface, address) of each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2's ip")
    ends = [(f"clns{os.getpid()}{x}", f"cl{os.getpid()}{x}", f"10.77.0.{x}") for x in (1, 2)]

    def ip(*arguments):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    try:
        for namespace, _, _ in ends:
            ip("netns", "add", namespace)
        ip("link", "add", ends[0][1], "type", "veth", "peer", "name", ends[1][1])
        for namespace, interface, address in ends:
            ip("link", "set", interface, "netns", namespace)
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", interface)
            for device in (interface, "lo"):
                ip("-n", namespace, "link", "set", device, "up")
        yield ends
    except subprocess.CalledProcessError as refused:
        pytest.skip(f"no network namespaces here: {refused.stderr.strip()}")
    finally:
        for namespace, _, _ in ends:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


def test_two_hosts_train_one_network(hosts, toy_data, tmp_path):
    run = tmp_path / "run"
    jobs = []
    for namespace, interface, address in hosts:
        elastic = [
            *TORCHRUN,
            "--nnodes",
            "2",
            "--nproc-per-node",
            "1",
            "--rdzv-backend",
            "c10d",
            "--rdzv-endpoint",
            f"{hosts[0][2]}:29400",
            "--rdzv-id",
            "test",
            "--local-addr",
            address,
            "--rdzv-conf",
            f"is_host={int(address == hosts[0][2])}",
        ]
        environment = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": interface,
            "CONVLENS_CACHE": str(tmp_path / namespace),
        }
        there = ["ip", "netns", "exec", namespace, *elastic]
        job = subprocess.Popen(
            [*there, *command(toy_data, run, "--epochs", "2")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
    outputs = [job.communicate(timeout=600) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert sorted(printed_epochs(output) for output, _ in outputs) == [[], [1, 2]]
    assert RunFolder(run).read_history()["epoch"].tolist() == [1, 2]
    # the gradients of 8 steps went over the cable
    namespace, interface, _ = hosts[0]
    counter = f"/sys/class/net/{interface}/statistics/rx_bytes"
    received = subprocess.check_output(["ip", "netns", "exec", namespace, "cat", counter])
    assert int(received) > 8 * 4 * sum(p.numel() for p in LeNet5(5).parameters())


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
