"""Serialization: hits and answers as JSON, pictures out of base64, for command line and adapters.

Knows our own types. Does not know any framework, nor HTTP (server/schemas.py adds addresses of
pictures).
"""

from __future__ import annotations

import os
from typing import Any

from rag_vqa.data_address import decode_data_address, is_data_address
from rag_vqa.errors import BadImage
from rag_vqa.types import Answer, Document, Hit, ImageSource


def document_fields(document: Document) -> dict[str, Any]:
    """A document without text and pictures, as plain data for JSON."""
    return {
        "id": document.id,
        "title": document.title,
        "section": document.section,
        "url": document.url,
        "parent": document.parent,
        "metadata": metadata_json(document),
    }


def document_json(document: Document) -> dict[str, Any]:
    """A whole document as one JSON object; its pictures by their paths."""
    return {
        "id": document.id,
        "title": document.title,
        "section": document.section,
        "text": document.text,
        "retrieval_text": document.retrieval_text,
        "images": [str(image) for image in document.images],
        "parent": document.parent,
        "url": document.url,
        "metadata": metadata_json(document),
    }


def metadata_json(document: Document) -> dict[str, Any]:
    """A document's metadata as plain data for JSON: lists as lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in document.metadata.items()
    }


def hit_fields(hit: Hit) -> dict[str, Any]:
    """A hit without its text, as plain data for JSON; `images` are paths in the knowledge base."""
    return {
        **document_fields(hit.document),
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "passage": {"text": hit.passage.text, "position": hit.passage.position},
        "shown": shown_json(hit),
        "images": [path for path in map(image_path, hit.document.images) if path],
    }


def shown_json(hit: Hit) -> list[dict[str, str]]:
    """The metadata that readers and people see of a hit, in order."""
    return [{"name": name, "value": value} for name, value in hit.shown]


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit with its text, as plain data for JSON."""
    return {**hit_fields(hit), "text": hit.document.text}


def answer_fields(answer: Answer) -> dict[str, Any]:
    """An answer without its text: the evidence, what the reader saw of it, and how it ended."""
    return {
        "hits": [hit_json(hit) for hit in answer.hits],
        "kept": [hit.document.id for hit in answer.prompt.kept],
        "dropped": dict(answer.prompt.dropped),
        "citations": list(answer.citations),
        "invalid_citations": list(answer.invalid_citations),
        "prompt": answer.prompt.text,
        "finish": answer.finish,
        "reasoning": answer.reasoning,
        "notes": list(answer.notes),
        "seconds": dict(answer.seconds),
    }


def image_path(image: ImageSource | None) -> str | None:
    """The path of a picture that is a file; None for any other source."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def decode_base64_image(text: str) -> bytes:
    """The bytes of an image file, from base64 or a data URL. They are not checked here: images.py
    opens them.

    Raises:
        BadImage: it is neither. Addresses are not fetched.
    """
    if not is_data_address(text) and ":" in text[:32]:
        raise BadImage("Image addresses are not fetched. Give the picture as base64.")
    try:
        return decode_data_address(text)
    except BadImage as error:
        raise BadImage(
            f"The image cannot be read: {error}. Give data:image/png;base64,…"
        ) from error
