"""KnowledgeBase: a folder of documents and the tokens of their passages, as users handle it.

Knows which retriever its tokens belong to, who may write, and how much it holds. Does not know how
a document is ingested (ingest.py), stored (store/) or searched (search).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.errors import NoMatch, RagVqaError, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.retriever import sync_and_merge
from rag_vqa.retriever.flag_world import SAMPLE_DOCUMENTS, are_flag_texts
from rag_vqa.retriever.ingest import Ingest
from rag_vqa.retriever.ingest_batch import AddReport
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.search import filters
from rag_vqa.retriever.search.filter_notice import describe_no_match
from rag_vqa.retriever.shown_metadata import (
    ShownNames,
    add_shown_metadata,
    read_names,
    write_record,
)
from rag_vqa.retriever.statistics import Stats, compute_stats
from rag_vqa.retriever.store import document_store, kb_manifest, maintenance, verify
from rag_vqa.retriever.store.database import DATABASE_FILE, OldFormat
from rag_vqa.retriever.store.document_content import DocumentPassages
from rag_vqa.retriever.store.document_store import Store, read_document_passages
from rag_vqa.retriever.store.kb_manifest import Manifest
from rag_vqa.retriever.store.maintenance import CompactReport
from rag_vqa.retriever.store.verify import Damage
from rag_vqa.retriever.sync_and_merge import SyncReport
from rag_vqa.types import Document, Hit, Hybrid, Query, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.search import Retriever

__all__ = [
    "AddReport",
    "CompactReport",
    "Damage",
    "DocumentPassages",
    "KnowledgeBase",
    "Rejected",
    "Stats",
    "SyncReport",
    "Where",
]
Documents = Iterable[Document | Mapping[str, Any]]
Progress = Callable[[int], None]
EncoderLoader = Callable[[], TokenEncoder]
Hits = list[Hit]  # aliases, as `list` is a method of the class
HitLists = list[Hits]


class KnowledgeBase:
    """Documents that can be searched by text and image. `with` closes it.

    Any number of processes may read while one writes: each search sees the last commit as a whole.
    A second writer is refused at once; the error names the first.

    Attributes:
        path: its folder.
        manifest: which retriever made its tokens.
        engine: of its index; set it before the first search, see `retriever.index.make_index`.
        hybrid, sections: how later searches rank; see `Retriever.search`.
        show_names: names of the metadata that later hits show to readers and people; None: those
            that the knowledge base remembers.
        warns: whether a filter that no document passes gives the Python warning NoMatch.
    """

    engine = "auto"
    hybrid: Hybrid = "auto"
    sections = False
    show_names: Sequence[str] | None = None
    warns = True

    def __init__(self, store: Store, encoder: TokenEncoder | EncoderLoader | None = None) -> None:
        self.store = store
        self.path = store.folder
        self.manifest = store.manifest
        self._retriever: Retriever | None = None
        self._encoder: TokenEncoder | None = None
        self._load = encoder if callable(encoder) else lambda: load_recorded_encoder(store.manifest)
        kb_manifest.check_splitting(self.path, self.manifest)
        if encoder is not None and not callable(encoder):
            kb_manifest.check_encoder(self.path, self.manifest, encoder)
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
            exist_ok: open an existing one, so that the same command resumes.
            split: "window" (default) splits texts so that the encoder reads all of them;
                "none" keeps a document as one passage, and counts the tokens cut off.
            keep_tokens: False stores int8 codes of the tokens only, a third of the bytes.
                None: True, or as the existing one was created; the same holds for `split`.

        Raises:
            UsageError: something exists at `path`, or it was created with other options.
            Mismatch: another retriever made the existing one.
        """
        path = Path(path)
        if not (path / DATABASE_FILE).exists():
            kept = keep_tokens is not False
            document_store.create_store(
                path, kb_manifest.make_manifest(encoder, split or "window", kept)
            )
        elif not exist_ok:
            raise UsageError(
                f"{path} exists. Resume it: rag-vqa kb build SOURCE --out {path}, or give "
                "another name."
            )
        kb = cls.open(path, encoder)
        try:
            kb_manifest.check_build_options(path, kb.manifest, split, keep_tokens)
        except UsageError:
            kb.close()
            raise
        return kb

    @classmethod
    def open(cls, path: str | Path, encoder: TokenEncoder | EncoderLoader | None = None) -> Self:
        """Open a knowledge base. Migrates one of an older format first.

        Args:
            encoder: or a function that loads it at its first use; default: the one that built
                the knowledge base, loaded at its first use.

        Raises:
            Missing: there is no knowledge base at `path`.
            CorruptKnowledgeBase: it is damaged, or not ours.
            Mismatch: it was built with another encoder.
        """
        path = Path(path)
        try:
            store = Store(path)
        except OldFormat:
            from rag_vqa.retriever.store.migrate import migrate

            migrate(path)
            store = Store(path)
        try:
            return cls(store, encoder)
        except RagVqaError:
            store.db.close()
            raise

    @property
    def encoder(self) -> TokenEncoder:
        """The encoder; the first access loads it."""
        if self._encoder is None:
            encoder = self._load()
            kb_manifest.check_encoder(self.path, self.manifest, encoder)
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

        An interruption loses at most the current batch; the same call resumes there. If an id
        occurs twice, the first document stays, and a second one with other content is rejected.
        Only a changed passage is encoded again, not new metadata, a new parent or url.

        Args:
            documents: Documents, Records of a file (see `read_jsonl`), or mappings of a
                Document's fields ("image" may stand for "images").
            batch_size: at most this many passages in a commit; fewer at first, and for a slow
                encoder.
            on_progress: called with the number of documents that are dealt with and committed.
            strict: raise at the first rejected document; otherwise report it.
            report: filled during the run, for a caller who may be interrupted; and returned.

        Raises:
            UsageError: batch_size < 1.
            BadInput: a document is rejected, and `strict` is set.
            Locked: another process is writing.
        """
        ingest = Ingest(self.store, lambda: self.encoder, batch_size, strict)
        ingest.report = ingest.report if report is None else report
        with self.store.hold_writer_lock():
            ingest.add_all(documents, on_progress)
        return ingest.report

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

        Encodes only what changed. Deletions come last; a rejected record without an id prevents
        all of them. If a picture's file is missing, the stored document keeps its picture.

        Args:
            records: the whole source, as for `add`. Anything but an iterator is read twice, so
                that a sync that would delete too much is refused before it changes anything.
            dry_run: report what would change, and change nothing.
            force: delete even more than 5% of the documents.
            rejected: the list that the reader of `records` fills with the records it rejects.

        Raises:
            UsageError: over 5% would be deleted and `force` is not set; batch_size < 1.
            BadInput, Locked: see `add`.
        """
        ingest = Ingest(self.store, lambda: self.encoder, batch_size, strict, dry_run)
        with nullcontext() if dry_run else self.store.hold_writer_lock():
            return sync_and_merge.sync_documents(
                self.store, ingest, records, rejected, dry_run, force, on_progress
            )

    def delete(self, ids: str | Iterable[str]) -> int:
        """Delete documents in one commit; returns how many. Ignores unknown ids."""
        with self.store.hold_writer_lock():
            return self.store.delete([ids] if isinstance(ids, str) else list(ids))

    def merge(self, paths: Iterable[str | Path]) -> AddReport:
        """Add the documents of other knowledge bases, in order, without encoding them again.

        Shards built one by one become what one build makes. Rejects a document whose id exists
        here with other content.

        Raises:
            Mismatch: one was built with another retriever or other options.
            Missing, CorruptKnowledgeBase: one does not exist, or is damaged.
        """
        report = AddReport()
        with self.store.hold_writer_lock():
            for path in paths:
                with type(self).open(path) as other:
                    sync_and_merge.merge_documents(self.store, other.store, report)
        return report

    def compact(self) -> CompactReport:
        """Free the bytes of deleted documents. Other processes may read meanwhile."""
        with self.store.hold_writer_lock():
            return maintenance.compact_store(self.store)

    def snapshot(self, path: str | Path) -> None:
        """Copy the last commit to a new folder, while others read and write.

        Raises UsageError if something exists at `path`.
        """
        maintenance.copy_store(self.store, Path(path))

    def verify(self) -> tuple[Damage, ...]:
        """Recompute all checksums and compare; returns the damage, empty if there is none."""
        return tuple(verify.verify_store(self.store))

    def get(self, identity: str) -> Document | None:
        """The document with that id; None without one."""
        found = self.store.document(identity)
        return None if found is None else found[1]

    def show(self, identity: str) -> DocumentPassages | None:
        """The document with that id and its passages; None without one."""
        return read_document_passages(self.store, identity)

    def section_ids(self, identity: str) -> Sequence[str]:
        """Ids of the sections that a document with that id was cut into, in their order."""
        query = "SELECT id FROM documents WHERE id > ? AND id < ? ORDER BY row"
        return [one for (one,) in self.store.db.rows(query, [f"{identity}#", f"{identity}$"])]

    def count_others(self, is_known: Callable[[str], bool]) -> int:
        """Number of documents whose ids are not known."""
        ids = self.store.db.stream("SELECT id FROM documents")
        return sum(not is_known(identity) for (identity,) in ids)

    def documents(self) -> Iterator[Document]:
        """All documents, in the order in which they were first added."""
        return self.list()

    def list(
        self, where: Where | None = None, limit: int | None = None, after: str | None = None
    ) -> Iterator[Document]:
        """Documents in the order in which they were first added.

        Args:
            where: a filter; see `Retriever.search`.
            limit: at most this many.
            after: id of a document: list those after it, to continue an earlier list.

        Raises UsageError: no document has the id `after`, or `where` has an unknown name.
        """
        limit = filters.check_limit(limit)
        rows = filters.matching_rows(self.store, where) if where else None
        if rows is not None and not len(rows):
            self._warn(where)
        return islice(filters.list_documents(self.store, rows, after), limit)

    def search(self, queries: Sequence[Query], k: int, where: Where | None = None) -> HitLists:
        """The k best documents of each query; see `Retriever.search`."""
        found = self.retriever.search(queries, k, where, self.hybrid, self.sections)
        if where and queries and not any(found):
            self._warn(where)
        return [self.add_shown(hits) for hits in found]

    def describe_no_match(self, where: Where | None) -> str:
        """Why no document passes the filter, and which values there are; "" if one passes.

        Raises UsageError as `search`.
        """
        return describe_no_match(self.store, where)

    def _warn(self, where: Where | None) -> None:
        if self.warns and (notice := self.describe_no_match(where)):
            warnings.warn(notice, NoMatch, stacklevel=3)

    def add_shown(self, hits: Iterable[Hit]) -> Hits:
        """The hits with the metadata that readers and people see beside title, section and text."""
        return add_shown_metadata(hits, self.shown_names)

    @property
    def shown_names(self) -> Sequence[str]:
        """Names of the metadata that hits show."""
        return read_names(self.store.db) if self.show_names is None else self.show_names

    def remember_shown(self, names: Iterable[str], are_chosen: bool = True) -> None:
        """Record which metadata to show, for all who open this knowledge base.

        `are_chosen`: a person named them. Raises Locked if another process is writing.
        """
        with self.store.hold_writer_lock():
            write_record(self.store.db, ShownNames(tuple(names), are_chosen))

    @property
    def method(self) -> str:
        """Name of the search method, as runs record it: "ret", "ret+bm25", "ret, sections", …"""
        is_automatic = self.hybrid == "auto" and self.manifest.source == EMBEDDED
        words = "+words" if is_automatic else "+bm25" if self.hybrid is True else ""
        return f"ret{words}{', sections' * self.sections}"

    @property
    def retriever(self) -> Retriever:
        """Searches this knowledge base; keeps its index between searches."""
        if self._retriever is None:
            from rag_vqa.retriever.search import Retriever

            self._retriever = Retriever(self, self.engine)
        return self._retriever

    @property
    def is_flag_world(self) -> bool:
        """True if its documents are those of the demo, which the embedded models know."""
        return are_flag_texts(self.store.sample_texts(SAMPLE_DOCUMENTS))

    def stats(self) -> Stats:
        """Counts and sizes."""
        return compute_stats(self.store)

    def __len__(self) -> int:
        return self.store.count()[0]

    def close(self) -> None:
        """Close its files."""
        self.store.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def load_recorded_encoder(manifest: Manifest) -> TokenEncoder:
    """The retriever that made a knowledge base, as it was then, on the best device."""
    from rag_vqa.retriever.modeling.encoder import Encoder

    options: dict[str, Any] = dict(manifest.options)
    return Encoder.load(manifest.source, revision=manifest.revision or None, **options)
