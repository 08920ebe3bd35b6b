"""Exact late interaction in fp32 over tokens held in fp16, a block of rows at a time.

It knows arithmetic and memory: nothing larger than a block's similarities is ever whole. It does
not know documents, passages or where tokens come from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rag_vqa.errors import CorruptKnowledgeBase, Missing, UsageError
from rag_vqa.retriever.codes import Codes, decode
from rag_vqa.retriever.index.protocol import NO_KEY, Keys, Scores, Tokens

# Similarities computed at once: 1 MB of fp32, which stays in a core's cache.
_BLOCK = 2**18
_QUERIES = 8

Positions = NDArray[np.int64]  # where a row lies, as against its key


class ExactIndex:
    """Every row is scored. `device` is where the rows are held and scored.

    >>> index = ExactIndex()
    >>> index.add(np.eye(2, dtype=np.float32)[:, None], np.array([7, 9]))
    >>> index.search(np.array([[[0.0, 1.0]]], np.float32), 1)[0].tolist()
    [[9]]
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._tokens = torch.empty((0, 0, 0), dtype=torch.float16, device=self._device)  # (N, K, D)
        self._keys: Keys = np.empty(0, np.int64)  # (N,) ascending: the order of ties

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows (N, K, D) under keys (N,); see `Index.add`. Codes serve where there is no more.

        The first rows are kept as they are where they are fp16 already, so that loading a large
        knowledge base takes its memory once: leave that array alone afterwards.
        """
        if tokens is None:
            if codes is None:
                raise UsageError("Rows are added as tokens, as codes, or as both.")
            tokens = decode(codes)
        tokens, keys = np.asarray(tokens), np.asarray(keys, np.int64)
        self._check(tokens, keys)
        if not len(keys):
            return
        held = np.ascontiguousarray(tokens, np.float16)
        # torch takes no array that is read-only, as mapped ones are.
        rows = torch.from_numpy(held if held.flags.writeable else held.copy()).to(self._device)
        rows = torch.cat([self._tokens, rows]) if len(self) else rows  # no copy of a first load
        keys = np.concatenate([self._keys, keys])
        if (keys[:-1] > keys[1:]).any():
            order = np.argsort(keys)
            keys, rows = keys[order], rows[torch.from_numpy(order).to(self._device)]
        self._tokens, self._keys = rows, keys

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        keep = np.flatnonzero(~np.isin(self._keys, np.asarray(keys, np.int64)))
        if len(keep) < len(self):
            self._tokens = self._tokens[torch.from_numpy(keep).to(self._device)]
            self._keys = self._keys[keep]

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1.")
        queries = np.asarray(queries, np.float32)
        if queries.ndim != 3 or (len(self) and queries.shape[1:] != self._tokens.shape[1:]):
            shape = tuple(self._tokens.shape[1:])
            raise UsageError(f"Queries of shape {queries.shape} cannot search rows of {shape}.")
        if not np.isfinite(queries).all():
            raise UsageError("Queries hold NaN or infinity: the encoder that made them is broken.")
        rows = None if among is None else self._rows(among)
        found = np.full((len(queries), k), NO_KEY, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            batch = torch.from_numpy(np.ascontiguousarray(queries[part])).to(self._device)
            best, where = self._best(batch, k, rows)
            scores[part, : best.shape[1]] = best.cpu().numpy()
            found[part, : best.shape[1]] = self._keys[where.cpu().numpy()]
        return found, scores

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        save_file({"tokens": self._tokens.cpu().numpy(), "keys": self._keys}, new)
        new.replace(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; see `Index.open`."""
        if not path.is_file():
            raise Missing(f"{path} does not exist: it is written by `Index.save`.")
        try:
            arrays = load_file(path)
            index = cls()
            if arrays["tokens"].dtype != np.float16 or arrays["keys"].dtype != np.int64:
                raise CorruptKnowledgeBase(
                    f"{path} is no exact index: its arrays have other types."
                )
            index.add(arrays["tokens"], arrays["keys"])
        except (SafetensorError, KeyError, UsageError) as error:
            raise CorruptKnowledgeBase(
                f"{path} is no exact index, or is damaged: {error}"
            ) from error
        return index

    def _check(self, tokens: Tokens, keys: Keys) -> None:
        if tokens.ndim != 3 or keys.shape != (len(tokens),):
            raise UsageError(
                f"Rows are (N, K, D) with keys (N,), not {tokens.shape}, {keys.shape}."
            )
        if len(self) and tokens.shape[1:] != self._tokens.shape[1:]:
            held = tuple(self._tokens.shape[1:])
            raise UsageError(f"Rows of {tokens.shape[1:]} do not fit an index of {held}.")
        if len(np.unique(keys)) < len(keys) or (keys < 0).any() or len(self._rows(keys)):
            raise UsageError("Keys must be distinct, not negative, and not in the index already.")
        if not np.isfinite(tokens).all():
            raise UsageError("Rows hold NaN or infinity: the encoder that made them is broken.")

    def _rows(self, keys: Keys) -> Positions:
        """Positions of those keys that are there, ascending."""
        return np.flatnonzero(np.isin(self._keys, np.asarray(keys, np.int64)))

    def _best(
        self, queries: torch.Tensor, k: int, rows: Positions | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Best min(k, rows) scores and their positions, both (Q, ·), over one batch (Q, K, D)."""
        total = len(self) if rows is None else len(rows)
        chosen = None if rows is None else torch.from_numpy(rows).to(self._device)
        scores = torch.empty((len(queries), 0), device=self._device)
        places = torch.empty((len(queries), 0), dtype=torch.int64, device=self._device)
        per_row = max(1, queries.shape[0] * queries.shape[1] * queries.shape[1])
        step = max(1, _BLOCK // per_row)
        for start in range(0, total, step):
            here = torch.arange(start, min(start + step, total), device=self._device)
            here = here if chosen is None else chosen[here]
            block = self._tokens[start : start + step] if chosen is None else self._tokens[here]
            scores = torch.cat([scores, late_interaction(queries, block.float())], 1)
            places = torch.cat([places, here.expand(len(queries), -1)], 1)
            # Stable, and positions ascend with keys: of equal scores the lower key stays first.
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            scores, places = scores[:, :k], places.gather(1, order[:, :k])
        return scores, places


def late_interaction(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """s(Q, D) = Σ_i max_j Q_i · D_j: (Q, K, D), (N, K, D) → (Q, N)."""
    Q, K, D = queries.shape
    similarity = rows.reshape(-1, D) @ queries.reshape(-1, D).T  # (N·K, Q·K)
    best = similarity.view(len(rows), K, Q * K).amax(1)  # (N, Q·K)
    return best.view(len(rows), Q, K).sum(-1).T  # (Q, N)
