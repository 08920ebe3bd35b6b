"""Devices: resolves and checks device names, and measures free memory.

Knows torch's devices, and imports torch only when asked for one. Does not know models.
"""

from __future__ import annotations

import os
from pathlib import Path

from rag_vqa.errors import UsageError


def resolve_device(name: str) -> str:
    """The name of a device of this machine; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        UsageError: there is no such kind of device, or this machine has none of that kind.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(kind for kind, is_here in available.items() if is_here)
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise UsageError(
            f"device {name!r}: unknown. Give auto, cpu, cuda, cuda:1 or mps."
        ) from error
    if not available.get(kind, False):
        raise UsageError(f"device {name!r} is not on this machine. Look with: rag-vqa doctor")
    return name


def parse_devices(text: str) -> list[str]:
    """Device names from a list such as "cuda:0,cuda:2"; "all" is every GPU of this machine.

    A device that is named twice gets two processes.

    Raises:
        UsageError: a device is not on this machine, or "all" finds no GPU.
    """
    if text != "all":
        names = [name.strip() for name in text.split(",")]
        for name in names:
            resolve_device(name)
        return names
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise UsageError("--devices all: this machine has no GPU. Leave it out, or: rag-vqa doctor")
    return [f"cuda:{number}" for number in range(count)]


def free_memory(kind: str) -> float:
    """Free bytes on all devices of a kind ("cuda"), or in the machine's own memory ("cpu", "mps").

    Infinity if the system does not report it.
    """
    if kind == "cuda":
        import torch

        return float(sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())))
    return available_memory() or float("inf")


def available_memory() -> float | None:
    """Bytes that a program can use without swapping; None if the system does not report it."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
        return 1024.0 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None


def usable_cores() -> int:
    """Number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
