"""How much a knowledge base holds, in documents and in bytes.

It knows what is counted. It does not know what any of it means.
"""

from __future__ import annotations

from dataclasses import dataclass

from rag_vqa.retriever.matching import label
from rag_vqa.retriever.store import Store


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of a knowledge base.

    Attributes:
        bytes: on disk, of which `token_bytes` are tokens and codes.
        gone: rows of deleted passages, whose bytes a compaction would free.
        cut_off: share of the documents' tokens that lies beyond the encoder's window (splitting
            "none"; 0 where texts are split).
    """

    documents: int
    passages: int
    images: int
    bytes: int
    token_bytes: int
    gone: int
    cut_off: float
    splitting: str
    keep_tokens: bool
    retriever: str
    K: int
    D: int


def stats_of(store: Store) -> Stats:
    """Counts and sizes of the last commit; bytes of what lies on the disk now."""
    documents, passages = store.count()
    pictures = [file.stat().st_size for file in store.pictures.there()]
    tokens = sum(file.stat().st_size for file in store.segments.there())
    database = sum(f.stat().st_size for f in store.folder.glob(f"{store.db.file.name}*"))
    (gone,), ((total, cut),) = (
        store.db.rows("SELECT count(*) FROM gone")[0],
        store.db.rows("SELECT coalesce(sum(tokens), 0), coalesce(sum(cut), 0) FROM documents"),
    )
    made = store.manifest
    return Stats(
        documents=documents,
        passages=passages,
        images=len(pictures),
        bytes=database + tokens + sum(pictures),
        token_bytes=tokens,
        gone=gone,
        cut_off=cut / total if total else 0.0,
        splitting=made.splitting,
        keep_tokens=made.keep_tokens,
        retriever=label(made),
        K=made.K,
        D=made.D,
    )
