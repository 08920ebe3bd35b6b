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

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadImage, BadInput, Missing, RagVqaError, UsageError
from rag_vqa.formats.document import (
    Record,
    Rejected,
    check_content,
    parse_document_with_losses,
)
from rag_vqa.formats.plain_values import mapping_of_row, rows_of_table
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
    UnreadablePicture,
    UnusableImage,
    attach_tokens,
)
from rag_vqa.retriever.modeling import HasImageOpener, TokenEncoder
from rag_vqa.retriever.store.document_content import make_content
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.types import Document, Passage

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
        keep_pictures: leave a stored document unchanged, if it would lose a picture whose file is
            missing now.
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
        self.keep_pictures = False
        self._store, self._encoder = store, encoder
        self._batch_size, self._strict, self._dry = batch_size, strict, dry_run
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
        finally:
            if self._opener is not None:
                self._opener.close()

    @property
    def _batches_ahead(self) -> int:
        """Batches that may wait for their pictures; none while batches still grow."""
        workers = self._opener is not None and self._opener.workers
        return _BATCHES_AHEAD if workers and self._limit == self._batch_size else 0

    def _add(self, item: Document | Mapping[str, Any]) -> None:
        """Add one document to the batch, without the pictures that cannot be used."""
        line, root = (item.line, item.folder) if isinstance(item, Record) else (None, None)
        try:
            missing = len(self.report.missing_images)
            document, pictures = self._read_pictures(item, root, line)
            lost = len(self.report.missing_images) > missing
            if self.keep_pictures and lost and self._keep_stored(document):
                return
            again = document.id in self.seen
            new = self._prepare(document)
            if new is None:
                for picture in () if self._dry or again else pictures.values():
                    self._store.pictures.keep(picture.data)  # the stored one may be damaged
                self._count_unchanged(document)
                return
        except BadInput as error:
            self._reject(line, ingest_batch.document_id(item), error)
            return
        new.line = line
        self.seen[new.document.id] = new.content.hash
        if self._dry:
            self._drop_pictures(new, _unreadable_pictures(pictures))
            if not new.dropped:
                self._count(new)
            return
        self._start_opening(new, pictures)
        self._filling.documents.append(new)
        self._filling.size += max(1, len(new.passages or ()))
        if self._filling.size >= self._limit or self._filling.bytes >= _BATCH_BYTES:
            self._close_batch()

    def _keep_stored(self, document: Document) -> bool:
        """Keep the stored document if it has more pictures: its disk may be missing just now."""
        found = self._store.document(document.id)
        if found is None or len(found[1].images) <= len(document.images):
            return False
        self.seen[document.id] = b""
        self.report.unchanged += 1
        self.report.held += 1
        return True

    def _start_opening(self, new: PendingDocument, pictures: Mapping[Path, PictureFile]) -> None:
        """Start to open its pictures; `_resolve` waits for them."""
        batch, started = self._filling, dict[Path, PendingPicture]()
        for path, (data, name) in pictures.items():
            if path not in batch.pictures:
                unused = new.passages is None
                opened = _no_picture if unused else self._open_picture(data, name)
                started[path] = PendingPicture(data, name, opened)
        batch.pictures |= started
        if pictures:
            self._unresolved[new.document.id] = new, batch

    def _open_picture(self, data: bytes, name: str) -> Callable[[], Image | None]:
        encoder = self._encoder()
        if not isinstance(encoder, HasImageOpener):
            return partial(_check_picture, data, name)
        if self._opener is None:
            self._opener = encoder.opener()
        try:
            return self._opener.start(data, name)
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
                bad[path] = UnreadablePicture(picture.name, error)
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
                self._report_picture(identity, unreadable.name, unreadable.error, new.line)
        try:
            remade = self._compare(replace(new.document, images=tuple(kept)))
        except BadInput as error:
            new.dropped = True
            del self.seen[identity]  # a later document of its id may be good
            self._reject(new.line, identity, error)
            return
        if remade is None:
            new.dropped = True
            self._count_unchanged(replace(new.document, images=tuple(kept)))
        else:
            new.take(remade)

    def _report_picture(self, identity: str, name: str, error: Exception, line: int | None) -> None:
        """Note a picture that cannot be used; under `strict`, raise."""
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
                self._store.pictures.keep(batch.pictures[Path(str(image))].data)
        passages = [batch.open_passage(p) for new in documents for p in new.passages or ()]
        self._store.put([*attach_tokens(documents, self._encode(passages))])
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
        new = self._compare(document)
        if new is None:
            self.seen[identity] = content.hash
        return new

    def _compare(self, document: Document) -> PendingDocument | None:
        """Split a document, unless it is stored like this; None if it is.

        Raises:
            BadInput: it has neither text nor image.
        """
        content = make_content(document)
        stored = self._store.stored_hashes(document.id)
        if stored is not None and stored[0] == content.hash:
            return None
        if stored is not None and stored[1] == content.shape:
            return PendingDocument(document, content, None, replaces=True)
        if self._dry:
            check_content(document)
            return PendingDocument(document, content, None, replaces=stored is not None)
        passages, length, cut = self._split(document)
        return PendingDocument(document, content, passages, stored is not None, length, cut)

    def _split(self, document: Document) -> tuple[list[Passage], int, int]:
        """Passages; for a text that is not split, its tokens and how many of them are cut off."""
        encoder = self._encoder()
        count, window = encoder.count_tokens, encoder.window
        rules = self._store.manifest.splitting
        if rules != splitting.SPLITTINGS["none"]:
            return splitting.split_document(document, count, window, rules), 0, 0
        passage = splitting.whole_document_passage(document)
        length = splitting.count_long_text(passage.text, count)
        return [passage], length, max(0, length - (window - count("")))

    def _count_unchanged(self, document: Document) -> None:
        self.report.unchanged += 1
        self.report.images += len(document.images)

    def _count(self, new: PendingDocument) -> None:
        self.report.images += len(new.document.images)
        self.report.replaced += new.replaces
        self.report.added += not new.replaces
        self.report.encoded += len(new.passages or ())
        self.report.tokens += new.length
        self.report.cut += new.cut

    def _read_pictures(
        self, item: Document | Mapping[str, Any], root: Path | None, line: int | None
    ) -> tuple[Document, dict[Path, PictureFile]]:
        """The document with the paths its pictures will get, and their files by these paths.

        Leaves out pictures that cannot be read, and reports them; of equal ones it keeps one.
        """
        document = self._parse(item)
        pictures = dict[Path, PictureFile]()
        for source in document.images:
            try:
                read = ingest_batch.read_picture_source(source, root)
            except (Missing, BadImage) as error:
                name = ingest_batch.describe_picture(source, root)
                self._report_picture(document.id, name, error, line)
                continue
            pictures.setdefault(self._store.pictures.path_of(read.data), read)
        return replace(document, images=tuple(pictures)), pictures

    def _parse(self, item: Document | Mapping[str, Any]) -> Document:
        """A checked document of what a source or a caller gives."""
        if isinstance(item, Record):
            self.report.left_out.update(item.left_out.keys())
            return item
        item = mapping_of_row(item)
        if not isinstance(item, Mapping | Document):
            raise BadInput(
                f"{quote_value(item)} is neither a Document nor a mapping of its fields."
            )
        document, left_out = parse_document_with_losses(item)
        self.report.left_out.update(left_out.keys())
        return document

    def _encode(self, passages: list[Passage]) -> NDArray[np.float16]:
        """Tokens (N, K, D), checked: a broken encoder must not damage what is stored."""
        K, D = self._store.manifest.K, self._store.manifest.D
        tokens = np.empty((len(passages), K, D), np.float16)
        for start in range(0, len(passages), self._batch_size):
            part = passages[start : start + self._batch_size]
            found = self._encoder().encode_passages(part)
            if found.shape != (len(part), K, D) or not np.isfinite(found).all():
                raise RagVqaError(
                    f"The retriever gave tokens of shape {found.shape}, or not all of them "
                    f"finite; expected {(len(part), K, D)}. Is its checkpoint damaged?"
                )
            tokens[start : start + len(part)] = found
        return tokens


def _raise(error: BadImage) -> None:
    raise error


def _check_picture(data: bytes, name: str) -> None:
    """Raises BadImage if a picture cannot be opened; for encoders that open it later."""
    images.load(data, name=name)


def _unreadable_pictures(pictures: Mapping[Path, PictureFile]) -> dict[Path, UnreadablePicture]:
    bad: dict[Path, UnreadablePicture] = {}
    for path, (data, name) in pictures.items():
        try:
            images.load(data, name=name)
        except BadInput as error:
            bad[path] = UnreadablePicture(name, error)
    return bad


def _no_picture() -> None:
    """Stands for a picture that the encoder opens itself."""
