"""The engine "triton": all rows in a GPU's memory in fp16, every one scored by one fused kernel.

Knows what lies on the device, the kernel, whose similarities live and die in registers, and the
order of equal scores. Does not know codes. Importing it needs the package triton; with
TRITON_INTERPRET=1 set before, it runs on a CPU, slowly, for tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
import triton
import triton.language as tl

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import Codes, Keys, Positions, Scores, Tokens, rows
from rag_vqa.retriever.index.index_files import load_tokens, save_tokens
from rag_vqa.retriever.index.rows import JOINED_ROWS, KeyTable, dequantize

_SCORES = 2**26  # computed at once, 256 MB: it limits how many queries go together
# The share of rows below which copies of them are scored, above which all rows where they lie: a
# copy of most rows would cost the memory of all, at every search once a single row is deleted.
_COPIED = 1 / 4
_TOKENS = 128  # of rows at once: the size of a tensor core's instruction
_QUERIES = 8  # scored with rows that are loaded once
_LOW = 2048.0  # 2^11: scales what fp16 leaves of a number back to what fp16 holds well


class TritonIndex:
    """Exact. Copies rows to the device, and dequantizes codes of rows without tokens.

    A deleted row keeps its place on the device until a new index is made.

    Args:
        device: "cuda" or "cuda:1"; "cpu" only where Triton interprets (TRITON_INTERPRET=1).

    Raises:
        UsageError: there is no such device.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._device = torch.device(device)
        interprets = triton.knobs.runtime.interpret
        if not (torch.cuda.is_available() if self._device.type == "cuda" else interprets):
            raise UsageError(
                f"Index engine 'triton' finds no {device}. Take --index exact, or 'faiss' for more "
                "than 100,000 documents."
            )
        self._table = KeyTable()
        self._blocks: list[torch.Tensor] = []  # (n, K, D) fp16, in the order of positions

    def __len__(self) -> int:
        return len(self._table)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        keys = np.asarray(keys, np.int64)
        self._table.check(tokens, keys, codes)
        if not len(keys):
            return
        rows = dequantize(codes) if tokens is None and codes is not None else np.asarray(tokens)
        half = torch.tensor(rows, dtype=torch.float16, device=self._device)
        if self._blocks and len(self._blocks[-1]) + len(half) <= JOINED_ROWS:
            half = torch.cat([self._blocks.pop(), half])
        self._blocks.append(half)
        self._table.append(keys, (half.shape[1], half.shape[2]))

    def delete(self, keys: Keys) -> None:
        """Remove rows; unknown keys are ignored."""
        self._table.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = rows.check_queries(queries, k, self._table.shape)
        positions = self._table.positions_among(among)
        total = len(self._table.keys)
        count = len(self) if positions is None else len(positions)
        if not count:
            return rows.pad_results([rows.NO_RESULTS] * len(queries), k)
        copied = positions if count < _COPIED * total else None
        excluded = None
        if positions is not None and copied is None:
            excluded = self._excluded_mask(positions)
        step = max(1, _SCORES // (total if copied is None else count))
        results: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), step):
            batch = torch.from_numpy(queries[start : start + step]).to(self._device)
            results += self._search(batch, min(k, count), copied, excluded)
        return rows.pad_results(results, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        positions = self._table.positions_among(None)
        if positions is None:
            positions = np.arange(len(self._table.keys))
        blocks = [block.cpu().numpy() for block in self._blocks]
        tokens = np.concatenate(blocks)[positions] if blocks else np.empty((0, 0, 0), np.float16)
        save_tokens(path, tokens, self._table.keys[positions])

    @classmethod
    def open(cls, path: Path, device: str = "cuda") -> Self:
        """Read a file that `save` wrote; see `Index.open`."""
        index = cls(device)
        load_tokens(path, index.add)
        return index

    def _excluded_mask(self, positions: Positions) -> torch.Tensor:
        """Which rows (N) are not at those positions, on the device."""
        excluded = np.ones(len(self._table.keys), np.bool_)
        excluded[positions] = False
        return torch.from_numpy(excluded).to(self._device)

    def _search(
        self,
        queries: torch.Tensor,
        k: int,
        copied: Positions | None,
        excluded: torch.Tensor | None,
    ) -> list[tuple[Keys, Scores]]:
        """Keys and scores of the k best rows for each query.

        Args:
            copied: positions of rows to copy and score; None: score all rows where they lie.
            excluded: (N,), rows that may not be found.
        """
        keys = self._table.keys
        scores = torch.cat(
            [fused_late_interaction(queries, rows) for rows in self._select_rows(copied)], 1
        )
        if excluded is not None:
            scores.masked_fill_(excluded, -torch.inf)
        # All rows no worse than the k-th: of equal scores a sort on the device keeps any.
        least = scores.topk(k).values[:, -1:]
        results = []
        for row, end in zip(scores, least, strict=True):
            columns = (row >= end).nonzero()[:, 0]
            found = columns.cpu().numpy()
            positions = found if copied is None else copied[found]
            row_scores = row[columns].cpu().numpy()
            order = rows.top_k_order(row_scores, keys[positions], k)
            results.append((keys[positions[order]], row_scores[order]))
        return results

    def _select_rows(self, copied: Positions | None) -> Iterator[torch.Tensor]:
        """The blocks, or copies of their rows at ascending positions."""
        start = 0
        for block in self._blocks:
            rows = block
            if copied is not None:
                chosen = copied[(copied >= start) & (copied < start + len(block))] - start
                rows = block[torch.from_numpy(chosen).to(self._device)]
            start += len(block)
            if len(rows):
                yield rows


@triton.jit  # type: ignore[untyped-decorator]
def _late_interaction_kernel(  # type: ignore[no-untyped-def]
    rows,  # (N, K, D) fp16
    high,  # (Q, K, D) fp16: queries, Q a multiple of QUERIES
    low,  # (Q, K, D) fp16: what fp16 left of them, times LOW
    scores,  # (Q, N) fp32
    N,
    K: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,  # at once
    ROW: tl.constexpr,  # K up to a power of two: tokens of a row
    ASKED: tl.constexpr,  # the same, at least 16: tokens of a query
    WIDTH: tl.constexpr,  # D up to a power of two, at least 16
    QUERIES: tl.constexpr,
    LOW: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS * ROW) // ROW
    token = tl.arange(0, ROWS * ROW) % ROW
    width = tl.arange(0, WIDTH)
    there = (row[:, None] < N) & (token[:, None] < K) & (width[None, :] < D)
    at = (row[:, None] * K + token[:, None]) * D + width[None, :]
    tokens = tl.load(rows + at, mask=there, other=0.0)  # (ROWS · ROW, WIDTH)
    asked = tl.arange(0, ASKED)
    inside = (asked[None, :] < K) & (width[:, None] < D)
    for number in range(QUERIES):
        query = tl.program_id(1).to(tl.int64) * QUERIES + number
        here = (query * K + asked[None, :]) * D + width[:, None]
        upper = tl.load(high + here, mask=inside, other=0.0)  # (WIDTH, ASKED)
        lower = tl.load(low + here, mask=inside, other=0.0)
        dots = tl.dot(tokens, upper) + tl.dot(tokens, lower) * (1.0 / LOW)
        dots = tl.where(token[:, None] < K, dots, float("-inf"))
        best = tl.max(tl.reshape(dots, (ROWS, ROW, ASKED)), axis=1)  # (ROWS, ASKED)
        total = tl.sum(best, axis=1)  # tokens of no query are zeros, and add nothing
        line = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        tl.store(scores + query * N + line, total, mask=line < N)


def fused_late_interaction(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Scores (Q, N) fp32 of queries (Q, K, D) fp32 with rows (N, K, D) fp16, on their device.

    Splits each query into a sum of two fp16 numbers, so that tensor cores compute products as
    exact as fp32's.
    """
    (Q, K, D), N = queries.shape, len(rows)
    together = min(_QUERIES, triton.next_power_of_2(Q))
    queries = torch.nn.functional.pad(queries, (0, 0, 0, 0, 0, -Q % together))
    high = queries.half()
    low = ((queries - high.float()) * _LOW).half()
    scores = torch.empty((len(queries), N), device=rows.device)
    row = triton.next_power_of_2(K)
    at_once = max(1, _TOKENS // row)
    _late_interaction_kernel[triton.cdiv(N, at_once), len(queries) // together](
        *(rows.contiguous(), high.contiguous(), low.contiguous(), scores, N),
        K=K,
        D=D,
        ROWS=at_once,
        ROW=row,
        ASKED=max(16, row),
        WIDTH=max(16, triton.next_power_of_2(D)),
        QUERIES=together,
        LOW=_LOW,
    )
    return scores[:Q]
