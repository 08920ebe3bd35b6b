"""The engine "triton": all rows in a GPU's memory in fp16, every one scored by one fused kernel.

It knows what lies on the device, and the order of equal scores. The kernel is in fused.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch

from rag_vqa.errors import UsageError
from rag_vqa.retriever.codes import Codes, decode
from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.files import load_tokens, save_tokens
from rag_vqa.retriever.index.keyed import JOINED, Keyed
from rag_vqa.retriever.index.protocol import Keys, Positions, Scores, Tokens

_SCORES = 2**26  # held at once, 256 MB: as many queries go together
# Of fewer than this share of the rows copies are scored; of more, all rows as they lie: a copy of
# most rows would cost the memory of all, at every search once a single row is deleted.
_COPIED = 1 / 4


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
        self._keyed = Keyed()
        self._blocks: list[torch.Tensor] = []  # (n, K, D) fp16, in the order of positions

    def __len__(self) -> int:
        return len(self._keyed)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        keys = np.asarray(keys, np.int64)
        self._keyed.check(tokens, keys, codes)
        if not len(keys):
            return
        given = decode(codes) if tokens is None and codes is not None else np.asarray(tokens)
        half = torch.tensor(given, dtype=torch.float16, device=self._device)
        if self._blocks and len(self._blocks[-1]) + len(half) <= JOINED:
            half = torch.cat([self._blocks.pop(), half])
        self._blocks.append(half)
        self._keyed.append(keys, (half.shape[1], half.shape[2]))

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        self._keyed.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = ranking.checked(queries, k, self._keyed.shape)
        at = self._keyed.among(among)
        there, every = len(self) if at is None else len(at), len(self._keyed.keys)
        if not there:
            return ranking.padded([ranking.NOTHING] * len(queries), k)
        copied = at if there < _COPIED * every else None
        away = None if at is None or copied is not None else self._away(at)
        step = max(1, _SCORES // (every if copied is None else there))
        found: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), step):
            batch = torch.from_numpy(queries[start : start + step]).to(self._device)
            found += self._search(batch, min(k, there), copied, away)
        return ranking.padded(found, k)

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

    def _away(self, at: Positions) -> torch.Tensor:
        """Which rows (N) are not at those positions, on the device."""
        away = np.ones(len(self._keyed.keys), np.bool_)
        away[at] = False
        return torch.from_numpy(away).to(self._device)

    def _search(
        self, queries: torch.Tensor, k: int, at: Positions | None, away: torch.Tensor | None
    ) -> list[tuple[Keys, Scores]]:
        """Keys and scores of the k best rows for each query: of copies of those at positions, or
        of all (None) but those `away` (N)."""
        from rag_vqa.retriever.index.fused import late_interaction

        parts, keys, start = [], self._keyed.keys, 0
        for block in self._blocks:
            rows = block
            if at is not None:
                here = at[(at >= start) & (at < start + len(block))] - start
                rows = block[torch.from_numpy(here).to(self._device)]
            start += len(block)
            if len(rows):
                parts.append(late_interaction(queries, rows))
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
            order = ranking.best(some, keys[places], k)
            found.append((keys[places[order]], some[order]))
        return found
