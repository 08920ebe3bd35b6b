"""Diagnosis for `rag-vqa doctor`: checks of this machine and of a reader, each returns a Finding.

Knows how this stack breaks and which command mends it, and where the processor of a reader comes
from. Changes nothing and loads no weights. Hostile texts belong to readers/.
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

from rag_vqa.checkpoints import embedded_model, known_revision, model_source
from rag_vqa.devices import available_memory
from rag_vqa.errors import Missing
from rag_vqa.hub.model_files import ensure_available

_CHECKED_PACKAGES = ("torch", "transformers", "accelerate", "bitsandbytes", "datasets", "evaluate")
_LOW_DISK, _MIN_DISK = 5e9, 1e9  # below _LOW_DISK a note, below _MIN_DISK a failure
_MIN_MEMORY = 2e9


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        mend: the command that repairs it; "" if nothing is wrong. A good finding with a command is
            a note about what may matter later.
    """

    name: str
    good: bool
    detail: str
    mend: str = ""


def check_machine() -> list[Finding]:
    """Run every check of this machine, in order."""
    checks: tuple[Callable[[], Finding], ...] = (
        _check_python,
        _check_packages,
        _check_device,
        _check_search,
        _check_faiss,
        _check_torchvision,
        _check_bitsandbytes,
        _check_disk,
        _check_memory,
        lambda: _check_embedded_model("retriever"),
        lambda: _check_embedded_model("reader"),
    )
    return [check() for check in checks]


def _check_python() -> Finding:
    from rag_vqa import __version__

    system = f"{platform.system()} {platform.machine()}"
    return Finding(
        "rag-vqa", True, f"{__version__} · Python {platform.python_version()} · {system}"
    )


def _check_packages() -> Finding:
    found = {name: _installed_version(name) for name in _CHECKED_PACKAGES}
    missing = [name for name, number in found.items() if number is None]
    detail = " · ".join(f"{name} {number or 'MISSING'}" for name, number in found.items())
    return Finding(
        "packages", not missing, detail, "python -m pip install rag-vqa" if missing else ""
    )


def _check_device() -> Finding:
    if _installed_version("torch") is None:
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


def _check_search() -> Finding:
    from rag_vqa.retriever.index.kernels import TORCH_KERNEL, available_kernels

    width = 128  # of released checkpoints' tokens
    best, *others = available_kernels(width)
    if best == TORCH_KERNEL:
        mend = "apt install gcc python3-dev && python -m pip install --force-reinstall rag-vqa"
        return Finding(
            "search", True, "by torch, several times slower: the kernels are not compiled", mend
        )
    return Finding("search", True, f"compiled, kernel {best} (also: {', '.join(others)})")


def _check_faiss() -> Finding:
    kinds = [name for name in ("faiss-cpu", "faiss-gpu") if _installed_version(name)]
    if len(kinds) == 2:
        mend = (
            "python -m pip uninstall -y faiss-cpu faiss-gpu && python -m pip install 'rag-vqa[cpu]'"
        )
        return Finding("faiss", False, "faiss-cpu and faiss-gpu break each other", mend)
    if not kinds:
        return Finding("faiss", True, "not installed (only for large knowledge bases)")
    return Finding("faiss", True, f"{kinds[0]} {_installed_version(kinds[0])}")


def _check_torchvision() -> Finding:
    number = _installed_version("torchvision")
    if number is None:
        return Finding("torchvision", True, "not installed, not needed")
    # In a process of its own: a build that does not match torch may crash instead of raising.
    code = "import torchvision.ops"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if done.returncode == 0:
        return Finding("torchvision", True, number)
    detail = f"{number} does not match torch, and breaks the processors of readers"
    return Finding("torchvision", False, detail, "python -m pip uninstall -y torchvision")


