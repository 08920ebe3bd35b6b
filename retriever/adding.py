"""What a document goes through before it is found: pictures kept, split, encoded, committed.

It knows the order of these steps, batches, and what is reported. It does not know how rows are
stored (store/) nor how a knowledge base is opened (knowledge_base.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, RagVqaError, UsageError
from rag_vqa.formats.document import Record, Rejected, check, from_mapping, shown
from rag_vqa.retriever import passages as splitting
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.store import Content, Encoded, Store, content_of
from rag_vqa.types import Document, ImageSource, Passage


@dataclass(slots=True)
class AddReport:
    """What became of the documents given: each is counted once.

    Attributes:
        rejected: refused, with reasons.
        missing_images: (document id, name of a picture whose file is not there); the document
            itself was dealt with as if it had not named it.
        encoded: passages that went through the encoder.
        tokens, cut: of the documents that were not split: tokens of their texts, and how many of
            them lie beyond the encoder's window.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[tuple[str, str]] = field(default_factory=list)
    encoded: int = 0
    tokens: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A document on its way; `passages` is None where those that are stored stay."""

    document: Document
    content: Content
    passages: list[Passage] | None
    known: bool
    length: int = 0
    cut: int = 0


class Adding:
    """One run of adding: documents wait in a batch until it is committed.

    `encoder` is asked for only when something must be encoded: a run that changes nothing loads
    no model. A dry run looks at all documents, counts, and writes nothing.

    Attributes:
        given: what was taken in this run: hash of the content by id.
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
        self._store, self._encoder = store, encoder
        self._batch_size, self._strict, self._dry = batch_size, strict, dry_run
        self._waiting: list[_Waiting] = []
        self._size = 0  # of the batch: passages, and documents without

    @property
    def safe(self) -> bool:
        """Whether all that was taken is dealt with and committed."""
        return not self._waiting

    def take_all(
        self,
        items: Iterable[Document | Mapping[str, Any]],
        on_progress: Callable[[int], None] | None,
    ) -> None:
        """Take documents in and commit them; tells how many are dealt with and safe."""
        done = 0
        for done, item in enumerate(items, 1):
            self.take(item)
            if self.safe and on_progress is not None:
                on_progress(done)
        if not self.safe:
            self.commit()
            if on_progress is not None:
                on_progress(done)

    def take(self, item: Document | Mapping[str, Any]) -> None:
        """Take one document in; commits whenever a batch of passages is full."""
        line, root = (item.line, item.folder) if isinstance(item, Record) else (None, None)
        try:
            document, pictures = self._with_pictures(item, root)
            new = self._new(document)
            if new is None:
                self.report.unchanged += 1
                return
            if new.passages is not None or self._dry:
                for source, _ in pictures:  # a bad one costs its own document, not the batch
                    images.load(source, root=root)
        except BadInput as error:
            if self._strict:
                raise error if line is None else BadInput(f"line {line}: {error}") from error
            self.report.rejected.append(Rejected(line, _id_of(item), str(error)))
            return
        self.given[new.document.id] = new.content.hash
        if self._dry:
            self._count(new)
            return
        for _, data in pictures:
            self._store.pictures.keep(data)
        self._waiting.append(new)
        self._size += max(1, len(new.passages or ()))
        if self._size >= self._batch_size:
            self.commit()

    def commit(self) -> None:
        """Encode and write what waits, in one commit."""
        if not self._waiting:
            return
        tokens = self._tokens([p for new in self._waiting for p in new.passages or ()])
        batch, start = [], 0
        for new in self._waiting:
            end = start + len(new.passages or ())
            part = None if new.passages is None else tokens[start:end]
            batch.append(
                Encoded(new.document, new.content, new.passages, part, None, new.length, new.cut)
            )
            start = end
        self._store.put(batch)
        for new in self._waiting:
            self._count(new)
        self._waiting, self._size = [], 0

    def _new(self, document: Document) -> _Waiting | None:
        """What is to be done about a document whose pictures have their names; None: nothing."""
        identity, content = document.id, content_of(document)
        if self.given.get(identity, content.hash) != content.hash:
            # To replace the first would encode both again in every run.
            raise BadInput(
                f"the id {shown(identity)} was given before, with other content: "
                "give each document its own."
            )
        stored = self._store.hashes_of(identity)
        if identity in self.given or (stored is not None and stored[0] == content.hash):
            self.given[identity] = content.hash
            return None
        if stored is not None and stored[1] == content.shape:
            return _Waiting(document, content, None, known=True)
        if self._dry:
            splitting.check(document)
            return _Waiting(document, content, None, known=stored is not None)
        passages, length, cut = self._split(document)
        return _Waiting(document, content, passages, stored is not None, length, cut)

    def _split(self, document: Document) -> tuple[list[Passage], int, int]:
        """Passages; of a text that is not split, its tokens and how many of them are cut off."""
        encoder = self._encoder()
        count, window = encoder.count_tokens, encoder.window
        if self._store.manifest.splitting != splitting.SPLITTINGS["none"]:
            return splitting.split(document, count, window), 0, 0
        passage = splitting.whole(document)
        length = splitting.length(passage.text, count)
        return [passage], length, max(0, length - (window - count("")))

    def _count(self, new: _Waiting) -> None:
        self.report.replaced += new.known
        self.report.added += not new.known
        self.report.encoded += len(new.passages or ())
        self.report.tokens += new.length
        self.report.cut += new.cut

    def _with_pictures(
        self, item: Document | Mapping[str, Any], root: Path | None
    ) -> tuple[Document, list[tuple[ImageSource, bytes]]]:
        """The document with pictures by content, and these; those not there are left out."""
        if not isinstance(item, Document | Mapping):
            raise BadInput(f"{shown(item)} is neither a Document nor a mapping of its fields.")
        if isinstance(item, Document):
            check(document := item)
        else:
            document = from_mapping(item)
        pictures = []
        for source in document.images:
            try:
                pictures.append((source, _read(source, root)))
            except Missing:
                self.report.missing_images.append((document.id, str(source)))
        paths = tuple(self._store.pictures.path_of(data) for _, data in pictures)
        return replace(document, images=paths), pictures

    def _tokens(self, passages: list[Passage]) -> NDArray[np.float16]:
        """(N, K, D), checked: a broken encoder must not poison what is stored."""
        K, D = self._store.manifest.K, self._store.manifest.D
        tokens = np.empty((len(passages), K, D), np.float16)
        for start in range(0, len(passages), self._batch_size):
            part = passages[start : start + self._batch_size]
            encoded = self._encoder().encode_passages(part)
            if encoded.shape != (len(part), K, D) or not np.isfinite(encoded).all():
                raise RagVqaError(
                    f"The retriever gave tokens of shape {encoded.shape}, or not all of them "
                    f"finite; {(len(part), K, D)} was due. Is its checkpoint damaged?"
                )
            tokens[start : start + len(part)] = encoded
        return tokens


def _read(source: ImageSource, root: Path | None) -> bytes:
    """The bytes of a picture as they are stored: its file's own, PNG of one that was decoded."""
    if isinstance(source, Image):
        return images.encode(images.load(source))
    if not isinstance(source, str | Path | bytes):
        raise BadInput(f"an image is {shown(source)}: give a path, bytes or a PIL image.")
    return images.read_bytes(source, root)


def _id_of(item: object) -> str | None:
    identity = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    return identity if isinstance(identity, str) else None
