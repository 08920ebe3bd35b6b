"""KnowledgeBase: a folder of documents and the tokens of their passages, as users handle it.

Knows which retriever its tokens belong to, who may write, and how much it holds. Does not know how
a document is ingested (ingest.py), stored (store/) or searched (search).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.retriever import compatibility, sync_and_merge
from rag_vqa.retriever.compatibility import retriever_label
from rag_vqa.retriever.ingest import Ingest
from rag_vqa.retriever.ingest_batch import AddReport
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.search import filters
from rag_vqa.retriever.store import document_store, maintenance, migrate, verify
from rag_vqa.retriever.store.database import DATABASE_FILE
from rag_vqa.retriever.store.document_content import Shown
from rag_vqa.retriever.store.document_store import Store, read_document_passages
from rag_vqa.retriever.store.maintenance import Compacted
from rag_vqa.retriever.store.verify import Damage
from rag_vqa.retriever.sync_and_merge import SyncReport
from rag_vqa.types import Document, Hit, Query, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.search import Retriever

__all__ = [
    "AddReport",
    "Compacted",
    "Damage",
    "KnowledgeBase",
    "Rejected",
    "Shown",
    "Stats",
    "SyncReport",
    "Where",
]
Documents = Iterable[Document | Mapping[str, Any]]
Progress = Callable[[int], None]
EncoderLoader = Callable[[], TokenEncoder]
HitLists = list[list[Hit]]  # in the class, `list` is a method


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
    )


class KnowledgeBase:
    """Documents that can be searched by text and image. `with` closes it.

    Any number of processes may read one at a time as one writes: each search sees the last commit
    as a whole. A second writer is refused at once, with the name of the first.

    Attributes:
        path: its folder.
        manifest: which retriever made its tokens.
        engine: of its index, to be set before the first search; see `retriever.index.make_index`.
        hybrid, sections: how it searches from now on; see `Retriever.search`.
    """

    engine = "auto"
    hybrid = sections = False

    def __init__(self, store: Store, encoder: TokenEncoder | EncoderLoader | None = None) -> None:
        self.store = store
        self.path = store.folder
        self.manifest = store.manifest
        self._retriever: Retriever | None = None
        self._encoder: TokenEncoder | None = None
        self._load = (
            encoder
            if callable(encoder)
            else lambda: compatibility.load_recorded_encoder(store.manifest)
        )
        compatibility.check_splitting(self.path, self.manifest)
        if encoder is not None and not callable(encoder):
            compatibility.check_encoder(self.path, self.manifest, encoder)
            self._encoder = encoder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: TokenEncoder,
        exist_ok: bool = False,
        split: str | None = None,
        keep_tokens: bool | None = None,
    ) -> Self:
        """Make an empty knowledge base for the tokens of `encoder`.

        Args:
            exist_ok: open the one that is there, so that the same command goes on.
            split: "window": texts are cut so that the encoder reads all of them, the default;
                "none": a document is one passage, and what is cut off is counted.
            keep_tokens: False: keep int8 codes of the tokens alone, a third of the bytes. None:
                True, or as what is there was created; so with `split`.

        Raises:
            UsageError: there is something at `path` already, or it was created otherwise.
            Mismatch: what is there was made by another retriever.
        """
        path = Path(path)
        if not (path / DATABASE_FILE).exists():
            kept = keep_tokens is not False
            document_store.create_store(
                path, compatibility.make_manifest(encoder, split or "window", kept)
            )
        elif not exist_ok:
            raise UsageError(
                f"{path} exists. Go on with it: rag-vqa kb build SOURCE --out {path}, or give "
                "another name."
            )
        kb = cls.open(path, encoder)
        try:
            compatibility.check_build_options(path, kb.manifest, split, keep_tokens)
        except UsageError:
            kb.close()
            raise
        return kb

    @classmethod
    def open(cls, path: str | Path, encoder: TokenEncoder | EncoderLoader | None = None) -> Self:
        """Open a knowledge base. One of an older format is brought to the present one first.

        Args:
            encoder: or what loads it when it is first needed; by default its own, so loaded.

        Raises:
            Missing: there is none at `path`.
            CorruptKnowledgeBase: it is damaged, or not ours.
            Mismatch: the encoder is not the one that it was built with.
        """
        path = Path(path)
        store = migrate.open_migrated(path)
        try:
            return cls(store, encoder)
        except RagVqaError:
            store.db.close()
            raise

    @property
    def encoder(self) -> TokenEncoder:
        """The encoder, loaded now if there is none yet."""
        if self._encoder is None:
            encoder = self._load()
            compatibility.check_encoder(self.path, self.manifest, encoder)
            self._encoder = encoder
        return self._encoder

    def add(
        self,
        documents: Documents,
        batch_size: int = 256,
        on_progress: Progress | None = None,
        strict: bool = False,
        report: AddReport | None = None,
    ) -> AddReport:
        """Add documents, or replace those whose content changed. Each batch is a commit.

        Interrupted, at most the batch in flight is lost, and the same call goes on from there. Of
        one id the first document stays: a second of other content is refused. Only what changes a
        passage is encoded: new metadata, parent or url are not.

        Args:
            documents: Documents, Records of a file (see `read_jsonl`), or mappings of a
                Document's fields ("image" may stand for "images").
            batch_size: passages of a commit at most; fewer at first, and of a slow encoder.
            on_progress: is told how many of the documents given are dealt with and safe.
            strict: the first document that is refused raises; else it is reported.
            report: is filled as it goes, for a caller who may be interrupted, and returned.

        Raises:
            UsageError: batch_size < 1.
            BadInput: a document is refused, under `strict`.
            Locked: another process is writing.
        """
        adding = Ingest(self.store, lambda: self.encoder, batch_size, strict)
        adding.report = adding.report if report is None else report
        with self.store.hold_writer_lock():
            adding.take_all(documents, on_progress)
        return adding.report

    def sync(
        self,
        records: Documents,
        *,
        dry_run: bool = False,
        force: bool = False,
        rejected: Sequence[Rejected] = (),
        batch_size: int = 256,
        on_progress: Progress | None = None,
        strict: bool = False,
    ) -> SyncReport:
        """Make the knowledge base hold the documents of `records` and no others.

        Only what changed is encoded. Deletions come last; where a record without an id was refused
        there are none. Where a picture's file is missing, what is stored keeps its picture.

        Args:
            records: the whole source, as for `add`. What can be read again (no iterator) is read
                twice, so that a rash sync is refused before anything is changed.
            dry_run: say what would change, and change nothing.
            force: delete even if it is over 5% of the documents.
            rejected: the list that the reader of `records` fills with what it refuses.

        Raises:
            UsageError: over 5% would be deleted, without `force`; batch_size < 1.
            BadInput, Locked: see `add`.
        """
        adding = Ingest(self.store, lambda: self.encoder, batch_size, strict, dry_run)
        with nullcontext() if dry_run else self.store.hold_writer_lock():
            return sync_and_merge.sync_documents(
                self.store, adding, records, rejected, dry_run, force, on_progress
            )

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove documents in one commit; how many there were. Unknown ids are no error."""
        with self.store.hold_writer_lock():
            return self.store.delete([ids] if isinstance(ids, str) else list(ids))

    def merge(self, paths: Iterable[str | Path]) -> AddReport:
        """Take over the documents of other knowledge bases, in order, without encoding: parts
        built one by one become what one build makes. An id that is here with other content is
        rejected.

        Raises:
            Mismatch: one was not built with this one's retriever and options.
            Missing, CorruptKnowledgeBase: one is not there, or damaged.
        """
        report = AddReport()
        with self.store.hold_writer_lock():
            for path in paths:
                with type(self).open(path) as other:
                    sync_and_merge.merge_documents(self.store, other.store, report)
        return report

    def compact(self) -> Compacted:
        """Free the bytes of deleted documents. Readers go on meanwhile."""
        with self.store.hold_writer_lock():
            return maintenance.compact_store(self.store)

    def snapshot(self, path: str | Path) -> None:
        """Copy the last commit to a new folder, while others read and write. Raises UsageError
        if there is something at `path`."""
        maintenance.copy_store(self.store, Path(path))

    def verify(self) -> tuple[Damage, ...]:
        """Compute all checksums again and compare what must agree; empty if all is sound."""
        return tuple(verify.verify_store(self.store))

    def get(self, identity: str) -> Document | None:
        """The document of that id, None if there is none."""
        found = self.store.document(identity)
        return None if found is None else found[1]

    def show(self, identity: str) -> Shown | None:
        """The document of that id with its passages, None if there is none."""
        return read_document_passages(self.store, identity)

    def documents(self) -> Iterator[Document]:
        """All documents, in the order of their first adding."""
        return self.list()

    def list(
        self, where: Where | None = None, limit: int | None = None, after: str | None = None
    ) -> Iterator[Document]:
        """Documents in the order of their first adding.

        Args:
            where: see `search`.
            limit: no more than these.
            after: the id of a document: those behind it, to go on where a list ended.

        Raises UsageError: no document of the id `after`, or an unknown name in `where`.
        """
        return islice(filters.list_documents(self.store, where, after), filters.check_limit(limit))

    def search(self, queries: Sequence[Query], k: int, where: Where | None = None) -> HitLists:
        """The k best documents of each query; see `Retriever.search`."""
        return self.retriever.search(queries, k, where, self.hybrid, self.sections)

    @property
    def method(self) -> str:
        """How it searches, for records: "ret", "ret+bm25", "ret, sections", …"""
        return f"ret{'+bm25' * self.hybrid}{', sections' * self.sections}"

    @property
    def retriever(self) -> Retriever:
        """What searches this knowledge base; its index is kept between searches."""
        if self._retriever is None:
            from rag_vqa.retriever.search import Retriever

            self._retriever = Retriever(self, self.engine)
        return self._retriever

    def stats(self) -> Stats:
        """Counts and sizes."""
        return compute_stats(self.store)

    def __len__(self) -> int:
        return self.store.count()[0]

    def close(self) -> None:
        """Let go of its files."""
        self.store.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
