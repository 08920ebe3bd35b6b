"""The hits of a batch of questions: searched, taken from the ledger, or imported.

Knows what is kept of hits, so that a run goes on with the same ones. Does not know prompts.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.run.gold import hit_of
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import digest, dumps, image_digest
from rag_vqa.retriever.metrics import answer_rank
from rag_vqa.types import Example, Hit, Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

STAGE = "retrieval"  # of failures and times, beside the names of cells
Batch = Sequence[tuple[int, Example]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a ledger keeps of the hits of one question, best first.

    Attributes:
        ids: of documents.
        positions: of the passages that matched, within their documents.
        scores: of the last stage of retrieval.
        parents: of those that belong to something else than themselves.
        stages: scores of each stage, where there is more than one; else empty.
        answer_at: rank, from 1, of the first text that holds an answer; 0: none does.
    """

    ids: list[str]
    positions: list[int]
    scores: list[float]
    parents: Mapping[str, str]
    stages: list[dict[str, float]]
    answer_at: int

    @classmethod
    def read(cls, body: bytes) -> Kept:
        """From the ledger's bytes."""
        fields: dict[str, Any] = json.loads(zlib.decompress(body))
        return cls(**fields)

    def written(self) -> bytes:
        """For the ledger."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return zlib.compress(dumps(fields).encode())


def kept_of(example: Example, hits: Sequence[Hit]) -> Kept:
    """What is kept of hits."""
    documents = [hit.document for hit in hits]
    several = any(set(hit.scores) - {"retrieve"} for hit in hits)
    return Kept(
        ids=[document.id for document in documents],
        positions=[hit.passage.position for hit in hits],
        scores=[hit.score for hit in hits],
        parents={d.id: d.parent for d in documents if d.parent and d.parent != d.id},
        stages=[dict(hit.scores) for hit in hits] if several else [],
        answer_at=answer_rank(example.answers, [document.text for document in documents]),
    )


class Retrieving:
    """Hits for batches; whatever is searched is in the ledger before it is used.

    Args:
        rag: its knowledge base is searched.
        depth: documents for each question.
        instruction: of queries that have none of their own.
        identity: of knowledge base, retriever and engine: part of each row's key.
    """

    def __init__(
        self,
        ledger: Ledger,
        rag: RagVqa,
        depth: int,
        where: Mapping[str, Any] | None,
        instruction: str | None,
        identity: Mapping[str, Any],
    ) -> None:
        self._ledger, self._rag, self._depth, self._where = ledger, rag, depth, where
        self._instruction = instruction
        self._identity = digest(identity)

    def take(self, batch: Batch) -> dict[int, Kept]:
        """What was found for each question, by position; one that cannot be searched with is not
        there, and is noted as failed."""
        there = self._there(batch)
        todo = [(position, example) for position, example in batch if position not in there]
        if todo:
            start = time.perf_counter()
            found, errors = self._search(todo)
            seconds = time.perf_counter() - start
            rows = {p: (self._key(e), kept_of(e, found[p])) for p, e in todo if p in found}
            with self._ledger.commit():
                self._ledger.write(
                    "INSERT OR REPLACE INTO hits VALUES (?, ?, ?)",
                    ((p, key, kept.written()) for p, (key, kept) in rows.items()),
                )
                note_failed(self._ledger, STAGE, [p for p, _ in todo], errors)
                self._ledger.write(
                    "INSERT INTO times VALUES (?, ?, ?, ?)",
                    [(STAGE, todo[0][0], len(todo), seconds)],
                )
            there |= {position: kept for position, (_, kept) in rows.items()}
        return there

    def _there(self, batch: Batch) -> dict[int, Kept]:
        if not batch:
            return {}
        query = "SELECT position, body FROM hits WHERE position BETWEEN ? AND ?"
        rows = self._ledger.rows(query, (batch[0][0], batch[-1][0]))
        return {position: Kept.read(body) for position, body in rows}

    def _search(self, batch: Batch) -> tuple[dict[int, list[Hit]], dict[int, str]]:
        try:
            queries = [self._query(example) for _, example in batch]
            found = self._rag.retrieve(queries, self._depth, self._where)
        except (
            BadInput,
            Missing,
        ) as error:  # of one picture: search with the others
            if len(batch) == 1:
                return {}, {batch[0][0]: str(error)}
            hits: dict[int, list[Hit]] = {}
            errors: dict[int, str] = {}
            for row in batch:
                more, bad = self._search([row])
                hits, errors = hits | more, errors | bad
            return hits, errors
        return {position: hits for (position, _), hits in zip(batch, found, strict=True)}, {}

    def _query(self, example: Example) -> Query:
        given = example.query.instruction
        return replace(example.query, instruction=self._instruction if given is None else given)

    def _key(self, example: Example) -> str:
        query = self._query(example)
        return digest([self._identity, query.text, query.instruction, image_digest(query.image)])


class Documents:
    """Documents of a knowledge base that stays as it is; those last read are kept."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._show = lru_cache(maxsize=1024)(kb.show)  # several cells of a batch show the same

    def hits(self, kept: Kept, k: int) -> list[Hit]:
        """The first k that were kept, as Hits.

        Raises:
            UsageError: a document is no longer there.
        """
        found = []
        places = zip(kept.ids[:k], kept.positions, kept.scores, strict=False)
        for rank, (identity, position, score) in enumerate(places, 1):
            shown = self._show(identity)
            if shown is None:
                raise UsageError(
                    f"{self._kb.path} no longer holds the document {identity!r} that was found "
                    "before: begin another run with --out."
                )
            stages = kept.stages[rank - 1] if kept.stages else {"retrieve": score}
            passage = next((p for p in shown.passages if p.position == position), None)
            found.append(hit_of(shown.document, rank, score, stages, passage))
        return found


def note_failed(
    ledger: Ledger, stage: str, tried: Sequence[int], errors: Mapping[int, str]
) -> None:
    """Of the questions tried, which failed now; those that did before and do no more are freed."""
    ledger.write("DELETE FROM failed WHERE cell = ? AND position = ?", ((stage, p) for p in tried))
    ledger.write(
        "INSERT INTO failed VALUES (?, ?, ?)", ((stage, p, error) for p, error in errors.items())
    )
