"""The engine "faiss": candidates by a row's own means, then its codes, then its fp16 tokens.

Each stage is dearer and sees fewer rows: lists of FAISS (only where there are very many rows),
four means a row in int8, all tokens in int8, tokens in fp16. It knows how many rows each passes
on. What is lost is lost in the first two; benchmarks/index.py measures it.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import Codes, decode, encode, row_type
from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.arithmetic import Arithmetic, arithmetic
from rag_vqa.retriever.index.derived import NOWHERE, Derived, checksums
from rag_vqa.retriever.index.files import load_rows, save_rows
from rag_vqa.retriever.index.lists import LEARNED_FROM, Lists, learned
from rag_vqa.retriever.index.means import MEANS, means
from rag_vqa.retriever.index.protocol import Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.rows import Block, Rows
from rag_vqa.retriever.index.scanning import scan

# Up to so many rows all means are scanned; beyond, lists are learned and narrow them down.
_LISTED = 2**17
# Rows passed on by means, and by codes: at least, and for each row asked for.
_BY_MEANS, _MEANS_PER_ROW = 1000, 10
_BY_CODES, _CODES_PER_ROW = 150, 2
_ROWS = 2**13  # worked on at once, so that mapped rows are not copied whole


class FaissIndex:
    """See the module. Nothing is learned below 2^17 rows, and nothing ever learned again.

    Args:
        kernel: one of `arithmetic.kernels`; None: the best that runs here.
        derived: a file that `keep` wrote. Rows that it knows are added at once; others are
            worked out as ever.

    Raises:
        Missing, CorruptKnowledgeBase: of the file; see `Index.open`.
    """

    def __init__(self, kernel: str | None = None, derived: Path | None = None) -> None:
        self._rows = Rows(self._coarse)
        self._kernel = kernel
        self._derived = None if derived is None else Derived.read(derived)
        self._places: NDArray[np.intp] = np.empty(0, np.intp)  # (N,) of rows: where in `_derived`
        self._lists: Lists | None = None

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
        """Write what was worked out of the rows: 552 bytes each, of (32, 128), and 8
        more with lists. For `derived`."""
        at, blocks = self._rows.ascending, self._rows.blocks
        checks, coarse = np.empty(0, np.uint64), np.empty(0, row_type(1, 1))
        if blocks:
            checks = np.concatenate([checksums(block.codes) for block in blocks])[at]
            coarse = np.concatenate([_means_of(block) for block in blocks])[at]
        found = Derived(self._rows.keys[at], checks, coarse)
        if self._lists is not None:
            found = replace(found, centres=self._lists.centres, ids=self._lists.ids[at])
        found.write(path)

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
        """Of those positions, those in lists near to the query, if there are enough.

        By how many rows are there to choose from, so that no answer tells what was deleted.
        """
        if self._lists is None or (len(self._rows) if at is None else len(at)) <= _LISTED:
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
            self._lists = Lists(self._centres())
        for block in self._rows.blocks:
            first, end = max(block.start, len(self._lists)), block.start + len(block)
            for start in range(first, end, _ROWS):
                part = slice(start, min(start + _ROWS, end))
                coarse = _means_of(block)[part.start - block.start : part.stop - block.start]
                self._lists.append(self._lists_of(self._lists, self._places[part], coarse))

    def _centres(self) -> NDArray[np.float32]:
        """Those that were kept, if they were learned from rows like these; or new ones."""
        kept = None if self._derived is None else self._derived.centres
        if kept is not None and 2 * np.count_nonzero(self._places != NOWHERE) >= len(self._places):
            return kept
        if self._derived is not None:
            self._derived = replace(self._derived, centres=None, ids=None)
        return learned(self._sample())

    def _lists_of(
        self, lists: Lists, places: NDArray[np.intp], coarse: Codes
    ) -> NDArray[np.uint16]:
        """The list of each mean of rows (n)."""
        ids = None if self._derived is None else self._derived.ids
        found = np.empty(coarse["scales"].shape, np.uint16)
        new = places == NOWHERE if ids is not None else np.ones(len(places), np.bool_)
        if ids is not None:
            found[~new] = ids[places[~new]]
        if new.any():
            found[new] = lists.of(decode(coarse[new]))
        return found

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
        """Codes of a block's means: those that were kept, the others worked out."""
        K, D = block.codes.dtype["values"].shape
        coarse = np.empty(len(block), row_type(min(MEANS, K), D))
        places = self._known(block, keys, coarse.dtype)
        for start in range(0, len(block), _ROWS):
            part = slice(start, start + _ROWS)
            new = start + np.flatnonzero(places[part] == NOWHERE)
            old = start + np.flatnonzero(places[part] != NOWHERE)
            if self._derived is not None and len(old):
                coarse[old] = self._derived.coarse[places[old]]
            if len(new):
                rows = decode(block.codes[new]) if block.tokens is None else block.tokens[new]
                coarse[new] = encode(means(rows))
        self._places = np.concatenate([self._places, places])
        return coarse

    def _known(self, block: Block, keys: Keys, kind: np.dtype[np.void]) -> NDArray[np.intp]:
        """Where in what was kept a block's rows are."""
        if self._derived is None:
            return np.full(len(block), NOWHERE, np.intp)
        if len(self._derived.keys) and self._derived.coarse.dtype != kind:
            warnings.warn("What was kept is of other rows. It is worked out anew.", stacklevel=2)
            self._derived = None
            return np.full(len(block), NOWHERE, np.intp)
        return self._derived.find(keys, block.codes)


def _means_of(block: Block) -> Codes:
    assert block.coarse is not None  # `_coarse` makes them of every block
    return block.coarse
