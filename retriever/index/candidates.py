"""The engine "faiss": candidates by a row's own means, then its codes, then its fp16 tokens.

Each stage is dearer and sees fewer rows: lists of FAISS (only where there are very many rows),
four means a row in int8, all tokens in int8, tokens in fp16. It knows how many rows each passes
on. What is lost is lost in the first two; benchmarks/index.py measures it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import Codes, decode, encode, row_type
from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.arithmetic import Arithmetic, arithmetic
from rag_vqa.retriever.index.derived import Derived
from rag_vqa.retriever.index.files import load_rows, save_rows
from rag_vqa.retriever.index.lists import LEARNED_FROM, Lists
from rag_vqa.retriever.index.means import MEANS, means
from rag_vqa.retriever.index.protocol import Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.rows import Block, Rows
from rag_vqa.retriever.index.scanning import scan

# Up to so many rows all means are scanned; beyond, lists are learned and narrow them down.
_LISTED = 2**17
# Rows passed on by means, and by codes: at least, and for each row asked for.
_BY_MEANS, _MEANS_PER_ROW = 1000, 10
_BY_CODES, _CODES_PER_ROW = 150, 2


class FaissIndex:
    """See the module. Nothing is learned below 2^17 rows, and nothing ever learned again.

    Args:
        kernel: one of `arithmetic.kernels`; None: the best that runs here.
        derived: a file that `keep` wrote. Rows of keys that it knows are added at once; those of
            others are worked out as ever.

    Raises:
        Missing, CorruptKnowledgeBase: of the file; see `Index.open`.
    """

    def __init__(self, kernel: str | None = None, derived: Path | None = None) -> None:
        self._rows = Rows(self._coarse)
        self._kernel = kernel
        self._derived = None if derived is None else Derived.read(derived)
        self._lists: Lists | None = None
        if self._derived is not None and self._derived.centres is not None:
            self._lists = Lists(self._derived.centres)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        self._rows.add(tokens, keys, codes)
        self._list_new()

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        self._rows.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = ranking.checked(queries, k, self._rows.shape)
        at = self._rows.among(among)
        using = arithmetic(max(1, queries.shape[2]), self._kernel)
        return ranking.padded([self._search(using, query, k, at) for query in queries], k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        more = {} if self._lists is None else {"centres": self._lists.centres}
        save_rows(path, self._rows, more)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; see `Index.open`."""
        index = cls()
        centres = load_rows(path, index._rows.add).get("centres")
        if centres is not None:
            index._lists = Lists(np.asarray(centres, np.float32))
            index._list_new()
        return index

    def keep(self, path: Path) -> None:
        """Write what was worked out of the rows: 544 bytes each, of (32, 128). For `derived`."""
        at = self._rows.ascending
        held = [_means_of(block) for block in self._rows.blocks]
        coarse = np.concatenate(held)[at] if held else np.empty(0, row_type(1, 1))
        if self._lists is None:
            Derived(self._rows.keys[at], coarse).write(path)
        else:
            ids = self._lists.ids[at]
            Derived(self._rows.keys[at], coarse, self._lists.centres, ids).write(path)

    def _search(
        self, using: Arithmetic, query: NDArray[np.float32], k: int, at: Positions | None
    ) -> tuple[Keys, Scores]:
        """Keys and scores of the best rows at those positions for a query (K, D)."""
        places = self._narrowed(query, at, wanted := max(_BY_MEANS, _MEANS_PER_ROW * k))
        batch = query[None]
        if (len(self._rows) if places is None else len(places)) > wanted:
            ((_, places),) = scan(self._rows, using, batch, places, wanted, _means_of)
        if places is None or len(places):
            m = max(_BY_CODES, _CODES_PER_ROW * k)
            ((_, places),) = scan(self._rows, using, batch, places, m)
        scores = ranking.rescore(self._rows, using, query, places)
        keys = self._rows.keys[places]
        order = ranking.best(scores, keys, k)
        return keys[order], scores[order]

    def _narrowed(
        self, query: NDArray[np.float32], at: Positions | None, wanted: int
    ) -> Positions | None:
        """Of those positions, those in lists near to the query, if there are enough."""
        if self._lists is None or (at is not None and len(at) <= _LISTED):
            return at
        alive = np.zeros(len(self._lists), np.bool_)
        alive[slice(None) if at is None else at] = True
        near = self._lists.near(means(query[None])[0], alive)
        return near if len(near) >= wanted else at

    def _list_new(self) -> None:
        """Put rows that are in no list into theirs; learn the lists if it is time."""
        if self._lists is None:
            if len(self._rows.keys) <= _LISTED:
                return
            self._lists = Lists.learn(self._sample())
        for block in self._rows.blocks:
            first = max(0, len(self._lists) - block.start)
            if first == len(block):
                continue
            keys = self._rows.keys[block.start + first : block.start + len(block)]
            known = None if self._derived is None else self._derived.take(keys)
            if known is not None and self._derived is not None and self._derived.ids is not None:
                self._lists.restore(self._derived.ids[known])
            else:
                self._lists.append(decode(_means_of(block)[first:]))

    def _sample(self) -> NDArray[np.float32]:
        """Means of rows spread over all blocks (n, D)."""
        rng = np.random.default_rng(0)
        found = []
        for block in self._rows.blocks:
            wanted = LEARNED_FROM // MEANS * len(block) // len(self._rows.keys) + 1
            some = rng.permutation(len(block))[:wanted]
            found.append(decode(_means_of(block)[np.sort(some)]).reshape(-1, self._rows.shape[1]))
        return rng.permutation(np.concatenate(found))[:LEARNED_FROM]

    def _coarse(self, block: Block, keys: Keys) -> Codes:
        """Codes of a block's means."""
        known = None if self._derived is None else self._derived.take(keys)
        if known is not None and self._derived is not None:
            return self._derived.coarse[known]
        return encode(means(decode(block.codes) if block.tokens is None else block.tokens))


def _means_of(block: Block) -> Codes:
    assert block.coarse is not None  # `_coarse` makes them of every block
    return block.coarse
