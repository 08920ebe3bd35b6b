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
_NOTE = (
    "Shares are approximate: of words by hiding them from the model, of pictures by tracing its\n"
    "gates and attention."
)


def explained_json(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """A hit with all that its explanation says."""
    return {**hit_json(hit), "explanation": asdict(explanation)}


def print_explained(text: str, hits: Sequence[Hit], explanations: Sequence[Explanation]) -> None:
    """Evidence, numbered, and below what matched: the whole score, then the strongest pairs.

    Args:
        text: what was asked; what stands before it in a query's text is the instruction.
    """
    print_hits(hits)
    for number, explanation in enumerate(explanations, 1):
        asked_from = len(explanation.query_text) - len(text.strip())
        rows = [_row("all", explanation, asked_from)]
        rows += [
            _row(f"{pair.query_token}, {pair.document_token}", pair, asked_from)
            for pair in explanation.pairs
        ]
        print(f"\n[{number}] matched by\n{table(rows)}", flush=True)
    if explanations:
        print(f"\n{_NOTE}", flush=True)


def _row(name: str, match: Explanation | PairMatch, asked_from: int) -> dict[str, str]:
    return {
        "tokens (query, document)": name,
        "score": f"{match.score:.2f}",
        "of the query": _shares(match.query_words, match.query_patches, asked_from),
        "of the document": _shares(match.document_words, match.document_patches),
    }


def _shares(words: Sequence[Span], patches: Sequence[Patch], asked_from: int = 0) -> str:
    """The words that weigh most, then the instruction and the picture, each as a whole."""
    sums: dict[str, float] = {}
    for word in words:
        if word.text.isalnum() and word.start >= asked_from:
            name = one_line(word.text)
            sums[name] = sums.get(name, 0.0) + word.weight
    shares = sorted(sums.items(), key=lambda named: -named[1])[:_WORDS]
    before = [word.weight for word in words if word.start < asked_from]
    for name, weights in (("instruction", before), ("picture", [p.weight for p in patches])):
        if weights:
            shares.append((f"({name})", sum(weights)))
    return " · ".join(f"{name} {share:.0%}" for name, share in shares)
