"""Index: the protocol of every engine, and the registry of engines.

Knows shapes, orders, extras and how many rows suit which engine. Does not know arithmetic. An
engine is one file and one entry of `_ENGINES`; it is imported when it is first made.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.index.int8_quantization import Codes

__all__ = [
    "ENGINES",
    "EXACT_LIMIT",
    "NO_KEY",
    "Codes",
    "EngineChoice",
    "Index",
    "Keys",
    "Positions",
    "Scores",
    "Tokens",
    "make_index",
    "suggest_engine",
]
Keys = NDArray[np.int64]
Positions = NDArray[np.int64]  # where a row lies, as against its key
Scores = NDArray[np.float32]
Tokens = NDArray[np.floating]
NO_KEY = -1  # pads an answer of fewer than k rows, with score -inf
ENGINES = ("exact", "faiss", "triton", "qdrant")
EXACT_LIMIT = 100_000  # rows; beyond, an exact scan on a CPU is felt
# What an engine imports beyond the package's own needs, and what brings it.
_NEEDS = {
    "faiss": ("faiss", "python -m pip install 'rag-vqa[cpu]'  # or [gpu]"),
    "triton": (
        "triton",
        "python -m pip install 'rag-vqa[triton]'  # CUDA builds of torch bring it",
    ),
    "qdrant": ("qdrant_client", "python -m pip install 'rag-vqa[qdrant]'"),
}


class Index(Protocol):
    """Finds the rows of highest s(Q, D) = Σ_i max_j Q_i · D_j. Keys are given by the caller."""

    def __len__(self) -> int:
        """How many rows it holds."""

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows, a block at a time; blocks of some 2^15 rows are searched best.

        Arrays that are fp16 tokens or codes and lie in one piece are kept by reference, never
        copied whole: they may be mapped from read-only files, and must not change afterwards. The
        engines "triton" and "qdrant" hold rows elsewhere, and refer to nothing.

        Args:
            tokens: (N, K, D), the K and D of the rows already there. None: only codes are kept,
                and the scores of these rows are those of the tokens that the codes stand for.
            keys: (N,) distinct, not negative, not in use.
            codes: (N,) the same rows as `codes.encode` makes them; None: made here. With them
                tokens are taken to be finite, and none is read before it is searched for.

        Raises:
            UsageError: a shape, a value or a key that cannot be meant.
        """

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error. It may be added again later.

        An engine that keeps arrays by reference holds on to them until it is made anew.
        """

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """The k best rows of each query, best first, ties to the lower key.

        Args:
            queries: (Q, K, D).
            among: keys to choose from; None for all. Those that are not there are left out.

        Returns:
            keys (Q, k) int64 and scores (Q, k) float32; rows short of k end in NO_KEY and -inf.
            Scores are those of fp16 tokens, whatever an engine finds its candidates by.
        """

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all.

        Takes the memory of a copy: a knowledge base keeps rows in files of its own instead.
        """

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; the same searches have the same results.

        Raises:
            Missing: no such file.
            CorruptKnowledgeBase: the file is damaged, or of another engine.
        """


@dataclass(frozen=True, slots=True)
class EngineChoice:
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
        index: Index = _engine_class(engine)(**options)
    except TypeError as error:
        raise UsageError(f"Index engine {engine!r}: {error}") from error
    return index


def suggest_engine(rows: int, K: int, D: int, device: str = "auto") -> EngineChoice:
    """The engine that suits so many rows of (K, D) on this machine.

    Args:
        device: "auto", "cpu" or "cuda…": where the index may live.
    """
    room = None if device == "cpu" or find_spec("triton") is None else _free_gpu_memory(device)
    if room is not None:
        size = rows * K * D * 2
        if size < 0.8 * room:
            return EngineChoice(
                "triton",
                f"exact, on the GPU: {_gigabytes(size)} of the {_gigabytes(room)} free there",
            )
    if rows <= EXACT_LIMIT:
        return EngineChoice("exact", f"exact: {rows:,} passages are few enough to score them all")
    if find_spec("faiss") is None:
        _, install = _NEEDS["faiss"]
        return EngineChoice("exact", f"exact, though slow for {rows:,} passages; faster: {install}")
    return EngineChoice(
        "faiss", f"candidates first: {rows:,} passages are too many to score them all"
    )


def _engine_class(engine: str) -> Any:
    if engine == "faiss":
        from rag_vqa.retriever.index.faiss_engine import FaissIndex

        return FaissIndex
    if engine == "triton":
        from rag_vqa.retriever.index.triton_engine import TritonIndex

        return TritonIndex
    if engine == "qdrant":
        from rag_vqa.retriever.index.qdrant_engine import QdrantIndex

        return QdrantIndex
    from rag_vqa.retriever.index.exact_engine import ExactIndex

    return ExactIndex


def _free_gpu_memory(device: str) -> int | None:
    """Bytes free on the GPU; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(None if device == "auto" else device)
    return free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
