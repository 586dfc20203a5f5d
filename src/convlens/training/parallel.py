"""Several runs at once, each in a process of its own with its share of the threads.

On a CPU two runs on a core each take less time than the same two one after the other on both cores:
no thread waits for another at the end of every operator.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from convlens.errors import UserError
from convlens.training.run import start_or_go_on


def train_all(runs: Sequence[dict[str, Any]], workers: int = 1) -> Iterator[Path]:
    """The folder of each run when it has finished; several at a time when `workers` is not 1.

    runs: for each the arguments of `start_or_go_on`. With several workers, what a run prints goes
    to a file beside its folder, FOLDER.log. A run that fails stops none of the others.

    Raises UserError at the end when a run could not be trained.
    """
    if workers == 1:
        for arguments in runs:
            start_or_go_on(**arguments)
            yield arguments["run"]
        return
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")
    failures = []
    with ProcessPoolExecutor(workers, context, begin_worker, (threads,)) as pool:
        started = {pool.submit(_train, **arguments): arguments["run"] for arguments in runs}
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
    if failures:
        raise UserError("; ".join(failures))


def begin_worker(threads: int) -> None:
    """What a process started by this one does first: take its threads, and end when this one does.

    A parent that is killed cannot end its workers, which would train on, unseen, beside those of
    the same command started again.
    """
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)  # sys.exit would end this thread alone; a run's files stand any kill


def _train(run: Path, **arguments: Any) -> None:
    log = run.with_name(f"{run.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        start_or_go_on(run=run, **arguments)
