"""What `search --explain` prints of a match. It knows how that looks, not how it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.output import one_line, print_hits
from rag_vqa.integrations.evidence import hit_json

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation, PairMatch
    from rag_vqa.retriever.places import Patch, Span
    from rag_vqa.types import Hit

PAIRS = 3  # of a match: as many as are printed
_WORDS = 4
_WIDTH = 80
_NOTE = (
    "Shares are approximate: of words by hiding them from the model, of pictures by tracing its\n"
    "gates and attention."
)


def explained_json(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """A hit with all that its explanation says."""
    return {**hit_json(hit), "explanation": asdict(explanation)}


def print_explained(text: str, hits: Sequence[Hit], explanations: Sequence[Explanation]) -> None:
    """Evidence, numbered, and below what matched: the whole score, then the strongest pairs.

    Lines of shares are 80 characters at most, broken between shares.

    Args:
        text: what was asked; what stands before it in a query's text is the instruction.
    """
    print_hits(hits)
    for number, explanation in enumerate(explanations, 1):
        asked_from = len(explanation.query_text) - len(text.strip())
        lines = _lines("all tokens", explanation, asked_from)
        for pair in explanation.pairs:
            name = f"token {pair.query_token} with {pair.document_token}"
            lines += _lines(name, pair, asked_from)
        print(f"\n[{number}] matched by", *lines, sep="\n", flush=True)
    if explanations:
        print(f"\n{_NOTE}", flush=True)


def _lines(name: str, match: Explanation | PairMatch, asked_from: int) -> list[str]:
    """A score, and below it the shares of both sides, broken between shares."""
    lines = [f"{name:<20} {match.score:6.2f}"]
    sides = {
        "query": _shares(match.query_words, match.query_patches, asked_from),
        "document": _shares(match.document_words, match.document_patches),
    }
    for side, shares in sides.items():
        whole = shares.replace(" ", "\xa0").replace("·\xa0", "· ")
        head = f"  {side:<9} "
        broken = wrap(whole, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
        lines += [line.replace("\xa0", " ") for line in broken]
    return lines


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
