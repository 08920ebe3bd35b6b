"""A Hit as JSON, with addresses of its pictures. It knows names of fields; a page reads them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from rag_vqa.types import Document, Hit


def hit_json(hit: Hit) -> dict[str, Any]:
    """What a client is shown of a hit."""
    passage, document = hit.passage, document_json(hit.document)
    places = [at for at, image in enumerate(hit.document.images) if image == passage.image]
    return {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "document": document,
        "passage": {
            "text": passage.text,
            "position": passage.position,
            "image": document["images"][places[0]] if places else None,
        },
    }


def document_json(document: Document) -> dict[str, Any]:
    """What a client is shown of a document: pictures by address, never by the name of a file.

    Addresses are below the server's own, wherever a proxy puts it.

    >>> document_json(Document("a/b", images=("kept",)))["images"]
    ['/v1/documents/a%2Fb/image?n=0']
    """
    address = f"/v1/documents/{quote(document.id, safe='')}/image?n="
    return {
        "id": document.id,
        "title": document.title,
        "section": document.section,
        "text": document.text,
        "url": document.url,
        "parent": document.parent,
        "metadata": dict(document.metadata),
        "images": [f"{address}{n}" for n in range(len(document.images))],
    }
