"""The engine "triton": all rows in a GPU's memory in fp16, every one scored by one fused kernel.

Knows what lies on the device, the kernel, whose similarities live and die in registers, and the
order of equal scores. Does not know codes. Importing it needs the package triton; with
TRITON_INTERPRET=1 set before, it runs on a CPU, slowly, for tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
import triton
import triton.language as tl

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import Keys, Positions, Scores, Tokens, ranking
from rag_vqa.retriever.index.index_files import load_tokens, save_tokens
from rag_vqa.retriever.index.int8_quantization import Codes, dequantize
from rag_vqa.retriever.index.row_blocks import JOINED_ROWS, KeyTable

_SCORES = 2**26  # held at once, 256 MB: as many queries go together
# Of fewer than this share of the rows copies are scored; of more, all rows as they lie: a copy of
# most rows would cost the memory of all, at every search once a single row is deleted.
_COPIED = 1 / 4
_TOKENS = 128  # of rows at once: what a tensor core's instruction likes
_QUERIES = 8  # scored with rows that were loaded once
_LOW = 2048.0  # 2^11: what fp16 leaves of a number is brought up again to what fp16 holds well


class TritonIndex:
    """Exact. Rows are copied to the device: their codes are needed only where tokens are None.

    A deleted row keeps its place on the device until the index is made anew.

    Args:
        device: "cuda" or "cuda:1"; "cpu" only where Triton interprets (TRITON_INTERPRET=1).

    Raises:
        UsageError: there is no such device.
    """

    def __init__(self, device: str = "cuda") -> None:
        import triton

        self._device = torch.device(device)
        interprets = triton.knobs.runtime.interpret
        if not (torch.cuda.is_available() if self._device.type == "cuda" else interprets):
            raise UsageError(
                f"Index engine 'triton' finds no {device}. Take --index exact, or 'faiss' for more "
                "than 100,000 documents."
            )
        self._keyed = KeyTable()
        self._blocks: list[torch.Tensor] = []  # (n, K, D) fp16, in the order of positions

    def __len__(self) -> int:
        return len(self._keyed)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        keys = np.asarray(keys, np.int64)
        self._keyed.check(tokens, keys, codes)
        if not len(keys):
            return
        given = dequantize(codes) if tokens is None and codes is not None else np.asarray(tokens)
        half = torch.tensor(given, dtype=torch.float16, device=self._device)
        if self._blocks and len(self._blocks[-1]) + len(half) <= JOINED_ROWS:
            half = torch.cat([self._blocks.pop(), half])
        self._blocks.append(half)
        self._keyed.append(keys, (half.shape[1], half.shape[2]))

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        self._keyed.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = ranking.check_queries(queries, k, self._keyed.shape)
        at = self._keyed.among(among)
        there, every = len(self) if at is None else len(at), len(self._keyed.keys)
        if not there:
            return ranking.pad_results([ranking.NO_RESULTS] * len(queries), k)
        copied = at if there < _COPIED * every else None
        away = None if at is None or copied is not None else self._excluded_mask(at)
        step = max(1, _SCORES // (every if copied is None else there))
        found: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), step):
            batch = torch.from_numpy(queries[start : start + step]).to(self._device)
            found += self._search(batch, min(k, there), copied, away)
        return ranking.pad_results(found, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        at = self._keyed.among(None)
        every = np.arange(len(self._keyed.keys)) if at is None else at
        held = [block.cpu().numpy() for block in self._blocks]
        tokens = np.concatenate(held)[every] if held else np.empty((0, 0, 0), np.float16)
        save_tokens(path, tokens, self._keyed.keys[every])

    @classmethod
    def open(cls, path: Path, device: str = "cuda") -> Self:
        """Read what `save` wrote; see `Index.open`."""
        index = cls(device)
        load_tokens(path, index.add)
        return index

    def _excluded_mask(self, at: Positions) -> torch.Tensor:
        """Which rows (N) are not at those positions, on the device."""
        away = np.ones(len(self._keyed.keys), np.bool_)
        away[at] = False
        return torch.from_numpy(away).to(self._device)

    def _search(
        self, queries: torch.Tensor, k: int, at: Positions | None, away: torch.Tensor | None
    ) -> list[tuple[Keys, Scores]]:
        """Keys and scores of the k best rows for each query: of copies of those at positions, or
        of all (None) but those `away` (N)."""

        parts, keys, start = [], self._keyed.keys, 0
        for block in self._blocks:
            rows = block
            if at is not None:
                here = at[(at >= start) & (at < start + len(block))] - start
                rows = block[torch.from_numpy(here).to(self._device)]
            start += len(block)
            if len(rows):
                parts.append(fused_late_interaction(queries, rows))
        scores = torch.cat(parts, 1)
        if away is not None:
            scores.masked_fill_(away, -torch.inf)
        # All that is no worse than the k-th: of equal scores a sort on the device keeps any.
        least = scores.topk(k).values[:, -1:]
        found = []
        for row, end in zip(scores, least, strict=True):
            columns = (row >= end).nonzero()[:, 0]
            places = columns.cpu().numpy() if at is None else at[columns.cpu().numpy()]
            some = row[columns].cpu().numpy()
            order = ranking.top_k_order(some, keys[places], k)
            found.append((keys[places[order]], some[order]))
        return found


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

    A query goes in as the sum of two fp16 numbers, so that the products are those of fp32 while
    tensor cores do the work.
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
