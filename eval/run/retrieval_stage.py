"""The retrieval stage of a run: hits of a batch, searched, stored before, or from a TREC file.

Knows what is stored of hits, so that a resumed run uses the same ones, and the six columns of a
TREC run: question, "Q0", document, rank, score, system. Only the score counts; equal scores keep
the file's order (trec_eval would sort them by document). Does not know prompts.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.run.ledger import (
    RETRIEVAL_STAGE,
    Ledger,
    canonical_json,
    image_digest,
    json_digest,
)
from rag_vqa.retriever.metrics import answer_rank
from rag_vqa.types import Document, Example, Hit, Passage, Query, Where

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

Batch = Sequence[tuple[int, Example]]


@dataclass(frozen=True, slots=True)
class StoredHits:
    """What the ledger stores of the hits of one question, best first.

    Attributes:
        ids: ids of documents.
        positions: position of the matching passage within each document.
        scores: scores of the last retrieval stage.
        parents: document id → parent id, for documents that have a parent.
        stages: scores of each stage, if there are several; else empty.
        answer_at: rank, from 1, of the first text that holds an answer; 0 if none does.
    """

    ids: list[str]
    positions: list[int]
    scores: list[float]
    parents: Mapping[str, str]
    stages: list[dict[str, float]]
    answer_at: int

    @classmethod
    def from_bytes(cls, body: bytes) -> StoredHits:
        """Decode the bytes of the ledger."""
        fields: dict[str, Any] = json.loads(zlib.decompress(body))
        return cls(**fields)

    def to_bytes(self) -> bytes:
        """Encode for the ledger."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return zlib.compress(canonical_json(fields).encode())


def to_stored_hits(example: Example, hits: Sequence[Hit]) -> StoredHits:
    """The part of hits that the ledger stores."""
    documents = [hit.document for hit in hits]
    several = any(set(hit.scores) - {"retrieve"} for hit in hits)
    return StoredHits(
        ids=[document.id for document in documents],
        positions=[hit.passage.position for hit in hits],
        scores=[hit.score for hit in hits],
        parents={d.id: d.parent for d in documents if d.parent and d.parent != d.id},
        stages=[dict(hit.scores) for hit in hits] if several else [],
        answer_at=answer_rank(example.answers, [document.text for document in documents]),
    )


class RetrievalStage:
    """Hits for batches of questions. The ledger stores them before they are used.

    Args:
        rag: searches its knowledge base.
        depth: number of documents for each question.
        instruction: for queries without an instruction of their own.
        identity: describes knowledge base, retriever and engine; part of each row's key.
    """

    def __init__(
        self,
        ledger: Ledger,
        rag: RagVqa,
        depth: int,
        where: Where | None,
        instruction: str | None,
        identity: Mapping[str, Any],
    ) -> None:
        self._ledger, self._rag, self._depth, self._where = ledger, rag, depth, where
        self._instruction = instruction
        self._identity = json_digest(identity)

    def hits_for(self, batch: Batch) -> dict[int, StoredHits]:
        """Hits of each question, by position.

        A question that cannot be searched with is missing, and recorded as failed.
        """
        stored = self._stored_hits(batch)
        todo = [(position, example) for position, example in batch if position not in stored]
        if todo:
            start = time.perf_counter()
            found, errors = self._search(todo)
            seconds = time.perf_counter() - start
            rows = {p: (self._key(e), to_stored_hits(e, found[p])) for p, e in todo if p in found}
            with self._ledger.commit():
                self._ledger.write(
                    "INSERT OR REPLACE INTO hits VALUES (?, ?, ?)",
                    ((p, key, hits.to_bytes()) for p, (key, hits) in rows.items()),
                )
                record_failures(self._ledger, RETRIEVAL_STAGE, [p for p, _ in todo], errors)
                self._ledger.write(
                    "INSERT INTO times VALUES (?, ?, ?, ?)",
                    [(RETRIEVAL_STAGE, todo[0][0], len(todo), seconds)],
                )
            stored |= {position: hits for position, (_, hits) in rows.items()}
        return stored

    def _stored_hits(self, batch: Batch) -> dict[int, StoredHits]:
        if not batch:
            return {}
        query = "SELECT position, body FROM hits WHERE position BETWEEN ? AND ?"
        rows = self._ledger.rows(query, (batch[0][0], batch[-1][0]))
        return {position: StoredHits.from_bytes(body) for position, body in rows}

    def _search(self, batch: Batch) -> tuple[dict[int, list[Hit]], dict[int, str]]:
        try:
            queries = [self._query(example) for _, example in batch]
            found = self._rag.retrieve(queries, self._depth, self._where)
        except (BadInput, Missing) as error:  # one picture is bad: search with the others
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
        own = example.query.instruction
        return replace(example.query, instruction=self._instruction if own is None else own)

    def _key(self, example: Example) -> str:
        query = self._query(example)
        return json_digest(
            [self._identity, query.text, query.instruction, image_digest(query.image)]
        )


