"""LlamaIndex: a retriever over a knowledge base. Needs rag-vqa[llamaindex].

Knows llama-index-core's interface. Does not know how documents are found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import Missing, UsageError
from rag_vqa.integrations import MODEL_LOCK
from rag_vqa.pipeline import RagVqa
from rag_vqa.serialization import hit_fields
from rag_vqa.types import Hit, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores.types import (
        FilterCondition,
        FilterOperator,
        MetadataFilters,
    )
except ImportError as error:
    raise Missing(
        "llama-index-core is not installed. Install it: pip install 'rag-vqa[llamaindex]'"
    ) from error

_SIGNS: Mapping[FilterOperator, str] = {
    FilterOperator.EQ: "=", FilterOperator.IN: "=", FilterOperator.ANY: "=",
    FilterOperator.CONTAINS: "=", FilterOperator.IS_EMPTY: "=",
    FilterOperator.GT: ">", FilterOperator.GTE: ">=",
    FilterOperator.LT: "<", FilterOperator.LTE: "<=",
}  # fmt: skip
_VISIBLE_METADATA = ("title", "section")  # what a model that reads nodes sees, and shown metadata


class ReTRetriever(BaseRetriever):  # type: ignore[misc]  # untyped library
    """Retrieves nodes of a knowledge base by text, image (`QueryBundle.image_path`), or both.

    A document with pictures becomes an ImageNode with its first picture and its text; others become
    TextNodes. A node has the document's id, and as metadata the fields of
    `serialization.hit_fields` and the metadata that is shown, by name.
    """

    def __init__(
        self,
        kb: KnowledgeBase | str | Path,
        k: int = 5,
        where: Where | MetadataFilters | None = None,
    ) -> None:
        """Takes a knowledge base or its path, the number of documents, and a metadata filter:
        ours, or LlamaIndex's own.

        Raises:
            UsageError: filters with an operator or a condition that ours does not have.
        """
        super().__init__()
        self._rag = RagVqa(kb, k=k)
        self._where = to_where(where) if isinstance(where, MetadataFilters) else where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text, image = query_bundle.query_str, query_bundle.image_path
        with MODEL_LOCK:
            hits = self._rag.search(text, image, where=self._where)
        return [NodeWithScore(node=to_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # LlamaIndex's own version would block the event loop.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_where(filters: MetadataFilters) -> Where:
    """LlamaIndex's filters as ours.

    Raises:
        UsageError: an operator without a counterpart, or conditions that are not joined by "and".
    """
    found: dict[str, dict[str, Any]] = {}
    if filters.condition not in (FilterCondition.AND, None):
        raise UsageError(
            f"where: filters are joined by {filters.condition.value!r}, and only 'and' is known. "
            "For several values of one name use the operator 'in'."
        )
    for each in filters.filters:
        if isinstance(each, MetadataFilters):
            raise UsageError("where: filters within filters are not known. Give one list of them.")
        sign = _SIGNS.get(each.operator)
        if sign is None:
            known = ", ".join(operator.value for operator in _SIGNS)
            raise UsageError(
                f"where: the operator {each.operator.value!r} is not known. Known are {known}."
            )
        value = None if each.operator == FilterOperator.IS_EMPTY else each.value
        if sign in found.setdefault(each.key, {}):
            raise UsageError(
                f"where: {each.key!r} has two filters with {each.operator.value!r}. Give one."
            )
        found[each.key][sign] = value
    return found


def to_node(hit: Hit) -> TextNode:
    """A hit as a LlamaIndex node."""
    fields = hit_fields(hit)
    shown = {name: value for name, value in hit.shown if name not in fields}
    hidden = [name for name in fields if name not in _VISIBLE_METADATA]
    arguments: dict[str, Any] = {
        "id_": hit.document.id,
        "text": hit.document.text,
        "metadata": fields | shown,
        "excluded_llm_metadata_keys": hidden,
        "excluded_embed_metadata_keys": [*hidden, *shown],
    }
    images = fields["images"]
    return ImageNode(image_path=images[0], **arguments) if images else TextNode(**arguments)
