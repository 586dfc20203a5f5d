"""Caching and training under a memory limit that the cache does not fit into.

    sudo python benchmarks/memory_limit.py [--images 200000] [--limit-mb 1200] [--data DIR]

The limit is a control group's, which the kernel enforces on everything a process holds, its share
of the page cache too: a process that needs more is killed. Needs Linux and the right to make such
a group (root, in a container too). Prints what `convlens bench --only growth` measures, once
without the limit and once with it.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convlens.bench import processes
from convlens.bench.growth import write_copies
from convlens.data import open_dataset

CGROUPS = Path("/sys/fs/cgroup")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--limit-mb", type=int, default=1200)
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="convlens-limit-") as folder:
        root = Path(folder) / "data"
        write_copies(open_dataset(args.data), args.images, root)
        for limit in (None, args.limit_mb):
            cache = Path(folder) / "cache"
            print(f"limit: {limit} MB" if limit else "no limit", flush=True)
            with limited(limit) if limit else contextlib.nullcontext():
                made = processes.ours("caching", {}, root=str(root), cache=str(cache))
                seen = processes.ours(
                    "second_start", {}, root=str(root), cache=str(cache), steps=400
                )
            for name, value in {**made, **seen}.items():
                print(f"    {name:<32} {value:,.2f}", flush=True)
            shutil.rmtree(cache)


@contextlib.contextmanager
def limited(megabytes: int) -> Iterator[None]:
    """This process and those it starts in a control group of at most `megabytes` of memory."""
    version_1 = (CGROUPS / "memory").is_dir()
    parent = CGROUPS / "memory" if version_1 else CGROUPS
    group = parent / f"convlens-{os.getpid()}"
    limit = "memory.limit_in_bytes" if version_1 else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(megabytes * 1_000_000))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as problem:
        sys.exit(f"memory_limit: cannot make a control group in {parent} ({problem}); run as root")
    try:
        yield
    finally:
        (parent / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


if __name__ == "__main__":
    main()
