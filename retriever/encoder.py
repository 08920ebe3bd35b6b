"""Documented import path, kept: re-exports `rag_vqa.retriever.modeling.encoder`.

Apart because users import from here.
"""

from rag_vqa.retriever.modeling.encoder import INSTRUCTION_FILE, Encoder

__all__ = ["INSTRUCTION_FILE", "Encoder"]
