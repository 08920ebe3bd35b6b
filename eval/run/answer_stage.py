"""The answer stage of a run: evidence, prompts and answers for a batch of questions in one cell.

Knows what each condition shows to the reader, and how a failed question is recorded. Does not know
other batches, or scores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing, ReaderError, UsageError
from rag_vqa.eval.run import gold
from rag_vqa.eval.run.ledger import Ledger, answer_json, canonical_json, json_digest, prompt_digest
from rag_vqa.eval.run.retrieval_stage import Batch, DocumentCache, StoredHits, record_failures
from rag_vqa.eval.run.spec import Cell
from rag_vqa.types import Answer, Example, Hit, Prompt

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

_RETRIEVAL_FAILED = "retrieval failed for this question: see the failures of retrieval"


@dataclass(frozen=True, slots=True)
class _PromptedQuestion:
    """One question with its evidence and its prompt, ready for the reader."""

    position: int
    example: Example
    hits: list[Hit]
    prompt: Prompt
    key: str


class AnswerStage:
    """Answers batches, cell by cell. Each cell of a batch is one transaction.

    The reader sees each prompt of a batch once: cells with equal prompts share the answer.

    Args:
        identity: describes the reader, its settings and the filter; part of each row's key.
    """

    def __init__(self, ledger: Ledger, rag: RagVqa, identity: Mapping[str, Any]) -> None:
        self._ledger, self._rag = ledger, rag
        self._identity = json_digest(identity)
        self._documents: DocumentCache | None = None

    def answer(self, cell: Cell, batch: Batch, hits: Mapping[int, StoredHits]) -> int:
        """Answer the questions of the batch that have no answer yet; return how many failed.

        Args:
            hits: stored hits by position.
        """
        answered = self._answered_positions(cell, batch)
        todo = [(position, example) for position, example in batch if position not in answered]
        if not todo:
            return 0
        errors: dict[int, str] = {}
        start = time.perf_counter()
        evidence = self._evidence(cell, todo, hits, errors)
        selected = time.perf_counter()
        rows = [
            row
            for position, example in todo
            if position in evidence
            for row in self._build_prompt(cell, position, example, evidence, errors)
        ]

        known = self._answers_of_batch(batch, {row.key for row in rows})
        fresh = [row for row in rows if row.key not in known]
        built = time.perf_counter()
        answers = self._read(fresh, errors)
        read = time.perf_counter()
        bodies = {row.position: canonical_json(answer_json(answers[row.position]))
                  for row in fresh if row.position in answers}  # fmt: skip
        bodies |= {row.position: self._with_own_evidence(known[row.key], row)
                   for row in rows if row.key in known}  # fmt: skip
        keys = {row.position: row.key for row in rows}
        with self._ledger.commit():
            self._ledger.write(
                "INSERT INTO answers VALUES (?, ?, ?, ?)",
                ((cell.name, p, keys[p], body) for p, body in bodies.items()),
            )
            for row in rows:
                self._ledger.store_prompt(row.key, row.prompt.text)
            record_failures(self._ledger, cell.name, [p for p, _ in todo], errors)
            self._ledger.write(
                "INSERT INTO times VALUES (?, ?, ?, ?)",
                [
                    (f"{cell.name}/select", todo[0][0], len(todo), selected - start),
                    (f"{cell.name}/build", todo[0][0], len(rows), built - selected),
                    (f"{cell.name}/read", todo[0][0], len(fresh), read - built),
                ],
            )
        return len(errors)

    def _answered_positions(self, cell: Cell, batch: Batch) -> set[int]:
        query = "SELECT position FROM answers WHERE cell = ? AND position BETWEEN ? AND ?"
        rows = self._ledger.rows(query, (cell.name, batch[0][0], batch[-1][0]))
        return {position for (position,) in rows}

    def _evidence(
        self, cell: Cell, todo: Batch, hits: Mapping[int, StoredHits], errors: dict[int, str]
    ) -> dict[int, list[Hit]]:
        """The documents that this condition shows to the reader, by position."""
        if cell.condition == "none":
            return {position: [] for position, _ in todo}
        kb = self._rag.kb
        if cell.condition == "oracle":
            return {p: gold.oracle_hits(self._ledger, kb, e, cell.k) for p, e in todo}
        errors |= {p: _RETRIEVAL_FAILED for p, _ in todo if p not in hits}
        searched = [(p, e) for p, e in todo if p in hits]
        self._documents = self._documents or DocumentCache(kb)
        first_k = {p: self._documents.hits(hits[p], cell.k) for p, _ in searched}
        if cell.condition == "filtered":
            return self._filter(searched, first_k, errors)
        return first_k

    def _filter(
        self, rows: Batch, hits: Mapping[int, list[Hit]], errors: dict[int, str]
    ) -> dict[int, list[Hit]]:
        """The hits that the filter keeps. If it refuses a batch, it gets each question alone."""
        if not rows:
            return {}
        try:
            kept = self._rag.select([e.query for _, e in rows], [hits[p] for p, _ in rows])
        except (ReaderError, BadInput) as error:
            if len(rows) == 1:
                errors[rows[0][0]] = str(error)
                return {}
            parts = [self._filter([row], hits, errors) for row in rows]
            return {position: found for part in parts for position, found in part.items()}
        return {position: found for (position, _), found in zip(rows, kept, strict=True)}

    def _build_prompt(
        self,
        cell: Cell,
        position: int,
        example: Example,
        evidence: Mapping[int, list[Hit]],
        errors: dict[int, str],
    ) -> list[_PromptedQuestion]:
        """The question with its prompt, or an empty list if no prompt can be built."""
        try:
            prompt = self._rag.prompt(example.query, evidence[position], cell.template)
            key = json_digest([self._identity, cell.repeat, prompt_digest(prompt)])
        except (BadInput, Missing, ReaderError, UsageError) as error:
            errors[position] = str(error)
            return []
        return [_PromptedQuestion(position, example, evidence[position], prompt, key)]

    def _answers_of_batch(self, batch: Batch, keys: set[str]) -> dict[str, str]:
        """Stored answers of this batch in other cells, by key.

        Answers of other batches are not reused: which prompts are read together would then depend
        on how a run is cut into shards.
        """
        query = "SELECT key, body FROM answers WHERE position BETWEEN ? AND ?"
        rows = self._ledger.rows(query, (batch[0][0], batch[-1][0]))
        return {key: body for key, body in rows if key in keys}

    def _with_own_evidence(self, body: str, row: _PromptedQuestion) -> str:
        """The stored answer to an equal prompt, with this cell's evidence."""
        stored = json.loads(body)
        empty = answer_json(Answer("", row.example.query, tuple(row.hits), row.prompt))
        own = ("documents", "kept", "dropped", "scores")
        return canonical_json({**{n: v for n, v in stored.items() if n not in own},
                               **{n: empty[n] for n in own if n in empty}})  # fmt: skip

    def _read(self, rows: Sequence[_PromptedQuestion], errors: dict[int, str]) -> dict[int, Answer]:
        """Answers by position. If the reader refuses a batch, it gets each question alone."""
        if not rows:
            return {}
        try:
            answers = self._rag.read(
                [row.example.query for row in rows],
                [row.hits for row in rows],
                [row.prompt for row in rows],
            )
        except (ReaderError, BadInput) as error:
            if len(rows) == 1:
                errors[rows[0].position] = str(error)
                return {}
            parts = [self._read([row], errors) for row in rows]
            return {position: answer for part in parts for position, answer in part.items()}
        read = {}
        for row, answer in zip(rows, answers, strict=True):
            if answer.finish == "failed":
                errors[row.position] = answer.error
            else:
                read[row.position] = answer
        return read
