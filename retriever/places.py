"""Documented import path of Box, Patch, Span: re-exports `rag_vqa.retriever.explain.token_spans`.

Apart because users import from here.
"""

from rag_vqa.retriever.explain.token_spans import Box, Patch, Span

__all__ = ["Box", "Patch", "Span"]
