"""Documented import path, kept: re-exports `rag_vqa.retriever.modeling.model`.

Apart because users import from here.
"""

from rag_vqa.retriever.modeling.model import RetModel, RetOutput, RetrieverModel, RetrieverOutput

__all__ = ["RetModel", "RetOutput", "RetrieverModel", "RetrieverOutput"]
