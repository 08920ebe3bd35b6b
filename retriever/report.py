"""Documented import path of AddReport: re-exports `rag_vqa.retriever.ingest_batch`.

Apart because users import from here.
"""

from rag_vqa.retriever.ingest_batch import AddReport

__all__ = ["AddReport"]
