"""What `doctor` looks at: each check is a function that returns a Finding.

It knows how this stack breaks, and the command that mends it. It changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rag_vqa.errors import Missing
from rag_vqa.settings import embedded_model

_PACKAGES = ("torch", "transformers", "accelerate", "bitsandbytes", "datasets", "evaluate")
_FREE_DISK, _LEAST_DISK = 5e9, 1e9  # below the first a note, below the second bad
_LEAST_MEMORY = 2e9


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `mend` is the command that helps, "" where nothing is wrong.

    Good, with a mend: a note, of what may matter later.
    """

    name: str
    good: bool
    detail: str
    mend: str = ""


def findings() -> list[Finding]:
    """Every check, in order."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python, _packages, _device, _search, _faiss, _torchvision, _bitsandbytes, _disk, _memory,
        lambda: _embedded("retriever"), lambda: _embedded("reader"),
    )  # fmt: skip
    return [check() for check in checks]


def _python() -> Finding:
    from rag_vqa import __version__

    system = f"{platform.system()} {platform.machine()}"
    return Finding(
        "rag-vqa", True, f"{__version__} · Python {platform.python_version()} · {system}"
    )


def _packages() -> Finding:
    found = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, number in found.items() if number is None]
    detail = " · ".join(f"{name} {number or 'MISSING'}" for name, number in found.items())
    return Finding(
        "packages", not missing, detail, "python -m pip install rag-vqa" if missing else ""
    )


def _device() -> Finding:
    if _version("torch") is None:
        return Finding("device", False, "torch is not installed", "python -m pip install torch")
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = f"{properties.total_memory / 1e9:.0f} GB"
        return Finding("device", True, f"cuda · {properties.name} · {memory}")
    if torch.backends.mps.is_available():
        return Finding("device", True, "mps")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    has_card = shutil.which("nvidia-smi") is not None
    mend = "python -m pip install --force-reinstall torch  # a CUDA build" if has_card else ""
    note = ", though this machine has an NVIDIA driver" if has_card else ""
    return Finding("device", not has_card, f"cpu · {cores} cores{note}", mend)


def _search() -> Finding:
    from rag_vqa.retriever.index.arithmetic import PORTABLE, kernels

    width = 128  # of released checkpoints' tokens
    best, *others = kernels(width)
    if best == PORTABLE:
        mend = "apt install gcc python3-dev && python -m pip install --force-reinstall rag-vqa"
        return Finding("search", True, "by torch, several times slower: nothing compiled", mend)
    return Finding("search", True, f"compiled, kernel {best} (also: {', '.join(others)})")


def _faiss() -> Finding:
    kinds = [name for name in ("faiss-cpu", "faiss-gpu") if _version(name)]
    if len(kinds) == 2:
        mend = (
            "python -m pip uninstall -y faiss-cpu faiss-gpu && python -m pip install 'rag-vqa[cpu]'"
        )
        return Finding("faiss", False, "faiss-cpu and faiss-gpu break each other", mend)
    if not kinds:
        return Finding("faiss", True, "not installed (only for large knowledge bases)")
    return Finding("faiss", True, f"{kinds[0]} {_version(kinds[0])}")


def _torchvision() -> Finding:
    number = _version("torchvision")
    if number is None:
        return Finding("torchvision", True, "not installed, not needed")
    # In a process of its own: a build that does not match torch may not only raise, but crash.
    code = "import torchvision.ops"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if done.returncode == 0:
        return Finding("torchvision", True, number)
    detail = f"{number} does not match torch, and takes the readers' processors down with it"
    return Finding("torchvision", False, detail, "python -m pip uninstall -y torchvision")


def _bitsandbytes() -> Finding:
    if _version("bitsandbytes") is None:
        return Finding(
            "quantization", False, "bitsandbytes is missing", "python -m pip install bitsandbytes"
        )
    done = subprocess.run(
        [sys.executable, "-c", "import bitsandbytes"], capture_output=True, check=False, text=True
    )
    if done.returncode == 0 and _version("kernels"):
        note = "; on a CPU it fetches code from a hub, for the package `kernels` is installed"
        mend = "python -m pip uninstall -y kernels  # or HF_HUB_OFFLINE=1"
        return Finding("quantization", True, f"nf4 and int8, through bitsandbytes{note}", mend)
    if done.returncode == 0:
        return Finding("quantization", True, "nf4 and int8, through bitsandbytes")
    reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
    mend = "python -m pip install --force-reinstall bitsandbytes"
    return Finding("quantization", False, f"bitsandbytes does not load: {reason}", mend)


def _disk() -> Finding:
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or Path.home())
    while not cache.exists():
        cache = cache.parent
    free = shutil.disk_usage(cache).free
    mend = "" if free > _FREE_DISK else "rag-vqa --set cache_dir=/a/larger/disk …"
    return Finding(
        "disk", free > _LEAST_DISK, f"{free / 1e9:.1f} GB free where models are kept", mend
    )


def _memory() -> Finding:
    free = available_memory()
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "this system does not say")
    if free is None:
        free = 0.0
    detail = f"{total / 1e9:.0f} GB, {free / 1e9:.0f} GB of it unused"
    mend = "" if total > _LEAST_MEMORY else 'rag-vqa ask KB "…" --preset demo  # the smallest'
    return Finding("memory", not mend, detail, mend)


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


def _embedded(role: str) -> Finding:
    name = f"embedded {role}"
    try:
        folder = embedded_model("retriever" if role == "retriever" else "reader")
    except Missing:
        return Finding(name, False, "not in this installation", _reinstall())
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return Finding(name, False, "its weights are missing", _reinstall())
    digest = hashlib.sha256()
    for file in weights:
        digest.update(file.read_bytes())
    size = sum(file.stat().st_size for file in weights)
    return Finding(name, True, f"{size / 1e6:.1f} MB · sha256 {digest.hexdigest()[:16]}")


def _reinstall() -> str:
    """What brings the embedded models: training in a checkout, else the package."""
    is_checkout = (Path(__file__).parents[2] / "Makefile").is_file()
    return "make demo-models" if is_checkout else "python -m pip install --force-reinstall rag-vqa"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
