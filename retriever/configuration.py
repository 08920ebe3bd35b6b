"""Documented import path, kept: re-exports `rag_vqa.retriever.modeling.configuration`.

Apart because users import from here.
"""

from rag_vqa.retriever.modeling.configuration import LAYER_STRATEGIES, RetConfig, RetrieverConfig

__all__ = ["LAYER_STRATEGIES", "RetConfig", "RetrieverConfig"]
