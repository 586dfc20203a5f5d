"""Several runs at once, each in a process of its own with its share of the threads.

On a CPU two runs on a core each take less time than the same two one after the other on both cores:
no thread waits for another at the end of every operator.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from convlens.errors import UserError
from convlens.logs import to_file, to_stdout
from convlens.training.config import RunConfig
from convlens.training.distributed import ALONE
from convlens.training.plan import Choice
from convlens.training.run import one_of_or_continue


def train_all(runs: Mapping[Path, RunConfig], workers: int = 1) -> Iterator[Path]:
    """The folder of each run when it has finished; several at a time when `workers` is not 1.

    With several workers, what a run tells goes to a file beside its folder, FOLDER.log. A run that
    fails stops none of the others. One whose time is too short on this machine takes longer.

    Raises UserError at the end when a run could not be trained.
    """
    failures: list[str] = []
    yield from _one_by_one(runs, failures) if workers == 1 else _together(runs, workers, failures)
    if failures:
        raise UserError("; ".join(failures))


def _one_by_one(runs: Mapping[Path, RunConfig], failures: list[str]) -> Iterator[Path]:
    for run, config in runs.items():
        try:
            _train(run, config)
        except (UserError, OSError) as problem:
            failures.append(f"{run}: {problem}" if len(runs) > 1 else str(problem))
        else:
            yield run


def _together(runs: Mapping[Path, RunConfig], workers: int, failures: list[str]) -> Iterator[Path]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, begin_worker, (share_of_threads(workers),)) as pool:
        started = {pool.submit(_train_apart, run, config): run for run, config in runs.items()}
        try:
            for done in as_completed(started):
                run = started[done]
                try:
                    done.result()
                except (UserError, OSError) as problem:
                    failures.append(f"{run}: {problem}")
                    continue
                except BrokenProcessPool:
                    raise UserError(
                        f"a worker ended early, the last words are in {run.parent}; the same "
                        "command goes on with its run"
                    ) from None
                yield run
        finally:
            pool.shutdown(cancel_futures=True)


def share_of_threads(workers: int) -> int:
    """How many threads each of several processes gets."""
    return max(1, torch.get_num_threads() // workers)


def begin_worker(threads: int) -> None:
    """What a process started by this one does first: take its threads, and end when this one does.

    A parent that is killed cannot end its workers, which would train on, unseen, beside those of
    the same command started again.
    """
    torch.set_num_threads(threads)
    to_stdout()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # sys.exit would end this thread alone; a run's files stand any kill


def _train(run: Path, config: RunConfig) -> None:
    choice = Choice(config, must_run=True)
    one_of_or_continue((choice,), run, ALONE, time.perf_counter())


def _train_apart(run: Path, config: RunConfig) -> None:
    log = run.with_name(f"{run.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with to_file(log):
        _train(run, config)
