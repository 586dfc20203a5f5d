"""Breaks ConvLens on purpose and counts what is lost: kills, faulty disks, hostile files.

    python benchmarks/reliability.py kills [--count 1000]    every verb that writes, killed anywhere
    python benchmarks/reliability.py faults                  each write, rename and flush fails once
    python benchmarks/reliability.py full [--count 2000]     a disk that is full at any byte
    python benchmarks/reliability.py hostile [--count 10000] weights, states, images made of lies
    python benchmarks/reliability.py torchrun [--count 50]   a worker of several is killed

After every blow the same command is given again, as a person would, and must end well, with the
same result as a run that nobody disturbed and nothing left lying about. Prints a line a verb and
ends with status 1 if anything was lost. Linux only: processes are forked, for starting Python a
thousand times would take most of the time. docs/reliability.md quotes the counts.
"""

import argparse
import builtins
import contextlib
import errno
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from convlens.cli import main as convlens
from convlens.training.measuring import Watch

SMALL = "--size 16 --train-size 16 --early-size 16 --batch-size 12 --device cpu --precision fp32"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


# A command in a process of its own


def started(arguments: list[str], folder: Path, before: Callable[[], None] | None = None) -> int:
    """The number of a forked process that runs `convlens` with these arguments in `folder`."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open(folder.parent / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), "utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), "utf-8", write_through=True)
        os.environ["CONVLENS_CACHE"] = str(folder / "cache")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before is not None:
            before()
        convlens(arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(status)


def ended(process: int) -> int:
    """Wait for it; its exit status, or minus the number of the signal that ended it."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(process: int, seconds: float, how: int) -> int:
    """Send the whole family a signal after so long, unless it has ended before; its status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, how)
    return ended(process)


# What is done


@dataclass
class Job:
    """A verb that writes. again: the command that a person gives after the blow. outcome: what of
    the folder must be the same in the end, by a name for each. seconds: that it last took. before:
    makes what only this verb needs."""

    name: str
    command: str
    again: Callable[[Path], str]
    outcome: Callable[[Path], dict[str, str]]
    share: float = 1.0
    seconds: float = 0.0
    counts: Counter = field(default_factory=Counter)
    before: Callable[[Path], None] = lambda folder: None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "missing"


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): digest(p) for p in folder.rglob("*") if p.is_file()}


def weights(run: Path) -> dict[str, str]:
    """The tensors of a run and its figures, but for its times."""
    found = {}
    for name in ("best", "last"):  # the order of a file's metadata is nobody's promise
        numbers = hashlib.sha256()
        for key, tensor in sorted(load_file(run / f"{name}.safetensors").items()):
            numbers.update(key.encode() + tensor.numpy().tobytes())
        found[name] = numbers.hexdigest()[:16]
    metrics = run / "metrics.json"
    if metrics.exists():
        content = json.loads(metrics.read_text(encoding="utf-8"))
        found["metrics"] = json.dumps({k: v for k, v in content.items() if k != "seconds"})
    return found


def train_again(folder: Path) -> str:
    if (folder / "run" / "config.yaml").exists():
        return "train --resume run"
    return TRAIN


TRAIN = f"train lenet5 --data data --epochs 4 --out run --snapshots {SMALL}"


def jobs() -> list[Job]:
    def same(command: str) -> Callable[[Path], str]:
        return lambda folder: command

    def listed(name: str) -> Callable[[Path], dict[str, str]]:
        def outcome(folder: Path) -> dict[str, str]:
            return tree(folder / name)

        return outcome

    split = "data split flat --out parts"
    cache = "evaluate weights.safetensors --data data --device cpu --out measured"
    export = "export weights.safetensors --format torch --out model.pt2"
    look = "look weights.safetensors --data data --view activations filters --out looks"
    page = "explore weights.safetensors --data data --export page"
    tune = "tune quick --data data --trials 2 --epochs 1 --holdout 0.3 --device cpu --out search"
    reproduce = (
        "reproduce lenet5 --data data --epochs 1 --seeds 1 --device cpu --precision fp32 --runs "
        "runs --results results --weights weights"
    )
    demo = "data demo --out demo"
    report = "report --results made/results --weights made/weights --data data --out paper"

    def measured(folder: Path) -> dict[str, str]:
        return {"metrics": digest(folder / "measured" / "metrics.json")}

    def exported(folder: Path) -> dict[str, str]:
        program = torch.export.load(folder / "model.pt2").module()
        answer = program(torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
        return {"probabilities": str(answer["probabilities"].tolist())}

    def pages(folder: Path) -> dict[str, str]:
        return {"files": str(len(tree(folder / "page")))}

    def searched(folder: Path) -> dict[str, str]:
        lines = (folder / "search" / "trials.csv").read_text(encoding="utf-8").splitlines()
        return {"trials": str(len(lines)), "best": digest(folder / "search" / "best.yaml")}

    def collected(folder: Path) -> dict[str, str]:
        records = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
        kept = {k: v for r in records for k, v in r.items() if k not in ("seconds", "commit")}
        return {
            "summary": json.dumps(kept),
            "weights": str((folder / "weights/lenet5.safetensors").exists()),
        }

    def handed_over(folder: Path) -> dict[str, str]:
        notebook = json.loads((folder / "paper/assignment2.ipynb").read_text(encoding="utf-8"))
        page = (folder / "paper/assignment2.html").read_text(encoding="utf-8")
        pdf = (folder / "paper/assignment2.pdf").read_bytes()
        return {
            "files": str(sorted(p.name for p in (folder / "paper").iterdir())),
            "cells": str([bool(cell.get("outputs")) for cell in notebook["cells"]]),
            "whole": str((page.rstrip().endswith("</html>"), b"%%EOF" in pdf[-20:])),
        }

    return [
        Job("train", TRAIN, train_again, lambda folder: weights(folder / "run"), 4.0),
        Job("evaluate, with its cache", cache, same(cache), measured, 2.0),
        Job("data split", split, same(split), listed("parts"), 1.5),
        Job("look", look, same(look), listed("looks")),
        Job("export", export, same(export), exported, 0.5),
        Job("explore --export", page, same(page), pages, 0.5),
        Job("tune", tune, same(tune), searched, 0.7),
        Job("reproduce", reproduce, same(reproduce), collected, 0.7),
        Job(
            "data demo",
            demo,
            same(demo),
            lambda folder: {"files": str(len(tree(folder / "demo")))},
            0.1,
        ),
        Job("report", report, same(report), handed_over, 0.1, before=reproduced),
    ]


def _chosen(only: Sequence[str]) -> list[Job]:
    return [job for job in jobs() if not only or job.name.split(",")[0] in only]


def prepare(folder: Path) -> None:
    """A data set, split and flat, and a weights file."""
    Watch.others = lambda self: 0.0
    noise = np.random.default_rng(0)
    for name in ("bar", "disc", "ring"):
        for split, count in ("train", 12), ("validation", 4):
            for number in range(count):
                pixels = noise.integers(0, 255, (16, 16, 3)).astype(np.uint8)
                for place in (folder / "data" / split / name, folder / "flat" / name):
                    place.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(place / f"{split}-{number}.png")
    command = f"train lenet5 --data data --epochs 1 --out first {SMALL}"
    if status := ended(started(command.split(), folder)):
        raise SystemExit(f"the first training ended with status {status}")
    shutil.copyfile(folder / "first" / "best.safetensors", folder / "weights.safetensors")
    shutil.rmtree(folder / "first")
    empty_cache(folder)


def empty_cache(folder: Path) -> None:
    """Which algorithms are fastest is measured once and kept, however busy the machine is: another
    choice would round otherwise."""
    for kept in (folder / "cache").iterdir():
        if kept.name != "machine.json":
            shutil.rmtree(kept) if kept.is_dir() else kept.unlink()


def reproduced(folder: Path) -> None:
    """What a report is made of."""
    made = "--runs made/runs --results made/results --weights made/weights"
    command = f"reproduce lenet5 --data data --epochs 1 --seeds 1 --device cpu {made}"
    if status := ended(started(command.split(), folder)):
        raise SystemExit(f"what a report is made of ended with status {status}")
    empty_cache(folder)


def left_over(folder: Path) -> list[str]:
    """Temporary files and folders that somebody forgot."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if ".tmp" in p.name]


