"""What a document goes through before it is found: pictures kept, split, encoded, committed.

It knows the order of these steps, batches, and what is reported. It does not know how rows are
stored (store.py) nor how a knowledge base is opened (knowledge_base.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, RagVqaError
from rag_vqa.formats.document import Record, Rejected, check, from_mapping, shown
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.passages import split
from rag_vqa.retriever.store import Encoded, Store, digest
from rag_vqa.types import Document, ImageSource, Passage


@dataclass(slots=True)
class AddReport:
    """What became of the documents given: each is counted once.

    Attributes:
        rejected: refused, with reasons.
        missing_images: (document id, name of a picture whose file is not there); the document
            itself was dealt with as if it had not named it.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[tuple[str, str]] = field(default_factory=list)


class Adding:
    """One run of adding: documents wait in a batch until it is committed.

    `encoder` is asked for only when something must be encoded: a run that changes nothing loads
    no model.
    """

    def __init__(
        self, store: Store, encoder: Callable[[], TokenEncoder], batch_size: int, strict: bool
    ) -> None:
        self.report = AddReport()
        self._store, self._encoder = store, encoder
        self._batch_size, self._strict = batch_size, strict
        self._given: dict[str, str] = {}  # id → digest of what was taken in this run
        # By id: the document, its passages, whether it replaces one that is stored.
        self._waiting: dict[str, tuple[Document, list[Passage], bool]] = {}

    @property
    def safe(self) -> bool:
        """Whether all that was taken is dealt with and committed."""
        return not self._waiting

    def take(self, item: Document | Mapping[str, Any]) -> None:
        """Take one document in; commits whenever a batch of passages is full."""
        line, root = (item.line, item.folder) if isinstance(item, Record) else (None, None)
        try:
            document, pictures = self._with_pictures(item, root)
            content = digest(document)
            if self._given.get(document.id, content) != content:
                # To replace the first would encode both again in every run.
                raise BadInput(
                    f"the id {shown(document.id)} was given before, with other content: "
                    "give each document its own."
                )
            stored = self._store.digest_of(document.id)
            if content in (stored, self._given.get(document.id)):
                self._given[document.id] = content
                self.report.unchanged += 1
                return
            encoder = self._encoder()
            passages = split(document, encoder.count_tokens, encoder.window)
            for source, _ in pictures:  # a bad one costs its own document, not the batch
                images.load(source, root=root)
        except BadInput as error:
            if self._strict:
                raise error if line is None else BadInput(f"line {line}: {error}") from error
            self.report.rejected.append(Rejected(line, _id_of(item), str(error)))
            return
        for _, data in pictures:
            self._store.keep_image(data)
        self._given[document.id] = content
        self._waiting[document.id] = (document, passages, stored is not None)
        if sum(len(parts) for _, parts, _ in self._waiting.values()) >= self._batch_size:
            self.commit()

    def commit(self) -> None:
        """Encode and write what waits, in one commit."""
        if not self._waiting:
            return
        passages = [p for _, parts, _ in self._waiting.values() for p in parts]
        tokens = self._tokens(passages)
        batch, start = [], 0
        for document, parts, _ in self._waiting.values():
            batch.append(Encoded(document, parts, tokens[start : start + len(parts)]))
            start += len(parts)
        self._store.put(batch)
        replaced = sum(known for _, _, known in self._waiting.values())
        self.report.replaced += replaced
        self.report.added += len(batch) - replaced
        self._waiting.clear()

    def _with_pictures(
        self, item: Document | Mapping[str, Any], root: Path | None
    ) -> tuple[Document, list[tuple[ImageSource, bytes]]]:
        """The document with pictures by content, and these; those not there are left out."""
        if not isinstance(item, Document | Mapping):
            raise BadInput(f"{shown(item)} is neither a Document nor a mapping of its fields.")
        document = item if isinstance(item, Document) else from_mapping(item)
        check(document)
        pictures = []
        for source in document.images:
            try:
                pictures.append((source, _read(source, root)))
            except Missing:
                self.report.missing_images.append((document.id, str(source)))
        paths = tuple(self._store.image_path(data) for _, data in pictures)
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
