"""Ingest documents: store their pictures, split them into passages, encode and commit in batches.

Knows the order of these steps, batch sizes, and what is reported. Does not know how rows are
stored (store/) nor how a knowledge base is opened (knowledge_base.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from PIL.Image import Image

from rag_vqa.errors import BadImage, BadInput, UsageError
from rag_vqa.formats.document import (
    Record,
    Rejected,
    check_content,
)
from rag_vqa.formats.plain_values import rows_of_table
from rag_vqa.formatting import quote_value
from rag_vqa.retriever import ingest_batch
from rag_vqa.retriever.document_encoder import DocumentEncoder
from rag_vqa.retriever.image_workers import ImageOpener
from rag_vqa.retriever.ingest_batch import (
    AddReport,
    IngestBatch,
    PendingDocument,
    PendingPicture,
    PictureFile,
    UnreadablePicture,
    UnusableImage,
    attach_tokens,
)
from rag_vqa.retriever.modeling import HasImageOpener, TokenEncoder
from rag_vqa.retriever.picture_reader import PictureReader, check_picture, unreadable_pictures
from rag_vqa.retriever.store.document_content import Content, make_content
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.stored_copies import StoredCopies, content_key
from rag_vqa.types import Document

_FIRST_PASSAGES = 32  # at most in the first commit, which shows how fast the encoder is
_QUICK_SECONDS = 2.5  # a quicker commit doubles the size of the next
_SLOW_SECONDS = 5.0  # a slower one halves it
_BATCHES_AHEAD = 2  # whose pictures workers open while one is encoded
_BATCH_BYTES = 128 * 2**20  # of picture files in a batch, roughly


class Ingest:
    """Adds documents in batches, each of which is one commit.

    Calls `encoder` only when something must be encoded, so a run that changes nothing loads no
    model. A dry run checks and counts all documents, and writes nothing. If workers open the
    pictures, it reads two batches ahead of the one being encoded. Batches grow from a few passages
    to `batch_size`, as long as commits are quick.

    Attributes:
        seen: id → hash of the content, for all documents of this run.
        added: id → `content_key` of each document that was not stored before, in a sync.
        syncs: leave a stored document unchanged, if it would lose a picture whose file is missing
            now; give a new document the tokens of a stored one with the same content.
    """

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], TokenEncoder],
        batch_size: int,
        strict: bool,
        dry_run: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: give at least 1.")
        self.report = AddReport()
        self.seen: dict[str, bytes] = {}
        self.added: dict[str, bytes] = {}
        self.syncs = False
        self._store, self._encoder = store, DocumentEncoder(encoder, store.manifest, batch_size)
        self._batch_size, self._strict, self._dry = batch_size, strict, dry_run
        self._pictures = PictureReader(store.pictures, dry_run)
        self._copies = StoredCopies(store)
        self._limit = min(batch_size, _FIRST_PASSAGES)
        self._filling, self._full = IngestBatch(), deque[IngestBatch]()
        # By id: documents whose pictures are not open yet.
        self._unresolved: dict[str, tuple[PendingDocument, IngestBatch]] = {}
        self._opener: ImageOpener | None = None
        self._taken = 0

    def add_all(
        self,
        items: Iterable[Document | Mapping[str, Any]],
        on_progress: Callable[[int], None] | None,
    ) -> None:
        """Add documents; `on_progress` gets the number that are dealt with and committed."""
        advance = on_progress or (lambda done: None)
        if isinstance(items, str | bytes | Mapping | Document):
            raise UsageError(f"{quote_value(items)} is not a list of documents: give [document].")
        try:
            for self._taken, item in enumerate(rows_of_table(items), 1):
                self._add(item)
                if not self._full and not self._filling.documents:
                    advance(self._taken)
                while len(self._full) > self._batches_ahead:
                    advance(self._commit(self._full.popleft()))
            self._close_batch()
            while self._full:
                advance(self._commit(self._full.popleft()))
            self._pictures.close(complete=self.syncs)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the workers and close the files of this run."""
        self._pictures.close()
        self._copies.close()
        if self._opener is not None:
            self._opener.close()

    def trial(self) -> Ingest:
        """An ingest of the same kind that writes nothing."""
        trial = Ingest(self._store, self._encoder.load, self._batch_size, self._strict, True)
        trial.syncs = self.syncs
        return trial

    @property
    def _batches_ahead(self) -> int:
        """Batches that may wait for their pictures; none while batches still grow."""
        workers = self._opener is not None and self._opener.workers
        return _BATCHES_AHEAD if workers and self._limit == self._batch_size else 0

    def _add(self, item: Document | Mapping[str, Any]) -> None:
        """Add one document to the batch, without the pictures that cannot be used."""
        line, root = (item.line, item.folder) if isinstance(item, Record) else (None, None)
        if isinstance(item, Record) and self.is_unchanged(item):
            return
        try:
            parsed, left_out = ingest_batch.parse_item(item)
            self.report.left_out.update(left_out)
            document, pictures, problems = self._pictures.read_all(parsed, root)
            for problem in problems:
                self._report_picture(document.id, problem, line)
            if self.syncs and problems and self._keep_stored(document):
                return
            again = document.id in self.seen
            document, regains = self._check_returned(document, pictures, line)
            new = self._prepare(document)
            if new is None:
                for picture in () if self._dry or again else pictures.values():
                    self._pictures.store(picture)  # the stored one may be damaged
                self._count_unchanged(document)
                return
        except BadInput as error:
            self._reject(line, ingest_batch.document_id(item), error)
            return
        new.line, new.regains = line, regains
        self.seen[new.document.id] = new.content.hash
        if self._dry:
            self._drop_pictures(new, unreadable_pictures(pictures))
            if not new.dropped:
                self._count(new)
            return
        self._start_opening(new, pictures)
        self._filling.documents.append(new)
        self._filling.size += max(1, len(new.passages or ()))
        if self._filling.size >= self._limit or self._filling.bytes >= _BATCH_BYTES:
            self._close_batch()

    def is_unchanged(self, record: Record) -> bool:
        """Count a record that is stored like this, if no picture has to be read to tell."""
        if record.id in self.seen:
            return False
        document = record
        if record.images:
            images = self._pictures.find_unchanged(record.images, record.folder)
            if images is None:
                return False
            document = replace(record, images=images)
        content = make_content(document)
        stored = self._store.stored_hashes(record.id)
        if stored is None or stored[0] != content.hash:
            return False
        self.report.left_out.update(record.left_out.keys())
        self.seen[record.id] = content.hash
        self._count_unchanged(document)
        return True

    def _keep_stored(self, document: Document) -> bool:
        """Keep the stored document if it has more pictures: its disk may be missing just now."""
        found = self._store.document(document.id)
        if found is None or len(found[1].images) <= len(document.images):
            return False
        self.seen[document.id] = b""
        self.report.unchanged += 1
        self.report.held += 1
        return True

    def _check_returned(
        self, document: Document, pictures: dict[Path, PictureFile], line: int | None
    ) -> tuple[Document, bool]:
        """A document that was stored without some of its pictures, without the unreadable ones.

        Checking them here spares a source that did not change the
        encoder. Returns the document, and whether any of them can be opened now.
        """
        stored = self._store.stored_hashes(document.id) if pictures else None
        if stored is None or document.id in self.seen or stored[0] == make_content(document).hash:
            return document, False
        found = self._store.document(document.id)
        images = () if found is None else found[1].images
        more = {path: file for path, file in pictures.items() if path not in images}
        if not more or make_content(replace(document, images=images)).hash != stored[0]:
            return document, False
        for path, unreadable in unreadable_pictures(more).items():
            self._report_picture(document.id, unreadable, line)
            del pictures[path], more[path]
        return replace(document, images=tuple(pictures)), bool(more)

    def _start_opening(self, new: PendingDocument, pictures: Mapping[Path, PictureFile]) -> None:
        """Start to open its pictures; `_resolve` waits for them."""
        batch, started = self._filling, dict[Path, PendingPicture]()
        for path, file in pictures.items():
            if path not in batch.pictures:
                opened = self._open_picture(file) if new.to_encode else _no_picture
                started[path] = PendingPicture(file, opened)
        batch.pictures |= started
        if pictures:
            self._unresolved[new.document.id] = new, batch

    def _open_picture(self, file: PictureFile) -> Callable[[], Image | None]:
        encoder = self._encoder.load()
        if not isinstance(encoder, HasImageOpener):
            return partial(check_picture, file)
        if self._opener is None:
            self._opener = encoder.opener()
        try:
            return self._opener.start(file.data, file.name)
        except BadImage as error:
            return partial(_raise, error)

    def _resolve(self, new: PendingDocument, batch: IngestBatch) -> None:
        """Wait for its pictures; it goes on without those that cannot be opened."""
        if self._unresolved.get(new.document.id, (None,))[0] is not new:
            return
        del self._unresolved[new.document.id]
        bad: dict[Path, UnreadablePicture] = {}
        for path in {Path(str(image)): None for image in new.document.images}:
            picture = batch.pictures[path]
            try:
                picture.wait()
            except BadInput as error:
                bad[path] = UnreadablePicture(picture.file.name, error)
        self._drop_pictures(new, bad)

    def _drop_pictures(self, new: PendingDocument, bad: Mapping[Path, UnreadablePicture]) -> None:
        """Take pictures out of a document that waits; reject it if nothing is left."""
        if not bad:
            return
        identity, kept = new.document.id, []
        for image in new.document.images:
            if (unreadable := bad.get(Path(str(image)))) is None:
                kept.append(image)
            else:
                self._report_picture(identity, unreadable, new.line)
        try:
            document = replace(new.document, images=tuple(kept))
            remade = self._compare(document, make_content(document))
        except BadInput as error:
            new.dropped = True
            del self.seen[identity]  # a later document of its id may be good
            self._reject(new.line, identity, error)
            return
        if remade is None:
            new.dropped = True
            self._count_unchanged(document)
        else:
            new.take(remade)

    def _report_picture(
        self, identity: str, unreadable: UnreadablePicture, line: int | None
    ) -> None:
        """Note a picture that cannot be used; under `strict`, raise."""
        name, error = unreadable
        reason = str(error).removeprefix(f"{name}: ")
        if self._strict:
            place = f"line {line}: " if line is not None else ""
            raise BadInput(f"{place}picture {name}: {reason}") from error
        self.report.missing_images.append(UnusableImage(identity, name, reason))

    def _reject(self, line: int | None, identity: str | None, error: BadInput) -> None:
        if self._strict:
            for earlier in [*self._unresolved.values()]:  # report the first bad document
                self._resolve(*earlier)
            raise error if line is None else BadInput(f"line {line}: {error}") from error
        self.report.rejected.append(Rejected(line, identity, str(error)))

    def _close_batch(self) -> None:
        if self._filling.documents:
            self._filling.taken = self._taken
            self._full.append(self._filling)
            self._filling = IngestBatch()

    def _commit(self, batch: IngestBatch) -> int:
        """Encode and write a batch in one commit; returns how many documents are done so far."""
        start = monotonic()
        for new in batch.documents:
            self._resolve(new, batch)
        documents = [new for new in batch.documents if not new.dropped]
        for new in documents:
            for image in new.document.images:
                self._pictures.store(batch.pictures[Path(str(image))].file)
        passages = [batch.open_passage(p) for new in documents for p in new.to_encode]
        self._store.put([*attach_tokens(documents, self._encoder.encode(passages))])
        for new in documents:
            self._count(new)
        self._adjust_limit(monotonic() - start)
        return batch.taken

    def _adjust_limit(self, seconds: float) -> None:
        """Keep commits short: an interruption loses one, and a signal may wait for one."""
        if seconds < _QUICK_SECONDS:
            self._limit = min(2 * self._limit, self._batch_size)
        elif seconds > _SLOW_SECONDS:
            self._limit = max(self._limit // 2, 1)

    def _prepare(self, document: Document) -> PendingDocument | None:
        """Split a document, if its content changed; None if nothing has to be written."""
        identity, content = document.id, make_content(document)
        if identity in self._unresolved:
            self._resolve(*self._unresolved[identity])
        if self.seen.get(identity, content.hash) != content.hash:
            # Replacing the first would encode both again in every run.
            raise BadInput(
                f"the id {quote_value(identity)} was given before, with other content: "
                "give each document its own id."
            )
        if identity in self.seen:
            return None
        new = self._compare(document, content)
        if new is None:
            self.seen[identity] = content.hash
        return new

    def _compare(self, document: Document, content: Content) -> PendingDocument | None:
        """Split a document, unless it is stored like this; None if it is.

        Raises:
            BadInput: it has neither text nor image.
        """
        stored = self._store.stored_hashes(document.id)
        if stored is not None and stored[0] == content.hash:
            return None
        if stored is not None and stored[1] == content.shape:
            return PendingDocument(document, content, None, replaces=True)
        new = PendingDocument(document, content, None, stored is not None)
        if self._dry:
            check_content(document)
        elif not (self.syncs and stored is None and self._copy_tokens(new)):
            new.passages, new.length, new.cut = self._encoder.split(document)
        return new

    def _copy_tokens(self, new: PendingDocument) -> bool:
        """Give a document the tokens of a stored one with the same content; False without one."""
        shape = new.content.shape
        same = self._copies.find(shape)
        found = None if same is None else self._copies.copy(same, shape, new.document)
        if found is None:
            return False
        new.passages, new.copied, new.length, new.cut = found
        return True

    def _count_unchanged(self, document: Document) -> None:
        self.report.unchanged += 1
        self.report.images += len(document.images)

    def _count(self, new: PendingDocument) -> None:
        self.report.images += len(new.document.images)
        self.report.replaced += new.replaces
        self.report.added += not new.replaces
        if self.syncs and not new.replaces:
            self.added[new.document.id] = content_key(new.document)
        self.report.regained += new.regains
        self.report.encoded += len(new.to_encode)
        self.report.tokens += new.length
        self.report.cut += new.cut


def _raise(error: BadImage) -> None:
    raise error


def _no_picture() -> None:
    """Stands for a picture that the encoder opens itself."""
