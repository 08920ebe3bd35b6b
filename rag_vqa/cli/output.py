"""What is printed: evidence, answers, JSON. Text of documents cannot steer the terminal.

It knows how things look. It does not know where they come from.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag_vqa.integrations.evidence import answer_fields
from rag_vqa.types import Answer, Hit, Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa, Where

# Joiners of emoji and of several scripts, the only invisible characters that are let through.
_JOINERS = "\u200c\u200d"
WITHOUT = "answered without evidence"
_STYLES = {"number": "36", "score": "2", "answer": "1", "faint": "2", "good": "32", "bad": "31"}


def visible(text: str, keep: str = "\n\t") -> str:
    """`text` with control, bidi and other invisible characters written out as escapes.

    >>> visible("a\\x1b[2Jb\\u202ec")
    'a\\\\x1b[2Jb\\\\u202ec'
    """
    return "".join(
        character if character in keep or not _hidden(character) else _escape(character)
        for character in text
    )


def one_line(text: str) -> str:
    """`text` on one line, visible: for titles and file names."""
    return visible(" ".join(text.split()), keep="")


def style(text: str, name: str, stream: Any = None) -> str:
    """`text` in a style of this program if the stream (stdout) is a terminal that shows it."""
    import os

    stream = stream or sys.stdout
    plain = not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{_STYLES[name]}m{text}\033[0m"


def print_json(value: Any) -> None:
    """One JSON document on stdout; what a terminal would obey is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print("".join(json.dumps(c)[1:-1] if c != "\n" and _hidden(c) else c for c in text))


def print_hits(hits: Sequence[Hit], kept: Sequence[Hit] | None = None) -> None:
    """Numbered evidence, scores in a column of their own.

    Args:
        kept: those in the prompt: their numbers there are shown, the others are marked. None:
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
        digits = 4 if "fused" in hit.scores else 2  # what is fused of two ranks is at most 2 / 61
        score = style(f"{hit.score:6.{digits}f}", "score")
        print(f"{mark} {shown:<{width}}  {score}{unread}", flush=True)


def hit_name(hit: Hit) -> str:
    """Title and section of what was found, its id if it has neither."""
    document = hit.document
    named = [one_line(part) for part in (document.title, document.section) if part.strip()]
    return " · ".join(named) or one_line(document.id)


def answer_json(answer: Answer) -> dict[str, Any]:
    """An Answer as one JSON object."""
    return {
        "text": answer.text,
        **answer_fields(answer),
        "model": answer.model,
        "tokens": {"in": answer.tokens_in, "out": answer.tokens_out},
    }


def print_answer(
    rag: RagVqa, query: Query, *, where: Where | None = None, quiet: bool = False
) -> Answer:
    """Prints an answer as it comes (evidence, text, seconds) and returns it."""
    answer: Answer | None = None
    events = rag.stream(query.text, query.image, instruction=query.instruction, where=where)
    for event in events:
        if isinstance(event, Answer):
            answer = event
        elif isinstance(event, str):
            print(style(visible(event), "answer"), end="", flush=True)
        elif event:
            print_hits(event, rag.prompt(query, event).kept)
        elif rag.k:
            say_none(rag, where, WITHOUT)
    if answer is None:
        raise RuntimeError("the stream ended without an answer")
    _end_answer(answer, quiet)
    return answer


def say_none(rag: RagVqa, where: Where | None, then: str = "") -> None:
    """Why there are no hits, on stderr; `then`: what was done without."""
    if not len(rag.kb):
        why = "the knowledge base is empty"
    elif where and next(iter(rag.kb.list(where, 1)), None) is None:
        why = "no document has what --where asks for"
    elif rag.filter is not None:
        why = "the filter kept none of the documents found"
    else:
        why = "nothing was found"
    print(f"{why}: {then}" if then else why, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person reads them.

    >>> duration(0.0384), duration(1.94)
    ('38 ms', '1.9 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows under their keys, in columns."""
    heads = list(rows[0])
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in heads}
    lines = [heads, *([row[head] for head in heads] for row in rows)]
    return "\n".join(
        "  ".join(
            f"{cell:<{widths[head]}}" for head, cell in zip(heads, line, strict=True)
        ).rstrip()
        for line in lines
    )


def _end_answer(answer: Answer, quiet: bool) -> None:
    # Without a filter, selecting takes no time that is worth a word.
    taken = answer.seconds.items()
    shown = [pair for pair in taken if pair[0] != "select" or pair[1] >= 0.0005]
    times = " · ".join(f"{stage} {duration(seconds)}" for stage, seconds in shown)
    same_line = sys.stdout.isatty() and sys.stderr.isatty() and not quiet
    print("", end="" if same_line else "\n", flush=True)
    if not quiet:
        gap = "       " if same_line else ""
        print(gap + style(times, "faint", sys.stderr), file=sys.stderr, flush=True)
        _say_dropped(answer)
        _say_sources(answer)


def _say_dropped(answer: Answer) -> None:
    """What did not fit into the prompt, and why."""
    for name, reason in answer.prompt.dropped.items():
        print(f"not shown to the reader: {one_line(name)} ({one_line(reason)})", file=sys.stderr)


def _say_sources(answer: Answer) -> None:
    """Where the answer was to cite documents: whether it does, and whether they are there."""
    from rag_vqa.eval.answers import is_unknown

    for number in answer.invalid_citations:
        print(f"the answer cites [{number}], which is not there", file=sys.stderr)
    asked = answer.prompt.numbered and bool(answer.prompt.kept)
    if asked and not answer.citations and not is_unknown(answer.text):
        print("no source cited", file=sys.stderr)


def _hidden(character: str) -> bool:
    if character.isascii():
        return not character.isprintable()
    return character not in _JOINERS and unicodedata.category(character) in (
        "Cc", "Cf", "Cs", "Co", "Zl", "Zp",
    )  # fmt: skip


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
