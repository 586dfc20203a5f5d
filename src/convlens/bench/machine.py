"""The machine a measurement was made on, in words."""

import os
import platform
from pathlib import Path
from typing import Any

import torch


def describe() -> dict[str, Any]:
    """Processor, cores, memory, GPU if any, system and versions; equal on equal machines."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def cores() -> int:
    """Cores that this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sentence(machine: dict[str, Any]) -> str:
    """One line for the terminal and the table."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB{gpu}, "
        f"{machine['system']}, torch {machine['torch']}, {machine['threads']} threads"
    )


def memory_of_this_process() -> dict[str, float]:
    """MB resident: anonymous (the process's own) and file-backed (the map; may be dropped at will).

    peak is of both together. Empty where the system does not tell (only Linux does).
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    names = {"anonymous_mb": "RssAnon", "file_mb": "RssFile", "peak_mb": "VmHWM"}
    return {ours: int(fields[theirs].split()[0]) / 1e3 for ours, theirs in names.items()}


def _processor() -> str:
    """The model's name and its sub-model, which virtual machines often do not name otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)
    except (ValueError, AttributeError):
        return None
