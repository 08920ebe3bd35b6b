"""Late interaction scores: s(Q, D) = Σ_i max_j Q_i · D_j, once plain and once for training.

`late_interaction` is the reference that every fast path is tested against (ColBERT, Khattab and
Zaharia 2020; ReT, section 3.3). `maxsim` computes the same with gradients and never holds all
similarities at once: of each query token and passage it keeps the number of the best token, one
byte, and the way back adds those tokens up, a K'-th of the work of the products. Knows tokens and
scores. Does not know losses, processes or indexes, which have kernels of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities at once: on a CPU as few as stay in its cache, on a GPU as many as fill it.
TILE = {"cpu": 2**18, "cuda": 2**26}


def late_interaction(
    queries: Tensor,
    passages: Tensor,
    query_mask: Tensor | None = None,
    passage_mask: Tensor | None = None,
) -> Tensor:
    """Scores of every query with every passage.

    Args:
        queries: (Q, K, D) or (Q, D), unit tokens.
        passages: (N, K', D) or (N, D).
        query_mask: (Q, K), 1 = counts; multiplies each token's maximum.
        passage_mask: (N, K'), 1 = may be matched.

    Returns: (Q, N).

    >>> q = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> d = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    >>> late_interaction(q, d)  # 1.0 + 0.8
    tensor([[1.8000]])
    """
    if queries.ndim == 2:
        return queries @ passages.T
    best = []
    for tokens in queries:  # one query at a time: (Q, N, K, K') is never whole
        similarity = torch.einsum("kd,nld->nkl", tokens, passages)
        if passage_mask is not None:
            hidden = ~passage_mask.bool()[:, None, :]
            similarity = similarity.masked_fill(hidden, torch.finfo(similarity.dtype).min)
        best.append(similarity.amax(dim=-1))  # (N, K)
    maxima = torch.stack(best)  # (Q, N, K)
    if query_mask is not None:
        maxima = maxima * query_mask[:, None, :].to(maxima.dtype)
    return maxima.sum(dim=-1)


def maxsim(
    queries: Tensor,
    passages: Tensor,
    query_mask: Tensor | None = None,
    passage_mask: Tensor | None = None,
) -> Tensor:
    """The scores of `late_interaction`, with gradients, in memory that allows large batches.

    Args:
        queries: (Q, K, D), or (Q, D) without masks; half precision is scored in float32.
        passages: (N, K', D) or (N, D).
        query_mask: (Q, K), 1 = counts.
        passage_mask: (N, K'), 1 = may be matched; each passage has at least one such token.

    Returns: (Q, N). Of equal maxima the first token gets the whole gradient. Runs with the same
        number of threads give the same bytes.

    >>> q = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> d = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    >>> maxsim(q, d)  # 1.0 + 0.8
    tensor([[1.8000]])
    """
    queries, passages = (x if x.dtype == torch.float64 else x.float() for x in (queries, passages))
    if query_mask is not None:
        queries = queries * query_mask[:, :, None]
    if passage_mask is not None:
        # A second copy of a visible token changes no maximum.
        visible = passage_mask.bool()
        first = passages[torch.arange(len(passages)), visible.int().argmax(dim=1)]
        passages = torch.where(visible[:, :, None], passages, first[:, None])
    with torch.autocast(queries.device.type, enabled=False):
        if queries.ndim == 2:
            return queries @ passages.T
        scores: Tensor = _MaxSim.apply(queries, passages)  # type: ignore[no-untyped-call]
        return scores


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, passages: Tensor) -> Tensor:
        """(Q, K, D), (N, K', D) → (Q, N)."""
        (Q, K, _), (N, tokens, _) = queries.shape, passages.shape
        scores = queries.new_empty(Q, N)
        kept = torch.uint8 if tokens <= 256 else torch.int16
        best = torch.empty(Q, K, N, dtype=kept, device=queries.device)
        columns = passages.permute(1, 2, 0).contiguous()  # (K', D, N)
        for rows in _tiles(queries, N):
            maxima, best[rows] = _max_similarities(queries[rows], columns, kept)
            scores[rows] = maxima.sum(dim=1)
        ctx.save_for_backward(queries, passages, best)
        return scores

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(Q, N) → gradients of queries (Q, K, D) and passages (N, K', D)."""
        queries, passages, best = ctx.saved_tensors
        grad_queries = grad_passages = None
        if ctx.needs_input_grad[0]:
            grad_queries = torch.empty_like(queries)
            for rows in _tiles(queries, len(passages)):
                grad_queries[rows] = _query_gradients(grad[rows], best[rows], passages)
        if ctx.needs_input_grad[1]:
            grad_passages = torch.zeros_like(passages)
            for rows in _tiles(queries, len(passages)):
                grad_passages += _passage_gradients(grad[rows], best[rows], queries[rows], passages)
        return grad_queries, grad_passages


def _tiles(queries: Tensor, N: int) -> Iterator[slice]:
    step = max(1, TILE.get(queries.device.type, TILE["cpu"]) // (queries.shape[1] * max(N, 1)))
    for start in range(0, len(queries), step):
        yield slice(start, start + step)


def _max_similarities(queries: Tensor, columns: Tensor, kept: torch.dtype) -> tuple[Tensor, Tensor]:
    """(c, K, D), (K', D, N) → each token's best similarity, and whose it is: both (c, K, N)."""
    tokens = queries.reshape(-1, queries.shape[-1])
    best = tokens @ columns[0]
    which = torch.zeros(best.shape, dtype=kept, device=best.device)
    for j, column in enumerate(columns[1:], 1):
        similarity = tokens @ column
        # Later tokens have higher numbers: the maximum of numbers is the last that was better.
        which = torch.maximum(which, (similarity > best).to(kept) * j)
        best = torch.maximum(best, similarity)
    shape = (*queries.shape[:2], columns.shape[-1])
    return best.view(shape), which.view(shape)


def _query_gradients(grad: Tensor, best: Tensor, passages: Tensor) -> Tensor:
    """Σ_n grad · the passage's best token: (c, N), (c, K, N), (N, K', D) → (c, K, D)."""
    (c, K, N), (_, tokens, D) = best.shape, passages.shape
    first = torch.arange(N, device=best.device) * tokens
    weights = grad[:, None, :].expand(c, K, N).reshape(c * K, N)
    return _weighted_sums(passages.reshape(-1, D), (best + first).view(c * K, N), weights).view(
        c, K, D
    )


def _passage_gradients(grad: Tensor, best: Tensor, queries: Tensor, passages: Tensor) -> Tensor:
    """Each passage token gathers the query tokens that chose it: → (N, K', D)."""
    (c, K, N), (_, tokens, D) = best.shape, passages.shape
    chosen = best.view(c * K, N).T.contiguous()  # (N, c * K): who chose whom
    order = _stable_argsort(chosen)
    weights = grad.T.gather(1, order // K)
    bag = chosen + torch.arange(N, device=best.device)[:, None] * tokens
    counts = torch.bincount(bag.flatten(), minlength=N * tokens)
    gathered = _weighted_sums(
        queries.reshape(-1, D), order.flatten(), weights.flatten(), counts.cumsum(0) - counts
    )
    return gathered.view(passages.shape)


def _stable_argsort(chosen: Tensor) -> Tensor:
    """Places of each row in the order of its values, equal ones as they stand."""
    if chosen.device.type == "cpu":  # numpy's is a radix sort, twenty times faster than torch's
        return torch.from_numpy(np.argsort(chosen.numpy(), axis=1, kind="stable"))
    return chosen.sort(dim=1, stable=True).indices


def _weighted_sums(
    rows: Tensor, places: Tensor, weights: Tensor, bags: Tensor | None = None
) -> Tensor:
    """Weighted sums of rows (n, D); bag b holds places[b], or places[bags[b] : bags[b + 1]]."""
    return F.embedding_bag(places, rows, bags, mode="sum", per_sample_weights=weights)
