"""The Index protocol and its engines."""

from __future__ import annotations

import difflib
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index.protocol import NO_KEY, Index

ENGINES = ("exact",)

__all__ = ["ENGINES", "NO_KEY", "Index", "make_index"]


def make_index(engine: str = "exact", **options: Any) -> Index:
    """An empty index of the engine named.

    Raises:
        UsageError: no such engine, or an option that it does not have.
    """
    if engine not in ENGINES:
        near = difflib.get_close_matches(engine, ENGINES, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"No index engine {engine!r}; there is: {', '.join(ENGINES)}.{hint}")
    from rag_vqa.retriever.index.exact import ExactIndex

    try:
        return ExactIndex(**options)
    except TypeError as error:
        raise UsageError(f"Index engine {engine!r}: {error}") from error
