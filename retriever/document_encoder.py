"""The document side of an ingest: a document's passages, and their tokens.

Knows by which rules a knowledge base splits texts, and that a broken encoder must not damage what
is stored. Does not know batches of documents, nor what is written (ingest.py). The encoder is
loaded when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever import passages as splitting
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.store.kb_manifest import Manifest
from rag_vqa.types import Document, Passage


class DocumentEncoder:
    """Splits and encodes documents as one knowledge base demands it.

    Attributes:
        load: returns the encoder.
    """

    def __init__(
        self, load: Callable[[], TokenEncoder], manifest: Manifest, batch_size: int
    ) -> None:
        self.load = load
        self._manifest, self._batch_size = manifest, batch_size

    def split(self, document: Document) -> tuple[list[Passage], int, int]:
        """Passages; for a text that is not split, its tokens and how many of them are cut off."""
        encoder, rules = self.load(), self._manifest.splitting
        count, window = encoder.count_tokens, encoder.window
        if rules != splitting.SPLITTINGS["none"]:
            return splitting.split_document(document, count, window, rules), 0, 0
        passage = splitting.whole_document_passage(document)
        length = splitting.count_long_text(passage.text, count)
        return [passage], length, max(0, length - (window - count("")))

    def encode(self, passages: Sequence[Passage]) -> NDArray[np.float16]:
        """Tokens (N, K, D).

        Raises:
            RagVqaError: they are not of the shape of this knowledge base, or not finite.
        """
        K, D = self._manifest.K, self._manifest.D
        tokens = np.empty((len(passages), K, D), np.float16)
        for start in range(0, len(passages), self._batch_size):
            part = passages[start : start + self._batch_size]
            found = self.load().encode_passages(part)
            if found.shape != (len(part), K, D) or not np.isfinite(found).all():
                raise RagVqaError(
                    f"The retriever gave tokens of shape {found.shape}, or not all of them "
                    f"finite; expected {(len(part), K, D)}. Is its checkpoint damaged?"
                )
            tokens[start : start + len(part)] = found
        return tokens
