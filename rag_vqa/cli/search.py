"""`rag-vqa search`: retrieve documents without reading them, and show what matched.

Knows its flags and how an explanation is printed. Does not know how one is computed
(retriever/explain).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_hits, print_json, print_no_hits
from rag_vqa.errors import UsageError
from rag_vqa.formatting import one_line
from rag_vqa.serialization import hit_json

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation, PairMatch
    from rag_vqa.retriever.explain.token_spans import Patch, Span
    from rag_vqa.types import Hit

EXPLAINED_PAIRS = 3  # pairs to print of a match
_SHOWN_WORDS = 4
_WIDTH = 80
_SHARES_NOTE = (
    "Shares are approximate: of words by hiding them from the model, of pictures by tracing its\n"
    "gates and attention."
)


@options.with_settings(options.RETRIEVAL)
def search(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Text to search for.")] = "",
    image: options.Image = None,
    where: options.Where = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also show what matched: words, pictures (approximate)."),
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Find documents by text, by image, or by both.

    No reader is loaded.
    """
    from rag_vqa.jobs.models import make_query, open_pipeline

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    picture, only = options.require_image_file(image), options.parse_where(where)
    if not text.strip() and picture is None:
        raise UsageError("Nothing to search for: give a text, --image, or both.")
    if ctx.params["hybrid"] and not text.strip():
        raise UsageError("--hybrid searches words, and an image has none: give a text too.")
    if not settings.k:
        raise UsageError("-k 0: a search needs at least 1.")
    rag = open_pipeline(settings, path, context, where=only, yes=yes, read=False)
    hits = rag.search(text, picture, instruction=settings.retriever.instruction, where=only)
    if not hits:
        print_no_hits(rag, only)
    if explain:
        query = make_query(settings, text, picture)
        found = [rag.explain(query, hit.passage, EXPLAINED_PAIRS) for hit in hits]
        if context.json:
            print_json([explanation_json(*pair) for pair in zip(hits, found, strict=True)])
        else:
            print_explanations(text, hits, found)
    elif context.json:
        print_json([hit_json(hit) for hit in hits])
    else:
        print_hits(hits)


def explanation_json(hit: Hit, explanation: Explanation) -> dict[str, Any]:
    """A hit with its whole explanation, as JSON."""
    return {**hit_json(hit), "explanation": asdict(explanation)}


def print_explanations(text: str, hits: Sequence[Hit], explanations: Sequence[Explanation]) -> None:
    """Print numbered evidence, then what matched of each hit: its score and the strongest pairs.

    Lines of shares have at most 80 characters, and are broken between shares.

    Args:
        text: the question; the text of the query before it is the instruction.
    """
    print_hits(hits)
    for number, explanation in enumerate(explanations, 1):
        encoded, question = explanation.query_text, text.strip()
        question_start = len(encoded) - len(question) * encoded.endswith(question)
        lines = _match_lines("all tokens", explanation, question_start)
        if (words := hits[number - 1].scores.get("lexical")) is not None:
            lines.append(f"{'shared words (BM25)':<20} {words:6.2f}")
        for pair in explanation.pairs:
            name = f"token {pair.query_token} with {pair.document_token}"
            lines += _match_lines(name, pair, question_start)
        print(f"\n[{number}] matched by", *lines, sep="\n", flush=True)
    if explanations:
        print(f"\n{_SHARES_NOTE}", flush=True)


def _match_lines(name: str, match: Explanation | PairMatch, question_start: int) -> list[str]:
    """A score, and below it the shares of both sides."""
    lines = [f"{name:<20} {match.score:6.2f}"]
    sides = {
        "query": _format_shares(match.query_words, match.query_patches, question_start),
        "document": _format_shares(match.document_words, match.document_patches),
    }
    for side, shares in sides.items():
        whole = shares.replace(" ", "\xa0").replace("·\xa0", "· ")
        head = f"  {side:<9} "
        broken = wrap(whole, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
        lines += [line.replace("\xa0", " ") for line in broken]
    return lines


def _format_shares(words: Sequence[Span], patches: Sequence[Patch], question_start: int = 0) -> str:
    """The words with the largest shares, then the instruction and the picture, each as a whole."""
    sums: dict[str, float] = {}
    for word in words:
        if word.text.isalnum() and word.start >= question_start:
            name = one_line(word.text)
            sums[name] = sums.get(name, 0.0) + word.weight
    shares = sorted(sums.items(), key=lambda named: -named[1])[:_SHOWN_WORDS]
    before = [word.weight for word in words if word.start < question_start]
    for name, weights in (("instruction", before), ("picture", [p.weight for p in patches])):
        if weights:
            shares.append((f"({name})", sum(weights)))
    return " · ".join(f"{name} {share:.0%}" for name, share in shares)
