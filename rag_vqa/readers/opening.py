"""Documented import path of open_reader: re-exports `rag_vqa.readers.factory`.

Apart because users import from here.
"""

from rag_vqa.readers.factory import open_reader

__all__ = ["open_reader"]
