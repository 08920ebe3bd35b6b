"""What verbs print: evidence, answers, JSON, colours.

Knows how things look on a terminal. Text of documents is escaped (formatting.py), so that it cannot
steer the terminal. Does not know where results come from.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from textwrap import indent, wrap
from typing import TYPE_CHECKING, Any

from rag_vqa.formatting import escape_invisible, format_duration, is_invisible, one_line
from rag_vqa.serialization import answer_fields
from rag_vqa.types import Answer, Document, Hit, Query, Where

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

NO_EVIDENCE = "answered without evidence"
_WIDTH, _INDENT = 80, "    "  # of lines below a hit
_STYLES = {"number": "36", "score": "2", "answer": "1", "faint": "2", "good": "32", "bad": "31"}


def style(text: str, name: str, stream: Any = None) -> str:
    """The text in one of our styles, if the stream (default: stdout) is a terminal with colours."""
    import os

    stream = stream or sys.stdout
    plain = not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{_STYLES[name]}m{text}\033[0m"


def print_json(value: Any) -> None:
    """Print one JSON document on stdout; characters that a terminal would obey are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print("".join(json.dumps(c)[1:-1] if c != "\n" and is_invisible(c) else c for c in text))


def print_hits(hits: Sequence[Hit], kept: Sequence[Hit] | None = None) -> None:
    """Print numbered evidence, with the scores in a column.

    Args:
        kept: hits in the prompt, numbered as there; the other hits are marked as not read. None:
            nothing is read, and the numbers are ranks.
    """
    numbers = {hit.document.id: n for n, hit in enumerate(hits if kept is None else kept, 1)}
    names = [hit_name(hit) for hit in hits]
    width = min(max((len(name) for name in names), default=0), 60)
    for hit, name in zip(hits, names, strict=True):
        number = numbers.get(hit.document.id)
        shown = name if len(name) <= width else name[: width - 1] + "…"
        mark = style(f"[{number}]", "number") if number else "   "
        unread = "" if number else f"  {style('not read', 'faint')}"
        digits = 4 if "fused" in hit.scores else 2  # two fused ranks score at most 2 / 61
        score = style(f"{hit.score:6.{digits}f}", "score")
        print(
            "\n".join([f"{mark} {shown:<{width}}  {score}{unread}", *_detail_lines(hit)]),
            flush=True,
        )


def _detail_lines(hit: Hit) -> list[str]:
    """The page that is cited, and the metadata that is shown, indented."""
    page = cite_page(hit.document)
    shown = " · ".join(f"{name}: {value}" for name, value in hit.shown)
    return [
        line
        for whole in (page, shown)
        for line in wrap(
            one_line(whole),
            _WIDTH,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
        )
    ]


def cite_page(document: Document) -> str:
    """Page and file that a document was taken from, as "page 12 of manuals/pump.pdf"; else "".

    The file is the document's address, if that is one of the web.
    """
    page, file = (document.metadata.get(name) for name in ("page", "file"))
    if not isinstance(page, int) or isinstance(page, bool):
        return ""
    is_address = document.url.lower().startswith(("http://", "https://"))
    place = document.url if is_address else file
    return f"page {page} of {place}" if isinstance(place, str) and place else f"page {page}"


def hit_name(hit: Hit) -> str:
    """Title and section of a hit; its id if it has neither."""
    document = hit.document
    named = [one_line(part) for part in (document.title, document.section) if part.strip()]
    return " · ".join(named) or one_line(document.id)


def answer_json(answer: Answer) -> dict[str, Any]:
    """An Answer as one JSON object."""
    return {
        "text": answer.text,
        **answer_fields(answer),
        "model": answer.model,
        "tokens": {
            "in": answer.tokens_in,
            "out": answer.tokens_out,
            "reasoning": answer.reasoning_tokens,
        },
    }


def print_answer(
    rag: RagVqa,
    query: Query,
    *,
    where: Where | None = None,
    quiet: bool = False,
    show_thinking: bool = False,
) -> Answer:
    """Print evidence, text and seconds of an answer as they come, and return the answer."""
    answer: Answer | None = None
    events = rag.stream(query.text, query.image, instruction=query.instruction, where=where)
    for event in events:
        if isinstance(event, Answer):
            answer = event
        elif isinstance(event, str):
            print(style(escape_invisible(event), "answer"), end="", flush=True)
        elif event:
            print_hits(event, rag.prompt(query, event).kept)
        elif rag.k:
            print_no_hits(rag, where, NO_EVIDENCE)
    if answer is None:
        raise RuntimeError("the stream ended without an answer")
    _print_times(answer, quiet)
    if show_thinking and answer.reasoning:
        _print_thoughts(answer)
    return answer


def print_no_hits(rag: RagVqa, where: Where | None, consequence: str = "") -> None:
    """Print on stderr why there are no hits; `consequence` says what happened without them."""
    if not len(rag.kb):
        why = "the knowledge base is empty"
    elif notice := rag.kb.describe_no_match(where):
        line = f"{notice} {consequence.capitalize()}." if consequence else notice
        print(escape_invisible(line), file=sys.stderr, flush=True)
        return
    elif rag.filter is not None:
        why = "the filter kept none of the documents found"
    else:
        why = "nothing was found"
    print(f"{why}: {consequence}" if consequence else why, file=sys.stderr, flush=True)


def _print_times(answer: Answer, quiet: bool) -> None:
    # Without a filter, selecting takes no time that is worth a word.
    taken = answer.seconds.items()
    shown = [pair for pair in taken if pair[0] != "select" or pair[1] >= 0.0005]
    times = " · ".join(f"{stage} {format_duration(seconds)}" for stage, seconds in shown)
    same_line = sys.stdout.isatty() and sys.stderr.isatty() and not quiet
    print("", end="" if same_line else "\n", flush=True)
    if not quiet:
        gap = "       " if same_line else ""
        print(gap + style(times, "faint", sys.stderr), file=sys.stderr, flush=True)
        for note in answer.notes:
            print(one_line(note), file=sys.stderr)
        _print_dropped(answer)
        _print_citation_problems(answer)


def _print_thoughts(answer: Answer) -> None:
    """Print what the reader thought, indented."""
    print(f"thoughts ({answer.reasoning_tokens} tokens):", file=sys.stderr)
    text = indent(escape_invisible(answer.reasoning), _INDENT)
    print(style(text, "faint", sys.stderr), file=sys.stderr, flush=True)


def _print_dropped(answer: Answer) -> None:
    """Print which documents did not fit into the prompt, and why."""
    for name, reason in answer.prompt.dropped.items():
        print(f"not shown to the reader: {one_line(name)} ({one_line(reason)})", file=sys.stderr)


def _print_citation_problems(answer: Answer) -> None:
    """Print whether an answer that should cite documents does, and which ones do not exist."""
    from rag_vqa.eval.answers import is_unknown

    for number in answer.invalid_citations:
        print(f"the answer cites [{number}], but the prompt has no such document", file=sys.stderr)
    asked = answer.prompt.numbered and bool(answer.prompt.kept)
    if asked and not answer.citations and not is_unknown(answer.text):
        print("no source cited", file=sys.stderr)


def print_interrupted() -> None:
    """Print that ^C stopped the program; a terminal has printed ^C itself."""
    print("\nStopped." if sys.stderr.isatty() else "^C stopped.", file=sys.stderr, flush=True)
