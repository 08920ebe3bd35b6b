"""Index: the protocol of every engine, and the registry of engines.

Knows shapes, orders, extras, how many rows suit which engine, and where the cache of an engine
lies. Does not know arithmetic. To add an engine, write one file in this folder and register one
`Engine` below; make_index imports the file when somebody first uses the engine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase, Missing, RagVqaError, UsageError
from rag_vqa.registry import Registry, load_target
from rag_vqa.storage import atomic

__all__ = [
    "ENGINES",
    "EXACT_LIMIT",
    "NO_KEY",
    "Codes",
    "Engine",
    "EngineChoice",
    "HasCache",
    "Index",
    "Keys",
    "Positions",
    "Scores",
    "Tokens",
    "check_engine",
    "choose_engine",
    "make_cached_index",
    "make_index",
    "save_cache",
    "suggest_engine",
]
Keys = NDArray[np.int64]
Positions = NDArray[np.int64]  # where a row lies, as against its key
Scores = NDArray[np.float32]
Tokens = NDArray[np.floating]
NO_KEY = -1  # pads an answer of fewer than k rows, with score -inf
EXACT_LIMIT = 100_000  # rows; beyond, an exact scan on a CPU is felt
Suits = Callable[[int, int, int, str], str | None]
Codes = NDArray[np.void]  # (N,) rows of `code_dtype(K, D)`


class Index(Protocol):
    """Finds the rows of highest s(Q, D) = Σ_i max_j Q_i · D_j. Keys are given by the caller."""

    def __len__(self) -> int:
        """Number of rows in the index."""

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add one block of rows; blocks of about 2^15 rows are the fastest to search.

        Contiguous arrays of fp16 tokens or codes are kept by reference, never copied whole: they
        may be mapped from read-only files, and must not change afterwards. The engines "triton"
        and "qdrant" copy rows elsewhere and keep no reference.

        Args:
            tokens: (N, K, D), with the K and D of the rows already there. None: the index keeps
                only codes, and scores these rows by their dequantized tokens.
            keys: (N,) distinct, not negative, not in use.
            codes: (N,) the same rows, quantized by `rows.quantize`; None: made here.
                With codes given, tokens are taken to be finite, and none is read before a search
                needs it.

        Raises:
            UsageError: an invalid shape, value or key.
        """

    def delete(self, keys: Keys) -> None:
        """Remove rows; unknown keys are ignored. A removed key may be added again.

        An engine that keeps arrays by reference releases them only when a new index is made.
        """

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """The k best rows of each query, best first, ties to the lower key.

        Args:
            queries: (Q, K, D).
            among: keys to choose from, unknown ones ignored; None for all.

        Returns:
            keys (Q, k) int64 and scores (Q, k) float32; rows short of k end in NO_KEY and -inf.
            Scores are those of fp16 tokens, however an engine finds its candidates.
        """

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all.

        Needs the memory of a copy; a knowledge base keeps its rows in segment files instead.
        """

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file that `save` wrote; the same searches give the same results.

        Raises:
            Missing: no such file.
            CorruptKnowledgeBase: the file is damaged, or of another engine.
        """