# Kills


def kills(count: int, seed: int, only: Sequence[str]) -> int:
    """Kill every verb at random moments, again and again, until it has ended."""
    random.seed(seed)
    lost = done = 0
    shares = sum(job.share for job in jobs())
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        pattern = Path(place) / "pattern"
        pattern.mkdir()
        prepare(pattern)
        for job in _chosen(only):
            job.before(pattern)
            undisturbed = Path(place) / "undisturbed"
            shutil.copytree(pattern, undisturbed)
            begun = time.monotonic()
            if status := ended(started(job.command.split(), undisturbed)):
                print(f"{job.name}: status {status} without any kill\n{_log(undisturbed)}")
                return 1
            job.seconds, expected = time.monotonic() - begun, job.outcome(undisturbed)
            shutil.rmtree(undisturbed)
            budget = round(count * job.share / shares)
            stopped = False
            while job.counts["kills"] < budget and not stopped:
                try:
                    lost += not _torture(job, pattern, Path(place), expected)
                except KeyboardInterrupt:  # what there has been is told
                    stopped = True
            done += job.counts["kills"]
            print(
                f"{job.name}: {job.counts['kills']} kills in {job.counts['runs']} runs, "
                f"{job.counts['lost']} lost, {job.counts['left']} files left over",
                flush=True,
            )
            if stopped:
                break
    print(f"{done} kills, {lost} lost")
    return int(bool(lost))


