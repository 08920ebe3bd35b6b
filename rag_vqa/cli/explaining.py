"""What `search --explain` prints of a match. It knows how that looks, not how it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.output import hit_json, one_line, print_hits, table

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation, PairMatch
    from rag_vqa.retriever.places import Patch, Span
    from rag_vqa.types import Hit

PAIRS = 3  # of a match: as many as are printed
_WORDS = 4


def explained_json(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """A hit with all that its explanation says."""
    return {**hit_json(hit), "explanation": asdict(explanation)}


def print_explained(hits: Sequence[Hit], explanations: Sequence[Explanation]) -> None:
    """Evidence, numbered, and below what matched: the whole score, then the strongest pairs."""
    print_hits(hits)
    for number, explanation in enumerate(explanations, 1):
        rows = [_row("all", explanation)]
        rows += [
            _row(f"{pair.query_token} and {pair.document_token}", pair)
            for pair in explanation.pairs
        ]
        print(f"\n[{number}] matched by\n{table(rows)}", flush=True)


def _row(name: str, match: Explanation | PairMatch) -> dict[str, str]:
    return {
        "tokens": name,
        "score": f"{match.score:.2f}",
        "of the query": _shares(match.query_words, match.query_patches),
        "of the document": _shares(match.document_words, match.document_patches),
    }


def _shares(words: Sequence[Span], patches: Sequence[Patch]) -> str:
    """The words that weigh most, and the picture as a whole."""
    named = [word for word in words if word.text.isalnum()]
    best = sorted(named, key=lambda word: -word.weight)[:_WORDS]
    shares = [(one_line(word.text), word.weight) for word in best]
    if patches:
        shares.append(("picture", sum(patch.weight for patch in patches)))
    return " · ".join(f"{name} {share:.0%}" for name, share in shares)