@runtime_checkable
class HasCache(Protocol):
    """An index that can save what it computed from its rows, for the next one of its kind."""

    def save_cache(self, path: Path) -> None:
        """Write the cache to one file, whole or not at all; its engine's class takes `cache=`."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One entry of the registry.

    Attributes:
        name: as `make_index` and `--index` take it.
        factory: the class, or "module:Class", imported when an index is first made.
        in_settings: whether `--index` may name it, as it works without options.
        package: the package that it imports beyond this one's own needs, "" if none.
        install: the command that installs that package.
        suits: (rows, K, D, device) → why this engine suits such rows here, None if it does not.
            Without it `suggest_engine` never chooses the engine.
        preference: of several engines that suit, `suggest_engine` takes the one of the highest.
        cache_file: where a knowledge base keeps the engine's cache; its class then takes
            `cache=path` and follows `HasCache`. "" if the engine has none.
    """

    name: str
    factory: str | Callable[..., Index]
    package: str = ""
    install: str = ""
    suits: Suits | None = None
    preference: int = 0
    cache_file: str = ""
    in_settings: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether the package that the engine needs can be imported."""
        return not self.package or find_spec(self.package) is not None

    def load(self) -> Callable[..., Index]:
        """The engine's class."""
        factory: Callable[..., Index] = load_target(self.factory)
        return factory


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The name of an engine, and why it was chosen, for the user to read."""

    engine: str
    reason: str


def make_index(engine: str = "exact", **options: Any) -> Index:
    """An empty index of the engine named; its options are those of its class.

    exact: scores every row on a CPU, in int8, then fp16 (`ExactIndex`). faiss: finds candidates
    first, for very many rows (`FaissIndex`). triton: scores every row on a GPU (`TritonIndex`).
    qdrant: a collection on a server or in a folder (`QdrantIndex`).

    Raises:
        UsageError: no such engine, or an option that it does not have.
        Missing: the engine's extra is not installed.
    """
    entry = ENGINES.get(engine)
    if not entry.is_installed:
        raise Missing(f"Index engine {engine!r} needs the package {entry.package}: {entry.install}")
    try:
        return entry.load()(**options)
    except TypeError as error:
        raise UsageError(f"Index engine {engine!r}: {error}") from error


def check_engine(name: str) -> None:
    """Raise UsageError unless `name` is "auto" or an engine that `--index` may name."""
    if name != "auto" and not ENGINES.get(name).in_settings:
        raise UsageError(
            f"--index {name} would need options that settings do not have. Take --index auto, or "
            f"call rag_vqa.retriever.index.make_index({name!r}, …) in Python."
        )


def suggest_engine(rows: int, K: int, D: int, device: str = "auto") -> EngineChoice:
    """The engine that suits this number of rows of (K, D) on this machine.

    Args:
        device: "auto", "cpu" or "cuda…": where the index may live.
    """
    install = ""
    for engine in sorted(ENGINES.entries(), key=lambda engine: -engine.preference):
        reason = engine.suits and engine.suits(rows, K, D, device)
        if reason and engine.is_installed:
            return EngineChoice(engine.name, reason)
        install = engine.install if reason else install
    return EngineChoice("exact", f"exact, though slow for {rows:,} passages; faster: {install}")


def choose_engine(engine: str, rows: int, K: int, D: int) -> EngineChoice:
    """The engine of that name, or for "auto" the one that suits this number of rows of (K, D)."""
    if engine != "auto":
        return EngineChoice(engine, f"{engine}, as requested")
    return suggest_engine(rows, K, D)


def make_cached_index(choice: EngineChoice, folder: Path) -> Index:
    """An empty index, with the engine's cache of that folder if there is one."""
    cache = _cache_path(choice, folder)
    options: dict[str, Any] = {} if cache is None or not cache.is_file() else {"cache": cache}
    try:
        return make_index(choice.engine, **options)
    except CorruptKnowledgeBase as error:
        warnings.warn(f"{error} It is computed anew.", stacklevel=2)
        return make_index(choice.engine)


def save_cache(index: Index, choice: EngineChoice, folder: Path) -> None:
    """Save what an index computed, for the next one. The caller holds the folder's lock.

    The cache can be computed again, so a failure to write it is a warning.
    """
    path = _cache_path(choice, folder)
    if path is None or not isinstance(index, HasCache):
        return
    try:
        # The lock is ours, so a killed process left these.
        for unfinished in folder.glob(f"{path.name}.*{atomic.PARTIAL_SUFFIX}"):
            atomic.remove_file(unfinished)
        index.save_cache(path)
    except RagVqaError as error:
        warnings.warn(f"{error} Until then each first search computes it anew.", stacklevel=2)


def _cache_path(choice: EngineChoice, folder: Path) -> Path | None:
    """Where a knowledge base keeps the cache of an engine; None if the engine has none."""
    name = ENGINES.get(choice.engine).cache_file
    return folder / name if name else None


def _suit_exact(rows: int, K: int, D: int, device: str) -> str | None:
    if rows > EXACT_LIMIT:
        return None
    return f"exact: {rows:,} passages are few enough to score them all"


def _suit_faiss(rows: int, K: int, D: int, device: str) -> str | None:
    if rows <= EXACT_LIMIT:
        return None
    return f"candidates first: {rows:,} passages are too many to score them all"


def _suit_triton(rows: int, K: int, D: int, device: str) -> str | None:
    free = None if device == "cpu" or find_spec("triton") is None else _free_gpu_memory(device)
    size = rows * K * D * 2
    if free is None or size >= 0.8 * free:
        return None
    return f"exact, on the GPU: {size / 1e9:.1f} GB of the {free / 1e9:.1f} GB free there"


def _free_gpu_memory(device: str) -> int | None:
    """Bytes free on the GPU; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(None if device == "auto" else device)
    return free


ENGINES: Registry[Engine] = Registry("index engine")


for _engine in (
    Engine("exact", "rag_vqa.retriever.index.exact_engine:ExactIndex", suits=_suit_exact),
    Engine(
        "faiss",
        "rag_vqa.retriever.index.faiss_engine:FaissIndex",
        package="faiss",
        install="python -m pip install 'rag-vqa[cpu]'  # or [gpu]",
        suits=_suit_faiss,
        preference=1,
        cache_file="candidates.safetensors",
    ),
    Engine(
        "triton",
        "rag_vqa.retriever.index.triton_engine:TritonIndex",
        package="triton",
        install="python -m pip install 'rag-vqa[triton]'  # CUDA builds of torch bring it",
        suits=_suit_triton,
        preference=2,
    ),
    Engine(
        "qdrant",
        "rag_vqa.retriever.index.qdrant_engine:QdrantIndex",
        package="qdrant_client",
        install="python -m pip install 'rag-vqa[qdrant]'",
        in_settings=False,
    ),
):
    ENGINES.register(_engine)
