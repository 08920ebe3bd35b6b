"""LlamaIndex: a retriever over a knowledge base. Needs rag-vqa[llamaindex].

It knows llama-index-core's interface. It does not know how documents are found.
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

_VISIBLE_METADATA = ("title", "section")  # of the metadata, to a model that reads nodes


class ReTRetriever(BaseRetriever):  # type: ignore[misc]  # untyped library
    """Nodes of a knowledge base by text, image (`QueryBundle.image_path`), or both.

    A document with pictures is an ImageNode of its first one, with its text; others are TextNodes.
    Ids are those of documents, metadata what `evidence.hit_fields` says.
    """

    def __init__(
        self, kb: KnowledgeBase | str | Path, k: int = 5, where: Mapping[str, Any] | None = None
    ) -> None:
        """A knowledge base or its path, documents to find, and a filter on their metadata."""
        super().__init__()
        self._rag, self._where = RagVqa(kb, k=k), where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text, image = query_bundle.query_str, query_bundle.image_path
        with MODEL_LOCK:
            hits = self._rag.search(text, image, where=self._where)
        return [NodeWithScore(node=to_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # LlamaIndex's own searches in the loop's thread.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_node(hit: Hit) -> TextNode:
    """A hit as LlamaIndex's node."""
    fields = hit_fields(hit)
    said: dict[str, Any] = {
        "id_": hit.document.id,
        "text": hit.document.text,
        "metadata": fields,
        "excluded_llm_metadata_keys": [name for name in fields if name not in _VISIBLE_METADATA],
        "excluded_embed_metadata_keys": [name for name in fields if name not in _VISIBLE_METADATA],
    }
    images = fields["images"]
    return ImageNode(image_path=images[0], **said) if images else TextNode(**said)
