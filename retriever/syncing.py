"""Documented import path of SyncReport: re-exports `rag_vqa.retriever.sync_and_merge`.

Apart because users import from here.
"""

from rag_vqa.retriever.sync_and_merge import SyncReport

__all__ = ["SyncReport"]
