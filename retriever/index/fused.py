"""Late interaction as one Triton kernel: a row's similarities live and die in registers.

It knows tensors on one device. It does not know keys. Importing it needs the package triton; with
TRITON_INTERPRET=1 set before, it runs on a CPU, slowly, for tests.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_TOKENS = 128  # of rows at once: what a tensor core's instruction likes
_QUERIES = 8  # scored with rows that were loaded once
_LOW = 2048.0  # 2^11: what fp16 leaves of a number is brought up again to what fp16 holds well


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
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


def late_interaction(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
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
    _kernel[triton.cdiv(N, at_once), len(queries) // together](
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
