"""The engine "qdrant": rows in a Qdrant collection, for corpora beyond one machine.

Knows Qdrant's requests; Qdrant computes MAX_SIM, s(Q, D), itself. Does not know codes or kernels.
Importing it needs the package qdrant-client.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from qdrant_client import QdrantClient, models

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.retriever.index import Codes, Keys, Scores, Tokens, rows
from rag_vqa.retriever.index.index_files import load_tokens, save_tokens
from rag_vqa.retriever.index.rows import check_rows, dequantize

_REQUEST_ROWS = 128  # rows of one request: 2 MB of fp32


class QdrantIndex:
    """A collection of multivectors. A server's results are as good as its HNSW graph; those of
    local mode are exact. Dequantizes codes of rows without tokens.

    Args:
        path: a folder of local mode, which suits up to about 20,000 rows. qdrant-client writes
            pickles: open only a folder of your own. None and no url: kept in memory.
        url: of a server, "http://host:6333"; `api_key`: its key, if it wants one.
        collection: its name; an existing collection is used further.

    Raises:
        UsageError: both path and url.
        Mismatch: the collection holds vectors of another kind.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        url: str | None = None,
        collection: str = "rag-vqa",
        api_key: str | None = None,
    ) -> None:
        if path is not None and url is not None:
            raise UsageError("Index engine 'qdrant' takes path= or url=, not both.")
        if url is not None:
            self._client = QdrantClient(url=url, api_key=api_key)
        elif api_key is not None:
            raise UsageError("Index engine 'qdrant' needs an api_key only with url=.")
        else:
            self._client = (
                QdrantClient(":memory:") if path is None else QdrantClient(path=str(path))
            )
        self._name = collection
        self._shape = self._read_shape()

    def __len__(self) -> int:
        if self._shape == (0, 0):
            return 0
        return self._client.count(self._name, exact=True).count

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        keys = np.asarray(keys, np.int64)
        shape = check_rows(tokens, keys, codes, self._shape)
        if not len(keys):
            return
        if self._shape == (0, 0):
            self._create(shape)
        for batch in _key_batches(keys):
            if self._client.retrieve(self._name, batch.tolist(), with_payload=False):
                raise UsageError("Some of these keys are in the index already: delete them first.")
        for number, batch in enumerate(_key_batches(keys)):
            part = slice(number * _REQUEST_ROWS, number * _REQUEST_ROWS + len(batch))
            if tokens is not None:
                rows = np.asarray(tokens[part])
            else:
                assert codes is not None  # checked: one of the two is given
                rows = dequantize(codes[part])
            rows = rows.astype(np.float16).astype(np.float32)
            points = [
                models.PointStruct(id=key, vector=row.tolist())
                for key, row in zip(batch.tolist(), rows, strict=True)
            ]
            self._client.upsert(self._name, points, wait=True)

    def delete(self, keys: Keys) -> None:
        """Remove rows; unknown keys are ignored."""
        if self._shape == (0, 0):
            return
        for batch in _key_batches(np.asarray(keys, np.int64)):
            self._client.delete(self._name, models.PointIdsList(points=batch.tolist()), wait=True)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = rows.check_queries(queries, k, self._shape)
        total = len(self) if among is None else len(np.unique(among))
        condition = None
        if among is not None:
            ids = np.unique(np.asarray(among, np.int64))
            condition = models.Filter(must=[models.HasIdCondition(has_id=ids[ids >= 0].tolist())])
        results = [
            self._search(query.tolist(), k, condition, total) if total else rows.NO_RESULTS
            for query in queries
        ]
        return rows.pad_results(results, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        keys: list[int] = []
        tokens: list[list[list[float]]] = []
        offset = None
        while self._shape != (0, 0):
            points, offset = self._client.scroll(
                self._name,
                limit=_REQUEST_ROWS,
                offset=offset,
                with_vectors=True,
                with_payload=False,
            )
            keys += [int(point.id) for point in points]
            tokens += [_vectors_of(point) for point in points]
            if offset is None:
                break
        rows = np.array(tokens, np.float16).reshape(len(keys), *self._shape)
        save_tokens(path, rows, np.array(keys, np.int64))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file that `save` wrote into memory; see `Index.open`.

        To open a lasting collection, pass `path=` or `url=` to the class instead.
        """
        index = cls()
        load_tokens(path, index.add)
        return index

    def close(self) -> None:
        """Disconnect from the server, or release the folder's lock."""
        self._client.close()

    def _search(
        self, query: list[list[float]], k: int, condition: models.Filter | None, total: int
    ) -> tuple[Keys, Scores]:
        """Keys and scores of the best rows for one query."""
        limit = min(total, k + 1)
        while True:
            points = self._client.query_points(
                self._name, query, limit=limit, query_filter=condition, with_payload=False
            ).points
            keys = np.array([int(point.id) for point in points], np.int64)
            scores = np.array([point.score for point in points], np.float32)
            # Of equal scores Qdrant may return any: ask for more until none can be left out.
            if len(points) < limit or limit == total or scores[-1] < scores[k - 1]:
                order = rows.top_k_order(scores, keys, k)
                return keys[order], scores[order]
            limit = min(total, 2 * limit)

    def _create(self, shape: tuple[int, int]) -> None:
        self._client.create_collection(
            self._name,
            vectors_config=models.VectorParams(
                size=shape[1],
                distance=models.Distance.DOT,
                datatype=models.Datatype.FLOAT16,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        )
        self._shape = shape

    def _read_shape(self) -> tuple[int, int]:
        """(K, D) of the collection, (0, 0) if there is none."""
        if not self._client.collection_exists(self._name):
            return (0, 0)
        params = self._client.get_collection(self._name).config.params.vectors
        points, _ = self._client.scroll(self._name, limit=1, with_vectors=True)
        if not isinstance(params, models.VectorParams) or params.multivector_config is None:
            raise Mismatch(
                f"Collection {self._name!r} holds no multivectors: give another name, collection=."
            )
        if not points:  # nothing is lost, and K may be another one
            self._client.delete_collection(self._name)
            return (0, 0)
        return len(_vectors_of(points[0])), params.size


def _key_batches(keys: Keys) -> Iterator[Keys]:
    return (keys[start : start + _REQUEST_ROWS] for start in range(0, len(keys), _REQUEST_ROWS))


def _vectors_of(point: models.Record) -> list[list[float]]:
    """The multivector (K, D) of a point."""
    vector: Any = point.vector
    return [list(row) for row in vector]