def _torture(job: Job, pattern: Path, place: Path, expected: dict[str, str]) -> bool:
    """One run, killed once to four times; whether it ended as one that nobody disturbed."""
    folder = place / "victim"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pattern, folder)
    job.counts["runs"] += 1
    command = job.command
    for _ in range(random.randint(1, 4)):
        how = random.choice(SIGNALS)
        begun = time.monotonic()
        moment = random.uniform(0, 1.1 * job.seconds)
        status = kill_after(started(command.split(), folder), moment, how)
        if status == 0:
            if command == job.command:  # a machine that is less busy now is quicker
                job.seconds = time.monotonic() - begun
            break
        job.counts["kills"] += 1
        command = job.again(folder)
    status = 0
    for _ in range(2):  # what was killed between the end of the work and the end of the process
        if job.name == "data split" and (folder / "parts").exists():
            break
        if job.name == "data demo" and (folder / "demo").exists():
            break
        status = ended(started(command.split(), folder))
        if status == 0:
            break
        command = job.again(folder)
    found = _outcome(job, folder)
    remains = left_over(folder)
    job.counts["left"] += len(remains)
    if status or found != expected:
        job.counts["lost"] += 1
        what = {k: (v, found.get(k)) for k, v in expected.items() if found.get(k) != v}
        print(f"LOST in {job.name}: status {status}, {what}\n{_log(folder)}", flush=True)
        return False
    if remains:
        print(f"left over by {job.name}: {remains[:5]}", flush=True)
    return True


def _outcome(job: Job, folder: Path) -> dict[str, str]:
    try:
        return job.outcome(folder)
    except Exception as problem:
        return {"outcome": repr(problem)}


def _log(folder: Path) -> str:
    log = folder.parent / f"{folder.name}.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""


# Faulty disks


class FaultyDisk:
    """The system's calls that write, of which the n-th one fails as on a full or broken disk; the
    0th is none. When the process ends, how many there were stands in a file."""

    CALLS = ("replace", "rename", "mkdir", "fsync", "unlink", "link", "rmdir")

    def __init__(self, n: int, error: int, seen: Path):
        self.n, self.error, self.seen, self.count = n, error, seen, 0

    def install(self) -> None:
        for name in self.CALLS:
            setattr(os, name, self._failing(getattr(os, name)))
        real, leave = io.open, os._exit

        def opened(file, mode="r", *arguments, **options):
            told = "" if isinstance(file, int) else os.fspath(file)
            if told and set(mode) & set("wax+") and not str(told).startswith(("/dev/", "/proc/")):
                self._count()
            return real(file, mode, *arguments, **options)

        def left(status):
            with contextlib.suppress(OSError), real(self.seen, "w", encoding="utf-8") as file:
                file.write(str(self.count))
            leave(status)

        io.open = builtins.open = opened
        os._exit = left

    def _failing(self, real: Callable) -> Callable:
        def call(*arguments, **options):
            self._count()
            return real(*arguments, **options)

        return call

    def _count(self) -> None:
        self.count += 1
        if self.count == self.n:
            raise OSError(self.error, os.strerror(self.error))


