"""rag-vqa: ask a question about an image, get an answer out of documents, with its evidence.

Importing this imports no torch: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rag_vqa.registry import register_package

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa as RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase as KnowledgeBase
    from rag_vqa.types import Answer as Answer
    from rag_vqa.types import Document as Document
    from rag_vqa.types import Hit as Hit
    from rag_vqa.types import Query as Query

_HOME = {
    "Answer": "rag_vqa.types",
    "Document": "rag_vqa.types",
    "Hit": "rag_vqa.types",
    "KnowledgeBase": "rag_vqa.retriever.knowledge_base",
    "Query": "rag_vqa.types",
    "RagVqa": "rag_vqa.pipeline",
}
__all__ = ["Answer", "Document", "Hit", "KnowledgeBase", "Query", "RagVqa"]
__version__ = "0.1.0"

# Folders in which a new file is a new entry. The registries lie on lower floors and name none.
register_package("document format", "rag_vqa.formats")
register_package("document format", "rag_vqa.formats.documents")
register_package("document reader", "rag_vqa.formats.documents")
register_package("benchmark", "rag_vqa.eval.benchmarks")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rag_vqa' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
