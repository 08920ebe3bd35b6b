"""Statistics of a knowledge base: how many documents it holds, and how many bytes.

Knows what is counted and where. Does not know how it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rag_vqa.retriever.shown_metadata import read_names
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.kb_manifest import retriever_label


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of a knowledge base.

    Attributes:
        bytes: on disk, of which `token_bytes` are tokens and codes.
        gone: rows of deleted passages, whose bytes a compaction would free.
        cut_off: share of the documents' tokens beyond the encoder's window (splitting "none";
            0 if texts are split).
        shown: names of the metadata that readers and people see.
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
    shown: tuple[str, ...] = ()


def compute_stats(store: Store) -> Stats:
    """Counts and sizes of the last commit; bytes of what lies on the disk now."""
    documents, passages = store.count()
    pictures = [file.stat().st_size for file in store.pictures.files()]
    tokens = sum(file.stat().st_size for file in store.segments.files())
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
        retriever=retriever_label(made),
        K=made.K,
        D=made.D,
        shown=read_names(store.db),
    )
