"""What found documents count as: themselves, or what they belong to (a page, an entity).

Knows a question's level, and ids that name no document of the knowledge base but what some of its
documents belong to: they count at that level, whatever the question's is. Does not know metrics.
"""

from __future__ import annotations

from dataclasses import replace

from rag_vqa.eval.run.gold import documents_of
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.retrieving import Kept
from rag_vqa.retriever import metrics
from rag_vqa.types import Example


def at_level(ledger: Ledger, example: Example, kept: Kept) -> Kept:
    """Hits with those `parents` alone that documents count as."""
    if example.level == "parent" or not kept.parents:
        return kept
    named = {
        name
        for name in set(kept.parents.values()).intersection(example.relevant)
        if documents_of(ledger, name) != [name]
    }
    parents = {name: parent for name, parent in kept.parents.items() if parent in named}
    return replace(kept, parents=parents)


def ranked(kept: Kept) -> list[str]:
    """What the hits of `at_level` count as, each once, in order."""
    return metrics.parents(kept.ids, kept.parents)
