"""Several processes train one network: who they are to each other and what they exchange.

`torchrun … -m convlens train RECIPE` starts the program once for every process. All of them do the
same thing with the same seeds; each takes its share of every batch (`data/batches.shard`), the
gradients are averaged (`World.wrap`), and what touches the run folder is done by the first process
alone (`World.first`). A process of its own is a world of size 1, in which all of this is nothing.
"""

# torch lists its stores, which it documents, among its private names
# pyright: reportPrivateImportUsage=false

import contextlib
import gc
import os
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from convlens.data.batches import shard
from convlens.data.dataset import Split
from convlens.errors import UserError
from convlens.inference.classifier import BATCH, Classifier
from convlens.inference.metrics import Evaluation, score

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of one training; by default this process is alone.

    rank: which of them this is, in [0, size). memory: torchrun's own store, which outlives its
    workers; None without torchrun.
    """

    rank: int = 0
    size: int = 1
    memory: dist.TCPStore | None = None

    def first(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns on rank 0; the other ranks do not call it but wait for it.

        A UserError or OSError that it raises is raised on every rank.
        """
        if self.size == 1:
            return function(*arguments)
        result: list = [None, None]
        if self.rank == 0:
            try:
                result[0] = function(*arguments)
            except (UserError, OSError) as problem:
                result[1] = problem
        dist.broadcast_object_list(result)
        if result[1] is not None:
            raise result[1]
        return result[0]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up `tensor`, of one shape on all ranks, in place; returns it. Every rank must call.

        All ranks end with the same bits.
        """
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def wrap(self, model: nn.Module) -> nn.Module:
        """The same model, whose gradients are the mean over all ranks after `backward`.

        The parameters are rank 0's. Batch norm sees the rank's own share of a batch; see
        `average_buffers`.
        """
        if self.size == 1:
            return model
        with warnings.catch_warnings():
            # the option's successor is unknown to the oldest torch that pyproject.toml allows
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(model, broadcast_buffers=False)

    def average_buffers(self, model: nn.Module) -> None:
        """Set every floating-point buffer to its mean over all ranks.

        Running statistics are linear in those of the batches, so their mean is what one process
        would have gathered from all shares: the whole batch's mean, and the mean of the shares'
        variances.
        """
        if self.size > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    self.sum_(buffer).div_(self.size)

    def evaluate(self, classifier: Classifier, split: Split) -> Evaluation:
        """`Classifier.evaluate` of a split, shared out; every rank gets the whole evaluation.

        Shares are made of whole batches, so the logits are those of one process to the last bit.
        Figures that are no numbers are for the caller to see.
        """
        rows = shard(len(split), self.rank, self.size, unit=BATCH)
        logits = torch.zeros(len(split), len(classifier.class_names))
        if rows.start < rows.stop:
            logits[rows] = torch.from_numpy(classifier.logits(split.images[rows]))
        # every row is zero on all ranks but one, so the sum rounds nothing
        logits = self.sum_(logits).numpy()
        return score(logits, split.labels, classifier.class_names, classifier.temperature)

    def remember(self, what: str) -> None:
        """Keep a word in torchrun's memory, where restarted workers find it."""
        if self.memory is not None:
            self.memory.set(what, "")

    def remembers(self, what: str) -> bool:
        """Whether a worker under this torchrun has remembered that word, before a restart too."""
        return self.memory is not None and self.memory.check([what])


ALONE = World()


def _agree(store: dist.Store, rank: int, size: int) -> str:
    """A word that rank 0 makes up and all processes alive now know, whatever dead ones left behind.

    Who asks shows a word of its own, and only an answer that repeats it is from a living rank 0.
    (A count of restarts will not do: a machine that joined later has another.)
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"ask {rank}", mine)
        while (answer := _peek(store, f"answer {rank}")).partition(" ")[0] != mine:
            time.sleep(0.01)
        word = answer.partition(" ")[2]
        store.set(f"understood {rank}", word)
        return word
    others = set(range(1, size))
    while others := {r for r in others if _peek(store, f"understood {r}") != mine}:
        for r in others:
            store.set(f"answer {r}", f"{_peek(store, f'ask {r}')} {mine}")
        time.sleep(0.01)
    return mine


def _peek(store: dist.Store, key: str) -> str:
    """What is under `key`; nothing where nothing is."""
    return store.get(key).decode() if store.check([key]) else ""


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun's environment variables name; alone without them.

    Gradients travel by NCCL between GPUs, where rank r of a machine takes its r-th, and by gloo
    between CPUs. Only rank 0 prints: elsewhere standard output is discarded inside the block. A
    UserError or OSError that several ranks meet is told by one; the others exit with status 2.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    memory = dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False
    )
    # torchrun's store outlives its workers: after a restart gloo would find the addresses of dead
    # processes in it, and now and then believe them. So every attempt has a part of its own.
    store = dist.PrefixStore(_agree(memory, rank, size), memory)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    world = World(rank, size, memory)
    with contextlib.ExitStack() as stack:
        if world.rank:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield world
        except (UserError, OSError) as problem:
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            # Whoever comes first tells and ends, upon which torchrun ends the others. Were one of
            # them to end sooner, it might be the teller that is cut short.
            if memory.add(f"told in attempt {attempt}: {problem}", 1) > 1:
                time.sleep(10)
                sys.exit(2)
            raise
    dist.destroy_process_group()
    # The group's threads end with its last reference, which the wrapped model's cycles hold. Left
    # until Python's own end, a thread that lets go of a tensor then would abort the process.
    gc.collect()
