"""Runs of TREC: hits from elsewhere into a ledger, and a ledger's hits out.

Knows the six columns: question, "Q0", document, rank, score, name of the system. What counts is
the score; equal ones keep the file's order (trec_eval would sort them by document). Does not know
how anything was searched.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.errors import BadInput
from rag_vqa.eval.run.gold import hit_of
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.retrieving import Kept, kept_of
from rag_vqa.types import Example, Hit

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase


def import_hits(ledger: Ledger, kb: KnowledgeBase, path: Path, depth: int) -> None:
    """Take the hits of all questions from a file; done once, then nothing happens.

    Raises:
        BadInput: a line that is none of a run, a document that the knowledge base does not hold
            or that is named twice, none of the questions. A question without a line has no hits.
    """
    if ledger.meta("imported"):
        return
    with closing(sqlite3.connect("")) as scratch, ledger.commit():  # "": on the disk, not in memory
        scratch.execute("CREATE TABLE run (question TEXT, document TEXT, score REAL)")
        scratch.executemany("INSERT INTO run VALUES (?, ?, ?)", _lines(path))
        scratch.execute("CREATE INDEX of ON run (question, score)")
        named = 0
        for position, example in ledger.examples():
            kept = kept_of(example, _hits(scratch, kb, path, example, depth))
            named += bool(kept.ids)
            row = (position, "imported", kept.written())
            ledger.write("INSERT OR REPLACE INTO hits VALUES (?, ?, ?)", [row])
        if not named:
            raise BadInput(f"{path} names none of the questions: is it of another set?")
        ledger.set_meta("imported", named)


def _hits(
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
        hits.append(hit_of(document, rank, score, {"retrieve": score}))
    return hits


def _lines(path: Path) -> Iterator[tuple[str, str, float]]:
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


def export_hits(ledger: Ledger, name: str = "rag-vqa") -> Iterator[str]:
    """The lines of a run, with every hit that was kept.

    Raises:
        BadInput: an id with spaces, which the format cannot hold.
    """
    query = "SELECT id, hits.body FROM hits JOIN examples USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        kept = Kept.read(body)
        for rank, (document, score) in enumerate(zip(kept.ids, kept.scores, strict=True), 1):
            if any(len(text.split()) != 1 for text in (question, document)):
                raise BadInput(f"{question!r} or {document!r} has spaces: TREC runs cannot.")
            yield f"{question} Q0 {document} {rank} {score!r} {name}"