def _check_bitsandbytes() -> Finding:
    if _installed_version("bitsandbytes") is None:
        return Finding(
            "quantization", False, "bitsandbytes is missing", "python -m pip install bitsandbytes"
        )
    done = subprocess.run(
        [sys.executable, "-c", "import bitsandbytes"], capture_output=True, check=False, text=True
    )
    if done.returncode == 0 and _installed_version("kernels"):
        note = "; on a CPU it fetches code from a hub, for the package `kernels` is installed"
        mend = "python -m pip uninstall -y kernels  # or HF_HUB_OFFLINE=1"
        return Finding("quantization", True, f"nf4 and int8, through bitsandbytes{note}", mend)
    if done.returncode == 0:
        return Finding("quantization", True, "nf4 and int8, through bitsandbytes")
    reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
    mend = "python -m pip install --force-reinstall bitsandbytes"
    return Finding("quantization", False, f"bitsandbytes does not load: {reason}", mend)


def _check_disk() -> Finding:
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or Path.home())
    while not cache.exists():
        cache = cache.parent
    free = shutil.disk_usage(cache).free
    mend = "" if free > _LOW_DISK else "rag-vqa --set cache_dir=/a/larger/disk …"
    return Finding(
        "disk", free > _MIN_DISK, f"{free / 1e9:.1f} GB free where models are kept", mend
    )


def _check_memory() -> Finding:
    free = available_memory()
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "this system does not report it")
    if free is None:
        free = 0.0
    detail = f"{total / 1e9:.0f} GB, {free / 1e9:.0f} GB of it unused"
    mend = "" if total > _MIN_MEMORY else 'rag-vqa ask KB "…" --preset demo  # the smallest'
    return Finding("memory", not mend, detail, mend)


def _check_embedded_model(role: str) -> Finding:
    name = f"embedded {role}"
    try:
        folder = embedded_model("retriever" if role == "retriever" else "reader")
    except Missing:
        return Finding(name, False, "not in this installation", _reinstall_command())
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return Finding(name, False, "its weights are missing", _reinstall_command())
    digest = hashlib.sha256()
    for file in weights:
        digest.update(file.read_bytes())
    size = sum(file.stat().st_size for file in weights)
    return Finding(name, True, f"{size / 1e6:.1f} MB · sha256 {digest.hexdigest()[:16]}")


def _reinstall_command() -> str:
    """The command that brings the embedded models: training in a checkout, else the package."""
    is_checkout = (Path(__file__).parents[2] / "Makefile").is_file()
    return "make demo-models" if is_checkout else "python -m pip install --force-reinstall rag-vqa"


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_reader(model: str, revision: str | None, offline: bool) -> list[Finding]:
    """Check whether hostile texts can become control tokens of a reader; loads no weights.

    Raises:
        Missing, ReaderError: there is no such processor, or it cannot be used.
    """
    from transformers import AutoConfig

    from rag_vqa.readers.injection_cases import (
        control_tokens,
        count_active_cases,
        find_failed_cases,
        load_injection_cases,
    )
    from rag_vqa.readers.processor_loading import load_processor
    from rag_vqa.readers.refusals import check_model_folder, translate_loading_errors

    source = model_source(model, "reader")
    check_model_folder(source)
    commit = known_revision(model, revision) or "main"
    where = ensure_available(source, commit, offline=offline, marker="tokenizer_config.json")
    with translate_loading_errors(source, offline):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        processor = load_processor(source, config, **where)
    attacks = load_injection_cases()
    control, failed = control_tokens(processor.tokenizer), find_failed_cases(processor, attacks)
    reached = count_active_cases(processor, attacks)
    kind = type(processor).__name__
    detail = (
        f"{len(attacks)} texts; {reached} of them would become control tokens without our "
        f"protection, {len(failed)} do with it"
    )
    mend = "Do not use this reader on documents of others" if failed else ""
    return [
        Finding("processor", True, f"{kind} · {len(control)} control tokens"),
        Finding("hostile set", not failed, detail, mend),
        *(Finding("hostile text", False, line) for line in failed),
    ]