def faults(limit: int, only: Sequence[str]) -> int:
    """Let each call that writes fail once; then the same command again, on a sound disk.

    Of a verb that has more than `limit` of them, so many fail, evenly spread.
    """
    lost = blows = 0
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        pattern, victim = Path(place) / "pattern", Path(place) / "victim"
        seen = Path(place) / "seen"
        pattern.mkdir()
        prepare(pattern)
        for job in _chosen(only):
            job.before(pattern)

            def blow(n: int) -> int:
                shutil.rmtree(victim, ignore_errors=True)
                shutil.copytree(pattern, victim)
                disk = FaultyDisk(n, (errno.ENOSPC, errno.EIO)[n % 2], seen)
                return ended(started(job.command.split(), victim, disk.install))  # noqa: B023

            if status := blow(0):
                print(f"{job.name}: status {status} without any fault\n{_log(victim)}")
                return 1
            expected, calls = job.outcome(victim), int(seen.read_text(encoding="utf-8"))
            chosen = sorted({round(n) for n in np.linspace(1, calls, min(calls, limit))})
            before = lost
            for n in chosen:
                status = blow(n)
                again = ended(started(job.again(victim).split(), victim)) if status else 0
                found = _outcome(job, victim)
                if status not in (0, 2) or again or found != expected:
                    lost += 1
                    what = {k: (v, found.get(k)) for k, v in expected.items() if found.get(k) != v}
                    print(
                        f"LOST in {job.name}, call {n}: status {status}, then {again}, {what}\n"
                        f"{_log(victim)}",
                        flush=True,
                    )
                (victim.parent / f"{victim.name}.log").unlink(missing_ok=True)
            blows += len(chosen)
            print(
                f"{job.name}: {len(chosen)} of {calls} calls that write failed, {lost - before} "
                "lost",
                flush=True,
            )
    print(f"{blows} faults, {lost} lost")
    return int(bool(lost))


# A full disk


def full(count: int, seed: int) -> int:
    """Write a run's epoch on a disk that is full after so many bytes: the one before it stays.

    Every byte of the state's first and last 2,000, and `count` in between.
    """
    from convlens.errors import UserError
    from convlens.training.run_folder import RunFolder

    random.seed(seed)
    lost = 0
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is too long is an error then
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        folder = Path(place) / "pattern"
        folder.mkdir()
        prepare(folder)
        if ended(started(TRAIN.split(), folder)):
            raise SystemExit("the training ended badly")
        run = RunFolder(folder / "run")
        state, classifier = run.read_state(), run.classifier("last")
        assert state is not None
        history = state.pop("history")
        kept = folder / "run" / "state.pt"
        size, before = kept.stat().st_size, digest(kept)
        edges = {*range(2000), *range(size - 2000, size)}
        within = {random.randrange(2000, size - 2000) for _ in range(count)}
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        for at in sorted(edges | within):
            resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
            try:
                run.save_epoch(classifier, history, state, best=True)
                told = "nothing was said"
            except (UserError, OSError) as problem:
                told = "" if str(folder / "run") in str(problem) else f"no file: {problem}"
            except Exception as problem:
                told = repr(problem)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            sound = digest(kept) == before and not left_over(folder)
            if sound and at % 50 == 0:  # it can be read, and so can the weights
                sound = run.read_state() is not None and bool(run.classifier("best"))
            if told or not sound:
                lost += 1
                print(f"LOST at byte {at}: {told or 'the run folder changed'}", flush=True)
    print(f"{len(edges | within)} of the state's {size:,} bytes, {lost} lost")
    return int(bool(lost))


# Hostile files


