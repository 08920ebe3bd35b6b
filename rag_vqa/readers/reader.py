"""Documented import path of Reader: re-exports `rag_vqa.readers.base`.

Apart because users import from here.
"""

from rag_vqa.readers.base import Reader

__all__ = ["Reader"]
