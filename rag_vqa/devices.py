"""Devices: resolves and checks device names, and says how much memory is free.

Knows torch's devices, and imports torch only when asked for one. Does not know models.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from rag_vqa.errors import UsageError


def resolve_device(device: str) -> str:
    """ "auto" is CUDA, then MPS, then the CPU; any other is taken as it is if it is there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"--device {device}: take auto, cpu, cuda, cuda:1 or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there.get(kind, False):
        raise UsageError(f"--device {device}: not on this machine. Look with: rag-vqa doctor")
    return device


def check_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda, else mps, else cpu. Raises UsageError."""
    if name == "auto":
        best = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"device {name!r} is none: give cpu, cuda, cuda:1, mps or auto."
        ) from error
    here = {"cpu": True, "cuda": torch.cuda.is_available()}
    if not here.get(device.type, device.type == "mps" and torch.backends.mps.is_available()):
        raise UsageError(f"device {name!r} is not on this machine. Look with: rag-vqa doctor")
    return device


def parse_devices(text: str) -> list[str]:
    """`"all"`: every GPU; else a list, `"cuda:0,cuda:2"`. A device named twice runs two processes.

    Raises:
        UsageError: one is not there, or there is no GPU.
    """
    import torch

    if text != "all":
        names = [name.strip() for name in text.split(",")]
        for name in names:
            check_device(name)
        return names
    count = torch.cuda.device_count()
    if not count:
        raise UsageError("--devices all: this machine has no GPU. Leave it out, or: rag-vqa doctor")
    return [f"cuda:{number}" for number in range(count)]


def available_memory() -> float | None:
    """Bytes that a program could have without swapping; None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
        return 1024.0 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None
