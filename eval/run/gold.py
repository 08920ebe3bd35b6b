"""Gold documents: which documents of a knowledge base hold the answer to a question.

Knows ids of documents and of what they belong to (a page, an entity), and at which of the two
levels a question is counted. An id that names no document, but what documents belong to, counts at
that level whatever the question's level is. One pass over the documents serves all questions. Does
not know how documents are found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.retrieval_stage import StoredHits, make_hit
from rag_vqa.retriever import metrics
from rag_vqa.types import Document, Example, Hit

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase


def store_gold(ledger: Ledger, kb: KnowledgeBase) -> None:
    """Store, for each id that questions name, which documents it stands for.

    These are the document of that id, or all documents of that parent, in the order of the
    knowledge base. A second call does nothing.
    """
    if ledger.meta("gold"):
        return
    with ledger.commit():
        ledger.write("DELETE FROM gold", [()])
        ledger.write(
            "INSERT OR IGNORE INTO gold VALUES (?, '')",
            ((name,) for _, e in ledger.examples() for name in (*e.relevant, *e.oracle)),
        )
        unit = {"documents": 0, "with parent": 0, "with image": 0}
        for number, document in enumerate(kb.documents()):
            unit["documents"] += 1
            unit["with parent"] += bool(document.parent and document.parent != document.id)
            unit["with image"] += bool(document.images)
            _note_document(ledger, document, number)
        ledger.set_meta("documents", unit)
        ledger.set_meta("gold", True)


def _note_document(ledger: Ledger, document: Document, number: int) -> None:
    for name in {document.id, document.parent} - {""}:
        if next(ledger.rows("SELECT 1 FROM gold WHERE name = ? LIMIT 1", (name,)), None):
            # The number keeps the order of the knowledge base: ids alone would sort #10 before #2.
            ledger.write(
                "INSERT OR IGNORE INTO gold VALUES (?, ?)", [(name, f"{number:012}{document.id}")]
            )


def gold_documents(ledger: Ledger, name: str) -> list[str]:
    """Ids of the documents that an id stands for: only itself if it is a document's id."""
    query = "SELECT document FROM gold WHERE name = ? AND document <> '' ORDER BY document"
    found = [document[12:] for (document,) in ledger.rows(query, (name,))]
    return [name] if name in found else found


def has_gold_document(ledger: Ledger, example: Example) -> bool:
    """Whether the knowledge base holds any gold document of a question."""
    return any(gold_documents(ledger, name) for name in example.relevant)


def oracle_hits(ledger: Ledger, kb: KnowledgeBase, example: Example, k: int) -> list[Hit]:
    """The documents that hold the answer, at most k: what a perfect retriever would return.

    For E-VQA this is the section with the evidence, or its page if pages are documents. For
    InfoSeek it is the entity's page. Elsewhere it is what the question names as relevant.
    """
    found: dict[str, Document] = {}
    for name in example.oracle or example.relevant:
        if any(document.parent == name for document in found.values()):
            continue  # the question names a part of it, which was taken already
        for identity in gold_documents(ledger, name):
            document = kb.get(identity)
            if document is not None and len(found) < k:
                found[identity] = document
    hits = (make_hit(document, rank, 0.0) for rank, document in enumerate(found.values(), 1))
    return kb.add_shown(hits)


def apply_level(ledger: Ledger, example: Example, hits: StoredHits) -> StoredHits:
    """The hits with only those `parents` as which their documents count for this question."""
    if example.level == "parent" or not hits.parents:
        return hits
    parent_ids = {
        name
        for name in set(hits.parents.values()).intersection(example.relevant)
        if gold_documents(ledger, name) != [name]
    }
    parents = {name: parent for name, parent in hits.parents.items() if parent in parent_ids}
    return replace(hits, parents=parents)


def ranked_units(hits: StoredHits) -> list[str]:
    """Ids of the units (documents or parents) that hits of `apply_level` count as, each once."""
    return metrics.parents(hits.ids, hits.parents)