def hostile(count: int, seed: int) -> int:
    """Read files made of lies: each must be refused in one sentence, or answered; never a crash."""
    from convlens.errors import UserError
    from convlens.inference import Classifier
    from convlens.training.run_folder import RunFolder

    random.seed(seed)
    outcomes: Counter = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        folder = Path(place) / "pattern"
        folder.mkdir()
        prepare(folder)
        if ended(started(TRAIN.split(), folder)):
            raise SystemExit("the training ended badly")
        os.environ["CONVLENS_CACHE"] = str(folder / "cache")
        sources = [
            *(
                folder / "run" / name
                for name in (
                    "best.safetensors",
                    "config.yaml",
                    "state.pt",
                    "history.csv",
                    "metrics.json",
                )
            ),
            folder / "data/train/bar/train-0.png",
        ]
        classifier = Classifier.load(folder / "weights.safetensors")
        for number in range(count):
            source = sources[number % len(sources)]
            kept = source.read_bytes()
            source.write_bytes(_mutated(kept))
            begun = time.monotonic()
            try:
                if source.suffix == ".safetensors":
                    loaded = Classifier.load(source)
                    answer = loaded.probabilities(loaded.logits(np.zeros((1, 16, 16, 3), np.uint8)))
                    if not np.isfinite(answer).all():
                        outcomes["answered by nan"] += 1
                elif source.suffix == ".png":
                    classifier.predict([source])
                else:
                    run = RunFolder(folder / "run")
                    readers = {
                        "config.yaml": run.read_config,
                        "state.pt": run.read_state,
                        "history.csv": run.read_history,
                        "metrics.json": run.read_metrics,
                    }
                    readers[source.name]()
                outcomes["answered"] += 1
            except UserError as problem:
                outcomes["refused" if "\n" not in str(problem) else "refused in several lines"] += 1
            except Exception:
                outcomes["crashed"] += 1
                print(f"CRASH by {source.name}:\n{traceback.format_exc()}", flush=True)
            slowest = max(slowest, time.monotonic() - begun)
            source.write_bytes(kept)
    print(f"{count} hostile files: {dict(outcomes)}; the slowest took {slowest:.2f} s")
    return int(bool(outcomes["crashed"] or outcomes["answered by nan"]))


WORDS = (b"NaN", b"null", b"-1", b"1e999", b"[[[[", b"true", b'"x"', b"2.5", b"99999999999", b"{}")


def _mutated(content: bytes) -> bytes:
    """The bytes with a few things wrong: bits, pieces cut or doubled, numbers made others."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if not data:
            break
        at = random.randrange(min(len(data), random.choice((64, 1024, len(data)))))
        match random.randrange(5):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                del data[at : at + random.randrange(1, 64)]
            case 2:
                data[at:at] = data[at : at + random.randrange(1, 64)]
            case 3:
                word = random.choice(WORDS)
                data[at : at + len(word)] = word
            case _:
                del data[at:]
    return bytes(data)


# Several processes


# What is fastest is measured once and kept, however busy the machine is, as `prepare` has it.
WORKER = """import sys
from convlens.cli import main
from convlens.training.measuring import Watch
Watch.others = lambda self: 0.0
main(sys.argv[1:])
"""


def torchrun(count: int, seed: int) -> int:
    """Kill one worker of two; torchrun starts them again, and the run must end as undisturbed."""
    random.seed(seed)
    lost = killed = 0
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        folder = Path(place) / "pattern"
        folder.mkdir()
        prepare(folder)
        worker = Path(place) / "worker.py"
        worker.write_text(WORKER, encoding="utf-8")
        longer = TRAIN.replace("--epochs 4", "--epochs 30")
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "--max-restarts",
            "3",
            str(worker),
            *longer.split(),
        ]
        environment = {
            **os.environ,
            "CONVLENS_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        expected = None
        number = 0
        while killed < count and number <= 3 * count:
            shutil.rmtree(folder / "run", ignore_errors=True)
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            if number:  # the first one is not disturbed
                time.sleep(random.uniform(3, 8))
                workers = _children(process.pid)
                if workers:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    killed += 1
            errors = process.communicate(timeout=300)[1]
            found = weights(folder / "run")
            expected = expected or found
            if process.returncode or found != expected:
                lost += 1
                print(
                    f"LOST in run {number}: status {process.returncode}\n{errors[-2000:]}",
                    flush=True,
                )
            number += 1
    print(f"{killed} workers killed in {number - 1} runs, {lost} lost")
    return int(bool(lost))


def _children(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    with contextlib.suppress(OSError):
        return [int(n) for n in children.read_text(encoding="utf-8").split()]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("kills", "faults", "full", "hostile", "torchrun"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--only", nargs="+", default=[], help="kills, faults: of these verbs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's & takes away
    torch.set_num_threads(1)
    if args.what == "kills":
        sys.exit(kills(args.count or 1000, args.seed, args.only))
    if args.what == "faults":
        sys.exit(faults(args.count or 400, args.only))
    if args.what == "full":
        sys.exit(full(args.count or 2000, args.seed))
    if args.what == "hostile":
        sys.exit(hostile(args.count or 10_000, args.seed))
    sys.exit(torchrun(args.count or 50, args.seed))


if __name__ == "__main__":
    main()
