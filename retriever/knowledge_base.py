"""A folder of documents with the tokens of their passages: what users do with it.

It knows which retriever its tokens belong to, and who may write. It does not know what an added
document goes through (adding.py), how rows are stored (store/) or searched (search.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.retriever import filters, matching, merging, syncing
from rag_vqa.retriever.adding import Adding
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.filters import Where
from rag_vqa.retriever.report import AddReport
from rag_vqa.retriever.sizes import Stats, stats_of
from rag_vqa.retriever.store import FILE, Store, compact, copying, creating, migrate, verify
from rag_vqa.retriever.store.compact import Compacted
from rag_vqa.retriever.store.content import Shown, shown
from rag_vqa.retriever.store.verify import Damage
from rag_vqa.retriever.syncing import SyncReport
from rag_vqa.types import Document, Hit, Query

if TYPE_CHECKING:
    from rag_vqa.retriever.search import Retriever

__all__ = [
    "AddReport", "Compacted", "Damage", "KnowledgeBase", "Rejected", "Shown", "Stats",
    "SyncReport", "Where",
]  # fmt: skip
Items = Iterable[Document | Mapping[str, Any]]
Progress = Callable[[int], None]
Loading = Callable[[], TokenEncoder]
Hits = list[list[Hit]]  # in the class, `list` is a method


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

    def __init__(self, store: Store, encoder: TokenEncoder | Loading | None = None) -> None:
        self.store = store
        self.path = store.folder
        self.manifest = store.manifest
        self._retriever: Retriever | None = None
        self._encoder: TokenEncoder | None = None
        self._load = encoder if callable(encoder) else lambda: matching.load_own(store.manifest)
        matching.check_splitting(self.path, self.manifest)
        if encoder is not None and not callable(encoder):
            matching.check_encoder(self.path, self.manifest, encoder)
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
        if not (path / FILE).exists():
            kept = keep_tokens is not False
            creating.create(path, matching.manifest_of(encoder, split or "window", kept))
        elif not exist_ok:
            raise UsageError(
                f"{path} exists. Go on with it: rag-vqa kb build SOURCE --out {path}, or give "
                "another name."
            )
        kb = cls.open(path, encoder)
        try:
            matching.check_kept(path, kb.manifest, split, keep_tokens)
        except UsageError:
            kb.close()
            raise
        return kb

    @classmethod
    def open(cls, path: str | Path, encoder: TokenEncoder | Loading | None = None) -> Self:
        """Open a knowledge base. One of an older format is brought to the present one first.

        Args:
            encoder: or what loads it when it is first needed; by default its own, so loaded.

        Raises:
            Missing: there is none at `path`.
            CorruptKnowledgeBase: it is damaged, or not ours.
            Mismatch: the encoder is not the one that it was built with.
        """
        path = Path(path)
        if migrate.format_of(path / FILE) == 1:
            migrate.migrate(path)
        store = Store(path)
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
            matching.check_encoder(self.path, self.manifest, encoder)
            self._encoder = encoder
        return self._encoder

    def add(
        self,
        documents: Items,
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
        adding = Adding(self.store, lambda: self.encoder, batch_size, strict)
        adding.report = adding.report if report is None else report
        with self.store.writing():
            adding.take_all(documents, on_progress)
        return adding.report

    def sync(
        self,
        records: Items,
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
        adding = Adding(self.store, lambda: self.encoder, batch_size, strict, dry_run)
        with nullcontext() if dry_run else self.store.writing():
            return syncing.sync(self.store, adding, records, rejected, dry_run, force, on_progress)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove documents in one commit; how many there were. Unknown ids are no error."""
        with self.store.writing():
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
        with self.store.writing():
            for path in paths:
                with type(self).open(path) as other:
                    merging.merge(self.store, other.store, report)
        return report

    def compact(self) -> Compacted:
        """Free the bytes of deleted documents. Readers go on meanwhile."""
        with self.store.writing():
            return compact.compact(self.store)

    def snapshot(self, path: str | Path) -> None:
        """Copy the last commit to a new folder, while others read and write. Raises UsageError
        if there is something at `path`."""
        copying.copy(self.store, Path(path))

    def verify(self) -> tuple[Damage, ...]:
        """Compute all checksums again and compare what must agree; empty if all is sound."""
        return tuple(verify.verify(self.store))

    def get(self, identity: str) -> Document | None:
        """The document of that id, None if there is none."""
        found = self.store.document(identity)
        return None if found is None else found[1]

    def show(self, identity: str) -> Shown | None:
        """The document of that id with its passages, None if there is none."""
        return shown(self.store, identity)

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
        return islice(filters.documents(self.store, where, after), filters.at_least_0(limit))

    def search(self, queries: Sequence[Query], k: int, where: Where | None = None) -> Hits:
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
        return stats_of(self.store)

    def __len__(self) -> int:
        return self.store.count()[0]

    def close(self) -> None:
        """Let go of its files."""
        self.store.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
