"""What became of the documents that were given to a knowledge base. It knows counts and reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from rag_vqa.formats.document import Rejected


@dataclass(slots=True)
class AddReport:
    """What became of the documents given: each is counted once.

    Attributes:
        rejected: refused, with reasons.
        missing_images: (document id, name of a picture whose file is not there); the document
            itself was dealt with as if it had not named it.
        held: of `unchanged`, those that would have lost a picture whose file is missing; in a sync.
        encoded: passages that went through the encoder.
        tokens, cut: of the documents that were not split: tokens of their texts, and how many of
            them lie beyond the encoder's window.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[tuple[str, str]] = field(default_factory=list)
    held: int = 0
    encoded: int = 0
    tokens: int = 0
    cut: int = 0
