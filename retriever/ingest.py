"""Ingest documents: store their pictures, split them into passages, encode and commit in batches.

Knows the order of these steps, batch sizes, and what is reported. Does not know how rows are
stored (store/) nor how a knowledge base is opened (knowledge_base.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, RagVqaError, UsageError
from rag_vqa.formats.document import Record, Rejected, check_content, check_document, parse_document
from rag_vqa.formatting import quote_value
from rag_vqa.retriever import ingest_batch
from rag_vqa.retriever import passages as splitting
from rag_vqa.retriever.image_workers import ImageOpener
from rag_vqa.retriever.ingest_batch import (
    AddReport,
    IngestBatch,
    PendingDocument,
    PendingPicture,
    PictureFile,
    attach_tokens,
)
from rag_vqa.retriever.modeling import HasImageOpener, TokenEncoder
from rag_vqa.retriever.store.document_content import make_content
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.types import Document, Passage

_FIRST_PASSAGES = 32  # passages of the first commit at most: how fast the encoder is, it shows
_QUICK_SECONDS, _SLOW_SECONDS = (
    2.5,
    5.0,
)  # seconds of a commit: below, the next is twice as large; above, half
_BATCHES_AHEAD = 2  # batches whose pictures workers open meanwhile
_BATCH_BYTES = 128 * 2**20  # bytes of picture files that a batch holds, about


class Ingest:
    """One run of adding: documents wait in a batch until it is committed.

    `encoder` is asked for only when something must be encoded: a run that changes nothing loads
    no model. A dry run looks at all documents, counts, and writes nothing. Where workers open the
    pictures, two further batches are taken in before one is encoded, so that theirs are open by
    then. Commits grow from few passages to `batch_size`, as long as they are quick.

    Attributes:
        given: what was taken in this run: hash of the content by id.
        holds: a document that is stored stays as it is, where it would lose a picture whose file
            is missing.
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
        self.given: dict[str, bytes] = {}
        self.holds = False
        self._store, self._encoder = store, encoder
        self._batch_size, self._strict, self._dry = batch_size, strict, dry_run
        self._limit = min(batch_size, _FIRST_PASSAGES)
        self._filling, self._full = IngestBatch(), deque[IngestBatch]()
        self._undecided: dict[
            str, tuple[PendingDocument, IngestBatch]
        ] = {}  # by id: pictures not yet open
        self._opener: ImageOpener | None = None
        self._taken = 0

    def take_all(
        self,
        items: Iterable[Document | Mapping[str, Any]],
        on_progress: Callable[[int], None] | None,
    ) -> None:
        """Take documents in and commit them; tells how many are dealt with and safe."""
        told = on_progress or (lambda done: None)
        if isinstance(items, str | bytes | Mapping | Document):
            raise UsageError(f"{quote_value(items)} is not a list of documents: give [document].")
        try:
            for self._taken, item in enumerate(items, 1):
                self._take(item)
                if not self._full and not self._filling.documents:
                    told(self._taken)
                while len(self._full) > self._ahead:
                    told(self._commit(self._full.popleft()))
            self._close_batch()
            while self._full:
                told(self._commit(self._full.popleft()))
        finally:
            if self._opener is not None:
                self._opener.close()

    @property
    def _ahead(self) -> int:
        """Batches that may wait for their pictures; none while the pace is being found."""
        workers = self._opener is not None and self._opener.workers
        return _BATCHES_AHEAD if workers and self._limit == self._batch_size else 0

    def _take(self, item: Document | Mapping[str, Any]) -> None:
        """Take one document in; what is wrong with its pictures may show later."""
        line, root = (item.line, item.folder) if isinstance(item, Record) else (None, None)
        try:
            missing = len(self.report.missing_images)
            document, pictures = self._with_pictures(item, root)
            if self.holds and len(self.report.missing_images) > missing and self._held(document):
                return
            new = self._new(document)
            if new is None:
                for picture in () if self._dry else pictures.values():
                    self._store.pictures.keep(picture.data)  # the stored one may be damaged
                self.report.unchanged += 1
                return
            new.line = line
            if self._dry:
                for picture in pictures.values():
                    images.load(picture.data, name=picture.name)
            else:
                self._begin(new, pictures)
        except BadInput as error:
            self._refuse(line, ingest_batch.document_id(item), error)
            return
        self.given[new.document.id] = new.content.hash
        if self._dry:
            self._count(new)
            return
        self._filling.documents.append(new)
        self._filling.size += max(1, len(new.passages or ()))
        if self._filling.size >= self._limit or self._filling.bytes >= _BATCH_BYTES:
            self._close_batch()

    def _held(self, document: Document) -> bool:
        """Whether what is stored stays: a disk that is not there must not cost its pictures."""
        found = self._store.document(document.id)
        if found is None or len(found[1].images) <= len(document.images):
            return False
        self.given[document.id] = b""
        self.report.unchanged += 1
        self.report.held += 1
        return True

    def _begin(self, new: PendingDocument, pictures: Mapping[Path, PictureFile]) -> None:
        """Begin to open its pictures: a bad one costs its own document, not the batch."""
        batch, begun = self._filling, dict[Path, PendingPicture]()
        for path, (data, name) in pictures.items():
            if path not in batch.pictures:
                stays = new.passages is None
                begun[path] = PendingPicture(
                    data, _no_picture if stays else self._opening(data, name)
                )
        batch.pictures |= begun
        if pictures:
            self._undecided[new.document.id] = new, batch

    def _opening(self, data: bytes, name: str) -> Callable[[], Image | None]:
        encoder = self._encoder()
        if not isinstance(encoder, HasImageOpener):
            images.load(data, name=name)
            return _no_picture
        if self._opener is None:
            self._opener = encoder.opener()
        return self._opener.begin(data, name)

    def _decide(self, new: PendingDocument, batch: IngestBatch) -> None:
        """Wait for its pictures; a bad one refuses it."""
        if self._undecided.get(new.document.id, (None,))[0] is not new:
            return
        del self._undecided[new.document.id]
        try:
            for image in new.document.images:
                batch.pictures[Path(str(image))].opened()
        except BadInput as error:
            new.refused = True
            del self.given[new.document.id]  # another of its id may be good
            self._refuse(new.line, new.document.id, error)

    def _refuse(self, line: int | None, identity: str | None, error: BadInput) -> None:
        if self._strict:
            for undecided in [*self._undecided.values()]:  # one given earlier is to be told of
                self._decide(*undecided)
            raise error if line is None else BadInput(f"line {line}: {error}") from error
        self.report.rejected.append(Rejected(line, identity, str(error)))

    def _close_batch(self) -> None:
        if self._filling.documents:
            self._filling.taken = self._taken
            self._full.append(self._filling)
            self._filling = IngestBatch()

    def _commit(self, batch: IngestBatch) -> int:
        """Encode and write a batch in one commit; how many of those given are safe by now."""
        start = monotonic()
        for new in batch.documents:
            self._decide(new, batch)
        documents = [new for new in batch.documents if not new.refused]
        for new in documents:
            for image in new.document.images:
                self._store.pictures.keep(batch.pictures[Path(str(image))].data)
        passages = [batch.opened(p) for new in documents for p in new.passages or ()]
        self._store.put([*attach_tokens(documents, self._tokens(passages))])
        for new in documents:
            self._count(new)
        self._pace(monotonic() - start)
        return batch.taken

    def _pace(self, seconds: float) -> None:
        """A commit is what an interruption can cost, and what a signal may have to wait for."""
        if seconds < _QUICK_SECONDS:
            self._limit = min(2 * self._limit, self._batch_size)
        elif seconds > _SLOW_SECONDS:
            self._limit = max(self._limit // 2, 1)

    def _new(self, document: Document) -> PendingDocument | None:
        """What is to be done about a document whose pictures have their names; None: nothing."""
        identity, content = document.id, make_content(document)
        if identity in self._undecided:
            self._decide(*self._undecided[identity])
        if self.given.get(identity, content.hash) != content.hash:
            # To replace the first would encode both again in every run.
            raise BadInput(
                f"the id {quote_value(identity)} was given before, with other content: "
                "give each document its own."
            )
        stored = self._store.stored_hashes(identity)
        if identity in self.given or (stored is not None and stored[0] == content.hash):
            self.given[identity] = content.hash
            return None
        if stored is not None and stored[1] == content.shape:
            return PendingDocument(document, content, None, known=True)
        if self._dry:
            check_content(document)
            return PendingDocument(document, content, None, known=stored is not None)
        passages, length, cut = self._split(document)
        return PendingDocument(document, content, passages, stored is not None, length, cut)

    def _split(self, document: Document) -> tuple[list[Passage], int, int]:
        """Passages; of a text that is not split, its tokens and how many of them are cut off."""
        encoder = self._encoder()
        count, window = encoder.count_tokens, encoder.window
        if self._store.manifest.splitting != splitting.SPLITTINGS["none"]:
            return splitting.split_document(document, count, window), 0, 0
        passage = splitting.whole_document_passage(document)
        length = splitting.count_long_text(passage.text, count)
        return [passage], length, max(0, length - (window - count("")))

    def _count(self, new: PendingDocument) -> None:
        self.report.replaced += new.known
        self.report.added += not new.known
        self.report.encoded += len(new.passages or ())
        self.report.tokens += new.length
        self.report.cut += new.cut

    def _with_pictures(
        self, item: Document | Mapping[str, Any], root: Path | None
    ) -> tuple[Document, dict[Path, PictureFile]]:
        """The document with pictures by content, and these; those not there are left out."""
        if not isinstance(item, Document | Mapping):
            raise BadInput(
                f"{quote_value(item)} is neither a Document nor a mapping of its fields."
            )
        if isinstance(item, Document):
            check_document(document := item)
        else:
            document = parse_document(item)
        pictures, paths = dict[Path, PictureFile](), []
        for source in document.images:
            try:
                read = ingest_batch.read_picture_source(source, root)
            except Missing:
                self.report.missing_images.append((document.id, str(source)))
                continue
            paths.append(self._store.pictures.path_of(read.data))
            pictures[paths[-1]] = read
        return replace(document, images=tuple(paths)), pictures

    def _tokens(self, passages: list[Passage]) -> NDArray[np.float16]:
        """(N, K, D), checked: a broken encoder must not poison what is stored."""
        K, D = self._store.manifest.K, self._store.manifest.D
        tokens = np.empty((len(passages), K, D), np.float16)
        for start in range(0, len(passages), self._batch_size):
            part = passages[start : start + self._batch_size]
            found = self._encoder().encode_passages(part)
            if found.shape != (len(part), K, D) or not np.isfinite(found).all():
                raise RagVqaError(
                    f"The retriever gave tokens of shape {found.shape}, or not all of them "
                    f"finite; {(len(part), K, D)} was due. Is its checkpoint damaged?"
                )
            tokens[start : start + len(part)] = found
        return tokens


def _no_picture() -> None:
    """Of a picture that is not opened here."""