class DocumentCache:
    """Documents of a knowledge base that does not change; caches the last 1,024."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._show = lru_cache(maxsize=1024)(kb.show)  # several cells of a batch show the same

    def hits(self, stored: StoredHits, k: int) -> list[Hit]:
        """The first k stored hits, with their documents.

        Raises:
            UsageError: the knowledge base no longer holds one of the documents.
        """
        hits = []
        rows = zip(stored.ids[:k], stored.positions, stored.scores, strict=False)
        for rank, (identity, position, score) in enumerate(rows, 1):
            shown = self._show(identity)
            if shown is None:
                raise UsageError(
                    f"{self._kb.path} no longer holds the document {identity!r}, which was found "
                    "before. Start a new run: --out."
                )
            stages = stored.stages[rank - 1] if stored.stages else {"retrieve": score}
            passage = next((p for p in shown.passages if p.position == position), None)
            hits.append(make_hit(shown.document, rank, score, stages, passage))
        return self._kb.add_shown(hits)


def record_failures(
    ledger: Ledger, stage: str, tried: Sequence[int], errors: Mapping[int, str]
) -> None:
    """Replace the recorded failures of the questions that were tried by those of this attempt."""
    ledger.write("DELETE FROM failed WHERE cell = ? AND position = ?", ((stage, p) for p in tried))
    ledger.write(
        "INSERT INTO failed VALUES (?, ?, ?)", ((stage, p, error) for p, error in errors.items())
    )


def import_trec(ledger: Ledger, kb: KnowledgeBase, path: Path, depth: int) -> None:
    """Store the hits of all questions from a file. A second call does nothing.

    A question without a line has no hits.

    Raises:
        BadInput: a line is not of a TREC run; a document is named twice, or missing from the
            knowledge base; the file names none of the questions.
    """
    if ledger.meta("imported"):
        return
    with closing(sqlite3.connect("")) as scratch, ledger.commit():  # "": a temporary file
        scratch.execute("CREATE TABLE run (question TEXT, document TEXT, score REAL)")
        scratch.executemany("INSERT INTO run VALUES (?, ?, ?)", _trec_lines(path))
        scratch.execute("CREATE INDEX of ON run (question, score)")
        with_hits = 0
        for position, example in ledger.examples():
            stored = to_stored_hits(example, _trec_hits(scratch, kb, path, example, depth))
            with_hits += bool(stored.ids)
            row = (position, "imported", stored.to_bytes())
            ledger.write("INSERT OR REPLACE INTO hits VALUES (?, ?, ?)", [row])
        if not with_hits:
            raise BadInput(f"{path} names none of the questions. Give the hits of this set.")
        ledger.set_meta("imported", with_hits)


def _trec_hits(
    scratch: sqlite3.Connection, kb: KnowledgeBase, path: Path, example: Example, depth: int
) -> list[Hit]:
    query = "SELECT document, score FROM run WHERE question = ? ORDER BY score DESC, rowid LIMIT ?"
    rows = scratch.execute(query, (example.id, depth)).fetchall()
    if len({name for name, _ in rows}) < len(rows):
        raise BadInput(f"{path} names a document twice for the question {example.id!r}.")
    hits = []
    for rank, (identity, score) in enumerate(rows, 1):
        document = kb.get(identity)
        if document is None:
            raise BadInput(f"{path}: {kb.path} holds no document {identity!r}.")
        hits.append(make_hit(document, rank, score, {"retrieve": score}))
    return hits


def _trec_lines(path: Path) -> Iterator[tuple[str, str, float]]:
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields:
                continue
            try:
                question, _, document, _, score, _ = fields
                value = float(score)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise BadInput(
                    f"{path}, line {number}: not `question Q0 document rank score name`."
                )
            yield question, document, value


def export_trec(ledger: Ledger, name: str = "rag-vqa") -> Iterator[str]:
    """Lines of a TREC run, with every stored hit.

    Raises:
        BadInput: an id contains spaces, which the format cannot hold.
    """
    query = "SELECT id, hits.body FROM hits JOIN examples USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        hits = StoredHits.from_bytes(body)
        for rank, (document, score) in enumerate(zip(hits.ids, hits.scores, strict=True), 1):
            if any(len(text.split()) != 1 for text in (question, document)):
                raise BadInput(
                    f"{question!r} or {document!r} contains spaces, which a TREC run cannot hold."
                )
            yield f"{question} Q0 {document} {rank} {score!r} {name}"


def make_hit(
    document: Document,
    rank: int,
    score: float,
    scores: Mapping[str, float] | None = None,
    passage: Passage | None = None,
) -> Hit:
    """A Hit on a document: on the passage that matched, or on the whole document."""

    return Hit(document, passage or Passage(document.id, 0, ""), rank, score, scores or {})
