"""Serialization: hits and answers as JSON, pictures out of base64, for command line and adapters.

Knows our own types. Does not know any framework, nor HTTP (server/schemas.py adds addresses of
pictures).
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from rag_vqa.errors import BadImage
from rag_vqa.types import Answer, Hit, ImageSource


def hit_fields(hit: Hit) -> dict[str, Any]:
    """All of a hit but its text, as JSON can hold it; `images` are paths in the knowledge base."""
    document = hit.document
    return {
        "id": document.id,
        "title": document.title,
        "section": document.section,
        "url": document.url,
        "parent": document.parent,
        "metadata": dict(document.metadata),
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "passage": {"text": hit.passage.text, "position": hit.passage.position},
        "images": [path for path in map(image_path, document.images) if path],
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """All of a hit."""
    return {**hit_fields(hit), "text": hit.document.text}


def answer_fields(answer: Answer) -> dict[str, Any]:
    """All of an answer but its text: the evidence, what the reader was shown, and how it ended."""
    return {
        "hits": [hit_json(hit) for hit in answer.hits],
        "kept": [hit.document.id for hit in answer.prompt.kept],
        "dropped": dict(answer.prompt.dropped),
        "citations": list(answer.citations),
        "invalid_citations": list(answer.invalid_citations),
        "prompt": answer.prompt.text,
        "finish": answer.finish,
        "seconds": dict(answer.seconds),
    }


def image_path(image: ImageSource | None) -> str | None:
    """The path of a picture that lies in a file."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def decode_base64_image(text: str) -> bytes:
    """The bytes of a picture's file, of base64 or of a data URL. Only images.py looks at them.

    Raises:
        BadImage: it is neither; an address above all, since none is fetched.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise BadImage("an image's data URL is not base64: data:image/png;base64,…")
    elif ":" in text[:32]:
        raise BadImage("addresses of images are not fetched; give the picture as base64.")
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # tools break its lines
    except (binascii.Error, ValueError) as error:
        raise BadImage(f"an image is no base64 ({error}).") from error
