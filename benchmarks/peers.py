"""Searches to compare the index engines with: torch in fp32, FAISS over all tokens, PLAID.

Each takes rows in mapped files and returns a search: a query (K, D) and k → k row numbers. Does not
know our engines or a clock.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
import vectors
from numpy.typing import NDArray

from rag_vqa.retriever.index import Codes, Index
from rag_vqa.retriever.index.kernels import select_kernel
from rag_vqa.retriever.index.rows import code_dtype, quantize

HERE = Path(__file__).parent
K, D, BLOCK = vectors.K, vectors.D, vectors.BLOCK
LISTS, PER_TOKEN, PROBED, RERANKED = 2048, 200, 8, 1000  # of FAISS over all tokens
Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]


class Mapped:
    """Tokens and codes in two files, written block by block, like segments of a knowledge base."""

    def __init__(self, folder: Path, documents: int, blocks: Iterator[vectors.Half]) -> None:
        self.documents, self.folder = documents, folder
        shape, kind = (documents, K, D), code_dtype(K, D)
        mode: Any = "w+"
        tokens = np.memmap(folder / "tokens", np.float16, mode, shape=shape)
        codes = np.memmap(folder / "codes", kind, mode, shape=(documents,))
        start = 0
        for block in blocks:
            part = slice(start, start := start + len(block))
            tokens[part], codes[part] = block, quantize(block)
        tokens.flush()
        codes.flush()
        self.tokens: vectors.Half = np.memmap(folder / "tokens", np.float16, "r", shape=shape)
        self.codes: Codes = np.memmap(folder / "codes", kind, "r", shape=(documents,))

    def fill(self, index: Index, with_codes: bool = True) -> None:
        for start in range(0, self.documents, BLOCK):
            part = slice(start, min(start + BLOCK, self.documents))
            codes = self.codes[part] if with_codes else None
            index.add(self.tokens[part], np.arange(part.start, part.stop), codes)


def torch_fp32(mapped: Mapped) -> Search:
    """Late interaction in fp32, 256 documents at a time, which is the fastest here."""
    rows = torch.empty((mapped.documents, K, D))
    for start in range(0, mapped.documents, BLOCK):
        part = mapped.tokens[start : start + BLOCK]
        rows[start : start + len(part)] = torch.from_numpy(np.asarray(part, np.float32))
    scores = torch.empty(mapped.documents)

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        asked = torch.from_numpy(query).T.contiguous()
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            similar = (part.view(-1, D) @ asked).view(len(part), K, K)
            torch.sum(similar.amax(1), -1, out=scores[start : start + 256])
        return scores.topk(min(k, len(rows))).indices.numpy()

    return search


def faiss_tokens(mapped: Mapped) -> Search:
    """FAISS over all tokens: an inverted file that returns PER_TOKEN tokens a query token.

    Ranks their documents by the sum of the best, and rescores RERANKED of them in fp16.
    """
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(D), D, LISTS, faiss.METRIC_INNER_PRODUCT)
    flat = mapped.tokens.reshape(-1, D)
    rng = np.random.default_rng(0)
    index.train(np.asarray(flat[np.sort(rng.permutation(len(flat))[: 40 * LISTS])], np.float32))
    for start in range(0, len(flat), BLOCK):
        index.add(np.asarray(flat[start : start + BLOCK], np.float32))
    index.nprobe = PROBED
    using = select_kernel(D)

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        similar, found = index.search(query, PER_TOKEN)
        floor = similar.min(axis=1)  # the most that a document can have that a token did not find
        sums = np.zeros(mapped.documents, np.float32)
        for row, ids in enumerate(found):
            there = ids >= 0
            owners, gains = ids[there] // K, similar[row, there] - floor[row]
            first = np.unique(owners, return_index=True)[1]  # sorted best first: the best of each
            sums[owners[first]] += gains[first]
        some = np.argpartition(-sums, min(RERANKED, len(sums) - 1))[:RERANKED]
        scores = using.rescore(mapped.tokens, query, np.sort(some))
        return np.sort(some)[np.argsort(-scores, kind="stable")[:k]]

    return search


def plaid(python: Path, folder: Path, documents: int, queries: NDArray[np.float32]) -> Search:
    """PLAID in its own process (plaid.py). Raises RuntimeError if the process ends."""
    np.save(folder / "queries.npy", queries, allow_pickle=False)
    command = [python, HERE / "plaid.py", folder / "tokens", str(documents)]
    # It compiles its C++ at the first start, with tools beside its Python.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [*map(str, command), str(folder / "queries.npy"), str(folder / "plaid")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": ""},
    )

    def line() -> dict[str, Any]:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"PLAID ended with {process.wait()}. To see why, run {command}")
        answer: dict[str, Any] = json.loads(said)
        return answer

    print("PLAID:", line())

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        assert process.stdin is not None
        number = int(np.flatnonzero((queries == query).all(axis=(1, 2)))[0])
        process.stdin.write(f"{number} {k}\n")
        process.stdin.flush()
        return np.array(line()["found"], np.int64)

    return search
