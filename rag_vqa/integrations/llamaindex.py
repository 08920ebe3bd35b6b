"""LlamaIndex: a retriever over a knowledge base. Needs rag-vqa[llamaindex].

Knows llama-index-core's interface. Does not know how documents are found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import Missing
from rag_vqa.integrations import MODEL_LOCK
from rag_vqa.pipeline import RagVqa
from rag_vqa.serialization import hit_fields
from rag_vqa.types import Hit

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise Missing(
        "llama-index-core is not installed. Install it: pip install 'rag-vqa[llamaindex]'"
    ) from error

_VISIBLE_METADATA = ("title", "section")  # metadata that a model which reads nodes may see


class ReTRetriever(BaseRetriever):  # type: ignore[misc]  # untyped library
    """Retrieves nodes of a knowledge base by text, image (`QueryBundle.image_path`), or both.

    A document with pictures becomes an ImageNode with its first picture and its text; others become
    TextNodes. A node has the document's id, and as metadata the fields of
    `serialization.hit_fields`.
    """

    def __init__(
        self, kb: KnowledgeBase | str | Path, k: int = 5, where: Mapping[str, Any] | None = None
    ) -> None:
        """Takes a knowledge base or its path, the number of documents, and a metadata filter."""
        super().__init__()
        self._rag, self._where = RagVqa(kb, k=k), where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text, image = query_bundle.query_str, query_bundle.image_path
        with MODEL_LOCK:
            hits = self._rag.search(text, image, where=self._where)
        return [NodeWithScore(node=to_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # LlamaIndex's own version would block the event loop.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_node(hit: Hit) -> TextNode:
    """A hit as a LlamaIndex node."""
    fields = hit_fields(hit)
    arguments: dict[str, Any] = {
        "id_": hit.document.id,
        "text": hit.document.text,
        "metadata": fields,
        "excluded_llm_metadata_keys": [name for name in fields if name not in _VISIBLE_METADATA],
        "excluded_embed_metadata_keys": [name for name in fields if name not in _VISIBLE_METADATA],
    }
    images = fields["images"]
    return ImageNode(image_path=images[0], **arguments) if images else TextNode(**arguments)
