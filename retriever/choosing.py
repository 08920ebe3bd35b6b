"""Which engine searches a knowledge base, and what it found out once and keeps beside the rows.

It knows the file. It does not know arithmetic (index/), nor when an index is out of date
(search.py).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from rag_vqa.errors import CorruptKnowledgeBase, RagVqaError
from rag_vqa.retriever.index import Choice, Index, auto, make_index
from rag_vqa.retriever.index.files import NEW
from rag_vqa.retriever.store import Store, files

# What candidates are found by, of rows by key: it holds for good, and can be made again.
KEPT = "candidates.safetensors"


def choose(store: Store, engine: str) -> Choice:
    """The engine of that name, or, of "auto", the one that suits the passages there are."""
    if engine != "auto":
        return Choice(engine, f"{engine}, as asked")
    return auto(store.count()[1], store.manifest.K, store.manifest.D)


def empty_index(store: Store, choice: Choice) -> Index:
    """An index for the rows of a knowledge base; what was kept for it is used."""
    options: dict[str, Any] = {}
    if choice.engine == "faiss" and (file := _file(store)).is_file():
        options["derived"] = file
    try:
        return make_index(choice.engine, **options)
    except CorruptKnowledgeBase as error:
        warnings.warn(f"{error} It is worked out anew.", stacklevel=2)
        return make_index(choice.engine)


def keep(store: Store, index: Index) -> None:
    """Write down what an index worked out, for the next one. The caller holds the lock.

    It can be made again: that it could not be written is a warning."""
    from rag_vqa.retriever.index.candidates import FaissIndex

    if not isinstance(index, FaissIndex):
        return
    try:
        for left in store.folder.glob(f"{KEPT}.*{NEW}"):  # by a killed process: ours is the lock
            files.remove(left)
        index.keep(_file(store))
    except RagVqaError as error:
        warnings.warn(f"{error} Until then searches begin by working it out.", stacklevel=2)


def _file(store: Store) -> Path:
    return store.folder / KEPT
