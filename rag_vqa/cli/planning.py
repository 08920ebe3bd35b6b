"""What a build will take, measured on its first documents; and how they will look.

It knows how to probe. It changes nothing.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from rag_vqa.cli.output import duration, one_line, visible
from rag_vqa.errors import BadInput

if TYPE_CHECKING:
    from rag_vqa.formats.document import Record
    from rag_vqa.retriever.encoding import TokenEncoder
    from rag_vqa.types import Passage

LONG = 1_000  # documents; a shorter build is as soon done as planned
PROBED = 32  # documents
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def plan(
    records: Iterable[Record], total: int, encoder: TokenEncoder, split: str, kept: bool
) -> str | None:
    """One line: passages, disk, memory, time; None for a short job."""
    from rag_vqa.retriever.codes import row_type

    if total < LONG:
        return None
    passages = [
        p for record in islice(records, PROBED) for p in passages_of(record, encoder, split)
    ]
    encoder.encode_passages(passages)  # the first time allocates, and chooses kernels
    start = time.monotonic()
    encoder.encode_passages(passages)
    seconds = (time.monotonic() - start) / max(1, len(passages))
    count = total * len(passages) // PROBED
    row = row_type(encoder.K, encoder.D).itemsize + 2 * encoder.K * encoder.D * kept
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    return (
        f"about {count:,} passages · {count * row / 1e9:.1f} GB of tokens · "
        f"{memory / 1e9:.1f} GB of memory · {_clock(count * seconds)} at {1 / seconds:.0f}/s"
    )


def passages_of(record: Record, encoder: TokenEncoder, split: str) -> list[Passage]:
    """What of a record would be encoded; nothing of one that would be refused."""
    from rag_vqa.retriever import passages

    try:
        if split == "none":
            return [passages.whole(record)]
        return passages.split(record, encoder.count_tokens, encoder.window)
    except BadInput:
        return []


def preview(records: Iterable[Record], encoder: TokenEncoder, split: str) -> Iterator[str]:
    """Lines that show each record as it would be read, and as it would be encoded."""
    for record in records:
        yield f"{one_line(record.id)}"
        yield f"  read:    {_short(' · '.join(x for x in (record.title, record.section) if x))}"
        yield f"           {_short(record.text) or '(no text)'}"
        for name, value in record.metadata.items():
            yield f"           {one_line(name)} = {one_line(str(value))}"
        passages = passages_of(record, encoder, split)
        if not passages:
            yield "  refused: it has neither text nor image"
        for passage in passages:
            tokens = encoder.count_tokens(passage.text)
            image = f" + {one_line(str(passage.image))}" if passage.image is not None else ""
            yield f"  encoded: {_short(passage.text)} [{tokens} tokens]{image}"


def _short(text: str, most: int = 160) -> str:
    line = one_line(visible(text))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return duration(seconds)
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
