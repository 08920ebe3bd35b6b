"""The estimate of a build: passages, disk, memory and time, from its first documents.

Knows how much is encoded to find out. Does not know the steps of a build (build.py).
"""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record
from rag_vqa.formatting import format_time_needed
from rag_vqa.jobs.document_source import SourceReader

if TYPE_CHECKING:
    from rag_vqa.retriever.modeling import TokenEncoder
    from rag_vqa.types import Passage

ESTIMATE_FROM_DOCUMENTS = 1_000  # a shorter build takes no longer than its estimate
PROBE_DOCUMENTS = 32  # encoded for an estimate
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def estimate_build(
    reader: SourceReader, encoder: TokenEncoder, split: str, keep_tokens: bool
) -> str | None:
    """One line: how many passages, how much disk, memory and time; None for a short build.

    Encodes the first documents to find out.
    """
    import warnings

    from rag_vqa.retriever.index.rows import code_dtype

    if reader.total < ESTIMATE_FROM_DOCUMENTS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again when the documents are encoded
        records = islice(reader, PROBE_DOCUMENTS)
        passages = [passage for each in records for passage in passages_of(each, encoder, split)]
        encoder.encode_passages(passages)  # the first time allocates, and chooses kernels
        start = time.monotonic()
        encoder.encode_passages(passages)
    seconds = (time.monotonic() - start) / max(1, len(passages))
    count = reader.total * len(passages) // PROBE_DOCUMENTS
    row = code_dtype(encoder.K, encoder.D).itemsize + 2 * encoder.K * encoder.D * keep_tokens
    return (
        f"about {count:,} passages · {count * row / 1e9:.1f} GB of tokens · "
        f"{_peak_memory() / 1e9:.1f} GB of memory · {format_time_needed(count * seconds)} "
        f"at {1 / seconds:.0f}/s"
    )


def _peak_memory() -> float:
    """The most memory that this process has used so far, in bytes."""
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT)


def passages_of(record: Record, encoder: TokenEncoder, split: str) -> list[Passage]:
    """The passages that would be encoded of a record; none if the record would be refused."""
    from rag_vqa.retriever import passages

    try:
        if split == "none":
            return [passages.whole_document_passage(record)]
        return passages.split_document(record, encoder.count_tokens, encoder.window)
    except BadInput:
        return []
