"""Documented import path, kept: re-exports `rag_vqa.retriever.modeling.export`.

Apart because users import from here.
"""

from rag_vqa.retriever.modeling.export import export_checkpoint, export_released

__all__ = ["export_checkpoint", "export_released"]
