"""The Index protocol and its engines: what there is, and which suits how many rows.

It knows names, extras and sizes. It does not know arithmetic.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.index.protocol import NO_KEY, Index

ENGINES = ("exact", "faiss", "triton", "qdrant")
MANY = 100_000  # rows; beyond, an exact scan on a CPU is felt

__all__ = ["ENGINES", "MANY", "NO_KEY", "Choice", "Index", "auto", "make_index"]

# What an engine imports beyond the package's own needs, and what brings it.
_NEEDS = {
    "faiss": ("faiss", "python -m pip install 'rag-vqa[cpu]'  # or [gpu]"),
    "triton": (
        "triton",
        "python -m pip install 'rag-vqa[triton]'  # CUDA builds of torch bring it",
    ),
    "qdrant": ("qdrant_client", "python -m pip install 'rag-vqa[qdrant]'"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was chosen, for the user to read."""

    engine: str
    reason: str


def make_index(engine: str = "exact", **options: Any) -> Index:
    """An empty index of the engine named; its options are those of its class.

    exact: every row, int8 then fp16, on a CPU (`ExactIndex`). faiss: candidates first, for very
    many rows (`FaissIndex`). triton: every row, on a GPU (`TritonIndex`). qdrant: a collection on
    a server or in a folder (`QdrantIndex`).

    Raises:
        UsageError: no such engine, or an option that it does not have.
        Missing: the engine's extra is not installed.
    """
    if engine not in ENGINES:
        near = difflib.get_close_matches(engine, ENGINES, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"No index engine {engine!r}; there is: {', '.join(ENGINES)}.{hint}")
    module, install = _NEEDS.get(engine, ("numpy", ""))
    if find_spec(module) is None:
        raise Missing(f"Index engine {engine!r} needs the package {module}: {install}")
    try:
        index: Index = _class(engine)(**options)
    except TypeError as error:
        raise UsageError(f"Index engine {engine!r}: {error}") from error
    return index


def auto(rows: int, K: int, D: int, device: str = "auto") -> Choice:
    """The engine that suits so many rows of (K, D) on this machine.

    Args:
        device: "auto", "cpu" or "cuda…": where the index may live.
    """
    room = None if device == "cpu" or find_spec("triton") is None else _free_memory(device)
    if room is not None:
        size = rows * K * D * 2
        if size < 0.8 * room:
            return Choice("triton", f"exact, on the GPU: {_gb(size)} of the {_gb(room)} free there")
    if rows <= MANY:
        return Choice("exact", f"exact: {rows:,} passages are few enough to score them all")
    if find_spec("faiss") is None:
        _, install = _NEEDS["faiss"]
        return Choice("exact", f"exact, though slow for {rows:,} passages; faster: {install}")
    return Choice("faiss", f"candidates first: {rows:,} passages are too many to score them all")


def _class(engine: str) -> Any:
    if engine == "faiss":
        from rag_vqa.retriever.index.candidates import FaissIndex

        return FaissIndex
    if engine == "triton":
        from rag_vqa.retriever.index.gpu import TritonIndex

        return TritonIndex
    if engine == "qdrant":
        from rag_vqa.retriever.index.qdrant import QdrantIndex

        return QdrantIndex
    from rag_vqa.retriever.index.exact import ExactIndex

    return ExactIndex


def _free_memory(device: str) -> int | None:
    """Bytes free on the GPU; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(None if device == "auto" else device)
    return free


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
