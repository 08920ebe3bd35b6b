"""Documented import path, kept: re-exports `rag_vqa.retriever.modeling.encoder`.

Apart because users import from here.
"""

from rag_vqa.retriever.modeling import INSTRUCTION_FILE
from rag_vqa.retriever.modeling.encoder import Encoder

__all__ = ["INSTRUCTION_FILE", "Encoder"]
